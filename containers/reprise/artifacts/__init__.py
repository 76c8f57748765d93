"""Lock entry → verified bytes in the store, from whoever has them.

In: artifacts (purl and sha256), a store, the environment's own sources.
Out: their bytes in the store, each hashed while it came in; or one error that says what was tried.
The places, in order: the store, the machine's pip and apt as they are configured, the environment's sources.
May import: `reprise_trainer`, `reprise.lock` (models and clients), `reprise.store`.
"""
