"""py-rattler as the oracle: what it installs is what our layers hold, file by file."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conda_channel import SITE_PACKAGES, Channel, ChannelPackage
from conda_image import CHANNEL_URL, PYTHON
from image_inputs import TarFile, read_tar, unpacked

from reprise.image.conda import CondaPackage, read_conda
from reprise.image.entries import merge
from reprise.image.format import PythonLayout
from reprise.image.layer import write_layer
from reprise.lock.conda_address import conda_purl

SUPPORT = Path(__file__).parents[1] / "support"
LAYOUT = PythonLayout("3.11", "opt/conda", SITE_PACKAGES)

OURS_ALONE = ("usr/share/reprise/",)
THEIRS_ALONE = ("conda-meta/", "CACHEDIR.TAG")
"""Records are compared as such; a mark for backup programs has no place in an image."""


def read(package: ChannelPackage, layout: PythonLayout = LAYOUT) -> CondaPackage:
    return read_conda(package.path, conda_purl(package.url(CHANNEL_URL)), layout)


def ours(packages: Sequence[ChannelPackage], layout: PythonLayout = LAYOUT) -> dict[str, TarFile]:
    """All files and links of one layer of these packages, by path below the prefix, as Python's tarfile sees them."""
    parts = [read(each, layout) for each in packages]
    out = io.BytesIO()
    late = [lambda listed, part=part: [part.record(listed)] for part in parts]
    write_layer("test", merge([(part.name, part.entries) for part in parts]), out, late=late)
    tar = read_tar(unpacked(out.getvalue()))
    return {
        path.removeprefix(f"{layout.prefix}/"): each
        for path, each in tar.items()
        if each.type != "directory" and not path.startswith(OURS_ALONE)
    }


def theirs(channel: Channel, packages: Sequence[ChannelPackage], scratch: Path, target: str) -> dict[str, TarFile]:
    """The same, as py-rattler installs it."""
    prefix = scratch / "prefix"
    job = {
        "channel": str(channel.folder),
        "files": [each.path.name for each in packages],
        "prefix": str(prefix),
        "target": target,
        "cache": str(scratch / "cache"),
    }
    (scratch / "job.json").write_text(json.dumps(job))
    script = str(SUPPORT / "rattler_install.py")
    done = subprocess.run([sys.executable, script, str(scratch / "job.json")], capture_output=True, text=True)
    assert "installed" in done.stdout, done.stderr  # its exit status says less
    return {str(path.relative_to(prefix)): _installed(path) for path in prefix.rglob("*") if _is_leaf(path)}


