"""Rules that Nix and Python both know are one rule."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from nix_tool import CHECKOUT, Nix
from small_project import NAME, small_project

from reprise.image.bootstrap import starts_python
from reprise.lock.conda_address import conda_purl
from reprise.lock.model import Lock
from reprise.lock.read import read_lock
from reprise.nix.names import LONGEST, store_name

NIX_CODE = CHECKOUT / "containers" / "nix"
TRICKY = [
    "",
    ".",
    "..",
    ".hidden",
    "~.deb",
    "a b",
    "libssl3_3.0.20-1~deb12u2_amd64.deb",
    "zlib1g_1%3a1.2.13.dfsg-1_amd64.deb",
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl",
    "é☃-1.0.whl",
    "a\nb",
    'q"u${o}te\\',
    "." * 300,
    "x" * 198,
    "x" * 199,
    "x" * 200,
    "." + "x" * 199,
    "a" + "." * 199,
]
PACKAGES = ["python3", "python3.11", "libpython3.11-stdlib", "xpython3.11", "libssl3", "libssl3t64", "libc6-dev"]


def evaluate(nix: Nix, expression: str, argument: object) -> object:
    """`expression` applied to a JSON value."""
    file = nix.scratch / "argument.json"
    file.write_text(json.dumps(argument))
    whole = f"({expression}) (builtins.fromJSON (builtins.readFile {file}))"
    return json.loads(nix.run("nix", "eval", "--impure", "--json", "--expr", whole).stdout)


def test_a_file_has_the_same_store_name_in_nix_and_in_python(nix: Nix, lock: Lock) -> None:
    names = [*TRICKY, *(artifact.file_name for artifact in lock.artifacts)]
    assert evaluate(nix, f"map (import {NIX_CODE}/names.nix)", names) == [store_name(name) for name in names]


@settings(max_examples=10)
@given(names=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))), min_size=50))
def test_any_names_agree(nix: Nix, names: list[str]) -> None:
    assert evaluate(nix, f"map (import {NIX_CODE}/names.nix)", names) == [store_name(name) for name in names]


def test_nix_takes_every_name(nix: Nix, tmp_path: Path) -> None:
    """For real: as the name of a file in the Nix store, and of a derivation."""
    names = sorted({store_name(name) for name in TRICKY})
    files = [tmp_path / name for name in names]
    for file in files:
        file.write_bytes(b"x")
    added = nix.run("nix-store", "--add-fixed", "sha256", *files).stdout.split()
    assert [path.partition("-")[2] for path in added] == names
    assert max(map(len, names)) <= LONGEST
    derivation = '(derivation { inherit name; system = "x"; builder = "x"; }).drvPath'
    assert evaluate(nix, f"map (name: builtins.stringLength {derivation})", names)


def test_the_packages_that_start_python_are_the_same(nix: Nix, lock: Lock) -> None:
    names = [*PACKAGES, *(artifact.name for artifact in lock.artifacts)]
    rule = f"map (import {NIX_CODE}/lock.nix {CHECKOUT}/locks/torch-cpu).startsPython"
    assert evaluate(nix, rule, names) == [starts_python(name) for name in names]
    assert sum(map(starts_python, names)) >= 8


CONDA = {
    "python": "https://conda.example.org/conda-forge/linux-64/python-3.11.9-hb806964_0_cpython.conda",
    "tzdata": "https://conda.example.org/conda-forge/noarch/tzdata-2024a-h0c530f3_0.conda",
    "lib_x": "https://conda.example.org/team/label/dev/linux-64/lib_x-1!2.0+b-0.tar.bz2",
    "lib_y": "https://conda.example.org/team/label/dev/linux-64/lib_y-1%212.0-py311h_1.conda",
}


def test_a_layer_of_conda_packages_follows_from_its_own_and_from_what_conda_s_python_needs(
    nix: Nix, tmp_path: Path
) -> None:
    """A plan names packages by package URL, a lock's entry by its address."""
    folder = small_project(tmp_path / "project").root / "locks" / NAME
    conda = json.loads((folder / "conda-lock.yml").read_bytes())
    for name, url in CONDA.items():
        entry = {**conda["package"][0], "manager": "conda", "name": name, "url": url, "category": "main"}
        needs = {"python": {"tzdata": "", "lib_x": "", "__glibc": ""}, "tzdata": {"lib_y": ""}}.get(name, {})
        hashes = {"sha256": hashlib.sha256(url.encode()).hexdigest(), "md5": "0" * 32}
        conda["package"].append({**entry, "hash": hashes, "dependencies": needs})
    (folder / "conda-lock.yml").write_text(json.dumps(conda))
    layers = [{"name": f"conda-{name}", "artifacts": [conda_purl(url)]} for name, url in CONDA.items()]
    (folder / "layers.json").write_text(json.dumps({"format": 1, "layers": layers}))
    own = 'filter (each: each.type == "conda") layer.artifacts'
    places = f"layer: map (each: [ each.name each.location each.fileName ]) ({own})"
    rule = f"_: with builtins; map ({places}) (import {NIX_CODE}/lock.nix {folder}).layers"
    found = evaluate(nix, rule, None)
    assert isinstance(found, list)
    names = [{name for name, _, _ in layer} for layer in found]
    always = {"python", "lib_x"}
    assert names == [always, always, {*always, "tzdata"}, always, {*always, "lib_y"}, always]
    files = {artifact.location: artifact.file_name for artifact in read_lock(folder).artifacts}
    for name, location, file_name in (each for layer in found for each in layer):
        assert location == CONDA[name] and file_name == files[location]
