"""The conda part of a lock: py-rattler's own solver, on the channels that a person names, for the image's platform."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from reprise.lock.conda_address import conda_purl
from reprise.lock.extra import not_installed
from reprise.lock.model import PLATFORM, Artifact
from reprise_trainer.errors import InputError, NotFoundError, RepriseError, SystemFailureError, UnavailableError

Virtual = tuple[str, str, str]
"""A virtual package: name, version, build string."""

_USER = re.compile(r"://[^/@\s]+@")
_TOKEN = re.compile(r"/t/[^/]+/")
"""A token in a channel's address: https://host/t/TOKEN/channel."""


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """A conda package of a solution: `depends` are match specs, `size` is in bytes (0 when unknown).

    `site_packages` is the record's own, relative to the prefix, and empty for all but a Python that says it.
    """

    name: str
    version: str
    build: str
    url: str
    md5: str
    sha256: str
    size: int = 0
    depends: tuple[str, ...] = ()
    site_packages: str = ""

    @property
    def artifact(self) -> Artifact:
        return Artifact(conda_purl(self.url), self.sha256, "main", self.url, self.size)


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a conda package says of itself: the Python distributions that it installs, as pairs (name, version)."""

    site_packages: str
    distributions: tuple[tuple[str, str], ...]


def solve(
    channels: Sequence[str],
    specs: Iterable[str],
    virtual: Sequence[Virtual],
    *,
    constraints: Sequence[str] = (),
    locked: Sequence[LockedPackage] = (),
) -> tuple[LockedPackage, ...]:
    """The packages that satisfy `specs` and all that they depend on, sorted by name.

    Args:
        channels: names or addresses, strongest first; a package is taken from the first that has one of its name.
        specs: match specs; their order changes nothing.
        virtual: what the solver takes as given.
        constraints: match specs that hold for packages which something else brings in.
        locked: packages that stay as they are where they can.

    Raises:
        InputError: a spec is malformed, or no solution exists; the message is the solver's explanation.
        NotFoundError: a channel does not exist.
        UnavailableError: a channel does not answer.
        SystemFailureError: py-rattler is missing.
    """
    answer = _ask(
        task="solve",
        platform=PLATFORM,
        channels=list(channels),
        specs=sorted(specs),
        virtual=virtual,
        constraints=list(constraints),
        locked=[_entry(each) for each in locked],
    )
    found = [_package(each) for each in answer["records"]]
    return tuple(sorted(found, key=lambda each: each.name))


def inspect(urls: Sequence[str]) -> dict[str, Inspected]:
    """What the packages at `urls` say of themselves; of a `.conda` archive only that part is fetched.

    Raises:
        UnavailableError: a package can't be had.
        SystemFailureError: py-rattler is missing.
    """
    answer = _ask(task="inspect", urls=list(urls)) if urls else {"packages": {}}
    return {
        url: Inspected(each["site_packages"], tuple((name, version) for name, version in each["distributions"]))
        for url, each in answer["packages"].items()
    }


def unmet(packages: Sequence[LockedPackage], virtual: Sequence[Virtual]) -> list[tuple[str, str, str]]:
    """Dependencies that no package of the set and no virtual one meets, as (package, match spec, what is there)."""
    answer = _ask(task="match", packages=[_entry(each) for each in packages], virtual=virtual)
    return [(name, spec, found) for name, spec, found in answer["problems"]]


def without_credentials(address: str) -> str:
    """A channel's or package's address without user name, password and token, which no lock may hold."""
    if "://" not in address:
        return address
    parts = urlsplit(_TOKEN.sub("/", address, count=1))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _entry(package: LockedPackage) -> dict[str, Any]:
    names = ("name", "version", "build", "url", "md5", "sha256")
    return {**{name: getattr(package, name) for name in names}, "depends": list(package.depends)}


def _package(record: Mapping[str, Any]) -> LockedPackage:
    url = without_credentials(record["url"])
    return LockedPackage(**{**record, "url": url, "depends": tuple(record["depends"])})


def _ask(**request: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "reprise.lock.conda_worker"]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise SystemFailureError(f"py-rattler gave no answer: {last[0]}") from error
    if "error" in answer:
        raise _explain(answer["error"], answer["message"].strip(), request.get("channels", []))
    return answer


def _explain(kind: str, message: str, channels: Sequence[str]) -> RepriseError:
    message = _USER.sub("://", message)
    first, last = message.partition("\n")[0], message.rpartition("\n")[2].removeprefix("Caused by: ")
    match kind:
        case "ImportError" | "ModuleNotFoundError":
            return not_installed("py-rattler")
        case "SolverError":
            return InputError(
                f"the conda part has no solution. {message}",
                hint="Loosen a spec in [conda], add a channel, or write the virtual package in [conda.virtual].",
            )
        case "ValueError":
            return InputError(f"[conda]: {first}", hint="Write it as conda does: name, name >=1.2,<2, name 1.2.*")
        case "GatewayError" if "could not find subdir" in message or "404" in message:
            return NotFoundError(
                f"a conda channel does not exist: {first}", hint="Check [conda] channels: names or addresses."
            )
        case "GatewayError" | "RuntimeError" | "FetchRepoDataError":
            asked = f" of {', '.join(map(without_credentials, channels))}" if channels else ""
            return UnavailableError(
                f"a conda channel{asked} does not answer: {first}{f' ({last})' if last != first else ''}",
                hint="Check the network, the proxy (HTTPS_PROXY) and [conda] channels.",
            )
        case _:
            return SystemFailureError(f"py-rattler failed: {kind}: {first}")
