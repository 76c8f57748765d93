"""A lock as other installers take it: the real pip and conda install from it, from loopback, and refuse other bytes.

conda is 24.7, which conda-lock carries whole; it reads md5 alone. The form with sha256 is installed by rattler.
That stands for newer condas and for micromamba, which no package index has and which read both forms by the same
specification (CEP 23).
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from loopback import Site, serve
from tests.lock.conftest import ROOT, TOML
from tests.support.wheels import write_wheel
from typer.testing import CliRunner

from reprise.cli.verbs import make_app
from reprise.lock.environment import read_environment
from reprise.lock.export import export_lock
from reprise.lock.model import CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN
from reprise.lock.read import read_lock
from reprise_trainer.errors import InputError

INSTALL_WITH_RATTLER = """
import asyncio, sys
from rattler import Channel, PackageRecord, RepoDataRecord, install
from rattler.explicit_environment import ExplicitEnvironmentSpec
from rattler.package.build_string import BuildString

specification = ExplicitEnvironmentSpec.from_path(sys.argv[1])
assert str(specification.platform) == "linux-64"
records = []
for each in specification.packages:
    url, _, hash = each.url.partition("#")
    file = url.rpartition("/")[2]
    name, version, build = file.removesuffix(".tar.bz2").rsplit("-", 2)
    sha256 = bytes.fromhex(hash.removeprefix("sha256:"))
    record = PackageRecord(name, version, BuildString(build), 0, "linux-64", None, None, sha256=sha256)
    records.append(RepoDataRecord(record, file, url, url.rpartition("/linux-64/")[0]))
asyncio.run(install(records, target_prefix=sys.argv[2], cache_dir=sys.argv[3]))
"""


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site()) as served:
        yield served


@pytest.fixture
def lock(environment: Path, tmp_path: Path, site: Site) -> Path:
    """A lock with two wheels and two conda packages, which lie on `site`; in `locks/small`."""
    alpha = write_wheel(tmp_path / "wheels", "alpha", requires=["beta"])
    beta = write_wheel(tmp_path / "wheels", "beta")
    tool = write_wheel(tmp_path / "wheels", "builder")
    packages = [_wheel_entry(alpha), _wheel_entry(beta), _wheel_entry(tool, "build")]
    for path in (alpha, beta, tool):
        site.files[f"/wheels/{path.name}"] = path.read_bytes()
    for name in ("hello", "world"):
        data = conda_package(name, {f"share/{name}.txt": f"{name}\n".encode()})
        site.files[f"/channel/linux-64/{name}-1.0-0.tar.bz2"] = data
        packages.append(_conda_entry(name, data, site.url("/channel/linux-64/")))
    folder = tmp_path / "locks" / "small"
    folder.mkdir(parents=True)
    content = read_environment(environment).content_sha256
    _write(
        folder / CONDA_LOCK,
        {
            "version": 1,
            "metadata": {
                "content_hash": {"linux-64": content},
                "platforms": ["linux-64"],
                "custom_metadata": {"environment": "small", "python": "3.11", "prefix": "/opt/conda"},
            },
            "package": packages,
        },
    )
    _write(folder / DEBIAN_LOCK, {"format": 1, "suite": "bookworm", "created": 0, "packages": []})
    _write(folder / LAYER_PLAN, {"format": 1, "layers": []})
    return folder


def conda_package(name: str, files: Mapping[str, bytes]) -> bytes:
    """A conda package (`.tar.bz2`) with these files."""
    paths = [
        {"_path": path, "path_type": "hardlink", "sha256": _sha256(data), "size_in_bytes": len(data)}
        for path, data in files.items()
    ]
    index = {"name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": "linux-64"}
    members = {
        "info/index.json": json.dumps(index).encode(),
        "info/paths.json": json.dumps({"paths_version": 1, "paths": paths}).encode(),
        "info/files": "".join(f"{path}\n" for path in files).encode(),
        **files,
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:bz2") as archive:
        for path, data in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _wheel_entry(path: Path, category: str = "main") -> dict[str, Any]:
    name, version = path.name.split("-")[:2]
    purl = f"pkg:pypi/{name}@{version}?file_name={path.name}"
    return _entry(name, version, "pip", purl, category) | {"hash": {"sha256": _sha256(path.read_bytes())}}


def _conda_entry(name: str, data: bytes, folder: str) -> dict[str, Any]:
    hashes = {"md5": hashlib.md5(data).hexdigest(), "sha256": _sha256(data)}
    return _entry(name, "1.0", "conda", f"{folder}{name}-1.0-0.tar.bz2", "main") | {"hash": hashes}


def _entry(name: str, version: str, manager: str, url: str, category: str) -> dict[str, Any]:
    return {"name": name, "version": version, "manager": manager, "url": url, "category": category, "dependencies": {}}


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def replace(site: Site) -> None:
    """Another package in the place of one that was locked; whole and well-formed."""
    site.files["/channel/linux-64/world-1.0-0.tar.bz2"] = conda_package("world", {"share/world.txt": b"another\n"})


def pip_install(python: Path, requirements: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The pip of this machine, with nothing configured, for another environment's Python."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--disable-pip-version-check"]
    command += ["--no-cache-dir", "--no-index", *more, "--require-hashes", "-r", str(requirements)]
    return subprocess.run(command, env=clean | {"PIP_CONFIG_FILE": os.devnull}, capture_output=True, text=True)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of a fresh virtual environment."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    return tmp_path / "venv" / "bin" / "python"


@pytest.fixture
def requirements(lock: Path, environment: Path, site: Site, tmp_path: Path) -> Path:
    """What is exported for pip; the site's page of wheels offers another build of the same version too."""
    other = write_wheel(tmp_path / "other", "alpha", "1.0+cpu")
    site.files[f"/wheels/{other.name}"] = other.read_bytes()
    links = "".join(f'<a href="{path.rpartition("/")[2]}">x</a>' for path in site.files if path.startswith("/wheels/"))
    site.files["/wheels/"] = f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
    site.types["/wheels/"] = "text/html"
    path = tmp_path / "requirements.txt"
    path.write_text(export_lock(lock, environment, "pip"))
    return path


