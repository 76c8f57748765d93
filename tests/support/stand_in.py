"""The stand-in for nixpkgs: tests/nix/nixpkgs with trees of this machine's tools, which are put into the Nix store.

Derivations run in Nix's sandbox, where no file of the machine is seen. So a tree holds all that its programs need: a
static shell, busybox, and the Python that runs the tests with its shared libraries, started through their own dynamic
linker. What this proves of the real nixpkgs is that our Nix code uses what tests/nix/attributes.txt lists and nothing
else; not what those attributes do there.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.metadata import Distribution, distribution
from pathlib import Path

from nix_tool import Nix
from packaging.requirements import Requirement
from small_image import PYTHON, python_entries

CHECKOUT = Path(__file__).parents[2]
STAND_IN = CHECKOUT / "tests" / "nix" / "nixpkgs"
STATIC = {"bash": Path("/bin/bash-static"), "busybox": Path("/bin/busybox")}
"""Debian's bash-static and busybox-static."""

PACKAGES = sorted(Requirement(each).name for each in distribution("reprise").requires or [] if "extra ==" not in each)
"""What `packages.reprise` asks nixpkgs for, beside pip."""


def make_stand_in(folder: Path, *nixes: Nix) -> Path:
    """A flake to override `nixpkgs` with, made in `folder`; its trees are in the stores of these Nixes then."""
    shutil.copytree(STAND_IN, folder)
    (folder / "python-packages.json").write_text(json.dumps([*PACKAGES, "pip"]))
    trees = folder.with_name(f"{folder.name}-trees")
    _write_tools(trees / "tools")
    _write_site(trees / "site")
    for nix in nixes:
        hashes = {name: _add(trees / name, nix) for name in ("tools", "site")}
        (folder / "tools.json").write_text(json.dumps(hashes))
    shutil.rmtree(trees)
    return folder


def _write_tools(folder: Path) -> None:
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name, path in STATIC.items():
        shutil.copyfile(path, programs / name)
        (programs / name).chmod(0o755)
    applets = subprocess.run([programs / "busybox", "--list"], capture_output=True, text=True, check=True).stdout
    for applet in set(applets.split()) - set(STATIC):
        (programs / applet).symlink_to("busybox")
    for place, entry in python_entries().items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.data or b"")
        path.chmod(entry.mode)
    (folder / "python").symlink_to(f"usr/bin/{PYTHON}")
    (folder / "linker").symlink_to(_only(folder, "usr/lib*/**/ld-linux*.so.*"))
    (folder / "libraries").symlink_to(_only(folder, "usr/lib/**/libc.so.6").parent)


def _only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path.relative_to(folder)


def _write_site(folder: Path) -> None:
    """The distributions that `reprise` needs, and those that they need, from the environment of the tests; and pip."""
    found: dict[str, Distribution] = {}
    wanted = [*PACKAGES, "pip"]
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in found:
            continue
        found[name] = distribution(name)
        for text in found[name].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    for each in found.values():
        for file in each.files or []:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), target)


def _add(tree: Path, nix: Nix) -> str:
    """Put a tree into the Nix store; the hash by which a fixed-output derivation finds it."""
    path = nix.run("nix-store", "--add-fixed", "--recursive", "sha256", tree).stdout.strip()
    return nix.run("nix-store", "--query", "--hash", path).stdout.strip()
