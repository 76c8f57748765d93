"""A real small image is built again from what is kept beside it; the level says how far the two agree."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from remade import Member, keep, remake

from hostile import SMALL, stocked
from reprise.build import LOCK_TYPE
from reprise.environments import build_environment
from reprise.rebuild import RebuildReport, rebuild
from reprise.store import Store
from reprise.stored_image import read_inventory
from reprise_trainer.errors import DoesNotHoldError, NotFoundError

TEXT = "usr/local/lib/python3.11/dist-packages/jinja2/nodes.py"


@pytest.fixture(scope="module")
def store(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the small image and nothing else."""
    build_environment(SMALL, "small", shared_store)
    store = stocked(tmp_path_factory.mktemp("rebuild") / "store", shared_store)
    build_environment(SMALL, "small", store)
    return store


@pytest.fixture(scope="module")
def image(store: Store) -> str:
    return store.resolve("small")


def layer_of(store: Store, image: str, wheel: str) -> str:
    """The layer whose list names a folder of dist-packages."""
    layers = read_inventory(store, image).layers
    return next(layer.name for layer in layers if f"dist-packages/{wheel}/".encode() in store.read(layer.list_digest))


def reprise(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run([sys.executable, "-m", "reprise", *arguments, "--json"], capture_output=True, text=True)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_an_image_is_rebuilt_to_the_same_manifest_and_nothing_is_left(store: Store, image: str) -> None:
    before = {path for path in store.root.rglob("*") if "cache" not in path.parts}
    code, said = reprise("rebuild", "small", "--store", str(store.root))
    assert (code, said["level"], said["expected"], said["found"]) == (0, "same manifest", image, image)
    assert all(said["agrees"].values()) and said["diff"]["same"]
    assert {path for path in store.root.rglob("*") if "cache" not in path.parts} == before
    assert not list(store.cache.glob("audit-*"))


def test_another_compressor_is_a_level_of_its_own(store: Store, image: str) -> None:
    inventory = read_inventory(store, image)
    record = inventory.layers[0]
    tar = zstandard.ZstdDecompressor().decompressobj().decompress(store.read(record.digest))
    blob = zstandard.ZstdCompressor(level=12).compress(tar)
    packed = replace(record, digest=store.add(blob), size=len(blob))
    assert packed.digest != record.digest
    other = keep(store, replace(inventory, layers=(packed, *inventory.layers[1:])), beside=image)
    report = rebuild(other, store)
    assert (report.level, report.found) == ("same content, other compressor", image)
    assert report.agrees == {"manifest": False, "config": True, "diff_ids": True, "files": True}
    assert [finding.cause for finding in report.diff.findings] == ["compressor"]


def later(members: list[Member]) -> list[Member]:
    for info, _ in members:
        info.mtime += 1
    return members


def changed(members: list[Member]) -> list[Member]:
    assert any(info.name == TEXT for info, _ in members)
    return [(info, data + b"# one line more\n" if info.name == TEXT else data) for info, data in members]


@pytest.mark.parametrize(
    ("edit", "level", "cause"), [(later, "same files", "time"), (changed, "different", "content")], ids=["time", "text"]
)
def test_what_differs_is_blamed(
    store: Store, image: str, edit: Callable[[list[Member]], list[Member]], level: str, cause: str
) -> None:
    layer = layer_of(store, image, "jinja2")
    other = remake(store, image, layer, edit)
    report: RebuildReport = rebuild(other, store)
    assert (report.level, report.found) == (level, image)
    (finding,) = report.diff.findings
    assert (finding.cause, finding.layer) == (cause, layer)
    if cause == "content":
        assert (finding.path, finding.artifact) == (TEXT, "pkg:pypi/jinja2@3.1.6")
        assert "-# one line more" in finding.lines


def test_an_image_with_a_defect_is_shown_to_people_and_ends_with_1(store: Store, image: str) -> None:
    other = remake(store, image, layer_of(store, image, "jinja2"), changed)
    command = [sys.executable, "-m", "reprise", "diff", "small", other, "--store", str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pkg:pypi/jinja2@3.1.6" in done.stdout and f"content      /{TEXT}" in done.stdout
    assert "+# one line more" in done.stdout
    assert reprise("diff", "small", image, "--store", str(store.root))[0] == 0


def test_an_image_whose_lock_is_gone_or_another_is_not_rebuilt(store: Store, image: str) -> None:
    inventory = read_inventory(store, image)
    alone = keep(store, replace(inventory, config={**inventory.config, "created": "2027-01-01T00:00:00Z"}))
    with pytest.raises(NotFoundError, match="lock of image"):
        rebuild(alone, store)
    store.attach(alone, LOCK_TYPE, [("conda-lock.yml", "application/json", b"{}")])
    with pytest.raises(DoesNotHoldError, match="names lock"):
        rebuild(alone, store)
    assert reprise("rebuild", alone, "--store", str(store.root))[0] == 1


def test_a_name_that_nothing_has_is_66(store: Store, tmp_path: Path) -> None:
    assert reprise("rebuild", "nothing", "--store", str(store.root))[0] == 66
    assert reprise("diff", "small", str(tmp_path / "nowhere"), "--store", str(store.root))[0] == 66
