"""An OCI image layout (OCI image spec v1.1, image-layout.md) that several processes may use at once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise.store.index_entries import TAG, with_entry
from reprise_trainer.canonical import DIGEST_PATTERN, canonical_json, sha256_digest
from reprise_trainer.durable import storage_error, sync_folder, write_durably
from reprise_trainer.errors import InputError, NotFoundError
from reprise_trainer.identity.inventory import MANIFEST_TYPE
from reprise_trainer.identity.strict_json import parse_json

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY_BLOB = b"{}"  # OCI image spec v1.1, "guidance for an empty descriptor"
TITLE = "org.opencontainers.image.title"

MANIFEST_LIMIT = 4 << 20
"""Bytes; registries need not take larger manifests (distribution spec v1.1, "Pushing manifests")."""

_LAYOUT = canonical_json({"imageLayoutVersion": "1.0.0"})
_EMPTY_INDEX = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}


@dataclass(frozen=True, slots=True)
class Store:
    """A store at `root`. Blobs are written once and never change, so only `index.json` needs a lock."""

    root: Path

    @staticmethod
    def open(root: Path | None = None, *, create: bool = True) -> Store:
        """The store at `root`; by default `$REPRISE_STORE`, else the user's data folder.

        Raises:
            NotFoundError: there is none and `create` is false.
            InputError: the folder holds something else.
            StorageError: it cannot be made.
        """
        root = root or default_root()
        store = Store(root)
        if (root / "oci-layout").exists():
            return store
        if not create:
            raise NotFoundError(
                f"there is no store at {root}",
                hint="`reprise build`, `pull` or `load` makes one; --store names another.",
            )
        if root.is_dir() and any(root.iterdir()) and not (root / "blobs").is_dir():
            raise InputError(f"{root} is not empty and not a store", hint="Name an empty or a new folder as --store.")
        try:
            for folder in (root / "blobs" / "sha256", root / "partial", root / "cache"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, root) from error
        with store.locked():
            if not (root / "index.json").exists():
                write_durably(root / "index.json", canonical_json(_EMPTY_INDEX))
            write_durably(root / "oci-layout", _LAYOUT)  # last: its presence says that the store is whole
        return store

    @property
    def cache(self) -> Path:
        """What can be made again from blobs at any time: may be deleted as a whole."""
        return self.root / "cache"

    def has(self, digest: str) -> bool:
        """Whether the blob is here, complete."""
        return self._blob(digest).exists()

    def place(self, digest: str) -> Path:
        """Where a blob is, or will be once it is here."""
        return self._blob(digest)

    def path(self, digest: str) -> Path:
        """The file that holds a blob.

        Raises:
            NotFoundError: the store does not hold it.
        """
        path = self._blob(digest)
        if not path.exists():
            raise NotFoundError(f"{digest} is not in the store {self.root}")
        return path

    def read(self, digest: str) -> bytes:
        """A blob's bytes, checked against its digest.

        Raises:
            NotFoundError: the store does not hold it.
            InputError: the file on disk has other bytes than its name says.
        """
        data = self.path(digest).read_bytes()
        self._require(digest, sha256_digest(data))
        return data

    def check(self, digest: str) -> Path:
        """The file that holds a blob, once its bytes are known to be right; for blobs too large to `read`.

        Raises:
            NotFoundError: the store does not hold it.
            InputError: the file on disk has other bytes than its name says.
        """
        path = self.path(digest)
        with path.open("rb") as file:
            self._require(digest, f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
        return path

    def _require(self, digest: str, found: str) -> None:
        if found != digest:
            raise InputError(
                f"blob {digest} in {self.root} is damaged: its bytes have digest {found}",
                hint=f"Delete {self._blob(digest)} and run the command again.",
            )

    def add(self, data: bytes) -> str:
        """Keep `data`; its digest."""
        digest = sha256_digest(data)
        if not self.has(digest):
            write_durably(self._blob(digest), data)
        return digest

    def add_file(self, path: Path, digest: str) -> None:
        """Move a complete file in, under a digest that the caller has computed from its bytes.

        Raises:
            StorageError: disk full or no permission; the store is as before.
        """
        target = self._blob(digest)
        if target.exists():
            path.unlink(missing_ok=True)
            return
        try:
            if path.stat().st_dev != self.root.stat().st_dev:
                aside = self.root / "partial" / f"{target.name}.{os.getpid()}"
                shutil.copyfile(path, aside)
                path.unlink()
                path = aside
            path.chmod(0o644)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.rename(target)
            sync_folder(target.parent)
        except OSError as error:
            raise storage_error(error, target) from error

    def partial(self, digest: str) -> Path:
        """Where an unfinished download of `digest` grows, so that it can go on after an interruption."""
        return self.root / "partial" / _hex(digest)

    def put_manifest(
        self,
        manifest: bytes,
        media_type: str = MANIFEST_TYPE,
        *,
        tag: str | None = None,
        artifact_type: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """Keep a manifest and list it in `index.json`, under `tag` too when one is given (which moves there)."""
        digest = self.add(manifest)
        entry: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(manifest)}
        entry |= {"artifactType": artifact_type} if artifact_type else {}
        notes = {**(annotations or {}), **({TAG: tag} if tag else {})}
        entry |= {"annotations": notes} if notes else {}
        with self.locked():
            index = self._index()
            manifests = with_entry(index["manifests"], entry, tag)
            if manifests != index["manifests"]:
                write_durably(self.root / "index.json", canonical_json({**index, "manifests": manifests}))
        return digest

    def resolve(self, reference: str) -> str:
        """The manifest digest that a tag or a digest names.

        Raises:
            NotFoundError: nothing here has that name.
        """
        for entry in self._index()["manifests"]:
            if reference in (entry["digest"], entry.get("annotations", {}).get(TAG)):
                return str(entry["digest"])
        raise NotFoundError(
            f"the store {self.root} has no image {reference!r}",
            hint="`reprise build ENV` builds one, `pull` or `load` brings one; its name is its environment or digest.",
        )

    def listed(self) -> list[str]:
        """The digests of all manifests that `index.json` lists."""
        return list(dict.fromkeys(str(entry["digest"]) for entry in self._index()["manifests"]))

    def tagged(self) -> list[str]:
        """The digests of the manifests that have a tag."""
        entries = self._index()["manifests"]
        return list(dict.fromkeys(str(each["digest"]) for each in entries if each.get("annotations", {}).get(TAG)))

    def manifest(self, digest: str) -> dict[str, Any]:
        """A manifest, parsed.

        Raises:
            NotFoundError: the store does not hold it.
            InputError: it is damaged, no JSON object, too large (then it is not read) or too deep.
        """
        size = self.path(digest).stat().st_size
        if size > MANIFEST_LIMIT:
            raise InputError(f"{digest} has {size} bytes, so that it is no manifest (at most {MANIFEST_LIMIT})")
        document = parse_json(self.read(digest), f"manifest {digest}", size_limit=MANIFEST_LIMIT)
        if not isinstance(document, dict):
            raise InputError(f"{digest} is not a manifest")
        return document

    def attach(
        self,
        subject: str,
        artifact_type: str,
        files: Sequence[tuple[str, str, bytes]],
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """Keep `files` (title, media type, bytes) as an OCI artifact that points at the manifest `subject`."""
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": artifact_type,
            "config": {"mediaType": EMPTY_TYPE, "digest": self.add(EMPTY_BLOB), "size": len(EMPTY_BLOB)},
            "layers": [
                {
                    "mediaType": media_type,
                    "digest": self.add(data),
                    "size": len(data),
                    **({"annotations": {TITLE: title}} if title else {}),
                }
                for title, media_type, data in files
            ],
            "subject": {
                "mediaType": self.manifest(subject).get("mediaType", MANIFEST_TYPE),
                "digest": subject,
                "size": self.path(subject).stat().st_size,
            },
        }
        manifest |= {"annotations": dict(annotations)} if annotations else {}
        return self.put_manifest(canonical_json(manifest), artifact_type=artifact_type, annotations=annotations)

    def referrers(self, subject: str, artifact_type: str | None = None) -> list[dict[str, Any]]:
        """The artifacts that point at `subject`, as manifests with their own digest under `digest`, oldest first."""
        found = {}
        for entry in self._index()["manifests"]:
            if artifact_type and entry.get("artifactType") != artifact_type:
                continue
            try:
                manifest = self.manifest(entry["digest"])
            except (InputError, NotFoundError):
                continue  # a damaged artifact speaks for nothing, and must not silence the others
            about = manifest.get("subject")
            if isinstance(about, dict) and about.get("digest") == subject:
                found[entry["digest"]] = {**manifest, "digest": entry["digest"]}
        return list(found.values())

    def files(self, manifest_digest: str) -> dict[str, bytes]:
        """The titled files of an artifact, checked against their digests."""
        return {
            layer["annotations"][TITLE]: self.read(layer["digest"])
            for layer in self.manifest(manifest_digest)["layers"]
            if TITLE in layer.get("annotations", {})
        }

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / _hex(digest)

    def _index(self) -> dict[str, Any]:
        path = self.root / "index.json"
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            index: dict[str, Any] = json.loads(path.read_bytes())
            if all(isinstance(entry["digest"], str) for entry in index["manifests"]):
                return index
        raise InputError(
            f"the store's {path} is missing or damaged",
            hint="Its blobs may be whole all the same. Bring the file back from a copy of the store, or name another "
            "store with --store.",
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time changes what is not a blob."""
        with (self.root / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def default_root() -> Path:
    """`$REPRISE_STORE`, else the user's data folder."""
    named = os.environ.get("REPRISE_STORE")
    if named:
        return Path(named)
    import platformdirs  # the only thing here that is not in the standard library: builders always name their store

    return Path(platformdirs.user_data_dir("reprise")) / "store"


def _hex(digest: str) -> str:
    if not DIGEST_PATTERN.match(digest):
        raise InputError(f"{digest!r} is not a digest; expected sha256: and 64 hex digits")
    return digest.removeprefix("sha256:")
