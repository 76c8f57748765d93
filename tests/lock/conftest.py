"""An environment in a project of its own: its TOML, and a solved lock of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.conda_channel import Channel, index_channel
from tests.support.conda_package import Package, PackageFile, write_package
from tests.support.debian_archive import Package as DebianPackage
from tests.support.debian_archive import write_archive

from reprise.lock import debian
from reprise.lock.write import Proposal, propose_lock, write_lock

ROOT = Path(__file__).parents[2]

TOML = """\
# a comment
name = "small"
python = "3.11"
platform = "linux-64"

[debian]
suite = "bookworm"
packages = ["python3.11-minimal"]
assume = ["dpkg"]

[pypi]
requirements = ["alpha"]
"""


@pytest.fixture
def offline_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place that pip knows."""
    for name in [each for each in os.environ if each.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(TOML)
    return path


@pytest.fixture
def committed(tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the committed lock of torch-cpu and of its environment file: (folder, file)."""
    folder = tmp_path / "locks" / "torch-cpu"
    shutil.copytree(ROOT / "locks" / "torch-cpu", folder)
    path = tmp_path / "torch-cpu.toml"
    shutil.copy(ROOT / "containers" / "images" / "torch-cpu.toml", path)
    return folder, path


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Debian archive on disk, whose keys are taken to be Debian's."""
    monkeypatch.setattr(debian, "_debian_keys", lambda: "trusted=yes")
    packages = [
        DebianPackage("python3.11-minimal", depends="libc6, dpkg"),
        DebianPackage("libc6"),
        DebianPackage("dpkg"),
    ]
    return write_archive(tmp_path / "archive", packages)


def distribution(name: str, version: str) -> dict[str, PackageFile]:
    """The files by which a Python distribution is known when it is installed."""
    info = f"site-packages/{name}-{version}.dist-info"
    return {f"{info}/METADATA": PackageFile(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode())}


def in_python(files: dict[str, PackageFile]) -> dict[str, PackageFile]:
    return {f"lib/python3.11/{path}": file for path, file in files.items()}


CHANNEL = [
    Package("python", "3.11.9", "0_cpython", index={"python_site_packages_path": "lib/python3.11/site-packages"}),
    Package("python", "3.12.4", "0_cpython"),
    Package("libblas", "1.0"),
    Package("libblas", "1.1"),
    *(
        Package("numpy", version, "py311_0", depends=needs, files=in_python(distribution("numpy", version)))
        for version, needs in (
            ("1.26.4", ("python >=3.11,<3.12", "libblas >=1.0")),
            ("2.1.0", ("python >=3.11,<3.12", "libblas >=1.1", "libblas !=1.5")),
        )
    ),
    Package("yaml-for-python", "6.0", noarch="python", depends=("python",), files=distribution("PyYAML", "6.0.1")),
    Package("tool", "1.0", noarch="generic", depends=("numpy", "libblas")),
    Package("wants-old", "1.0", depends=("libblas <1.1",)),
    Package("gpu", "1.0", depends=("__cuda >=12",)),
    Package("fast", "1.0", depends=("__archspec 1 x86_64_v3",)),
    Package("new-glibc", "1.0", depends=("__glibc >=2.99",)),
    Package("apart", "1.0"),
]


@pytest.fixture(scope="session")
def made_channel(tmp_path_factory: pytest.TempPathFactory) -> Channel:
    """The packages of CHANNEL, indexed; `old` also in the older archive format."""
    folder = tmp_path_factory.mktemp("conda") / "channel"
    for package in CHANNEL:
        write_package(folder, package)
    write_package(folder, Package("legacy", "0.9"), ".tar.bz2")
    return index_channel(folder)


@pytest.fixture
def channel(made_channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the channel, served on loopback; py-rattler caches for this test alone."""
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(tmp_path / "rattler"))
    with made_channel.serve() as (address, _):
        yield address


@dataclass(frozen=True)
class Workshop:
    """An environment file with a conda part, its lock's folder, and the archive that apt reads."""

    file: Path
    folder: Path
    mirror: str

    def write(self, conda: str, requirements: str = "[]", python: str = "3.11") -> None:
        text = TOML.replace('["alpha"]', requirements).replace('"3.11"', f'"{python}"')
        self.file.write_text(f"{text}\n[conda]\n{conda}\n")

    def propose(self, *update: str, accept_md5: bool = False) -> Proposal:
        return propose_lock(self.file, self.folder, update=update, accept_md5=accept_md5, debian_mirror=self.mirror)

    def lock(self, *update: str, accept_md5: bool = False) -> Proposal:
        proposal = self.propose(*update, accept_md5=accept_md5)
        write_lock(self.folder, proposal)
        return proposal


@pytest.fixture
def workshop(tmp_path: Path, mirror: str, offline_pip: Path, channel: str) -> Workshop:
    return Workshop(tmp_path / "small.toml", tmp_path / "locks" / "small", mirror)
