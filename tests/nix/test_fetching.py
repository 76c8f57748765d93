"""Artifacts as fixed-output derivations: from reprise's store by hash, and fetched inside the sandbox."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from loopback import Site, serve
from nix_tool import CHECKOUT, Flake, copy_flake
from small_project import NAME, small_project
from wheels import write_wheel

from reprise.artifacts.fetch import fetch
from reprise.lock.environment import read_environment
from reprise.lock.model import Lock
from reprise.nix.add import add_to_nix
from reprise.nix.wheel import pip_arguments
from reprise.store import Store
from reprise_trainer.errors import InputError, NotFoundError

WHEEL = "small-1.0+local-py3-none-any.whl"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A find-links page on this machine, with one wheel that no index could name, and that no Nix store has yet."""
    files = {"small.py": f"value = {secrets.token_hex(8)!r}\n".encode()}
    wheel = write_wheel(tmp_path / "wheels", "small", "1.0+local", files=files).read_bytes()
    page = f'<a href="/{WHEEL.replace("+", "%2B")}">{WHEEL}</a>'.encode()
    with serve(Site(files={"/links/": page, f"/{WHEEL}": wheel}, types={"/links/": "text/html"})) as site:
        yield site


@pytest.fixture
def project(flake: Flake, site: Site, tmp_path: Path) -> Flake:
    """This checkout's flake with an environment that has that wheel."""
    folder = copy_flake(tmp_path / "reprise")
    small = small_project(tmp_path / "project").root
    for part in (f"locks/{NAME}", f"containers/images/{NAME}.toml"):
        (small / part).rename(folder / part)
    toml = folder / "containers" / "images" / f"{NAME}.toml"
    toml.write_text(toml.read_text() + f'[sources]\nfind_links = ["{site.url("/links/")}"]\n')
    changed = replace(flake, folder=folder)
    lock_wheel(changed, hashlib.sha256(site.files[f"/{WHEEL}"]).hexdigest())
    return changed


def lock_wheel(flake: Flake, sha256: str) -> None:
    file = flake.folder / "locks" / NAME / "conda-lock.yml"
    document = json.loads(file.read_bytes())
    others = [each for each in document["package"] if each["name"] != "small"]
    url = f"pkg:pypi/small@1.0%2Blocal?file_name={WHEEL.replace('+', '%2B')}"
    wheel = {**others[0], "name": "small", "version": "1.0+local", "url": url, "hash": {"sha256": sha256}}
    document["package"] = [*others, wheel]
    file.write_text(json.dumps(document))


def attribute(file_name: str, environment: str = NAME) -> str:
    return f'image-{environment}.artifacts."{file_name}"'


def test_pip_fetches_inside_the_sandbox_what_the_index_cannot_name(project: Flake, site: Site) -> None:
    output = project.build(attribute(WHEEL))
    assert output.read_bytes() == site.files[f"/{WHEEL}"]
    assert site.paths()[0] == "/links/" and f"/{WHEEL}" in site.paths()


def test_other_bytes_than_the_locked_ones_are_refused_with_both_hashes(project: Flake) -> None:
    lock_wheel(project, "2" * 64)
    said = project.failure("build", attribute(WHEEL))
    assert "hash mismatch in fixed-output derivation" in said and WHEEL in said
    assert re.search(r"specified: sha256-", said) and re.search(r"got: +sha256-", said)


def test_a_wheel_that_is_nowhere_says_who_was_asked_and_what_to_do(project: Flake, site: Site) -> None:
    lock_wheel(project, "3" * 64)
    del site.files["/links/"]
    said = project.failure("build", attribute(WHEEL), "--print-build-logs")
    assert f"pip did not find {WHEEL}; asked: {site.url('/links/')}" in said and "reprise fetch --nix" in said


def test_artifacts_from_our_store_are_what_the_derivations_would_fetch(flake: Flake, lock: Lock) -> None:
    """The very store paths, so that Nix fetches nothing."""
    sources = read_environment(CHECKOUT / "containers" / "images" / "torch-cpu.toml").sources
    fetch(lock.artifacts, Store.open(), sources)
    command = [sys.executable, "-m", "reprise", "fetch", "torch-cpu", "--nix"]
    subprocess.run(command, cwd=CHECKOUT, env=flake.nix.environment, check=True, capture_output=True)
    wanted = flake.evaluate(
        "packages.x86_64-linux.image-torch-cpu.artifacts", "--apply", "builtins.mapAttrs (_: each: each.outPath)"
    )
    assert len(wanted) == len(lock.artifacts)
    for artifact in lock.artifacts:
        assert Path(wanted[artifact.file_name]).read_bytes() == Store.open().read(artifact.digest)


def test_without_nix_the_option_says_so(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(NotFoundError, match="nix-store is not on PATH"):
        add_to_nix(lock.artifacts[:1], Store.open())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl",
            "--implementation=cp --abi=cp311 --platform=manylinux_2_28_x86_64 --python-version=311 torch==2.13.0+cpu",
        ),
        ("a-1-py2.py3-none-any.whl", "--implementation=py --abi=none --platform=any a==1"),
        (
            "a-1-7x-cp3-abi3-linux_a.linux_b.whl",
            "--implementation=cp --abi=abi3 --platform=linux_a --platform=linux_b a==1",
        ),
    ],
)
def test_pip_is_asked_for_exactly_one_wheel(name: str, expected: str) -> None:
    assert " ".join(pip_arguments(name, ["u"])[3:]) == expected
    with pytest.raises(InputError, match="not the name of a wheel"):
        pip_arguments("a.tar.gz", [])
