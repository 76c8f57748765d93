"""The host side as wheels: `reprise` itself and what it runs on, packed from what is installed here.

In ten years no index may have these versions. A wheel holds a distribution's installed files under their own names
(PyPA's binary distribution format); files that installers make (scripts, bytecode, INSTALLER) are left out, since
installers make them again. Sorted, stored without compression, without times: what is installed decides the bytes.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

import reprise
import reprise_trainer
from reprise_trainer.errors import NotFoundError

NAME = "reprise"
_DATE = (1980, 1, 1, 0, 0, 0)
_MADE_BY_INSTALLERS = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "WHEEL")
_TAG = re.compile(r"^Tag: (\S+)", re.MULTILINE)


def host_wheels() -> Iterator[tuple[str, bytes]]:
    """File names and bytes of the wheels, `reprise` first, then its dependencies by name.

    Raises:
        NotFoundError: a dependency is not installed.
    """
    own = distribution(NAME)
    yield _wheel(own, {**_package(Path(reprise.__file__).parent), **_package(Path(reprise_trainer.__file__).parent)})
    for name in sorted(_dependencies(own)):
        installed = _installed(name)
        yield _wheel(installed, _files(installed))


def _dependencies(root: Distribution) -> set[str]:
    """Normalised names of all that `root` needs here, without extras that it does not ask for."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting = [(root, "")]
    seen = set()
    while waiting:
        installed, extra = waiting.pop()
        for text in installed.requires or ():
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = _normal(requirement.name)
            found.add(name)
            for wanted in ("", *sorted(requirement.extras)):
                if (name, wanted) not in seen:
                    seen.add((name, wanted))
                    waiting.append((_installed(name), wanted))
    return found


def _installed(name: str) -> Distribution:
    from importlib.metadata import PackageNotFoundError

    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise NotFoundError(
            f"reprise needs {name}, which is not installed here", hint="Install reprise anew with its dependencies."
        ) from error


def _files(installed: Distribution) -> dict[str, bytes]:
    """A distribution's files below site-packages, by path; what is outside of it (scripts) is made by installers."""
    found = {}
    for path in installed.files or ():
        if ".." in path.parts or path.is_absolute() or path.suffix == ".pyc" or ".dist-info" in path.parts[0]:
            continue
        found[str(path)] = Path(str(path.locate())).read_bytes()
    return found


def _package(folder: Path) -> dict[str, bytes]:
    """A package's files as a checkout or an installation has them."""
    return {
        str(path.relative_to(folder.parent)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
    }


def _wheel(installed: Distribution, files: Mapping[str, bytes]) -> tuple[str, bytes]:
    name = f"{_normal(installed.name).replace('-', '_')}-{installed.version}"
    own = installed.read_text("WHEEL") or ""
    tags = sorted(_TAG.findall(own)) if installed.name != NAME else ["py3-none-any"]
    info = f"{name}.dist-info"
    members = {**files, **_information(installed, info)}
    pure = "false" if "Root-Is-Purelib: false" in own else "true"
    lines = ["Wheel-Version: 1.0", f"Generator: {NAME}", f"Root-Is-Purelib: {pure}", *(f"Tag: {tag}" for tag in tags)]
    members[f"{info}/WHEEL"] = "".join(f"{line}\n" for line in lines).encode()
    members[f"{info}/RECORD"] = _record(members, f"{info}/RECORD")
    return f"{name}-{_compressed(tags)}.whl", _zip(members)


def _information(installed: Distribution, info: str) -> dict[str, bytes]:
    """METADATA, entry points, licences and whatever else the distribution says about itself."""
    found = {}
    for path in installed.files or ():
        if ".dist-info" in path.parts[0] and path.name not in _MADE_BY_INSTALLERS and path.suffix != ".pyc":
            found["/".join((info, *path.parts[1:]))] = Path(str(path.locate())).read_bytes()
    return found


def _compressed(tags: list[str]) -> str:
    """The tags as a file name has them: `py2-none-any` and `py3-none-any` as `py2.py3-none-any`."""
    columns = zip(*(tag.split("-") for tag in tags), strict=True)
    return "-".join(".".join(dict.fromkeys(sorted(column))) for column in columns)


def _record(members: Mapping[str, bytes], own: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for path, data in sorted(members.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([path, f"sha256={digest}", len(data)])
    writer.writerow([own, "", ""])
    return text.getvalue().encode()


def _zip(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, data in sorted(members.items()):
            item = zipfile.ZipInfo(path, _DATE)
            item.external_attr = 0o100644 << 16
            item.create_system = 3  # Unix, whatever this host is
            archive.writestr(item, data)
    return buffer.getvalue()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