def test_pip_installs_the_very_wheels(requirements: Path, python: Path, site: Site) -> None:
    done = pip_install(python, requirements, "--find-links", site.url("/wheels/"))
    assert done.returncode == 0, done.stderr
    show = "import importlib.metadata as m; print(sorted((d.name, d.version) for d in m.distributions()))"
    found = subprocess.run([python, "-c", show], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[('alpha', '1.0'), ('beta', '1.0')]"


def test_pip_refuses_other_bytes(requirements: Path, python: Path, site: Site) -> None:
    site.files["/wheels/beta-1.0-py3-none-any.whl"] += b"more"
    done = pip_install(python, requirements, "--find-links", site.url("/wheels/"))
    assert done.returncode != 0 and "DO NOT MATCH THE HASHES" in done.stderr


def conda_create(specification: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """`conda create --file`, in a new process, with folders of its own. conda-lock keeps conda under another name."""
    found = importlib.util.find_spec("conda_lock")
    assert found is not None and found.origin is not None
    (folder / "modules").mkdir(parents=True)
    (folder / "modules" / "conda").symlink_to(Path(found.origin).parent / "_vendor" / "conda")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(folder / "modules"),
        "CONDA_PKGS_DIRS": str(folder / "packages"),
        "CONDA_ENVS_DIRS": str(folder / "environments"),
        "CONDA_NO_PLUGINS": "true",
        "CONDA_REPORT_ERRORS": "false",
    }
    command = [
        sys.executable,
        "-m",
        "conda",
        "create",
        "-y",
        "-p",
        str(folder / "prefix"),
        "--file",
        str(specification),
    ]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def installed(prefix: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (prefix / "share").glob("*")}


def test_conda_creates_the_environment(lock: Path, environment: Path, tmp_path: Path) -> None:
    specification = tmp_path / "explicit.txt"
    specification.write_text(export_lock(lock, environment, "conda-md5"))
    done = conda_create(specification, tmp_path / "conda")
    assert done.returncode == 0, done.stdout + done.stderr
    assert installed(tmp_path / "conda" / "prefix") == {"hello.txt": "hello\n", "world.txt": "world\n"}


def test_conda_refuses_other_bytes(lock: Path, environment: Path, site: Site, tmp_path: Path) -> None:
    specification = tmp_path / "explicit.txt"
    specification.write_text(export_lock(lock, environment, "conda-md5"))
    replace(site)
    done = conda_create(specification, tmp_path / "conda")
    assert done.returncode != 0 and "ChecksumMismatchError" in done.stdout + done.stderr
    assert not (tmp_path / "conda" / "prefix" / "share" / "world.txt").exists()


def rattler_install(specification: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    command = [sys.executable, "-c", INSTALL_WITH_RATTLER, specification, folder / "prefix", folder / "cache"]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_form_with_sha256_is_read_and_installed(lock: Path, environment: Path, site: Site, tmp_path: Path) -> None:
    specification = tmp_path / "explicit.txt"
    specification.write_text(export_lock(lock, environment, "conda"))
    done = rattler_install(specification, tmp_path / "one")
    assert installed(tmp_path / "one" / "prefix") == {"hello.txt": "hello\n", "world.txt": "world\n"}, done.stderr
    replace(site)
    done = rattler_install(specification, tmp_path / "two")
    assert done.returncode != 0 and "hash mismatch" in done.stderr, done.stderr


def test_what_an_installer_can_not_take_is_said(lock: Path, environment: Path) -> None:
    document = json.loads((lock / CONDA_LOCK).read_text())
    wheels = [each for each in document["package"] if each["manager"] == "pip"]
    conda = [each for each in document["package"] if each["manager"] == "conda"]
    del conda[0]["hash"]["md5"]
    _write(lock / CONDA_LOCK, document | {"package": wheels})
    with pytest.raises(InputError, match="holds no conda packages") as error:
        export_lock(lock, environment, "conda")
    assert "--export pip" in str(error.value)
    _write(lock / CONDA_LOCK, document | {"package": conda})
    with pytest.raises(InputError, match="holds no Python wheels"):
        export_lock(lock, environment, "pip")
    with pytest.raises(InputError, match="no md5 is known of hello"):
        export_lock(lock, environment, "conda-md5")
    environment.write_text(TOML.replace('"alpha"', '"alpha", "gamma"'))
    with pytest.raises(InputError, match="does not match its environment file"):
        export_lock(lock, environment, "pip")


@pytest.mark.parametrize("name", ["torch-cpu", "jax-cpu", "torch-cuda"])
def test_a_committed_lock_is_exported_whole(name: str) -> None:
    done = CliRunner().invoke(make_app(), ["lock", name, "--export", "pip", "--project", str(ROOT)])
    artifacts = read_lock(ROOT / "locks" / name).artifacts
    wheels = [each for each in artifacts if each.kind == "wheel" and each.category == "main"]
    assert done.exit_code == 0
    assert done.output.splitlines()[3:] == [f"{e.name}==={e.version} --hash=sha256:{e.sha256}" for e in wheels]
