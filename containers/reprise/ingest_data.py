"""A run's configuration → the snapshot of its `[data]`, kept in the store or only looked at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise.artifacts.fetch import fetch
from reprise.events import OnEvent, ignore
from reprise.lock.environment import read_environment
from reprise.project import Project
from reprise.run_config import load_config
from reprise.snapshots import data_artifacts, keep_snapshot, make_snapshot, prepare_snapshot
from reprise.store import Store
from reprise_trainer.config.data import StoreSection
from reprise_trainer.data.snapshot import DOCUMENT, Snapshot, decode_snapshot


@dataclass(frozen=True, slots=True)
class Ingested:
    """A snapshot and its digest; where it was kept, its folder, and the digest of its artifact in the store."""

    snapshot: Snapshot
    digest: str
    folder: Path | None = None
    artifact: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The result for `--json`: the snapshot's document without its shards, and where it is."""
        document = self.snapshot.model_dump(mode="json", by_alias=True, exclude_none=True)
        for split in document["splits"].values():
            split["bytes"] = sum(shard["bytes"] for shard in split.pop("shards"))
        place = {"artifact": self.artifact, "folder": str(self.folder) if self.folder else None}
        return {"digest": self.digest, **place, **document}

    def rows(self) -> Iterator[tuple[str, str]]:
        """The result for people."""
        yield "snapshot", self.digest if self.folder else f"{self.digest} (not kept)"
        for field in self.snapshot.fields:
            classes = f", {len(field.classes)} classes" if field.classes else ""
            low, high = field.range or (0, 0)
            values = " to ".join(f"{float.fromhex(each) if isinstance(each, str) else each:g}" for each in (low, high))
            yield field.name, f"{field.dtype} {list(field.shape)}, {values}{classes}"
        for name, split in self.snapshot.splits.items():
            odd = {"duplicates": split.duplicates, "bad rows left out": split.dropped}
            told = "".join(f", {count:,} {what}" for what, count in odd.items() if count)
            yield name, f"{split.records:,} records ({split.rule.kind}){told}"
        if self.snapshot.leaks:
            yield "leakage", f"{self.snapshot.leaks:,} records equal one of another split"
        if self.folder and self.artifact:
            yield "artifact", self.artifact
            yield "folder", str(self.folder)


def ingest(config: Path, store: Store, project: Project, *, keep: bool = True, on_event: OnEvent = ignore) -> Ingested:
    """Make the snapshot of a configuration's data.

    Args:
        config: the configuration's file.
        store: gets the sources' files in any case, the snapshot only when `keep` is true.
        project: its environment says where artifacts may come from.

    Raises:
        NotFoundError, UnavailableError: a file is not to be had.
        InputError: the data are not what `[data]` says, or break its rules.
    """
    parsed = load_config(config).config
    artifacts = data_artifacts(parsed.data, store, base=config.parent)
    sources = read_environment(project.environment_file(parsed.run.environment)).sources
    fetch(artifacts, store, sources, on_event=on_event)
    on_event({"event": "phase", "name": "make the data snapshot"})
    if keep or isinstance(parsed.data, StoreSection):
        kept = prepare_snapshot(parsed.data, store)
        return Ingested(_read(kept.folder), kept.digest, kept.folder, keep_snapshot(kept, store))
    with tempfile.TemporaryDirectory(dir=store.cache, prefix="dry-run-") as aside:
        made = make_snapshot(parsed.data, store, Path(aside))
        return Ingested(_read(made.folder), made.digest)


def _read(folder: Path) -> Snapshot:
    return decode_snapshot((folder / DOCUMENT).read_bytes(), where=str(folder))
