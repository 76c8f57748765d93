"""One small job of each kind of layer, and the digests that the layers have in each image format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from image_inputs import member, wheel_files, write_deb, write_wheel

from reprise.image.job import BuiltLayer, LayerJob
from reprise.image.source import source_archive

GOLDEN: Mapping[int, Mapping[str, str]] = {
    1: {
        "base": "sha256:6277028bb29049432225f67e4ec01b3352456e71ede8c6c903f6e38505c7161c",
        "deb": "sha256:93e1e4b77c68e5dc7e0e5e29f01380929f2ef441865b153fbcd9d240474fe446",
        "source": "sha256:7ee8c9cebfb1b3ff9d3c569a57c0039ffa13d5edbf2836e8fa89148f265d6799",
        "wheel": "sha256:ccc97ef2cc08d6a21b779364315befd5cfe67918172b68ce7218b18254015a0d",
    },
    2: {
        "base": "sha256:c07bb427e9edc45337529210af9216e8fb64378d3788ce1e254761329f24b5e3",
        "deb": "sha256:93e1e4b77c68e5dc7e0e5e29f01380929f2ef441865b153fbcd9d240474fe446",
        "source": "sha256:7ee8c9cebfb1b3ff9d3c569a57c0039ffa13d5edbf2836e8fa89148f265d6799",
        "wheel": "sha256:2af9120abcfaaf9deb093412582316c9a87eb0051e8aa54b27111d87a7aa1092",
    },
}
"""By format: the digest of each layer's compressed blob, built from `inputs`. An entry never changes."""

LINES = b"".join(b"row %d: %d\n" % (n, n * n % 997) for n in range(1_200_000))
"""19 MB: three of the compressor's blocks, for three threads."""

SOURCE = b"NAMES = frozenset({'a', 'b', 'c', 'd'})\n\n\ndef main() -> None:\n    print(NAMES)\n"


def inputs(folder: Path, *, reverse: bool = False, mtime: int = 1_600_000_000) -> tuple[LayerJob, ...]:
    """A job of each kind from small synthetic artifacts; the arguments must change nothing."""
    folder.mkdir()
    files = {
        "small/__init__.py": SOURCE,
        "small/old.py": b"print 'Python 2'\n",
        "small/data.txt": LINES,
        "small/größe.txt": b"x",
        f"{'deep/' * 30}end.h": b"int x;\n",
        "small-1.0.data/scripts/tool": b"#!python\nprint(1)\n",
    }
    members = wheel_files(files=files, entry_points="[console_scripts]\nsmall = small:main\n")
    wheel = write_wheel(
        folder,
        members,
        programs=["small-1.0.data/scripts/tool"],
        order=lambda names: sorted(names, reverse=reverse),
        date=(1999, 1, 1, 0, 0, 0) if reverse else (2021, 5, 6, 7, 8, 10),
    )
    package = [
        member("lib"),
        member("lib/python3.11/mod.py", b"X = {1: 'one'}\n"),
        member("usr/share/doc/small/copyright", b"terms\n"),
        member("etc/small.conf", b"a=1\n", mode=0o640),
        member("usr/lib/libx.so", kind=b"2", target="libx.so.1"),
    ]
    deb = write_deb(folder, package[::-1] if reverse else package, mtime=mtime)
    source = folder / "project"
    source.mkdir()
    (source / "train.py").write_bytes(b"print('train')\n")
    (folder / "source.tar").write_bytes(source_archive(source))
    jobs = (
        LayerJob("base", "base"),
        LayerJob("deb", "deb", (("pkg:deb/debian/small@1", deb),)),
        LayerJob("wheel", "wheel", (("pkg:pypi/small@1.0", wheel),)),
        LayerJob("source", "source", (("pkg:generic/project", folder / "source.tar"),)),
    )
    return jobs[::-1] if reverse else jobs


def digests(built: dict[str, BuiltLayer]) -> dict[str, str]:
    return {name: built[name].digest for name in sorted(built)}
