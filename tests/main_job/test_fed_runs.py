"""`reprise train` on data that are in a registry alone: the image has no network, and its shards come all the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from oci_registry import OciRegistry, serve_registry

from reprise.feed.snapshot import ShardPlace
from reprise.ingest import write
from reprise.ingest.rows import Reading, Rows
from reprise.project import Project
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.run_config import load_config
from reprise.snapshots import StoredSnapshot, keep_snapshot
from reprise.store import Store
from reprise.train import Launcher, check_record, run_training, train
from reprise_trainer.config.data import FashionMnistSection
from reprise_trainer.data.snapshot import RecordField, Snapshot, Source
from reprise_trainer.errors import DoesNotHoldError
from tests.main_job.conftest import EXAMPLE

FIELDS = (
    RecordField(name="image", dtype="uint8", shape=(28, 28)),
    RecordField(name="label", dtype="uint8", shape=(), classes=tuple("0123456789")),
)
ROOM = 400_000
"""Bytes; the snapshot has more."""


@dataclass(frozen=True)
class InRegistry:
    """A snapshot that no store has seen: in a registry, `where` its artifact is, and in the folder it was made in."""

    registry: OciRegistry
    where: str
    made: StoredSnapshot
    snapshot: Snapshot

    def configuration(self, folder: Path) -> Path:
        """The example's, on this snapshot, cut down to 30 steps."""
        data = f'[data]\nkind = "store"\nname = "noise"\nsnapshot = "{self.made.digest}"\norder = "shards"\n'
        text = EXAMPLE.read_text()
        start = text.index("[data]")
        text = text[:start] + data + text[text.index("\n[", start) :]
        changes = ("epochs = 2", "steps = 30"), ("every = 235", "every = 20"), ("batch_size = 128", "batch_size = 32")
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path = folder / "run.toml"
        path.write_text(text)
        return path


def noise(split: str, salt: str, records: int) -> Rows:
    images = hashlib.shake_128(f"{split} {salt}".encode()).digest(784 * records)
    labels = bytes(byte % 10 for byte in images[::784])
    return Rows(f"{split}.csv", range(2, records + 2), {"image": images, "label": labels})


@pytest.fixture
def data(tmp_path: Path) -> Iterator[InRegistry]:
    salt = hashlib.sha256(str(tmp_path).encode()).hexdigest()
    rules = FashionMnistSection(name="noise", file="x", sha256=salt)
    reading = Reading(FIELDS, {"train": [noise("train", salt, 600)], "test": [noise("test", salt, 70)]})
    with pytest.MonkeyPatch.context() as patched, serve_registry(OciRegistry()) as registry:
        patched.setattr(write, "SHARD_BYTES", 16 * 784)
        source = Source(artifact="pkg:generic/x", sha256=salt)
        written = write.write_snapshot(tmp_path / "made", reading, rules, [source])
        made = StoredSnapshot(written.digest, tmp_path / "made")
        store = Store.open(tmp_path / "origin")
        artifact = keep_snapshot(made, store)
        push(store, artifact, parse_reference(f"{registry.host}/team/noise:1"))
        yield InRegistry(registry, f"{registry.host}/team/noise@{artifact}", made, written.snapshot)


@pytest.mark.parametrize("engine", ["namespaces", "docker", "podman"])
def test_a_fed_run_in_the_image_has_the_bits_of_one_with_the_whole_snapshot(
    project: Project,
    launcher: Launcher,
    data: InRegistry,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: Any,
) -> None:
    if engine == "docker":
        monkeypatch.setenv("DOCKER_HOST", request.getfixturevalue("docker_daemon"))
    if engine == "podman":
        request.getfixturevalue("own_podman")
    config, who, said = data.configuration(tmp_path), replace(launcher, engine=engine), []
    fed = train(
        config,
        who,
        project,
        output=tmp_path / "fed",
        shards=ShardPlace(data.where, ROOM),
        workers=2,
        on_event=lambda event: said.append(str(event)),
    )
    assert any("each checked when it comes" in each for each in said), said
    assert not launcher.store.has(data.made.digest), "the snapshot never came into the store"
    record = check_record(fed.output, launcher.run_policy)
    assert record.snapshot == data.made.digest

    whole = run_training(load_config(config).data, record.image.digest, data.made, who, output=tmp_path / "whole")
    assert (fed.ledger_head, fed.state_digest, fed.metrics) == (whole.ledger_head, whole.state_digest, whole.metrics)


def test_a_wrong_shard_ends_the_run_naming_it(
    project: Project, launcher: Launcher, data: InRegistry, tmp_path: Path
) -> None:
    shard = data.snapshot.split("train").shards[3]
    data.registry.blobs["team/noise", f"sha256:{shard.sha256}"] = bytes(shard.size)
    with pytest.raises(DoesNotHoldError, match=shard.path):
        train(
            data.configuration(tmp_path),
            launcher,
            project,
            output=tmp_path / "fed",
            shards=ShardPlace(data.where, ROOM),
        )
    assert not (tmp_path / "fed/record.sigstore.json").exists()
