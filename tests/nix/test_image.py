"""Nix and `reprise build` give the same image: the real one, in Nix's sandbox, from artifacts put there by hash."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from nix_tool import CHECKOUT, Flake

from reprise.artifacts.fetch import fetch
from reprise.build import BuiltImage
from reprise.lock.environment import read_environment
from reprise.lock.model import Lock
from reprise.nix.add import add_to_nix
from reprise.project import Project
from reprise.run_config import load_config
from reprise.snapshots import data_artifacts
from reprise.store import Store
from reprise.train import Launcher, RunResult, train
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image

SANDBOX = ("--option", "sandbox", "true", "--option", "sandbox-fallback", "false")
EXAMPLE = CHECKOUT / "examples" / "fashion-mnist.toml"


@pytest.fixture(scope="session")
def image(flake: Flake, torch_cpu: BuiltImage, shared_store: Store, lock: Lock) -> Path:
    """The layout that Nix builds. No fetcher of the stand-in can fetch from elsewhere than this machine."""
    sources = read_environment(CHECKOUT / "containers" / "images" / "torch-cpu.toml").sources
    examples = sorted((CHECKOUT / "examples").glob("*.toml"))  # `nix run` brings what any of them names
    data = {each for path in examples for each in data_artifacts(load_config(path).config.data, shared_store)}
    artifacts = [*lock.artifacts, *sorted(data, key=lambda each: each.purl)]
    fetch(artifacts, shared_store, sources)
    add_to_nix(artifacts, shared_store)
    return flake.build("image-torch-cpu", *SANDBOX)


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's configuration cut down to 30 steps."""
    config = tmp_path_factory.mktemp("config") / "short.toml"
    text = EXAMPLE.read_text()
    for old, new in (("epochs = 2", "steps = 30"), ("every = 235", "every = 20")):
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    return config


def test_nix_build_and_reprise_build_give_the_same_digest(image: Path, torch_cpu: BuiltImage) -> None:
    index = json.loads((image / "index.json").read_bytes())["manifests"]
    digests = {each.get("annotations", {}).get("org.opencontainers.image.ref.name"): each["digest"] for each in index}
    assert digests["torch-cpu"] == torch_cpu.digest
    assert torch_cpu.environment_digest in {each["digest"] for each in index}


def test_the_sandbox_was_on(flake: Flake) -> None:
    """A build sees neither this machine's files nor its network."""
    look = "import os, socket; print(sorted(os.listdir('/')), socket.if_nameindex(), file=open(os.environ['out'], 'w'))"
    python = f'${{(import {flake.stand_in}/packages.nix "x86_64-linux").python3}}/bin/python3'
    expression = (
        f'derivation {{ name = "look"; system = "x86_64-linux"; builder = "{python}"; args = ["-c" "{look}"]; }}'
    )
    link = flake.nix.scratch / "look"
    flake.nix.run("nix", "build", "--impure", "--out-link", link, *SANDBOX, "--expr", expression)
    said = link.read_text()
    assert "'root'" not in said and "'usr'" not in said and "[(1, 'lo')]" in said


def test_outside_tools_read_the_layout(image: Path, torch_cpu: BuiltImage) -> None:
    said = subprocess.run(["skopeo", "inspect", f"oci:{image}:torch-cpu"], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout)["Digest"] == torch_cpu.digest


def test_the_flake_s_own_checks_pass(flake: Flake, image: Path) -> None:
    flake.run("flake check")


def test_a_lock_with_another_digest_beside_it_fails_the_check(flake: Flake, image: Path) -> None:
    file = flake.folder / "locks" / "torch-cpu" / "environment.digest"
    before = file.read_text()
    file.write_text(f"sha256:{'4' * 64}\n")
    try:
        said = flake.failure("build", "checks.x86_64-linux.digest-torch-cpu", "--print-build-logs")
    finally:
        file.write_text(before)
    assert f"expected sha256:{'4' * 64}, built {before.strip()}" in said


def test_building_again_agrees(flake: Flake, image: Path) -> None:
    """The image, and a layer of wheels with their bytecode."""
    flake.build("image-torch-cpu", "--rebuild")
    derivation = flake.evaluate("packages.x86_64-linux.image-torch-cpu.drvPath")
    inputs = flake.nix.run("nix-store", "--query", "--references", derivation).stdout.split()
    (layer,) = [path for path in inputs if path.endswith("-layer-wheel-2.drv")]
    flake.nix.run("nix-store", "--realise", "--check", layer)


def reprise_by_nix(flake: Flake, home: Path, app: str, arguments: Sequence[str]) -> dict[str, object]:
    """An app's JSON, on a machine that has neither a store, nor a pip with an index, nor apt."""
    environment = {
        **flake.nix.environment,
        "REPRISE_STORE": str(home / "store"),
        "REPRISE_HOME": str(home / "own"),
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "APT_CONFIG": os.devnull,
    }
    command = ["nix", "run", "--no-write-lock-file", "--override-input", "nixpkgs", f"path:{flake.stand_in}"]
    command += [f"path:{flake.folder}#{app}", "--", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for a user's store; gigabytes, so it goes when the tests end."""
    folder = tmp_path_factory.mktemp("home")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def trained(flake: Flake, image: Path, short_run: Path, home: Path) -> dict[str, object]:
    """`nix run . -- short.toml`, somewhere else than in the checkout."""
    return reprise_by_nix(flake, home, "default", [str(short_run), "--output", str(home / "run")])


@pytest.fixture(scope="session")
def plain(project: Project, shared_store: Store, torch_cpu: BuiltImage, short_run: Path, home: Path) -> RunResult:
    """The same run by the plain command."""
    key = make_key()
    sign_image(shared_store, torch_cpu.digest, "torch-cpu", key)
    launcher = Launcher(shared_store, key, own_policy(key.public_key()))
    return train(short_run, launcher, project, output=home / "plain")


def test_nix_run_trains_to_the_weights_of_the_plain_command(trained: dict[str, object], plain: RunResult) -> None:
    assert trained["measured_digest"] == trained["image_digest"] == plain.image_digest
    assert trained["state_digest"] == plain.state_digest
    assert trained["snapshot_digest"] == plain.snapshot_digest


@pytest.mark.long
def test_nix_run_audit_rebuilds_and_replays_without_a_network(
    flake: Flake, trained: dict[str, object], home: Path
) -> None:
    assert reprise_by_nix(flake, home, "audit", [str(home / "run")])["verdict"] == "same bits"
