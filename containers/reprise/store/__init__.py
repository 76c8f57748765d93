"""The store: one OCI image layout on disk that holds everything by digest.

In and out: bytes and digests. Artifacts, layers, images, signatures, snapshots and run records are all blobs here; what
belongs to an image points at it (OCI referrers). Imports `reprise_trainer` alone.
"""

from reprise.store.layout import Store

__all__ = ["Store"]