def _is_leaf(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()


def _installed(path: Path) -> TarFile:
    """With a mode by our rule: what it is for its owner decides, since the rest is the umask's."""
    if path.is_symlink():
        return TarFile("symlink", 0o777, target=str(path.readlink()))
    mode = 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644
    return TarFile("file", mode, path.read_bytes())


def same(one: dict[str, TarFile], other: dict[str, TarFile], entry_points: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    one = {path: each for path, each in one.items() if not path.startswith(THEIRS_ALONE)}
    other = {path: each for path, each in other.items() if not path.startswith(THEIRS_ALONE) and ".pyc" not in path}
    assert one.keys() == other.keys()
    for path, each in one.items():
        if path in entry_points:  # the text is our own; who interprets it is not
            lines = [file.data.split(b"'''\n" if b"'''exec" in file.data else b"\n")[0] for file in (each, other[path])]
            assert (each.mode, lines[0]) == (other[path].mode, lines[1]), path
        else:
            assert each == other[path], path


def test_a_whole_environment_is_what_rattler_installs(conda_channel: Channel, tmp_path: Path) -> None:
    packages = [conda_channel.package(name) for name in (*PYTHON, "numpy", "settings", "where", "old", "scripted")]
    packages += [conda_channel.package("hello", "2.0"), conda_channel.package("both", suffix=".conda")]
    packages += [conda_channel.package(f"small-{number:03}") for number in range(5)]
    found = theirs(conda_channel, packages, tmp_path, "/opt/conda")
    same(ours(packages), found, {"bin/hello", "bin/hello-main"})
    assert len(found) > 1500


@pytest.mark.parametrize("length", [20, 114, 115, 116, 117, 118, 119, 120, 121, 122, 200, 255])
def test_prefixes_of_every_length_are_replaced_as_rattler_does(
    conda_channel: Channel, tmp_path: Path, length: int
) -> None:
    prefix = "/" + "p" * (length - 1)
    layout = PythonLayout("3.11", prefix.lstrip("/"), SITE_PACKAGES)
    packages = [conda_channel.package(name) for name in (*PYTHON, "where", "old", "small-000")]
    packages.append(conda_channel.package("hello", "1.0"))
    found = theirs(conda_channel, packages, tmp_path, prefix)
    same(ours(packages, layout), found, {"bin/hello", "bin/hello-main"})
    assert prefix.encode() in found["bin/where"].data


def test_both_formats_of_a_package_give_the_same_files(conda_channel: Channel) -> None:
    one, other = (ours([conda_channel.package("both", suffix=suffix)]) for suffix in (".conda", ".tar.bz2"))
    assert one.keys() == other.keys()
    assert [path for path in one if one[path] != other[path]] == ["conda-meta/both-1.0-0.json"]


READ_RECORDS = """
import json, sys
from pathlib import Path
from rattler import PrefixRecord
found = []
for path in sorted(Path(sys.argv[1]).glob("*.json")):
    record = PrefixRecord.from_path(path)
    paths = [[str(each.relative_path), each.sha256_in_prefix.hex() if each.sha256_in_prefix else None,
              each.size_in_bytes] for each in record.paths_data.paths]
    found.append({"name": record.name.normalized, "version": str(record.version), "build": str(record.build),
                  "channel": record.channel, "subdir": record.subdir, "files": [str(each) for each in record.files],
                  "paths": paths, "sha256": record.sha256.hex(), "depends": record.depends})
print(json.dumps(found), flush=True)
"""

READ_BY_CONDA = """
import json, sys
from conda_lock._vendor.conda.core.prefix_data import PrefixData
records = PrefixData(sys.argv[1]).iter_records()
print(json.dumps(sorted([each.name, each.version, each.build, each.fn] for each in records)))
"""


def test_rattler_and_conda_read_our_records(conda_channel: Channel, tmp_path: Path) -> None:
    packages = [conda_channel.package(name) for name in ("where", "old", "settings")]
    packages.append(conda_channel.package("hello", "1.0"))
    files = ours(packages)
    for path, each in files.items():
        if path.startswith("conda-meta/"):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(each.data)
            assert each.mode == 0o644
    assert files["conda-meta/history"].data == b""
    done = subprocess.run([sys.executable, "-c", READ_RECORDS, str(tmp_path / "conda-meta")], capture_output=True)
    found = {each["name"]: each for each in json.loads(done.stdout or b"[]")}
    assert found.keys() == {"where", "old", "settings", "hello"}, done.stderr
    for package in packages:
        record = found[package.name]
        said = (record["version"], record["build"], record["subdir"])
        assert said == (package.version, package.build, package.subdir)
        assert (record["sha256"], record["channel"]) == (package.sha256, "channel")
        assert record["depends"] == list(package.depends)
        own = {path.removeprefix("opt/conda/") for path in read(package).paths} - {"conda-meta/history"}
        assert set(record["files"]) == own == {path for path, _, _ in record["paths"]}
        for path, sha256, size in record["paths"]:
            if files[path].type == "file":
                assert (sha256, size) == (hashlib.sha256(files[path].data).hexdigest(), len(files[path].data)), path
    listed = subprocess.run([sys.executable, "-c", READ_BY_CONDA, str(tmp_path)], capture_output=True, check=True)
    expected = sorted([each.name, each.version, each.build, each.path.name] for each in packages)
    assert json.loads(listed.stdout) == expected


def test_a_record_says_nothing_about_the_machine(conda_channel: Channel) -> None:
    record = json.loads(ours([conda_channel.package("where")])["conda-meta/where-1.0-0.json"].data)
    assert record["url"] == "pkg:conda/where@1.0?build=0&channel=channel&subdir=linux-64&type=conda"
    assert record["link"] == {"source": "", "type": 3}
    assert str(conda_channel.folder) not in json.dumps(record) and "://" not in json.dumps(record)
