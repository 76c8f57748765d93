"""Whole audits of a real run: the locked image, built, signed, run and rebuilt. A few steps of training are enough."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from reprise.artifacts.fetch import fetch
from reprise.audit import AuditReport, audit
from reprise.build import LOCK_TYPE, SOURCE_TYPE, BuiltImage
from reprise.lock.environment import read_environment
from reprise.project import Project
from reprise.snapshots import data_artifacts
from reprise.store import Store
from reprise.stored_image import read_image_lock, read_image_source, read_inventory
from reprise.train import Launcher, RunResult, train
from reprise.trust.delegation import delegate
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.config.read import read_config
from reprise_trainer.identity.file_list import decode_list, encode_list, list_path
from reprise_trainer.identity.inventory import Inventory, LayerRecord, image_bytes
from reprise_trainer.training.ledger import next_chain
from reprise_trainer.training.records.record import RunKey, RunRecord, sign_record

PROJECT = Project(Path(__file__).parents[2])
CONFIG = """
[run]
name = "audited"
environment = "torch-cpu"
profile = "portable"
seed = 7
threads = 1
[data]
name = "fashion-mnist"
artifact = "{artifact}"
sha256 = "{sha256}"
path = "{path}"
[model]
kind = "mlp"
hidden = [8]
[train]
steps = 6
batch_size = 64
[train.optimizer]
kind = "sgd"
lr = 0.1
[checkpoint]
every = 3
"""


@dataclass(frozen=True)
class RealRun:
    """A run, and who launched it."""

    launcher: Launcher
    result: RunResult

    def copy(self, folder: Path) -> Path:
        """The run's folder again, for a test that changes it."""
        shutil.copytree(self.result.output, folder)
        return folder

    def audit(self, record: Path | str) -> AuditReport:
        return audit(record, self.launcher)

    def claim(self, folder: Path, ledger: bytes, head: str, **changes: Any) -> None:
        """What a launcher who lies would leave: the run's record with changes, properly delegated and signed."""
        bundle = json.loads((self.result.output / "record.sigstore.json").read_bytes())
        said: dict[str, Any] = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))["predicate"]
        said = {**said, "ledger": {**said["ledger"], "head": head}, **changes}
        key = make_key()
        delegation = delegate(
            self.launcher.key,
            key.public_key(),
            image=said["image"]["digest"],
            config=said["config"],
            snapshot=said["snapshot"],
            run=said["run"],
            now=datetime.now(UTC),
        )
        said["delegation"] = sha256_digest(delegation)
        record = RunRecord.model_validate(said, strict=False)
        folder.mkdir(exist_ok=True)
        (folder / "record.sigstore.json").write_bytes(sign_record(record, RunKey(key, said["delegation"]), subject="x"))
        (folder / "delegation.sigstore.json").write_bytes(delegation)
        (folder / "ledger.jsonl").write_bytes(ledger)


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory, shared_store: Store, torch_cpu: BuiltImage) -> RealRun:
    """Built in the store that tests share, trained in a copy of it, so that forgeries don't stay."""
    folder = tmp_path_factory.mktemp("real-run")
    given = read_config((PROJECT.root / "examples" / "fashion-mnist.toml").read_bytes(), where="example").data
    config = folder / "run.toml"
    config.write_text(CONFIG.format(artifact=given.artifact, sha256=given.sha256, path=given.path))
    sources = read_environment(PROJECT.environment_file("torch-cpu")).sources
    fetch(data_artifacts(read_config(config.read_bytes(), where="").data, shared_store), shared_store, sources)
    store = copy_store(shared_store, folder / "store")
    key = make_key()
    sign_image(store, torch_cpu.digest, "torch-cpu", key)
    launcher = Launcher(store, key, own_policy(key.public_key()))
    return RealRun(launcher, train(config, launcher, PROJECT, output=folder / "run"))


def copy_store(store: Store, root: Path) -> Store:
    """A store with the same blobs (linked) and index."""
    for blob in (store.root / "blobs" / "sha256").iterdir():
        target = root / "blobs" / "sha256" / blob.name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(blob)
        except OSError:
            shutil.copyfile(blob, target)
    copy = Store.open(root)
    shutil.copyfile(store.root / "index.json", root / "index.json")
    return copy


def test_a_faithful_run_has_the_same_bits(real_run: RealRun) -> None:
    before = layout(real_run.launcher.store)
    report = real_run.audit(real_run.result.output)
    assert report.verdict == "same bits", report.first_difference
    assert report.parts["image"].found == real_run.result.measured_digest
    assert report.parts["data"].found == real_run.result.snapshot_digest
    assert report.parts["ledger"].found == real_run.result.ledger_head
    assert report.parts["state"].found == real_run.result.state_digest
    assert layout(real_run.launcher.store) == before


def test_a_lie_about_one_step_is_found_by_the_replay(real_run: RealRun, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (real_run.result.output / "ledger.jsonl").read_bytes().splitlines()]
    step = next(index for index, line in enumerate(lines) if line.get("step") == 4)
    lines[step]["loss"] = (0.125).hex()
    ledger, head = chained(lines)
    real_run.claim(tmp_path / "lie", ledger, head)
    report = real_run.audit(tmp_path / "lie")
    assert report.record.holds and report.parts["image"].equal and report.parts["data"].equal
    assert report.verdict == "different"
    assert report.first_difference.startswith(f"ledger: line {step + 1} (step 4): loss 0x1.0000000000000p-3 against ")
    assert report.parts["state"].equal


