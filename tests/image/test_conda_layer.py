"""A layer of conda packages, built under the image's Python: its constant, and all that its key changes with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conda_package import PLACEHOLDER, Package, PackageFile, write_package
from layer_jobs import LINES, SOURCE

from reprise.image.bootstrap import ImagePython
from reprise.image.format import PythonLayout
from reprise.image.job import LayerJob, layer_key
from reprise_trainer.errors import InputError

TELLS = (
    "The bytes of a conda layer have changed. If that is meant: add a format in reprise/image/formats.py, and say "
    "so in the changelog. If not: find what made them change."
)

CONDA = PythonLayout("3.11", "opt/conda", "lib/python3.11/site-packages")

GOLDEN_CONDA = "sha256:ce1fe6359ebe44c2f535440f042def8e894c699af71d94780d7105223b99d28a"
"""Of the two packages below, one in each way of saying what is in it."""


def conda_inputs(folder: Path, *, reverse: bool = False) -> LayerJob:
    """A layer of two small conda packages with all that can be in one; `.tar.bz2`, whose bytes no compressor moves."""
    files = {
        "site-packages/tool/__init__.py": PackageFile(SOURCE),
        "site-packages/tool/__pycache__/__init__.cpython-311.pyc": PackageFile(b"another Python's"),
        "python-scripts/run": PackageFile(f"#!{PLACEHOLDER}/bin/python\n".encode(), 0o775, prefix_mode="text"),
        "etc/conda/activate.d/tool.sh": PackageFile(b"export TOOL=$CONDA_PREFIX/tool\n"),
    }
    old = {
        "lib/libx.so.1": PackageFile(b"\x7fELF" + PLACEHOLDER.encode() + b"/x\0end", 0o755, prefix_mode="binary"),
        "lib/libx.so": PackageFile(target="libx.so.1"),
        "share/lines.txt": PackageFile(LINES),
    }
    packages = [
        Package("tool", noarch="python", files=files, entry_points=("tool = tool:main",)),
        Package("x", files=old, legacy=True),
    ]
    paths = [write_package(folder, each, ".tar.bz2") for each in packages]
    artifacts = [(f"pkg:conda/{path.stem}?channel=test", path) for path in paths]
    return LayerJob("conda", "conda", tuple(artifacts[::-1] if reverse else artifacts))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_layer_of_conda_packages_is_this_constant(
    build: Any, python: ImagePython, tmp_path: Path, reverse: bool
) -> None:
    built = build(conda_inputs(tmp_path, reverse=reverse), with_python=replace(python, layout=CONDA))["conda"]
    assert built.digest == GOLDEN_CONDA, TELLS
    assert [(each.package, each.text) for each in built.scripts] == [("tool", "export TOOL=$CONDA_PREFIX/tool\n")]


def test_a_conda_layer_needs_a_prefix(build: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prefix says where they lie"):
        build(conda_inputs(tmp_path))


LAYOUTS = [None, PythonLayout("3.11"), CONDA, replace(CONDA, prefix="opt/other"), replace(CONDA, site_packages="")]


def test_a_conda_layer_s_key_changes_with_its_prefix_its_site_packages_and_its_winners() -> None:
    key: dict[str, Any] = {"name": "c", "kind": "conda", "artifacts": [("pkg:a", "00")], "python_digest": "sha256:0"}
    keys = {layer_key(**key, layout=layout) for layout in LAYOUTS[1:]}
    keys |= {layer_key(**key, layout=CONDA, winners=(("a", name),)) for name in ("x", "y")}
    assert len(keys) == len(LAYOUTS) + 1


def test_a_debian_python_s_wheels_don_t_depend_on_where_conda_packages_lie() -> None:
    key: dict[str, Any] = {"name": "w", "kind": "wheel", "artifacts": [("pkg:a", "00")], "python_digest": "sha256:0"}
    beside_conda = replace(CONDA, site_packages="")
    assert layer_key(**key) == layer_key(**key, layout=PythonLayout("3.11")) == layer_key(**key, layout=beside_conda)
    assert layer_key(**key, layout=CONDA) != layer_key(**key)
