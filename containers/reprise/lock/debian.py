"""The Debian part of a lock: apt's own resolver, in a private root that knows one suite and no installed package.

apt is called as a program, with every directory of its state moved into a temporary folder; of the machine it keeps
its configuration (proxies, certificates) and its archive keys, with which it verifies the suite's Release file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from reprise.lock.apt_client import configured_mirrors
from reprise.lock.model import Artifact, DebianPart
from reprise_trainer.errors import InputError, SystemFailureError, UnavailableError

ARCHITECTURE = "amd64"
ARCHIVE_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Where Debian and Ubuntu put the archive's keys (package debian-archive-keyring)."""

_INSTALL_LINE = re.compile(r"^Inst (?P<name>\S+) \((?P<version>\S+) ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DebianSolution:
    """The packages that a suite's release gives. `created` is the release's date, in seconds since 1970."""

    suite: str
    created: int
    packages: tuple[Artifact, ...]


def solve(part: DebianPart, mirror: str = "", trust: str = "", pins: Mapping[str, str] | None = None) -> DebianSolution:
    """Resolve `part.packages` and all that they depend on, in the main component of `part.suite` alone.

    Args:
        part: what a person asked for.
        mirror: address of a Debian archive; when empty, the one that the machine's apt is configured with.
        trust: option of sources.list(5) that says which keys sign the suite; by default Debian's own.
        pins: versions by package that are taken where the suite still has them (priority 1001, apt_preferences(5)).

    Raises:
        SystemFailureError: this machine has no apt.
        UnavailableError: no mirror is known, or it does not answer.
        InputError: apt can't satisfy the packages.
    """
    with _suite(part.suite, mirror, trust) as apt:
        apt.pin(pins or {})
        apt.assume(part.assume)
        return DebianSolution(part.suite, apt.release_date(), tuple(apt.resolve(part.packages)))


def newest_versions(suite: str, names: Sequence[str], mirror: str = "", trust: str = "") -> dict[str, str]:
    """The version that the main component of `suite` has now of each package; those that it lost are left out.

    Args, Raises: as for `solve`.
    """
    with _suite(suite, mirror, trust) as apt:
        return {fields["Package"]: fields["Version"] for fields in apt.known(names)}


@contextmanager
def _suite(suite: str, mirror: str, trust: str) -> Iterator[_PrivateApt]:
    """apt with this suite's package lists in a temporary root of its own."""
    if shutil.which("apt-get") is None:
        raise SystemFailureError("apt-get is not on this machine", hint="solve the lock on Debian or Ubuntu")
    mirror = mirror or next(iter(configured_mirrors(suite)), "")
    if not mirror:
        raise UnavailableError(
            f"apt on this machine has no mirror of Debian {suite}",
            hint="set debian_mirror in the [sources] of the environment's TOML",
        )
    with tempfile.TemporaryDirectory(prefix="reprise-apt-") as folder:
        apt = _PrivateApt(Path(folder), mirror, suite, trust or _debian_keys())
        apt.update()
        yield apt


def _debian_keys() -> str:
    """Debian's keys where their package put them; without it, apt's own trusted keys count."""
    return f"signed-by={ARCHIVE_KEYS}" if ARCHIVE_KEYS.exists() else ""


class _PrivateApt:
    """apt with its sources, state and cache in one folder of our own."""

    def __init__(self, root: Path, mirror: str, suite: str, trust: str) -> None:
        self._root, self._suite = root, suite
        self._status = root / "state" / "status"
        for folder in ("state/lists/partial", "cache/archives/partial", "preferences.d", "sources.d"):
            (root / folder).mkdir(parents=True)
        self._status.touch()
        (root / "sources.list").write_text(f"deb [arch={ARCHITECTURE} {trust}] {mirror} {suite} main\n")
        options = {
            "Dir::Etc::sourcelist": root / "sources.list",
            "Dir::Etc::sourceparts": root / "sources.d",
            "Dir::Etc::preferences": root / "preferences",
            "Dir::Etc::preferencesparts": root / "preferences.d",
            "Dir::State": root / "state",
            "Dir::State::status": self._status,
            "Dir::State::extended_states": root / "state" / "extended_states",
            "Dir::Cache": root / "cache",
            "APT::Architecture": ARCHITECTURE,
            "APT::Architectures": ARCHITECTURE,
            "APT::Sandbox::User": "",
            "APT::Install-Recommends": "false",
            "APT::Install-Suggests": "false",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
            "Debug::NoLocking": "true",
        }
        self._options = [f"--option={key}={value}" for key, value in options.items()]

    def update(self) -> None:
        answer = self._run("apt-get", "update", "--error-on=any", "-qq")
        if answer.returncode != 0:
            raise UnavailableError(
                f"apt cannot read the suite {self._suite}: {_last_line(answer.stderr)}",
                hint="check the network and the mirror; the archive's keys are in the package debian-archive-keyring",
            )

    def pin(self, versions: Mapping[str, str]) -> None:
        stanzas = (f"Package: {each}\nPin: version {versions[each]}\nPin-Priority: 1001\n" for each in sorted(versions))
        (self._root / "preferences").write_text("\n".join(stanzas))

    def assume(self, names: Sequence[str]) -> None:
        """Tell the resolver that `names` are installed, each at the suite's version, with all that it provides."""
        entries = []
        for fields in self._show(names) if names else ():
            kept = ("Package", "Version", "Architecture", "Multi-Arch", "Provides")
            lines = [f"{key}: {fields[key]}" for key in kept if key in fields]
            entries.append("\n".join([*lines, "Status: install ok installed", "Maintainer: assumed", "Description: -"]))
        self._status.write_text("".join(entry + "\n\n" for entry in entries))

    def release_date(self) -> int:
        for name in ("*_InRelease", "*_Release"):
            for path in (self._root / "state" / "lists").glob(name):
                date = re.search(r"^Date: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                if date:
                    return int(parsedate_to_datetime(date[1]).timestamp())
        raise InputError(f"the Release file of Debian {self._suite} has no date")

    def resolve(self, packages: Sequence[str]) -> Iterator[Artifact]:
        answer = self._run("apt-get", "install", "--simulate", "-qq", "--", *packages)
        if answer.returncode != 0:
            raise InputError(f"apt cannot install {' '.join(packages)}: {_last_line(answer.stderr)}")
        chosen = [f"{line['name']}={line['version']}" for line in _INSTALL_LINE.finditer(answer.stdout)]
        for fields in sorted(self._show(chosen), key=lambda fields: fields["Package"]):
            yield _artifact(fields, self._suite)

    def known(self, names: Sequence[str]) -> list[dict[str, str]]:
        """The stanzas of those packages that the suite has."""
        answer = self._run("apt-cache", "show", "--no-all-versions", *names)
        return [_fields(entry) for entry in answer.stdout.split("\n\n") if entry.strip()]

    def _show(self, names: Sequence[str]) -> list[dict[str, str]]:
        entries = self.known(names)
        missing = {name.partition("=")[0] for name in names} - {fields["Package"] for fields in entries}
        if missing:
            raise InputError(f"Debian {self._suite} has no package {', '.join(sorted(missing)) or '?'}")
        return entries

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *self._options, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )


def _fields(entry: str) -> dict[str, str]:
    """The one-line fields of a stanza of a Packages file (Debian policy, chapter 5), without continuation lines."""
    lines = (line.partition(":") for line in entry.splitlines() if not line.startswith((" ", "\t")))
    return {key: value.strip() for key, _, value in lines}


def _artifact(fields: dict[str, str], suite: str) -> Artifact:
    from packageurl import PackageURL

    qualifiers = {"arch": fields["Architecture"], "distro": suite}
    purl = PackageURL("deb", "debian", fields["Package"], fields["Version"], qualifiers).to_string()
    return Artifact(purl, fields["SHA256"], "main", fields["Filename"], int(fields["Size"]))


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.strip().splitlines()) if line.strip()), "no message")
