"""The laid-out layers are a system in which Python, NumPy and entry points run, from bytecode, without writing."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from image_inputs import unpacked

from reprise.image.bootstrap import ImagePython
from reprise.image.build_layers import build_layers
from reprise.image.clobbers import find_clobbers
from reprise.image.job import BuiltLayer, LayerJob
from reprise_trainer.identity.file_list import decode_list


@pytest.fixture(scope="module")
def layers(
    python: ImagePython, debs: Sequence[tuple[Any, Path]], locked: Any, tmp_path_factory: pytest.TempPathFactory
) -> list[BuiltLayer]:
    wheels = locked(lambda artifact: artifact.name in ("numpy", "typing-extensions"))
    jobs = (
        LayerJob("base", "base"),
        LayerJob("system", "deb", tuple((artifact.purl, path) for artifact, path in debs)),
        LayerJob("wheels", "wheel", tuple((artifact.purl, path) for artifact, path in wheels)),
    )
    return build_layers(python, jobs, output=tmp_path_factory.mktemp("layers"), workers=2)


@pytest.fixture(scope="module")
def root(layers: list[BuiltLayer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for layer in layers:
        tar = unpacked(layer.blob_path.read_bytes())
        subprocess.run(["tar", "-xpf", "-", "--numeric-owner"], input=tar, cwd=root, check=True)
    return root


def inside(root: Path, *command: str) -> str:
    # chroot(8) needs root, which the tests' machine has.
    done = subprocess.run(
        ["/usr/sbin/chroot", root, *command], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_layers_of_the_lock_clobber_nothing(layers: list[BuiltLayer]) -> None:
    assert find_clobbers([decode_list(layer.list_path.read_bytes()) for layer in layers]) == []


def test_numpy_and_the_standard_library_run_from_bytecode(root: Path) -> None:
    program = "import numpy, ssl, sqlite3, ctypes, lzma, bz2, typing_extensions; print(numpy.arange(5).sum())"
    said = inside(root, "/usr/bin/python3.11", "-I", "-v", "-c", program)
    assert "\n10\n" in f"\n{said}"
    ours = ("/usr/lib/python3.11/", "/usr/local/lib/python3.11/dist-packages/")
    compiled = [line for line in said.splitlines() if line.startswith("# code object from")]
    from_sources = [line for line in compiled if ".pyc" not in line and any(folder in line for folder in ours)]
    # sitecustomize.py is a link into /etc, where nothing is compiled
    assert [line for line in from_sources if "sitecustomize" not in line] == []
    assert len(compiled) > 100


def test_running_it_writes_nothing(root: Path) -> None:
    before = sorted(str(path) for path in root.rglob("*"))
    inside(root, "/usr/bin/python3.11", "-I", "-c", "import numpy.linalg, json, asyncio")
    assert sorted(str(path) for path in root.rglob("*")) == before


def test_entry_points_run(root: Path) -> None:
    assert inside(root, "/usr/local/bin/f2py", "-v").strip().startswith("2")


def test_metadata_is_found_as_after_an_installation(root: Path) -> None:
    program = (
        "from importlib.metadata import distribution as d; n = d('numpy');"
        "print(n.read_text('INSTALLER').strip(), all(f.locate().exists() for f in n.files), len(n.files) > 500)"
    )
    assert inside(root, "/usr/bin/python3.11", "-I", "-c", program) == "reprise True True\n"


def test_each_package_is_in_status_d(root: Path, debs: Sequence[tuple[Any, Path]]) -> None:
    folder = root / "var/lib/dpkg/status.d"
    assert {path.name for path in folder.iterdir() if path.suffix != ".md5sums"} == {
        artifact.name for artifact, _ in debs
    }