def test_an_image_that_is_not_what_its_lock_gives_is_found_by_the_rebuild(real_run: RealRun, tmp_path: Path) -> None:
    store = real_run.launcher.store
    honest = real_run.result.image_digest
    inventory = read_inventory(store, honest)
    forged = keep_image(store, with_changed_layer(store, inventory))
    _, _, lock_files = read_image_lock(store, honest, inventory)
    store.attach(forged, LOCK_TYPE, [(name, "application/json", data) for name, data in lock_files.items()])
    source = read_image_source(store, honest, inventory)
    store.attach(forged, SOURCE_TYPE, [("source.tar", "application/x-tar", source)])
    lines = [json.loads(line) for line in (real_run.result.output / "ledger.jsonl").read_bytes().splitlines()]
    ledger, head = chained([{**lines[0], "image": forged}, *lines[1:]])
    image = {"digest": forged, "files": 1, "bytes_hashed": 1, "milliseconds": 1}
    real_run.claim(tmp_path / "forged", ledger, head, image=image)
    report = real_run.audit(tmp_path / "forged")
    assert report.verdict == "different" and report.record.holds
    assert (report.parts["image"].expected, report.parts["image"].found) == (forged, honest)
    number = len(inventory.layers)
    assert report.first_difference.startswith(f"image: layer {number} (trainer): other content")
    assert "first path: /" in report.first_difference and "__main__.py: mode" in report.first_difference
    assert report.parts["state"].equal is None


def test_a_sabotaged_lock_is_found_by_its_digest(real_run: RealRun, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    image = real_run.result.image_digest
    copy_image(real_run.launcher.store, store, image, sabotage={"debian.lock.json": (b'"created": 1', b'"created": 2')})
    report = audit(real_run.result.output, replace(real_run.launcher, store=store))
    assert report.verdict == "different"
    assert report.first_difference.startswith("image: the image names lock sha256:")


def test_a_sabotaged_record_does_not_hold(real_run: RealRun, tmp_path: Path) -> None:
    folder = real_run.copy(tmp_path / "run")
    bundle = json.loads((folder / "record.sigstore.json").read_bytes())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b'"correct":', b'"correct":9')
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    (folder / "record.sigstore.json").write_bytes(json.dumps(bundle).encode())
    report = real_run.audit(folder)
    assert report.verdict == "different" and not report.record.holds


def test_a_ledger_file_edited_by_one_digit_names_its_line(real_run: RealRun, tmp_path: Path) -> None:
    folder = real_run.copy(tmp_path / "run")
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    digit = lines[2].index(b'"loss":"0x1.') + len(b'"loss":"0x1.')
    lines[2] = lines[2][:digit] + (b"1" if lines[2][digit : digit + 1] == b"0" else b"0") + lines[2][digit + 1 :]
    (folder / "ledger.jsonl").write_bytes(b"".join(lines))
    report = real_run.audit(folder)
    assert report.verdict == "different" and "line 3 breaks the chain" in report.parts["ledger"].difference


def test_another_policy_does_not_know_the_run(real_run: RealRun) -> None:
    report = audit(real_run.result.record, replace(real_run.launcher, policy=own_policy(make_key().public_key())))
    assert report.verdict == "different" and "not by a known key" in report.record.why


def chained(lines: list[dict[str, Any]]) -> tuple[bytes, str]:
    """A ledger of these lines with a chain that holds, and its head."""
    header = canonical_json(lines[0])
    chain, written = sha256_digest(header).removeprefix("sha256:"), [header]
    for line in lines[1:]:
        content = {key: value for key, value in line.items() if key != "chain"}
        chain = next_chain(chain, content)
        written.append(canonical_json({**content, "chain": chain}))
    return b"\n".join(written) + b"\n", f"sha256:{chain}"


def with_changed_layer(store: Store, inventory: Inventory) -> Inventory:
    """The image with one file of the trainer made executable, its list kept in step: only a rebuild can tell."""
    layer = inventory.layers[-1]
    name, files = decode_list(store.read(layer.list_digest))
    changed = [file._replace(mode=0o755) if file.path.endswith("/__main__.py") else file for file in files]
    listed = encode_list(name, changed)
    tar = zstandard.ZstdDecompressor().decompress(store.read(layer.digest), max_output_size=2**28) + listed
    blob = zstandard.compress(tar)
    assert changed != files and list_path(name)
    record = LayerRecord(name, layer.media_type, store.add(blob), len(blob), sha256_digest(tar), store.add(listed))
    return replace(inventory, layers=(*inventory.layers[:-1], record))


def keep_image(store: Store, inventory: Inventory) -> str:
    image = image_bytes(inventory)
    store.add(image.inventory_layer)
    store.add(image.config)
    return store.put_manifest(image.manifest)


def copy_image(source: Store, target: Store, digest: str, *, sabotage: Mapping[str, tuple[bytes, bytes]]) -> None:
    """An image's documents with its lock (edited) and source; no layers, no artifacts."""
    inventory = read_inventory(source, digest)
    keep_image(target, inventory)
    _, _, files = read_image_lock(source, digest, inventory)
    for name, edit in sabotage.items():
        assert edit[0] in files[name]
        files[name] = files[name].replace(*edit, 1)
    target.attach(digest, LOCK_TYPE, [(name, "application/json", data) for name, data in files.items()])
    archive = read_image_source(source, digest, inventory)
    target.attach(digest, SOURCE_TYPE, [("source.tar", "application/x-tar", archive)])


def layout(store: Store) -> tuple[bytes, list[str]]:
    """What an audit must leave as it was: the index and the names of everything in the store but its lock files."""
    names = sorted(
        str(path.relative_to(store.root)) for path in store.root.glob("**/*") if "unpacked" not in path.parts
    )
    return (store.root / "index.json").read_bytes(), names
