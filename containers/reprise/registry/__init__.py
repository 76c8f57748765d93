"""Push and pull: the store's images and artifacts, with all that refers to them, to and from OCI registries.

In: a manifest digest of the store and a reference (`host/path:tag@digest`). Out: the same graph on the other side, read
back before it is called done. OCI distribution spec v1.1; registries without its referrers API get the fallback tag.
May import: `reprise_trainer`, `reprise.store`, `reprise.events`, and the HTTP parts of `reprise.lock` and
`reprise.artifacts` (session, patience, resumable downloads).
"""
