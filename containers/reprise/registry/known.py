"""Which repository of a registry has which blob, as far as pushes from this store know: what a mount can name.

A memory in the store's cache, no more: where it is wrong, the registry says so, and the blob is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reprise.store import Store
from reprise_trainer.canonical import canonical_json
from reprise_trainer.durable import write_durably


@dataclass(frozen=True, slots=True)
class KnownBlobs:
    """The memory of a store about the registry `host`."""

    store: Store
    host: str

    def repositories(self) -> dict[str, str]:
        """A repository that had the blob, by the blob's digest."""
        try:
            document = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return {str(key): str(value) for key, value in document.items()} if isinstance(document, dict) else {}

    def add(self, repository: str, digests: Iterable[str]) -> None:
        """Remember that `repository` has these blobs; nothing is written when all are known."""
        known = self.repositories()
        new = {digest: repository for digest in digests if digest not in known}
        if new:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._path, canonical_json({**known, **new}))

    @property
    def _path(self) -> Path:
        return self.store.cache / "registries" / f"{self.host.replace(':', '_')}.json"
