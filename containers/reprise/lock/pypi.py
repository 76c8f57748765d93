"""The Python part of a lock: pip's own resolver, for the image's Python and platform, wheels alone.

pip is called as a program with the machine's own configuration, so that its indexes, find-links, proxies and
certificates count. It chooses wheels for another Python, but judges environment markers by the Python that it runs
on (pip's documentation of `--python-version`); `solve` judges them again for the target, and asks once more with
what was missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from reprise.lock.model import Artifact
from reprise.lock.target import Target
from reprise_trainer.errors import InputError, SystemFailureError, UnavailableError

_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class LockedWheel:
    """A wheel that pip chose: where it was seen while solving (`url`), and the `dependencies` that count for the
    target, as {canonical name: version specifier}."""

    artifact: Artifact
    url: str
    dependencies: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Given:
    """What is settled before pip is asked, as {canonical name: version}.

    `provided` distributions come from elsewhere (conda) and are not asked for; `pins` are versions that a package has
    if it is needed at all.
    """

    provided: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)


NOTHING = Given()


def solve(
    requirements: Sequence[str], target: Target, category: str = "main", given: Given = NOTHING
) -> list[LockedWheel]:
    """The wheels that satisfy `requirements` and all that they depend on, sorted by name.

    The order of the requirements changes nothing. With none, nothing is asked.

    Raises:
        InputError: a requirement is malformed or can't be met with wheels.
        UnavailableError: pip reaches none of its indexes.
    """
    wanted = [_requirement(text) for text in requirements]
    extra: list[str] = []
    for _ in range(_ROUNDS if wanted else 0):
        report = _report(sorted([*requirements, *extra]), target, given)
        entries = {str(canonicalize_name(entry["metadata"]["name"])): entry for entry in report}
        reached, missing = _closure(wanted, entries, target, given.provided)
        if not missing:
            return [_wheel(entries[name], reached[name], category) for name in sorted(reached)]
        extra += missing
    if not wanted:
        return []
    raise InputError(f"the requirements do not settle: still missing {', '.join(missing)}")


def _requirement(text: str) -> Requirement:
    try:
        return Requirement(text)
    except ValueError as error:
        raise InputError(f"{text!r} is not a requirement (PEP 508): {error}") from error


def _report(requirements: Sequence[str], target: Target, given: Given) -> list[dict[str, Any]]:
    """What pip would install: the `install` list of its installation report (format 1)."""
    with tempfile.TemporaryDirectory(prefix="reprise-pip-") as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check", f"--report={report}"]
        command += [f"--target={folder}/target", "--implementation=cp", f"--python-version={target.python}"]
        command += [f"--abi={abi}" for abi in target.abis] + [f"--platform={each}" for each in target.platforms]
        if lines := _constraints(given, Path(folder)):
            (Path(folder) / "constraints.txt").write_text("\n".join(lines))
            command += [f"--constraint={folder}/constraints.txt"]
        answer = subprocess.run([*command, "--", *requirements], capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise _explain(answer.stderr)
        document = json.loads(report.read_text(encoding="utf-8"))
    return list(document["install"])


def _constraints(given: Given, folder: Path) -> list[str]:
    """Pins, and for each provided distribution the one place where pip may find it: a wheel with metadata alone."""
    # `===` means this version alone: `==1.0` takes 1.0+cpu as well (PEP 440, "Arbitrary equality")
    pins = [f"{name}==={Version(version)}" for name, version in given.pins.items() if name not in given.provided]
    return [*pins, *(f"{name} @ {_stub(folder, name, given.provided[name]).as_uri()}" for name in given.provided)]


def _stub(folder: Path, name: str, version: str) -> Path:
    """A wheel of no files and no dependencies, which says that the distribution is there."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


def _explain(stderr: str) -> Exception:
    if "No module named pip" in stderr:
        return SystemFailureError("this Python has no pip", hint=f"run `{sys.executable} -m ensurepip`")
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    message = f"pip cannot resolve the requirements: {' '.join(errors[:3]) or stderr.strip()[-300:]}"
    if "from versions: none" in stderr or "Max retries" in stderr or "NewConnectionError" in stderr:
        return UnavailableError(message, hint="check the network, and `pip config list` for indexes and find-links")
    return InputError(message)


def _closure(
    wanted: Sequence[Requirement],
    entries: Mapping[str, Mapping[str, Any]],
    target: Target,
    provided: Mapping[str, str],
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The packages that the target needs, as {name: its dependencies}, and the requirements that no entry meets."""
    reached: dict[str, dict[str, str]] = {}
    done: set[tuple[str, str]] = set()
    missing: list[str] = []
    queue = [each for each in wanted if _applies(each, target, "")]
    while queue:
        requirement = queue.pop()
        name = str(canonicalize_name(requirement.name))
        if name in provided:
            _expect_provided(requirement, provided[name])
            continue
        if name not in entries:
            missing.append(str(requirement).partition(";")[0].strip())
            continue
        dependencies = reached.setdefault(name, {})
        for extra in {"", *requirement.extras}:
            if (name, extra) in done:
                continue
            done.add((name, extra))
            for text in entries[name]["metadata"].get("requires_dist", []):
                needed = _requirement(text)
                if _applies(needed, target, extra):
                    dependencies[canonicalize_name(needed.name)] = str(needed.specifier)
                    queue.append(needed)
    return reached, sorted(set(missing))


def _expect_provided(requirement: Requirement, version: str) -> None:
    if not requirement.specifier.contains(version, prereleases=True):
        raise InputError(f"{requirement} is asked for, and conda provides {requirement.name} {version}")
    if requirement.extras:
        raise InputError(
            f"{requirement} asks for extras of {requirement.name}, which conda provides",
            hint="Ask conda for what the extra needs, and leave the extra out.",
        )


def _applies(requirement: Requirement, target: Target, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**target.markers, "extra": extra})


def _wheel(entry: Mapping[str, Any], dependencies: Mapping[str, str], category: str) -> LockedWheel:
    url = str(entry["download_info"]["url"])
    hashes = entry["download_info"].get("archive_info", {}).get("hashes", {})
    name, version = canonicalize_name(entry["metadata"]["name"]), str(entry["metadata"]["version"])
    file_name = unquote(urlsplit(url).path.rpartition("/")[2])
    if not file_name.endswith(".whl"):
        raise InputError(f"{name} {version} comes as {file_name}, which is not a wheel")
    if "sha256" not in hashes:
        raise InputError(f"{name} {version}: pip's report has no sha256 for {file_name}")
    artifact = Artifact(wheel_purl(name, version, file_name), hashes["sha256"], category)
    return LockedWheel(artifact, url, dict(sorted(dependencies.items())))


def wheel_purl(name: str, version: str, file_name: str) -> str:
    """The package URL of a wheel; which index has it is not part of it."""
    return PackageURL("pypi", None, name, version, {"file_name": file_name}).to_string()
