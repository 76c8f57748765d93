"""One file for a host without any network: an image, all that refers to it, a policy, a run's data.

Out and in: an OCI layout as a canonical tar file; the same contents are the same bytes. Nothing in it is trusted but
digests, which are all checked while it is read. May import `reprise.events`, `reprise.registry` (manifests and their
graph), `reprise.store` and `reprise.trust`.
"""
