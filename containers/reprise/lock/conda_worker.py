"""Ask py-rattler, in a process of its own: `python -m reprise.lock.conda_worker`, one JSON request in, one answer out.

py-rattler was seen to crash when its interpreter ends (3 of 46 runs of version 0.28.0, after the work was done), so
this process writes its answer and leaves without winding down. An answer with a key `error` names the exception.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_DIST_INFO = (".dist-info/METADATA", ".egg-info/PKG-INFO", ".egg-info")
"""Ends of paths by which an installed Python distribution is known (PEP 376; setuptools' older forms)."""


async def solve(request: Mapping[str, Any]) -> dict[str, Any]:
    """The records that satisfy `specs` and `constraints` on `channels`, those of `locked` preferred."""
    import rattler
    from rattler.repo_data import Gateway

    gateway = Gateway(client=rattler.Client.authenticated_client())
    channels = [rattler.Channel(each) for each in request["channels"]]
    platforms = [request["platform"], "noarch"]
    records = await rattler.solve(
        channels,
        [_spec(text) for text in request["specs"]],
        gateway,
        platforms,
        locked_packages=await _locked(gateway, channels, platforms, request["locked"]),
        virtual_packages=[_virtual(*each) for each in request["virtual"]],
        constraints=[_spec(text) for text in request["constraints"]],
    )
    return {"records": [_answer(record) for record in records]}


async def _locked(gateway: Any, channels: Any, platforms: Any, entries: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The channel's own record of each locked package, else one made from the lock, which lacks `constrains`."""
    specs = [f"{each['name']} =={each['version']} {each['build']}" for each in entries]
    found = await gateway.query(channels, platforms, [_spec(each) for each in specs], recursive=False) if specs else []
    known = {record.sha256.hex(): record for records in found for record in records if record.sha256}
    return [known.get(each["sha256"]) or _record(each) for each in entries]


async def inspect(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the packages at `urls` say of themselves: `site_packages`, and the Python `distributions` they install."""
    import rattler

    client = rattler.Client.authenticated_client()
    answers = await asyncio.gather(*(_inspect(client, url) for url in request["urls"]))
    return {"packages": dict(zip(request["urls"], answers, strict=True))}


async def _inspect(client: Any, url: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="reprise-conda-") as folder:
        member = await _members(client, url, Path(folder))
        index = json.loads(await member("info/index.json"))
        try:
            paths = [each["_path"] for each in json.loads(await member("info/paths.json"))["paths"]]
        except FileNotFoundError:  # packages from before paths.json
            paths = (await member("info/files")).decode().split("\n")
    return {
        "site_packages": index.get("python_site_packages_path") or "",
        "distributions": sorted({found for path in paths if (found := _distribution(path))}),
    }


async def _members(client: Any, url: str, folder: Path) -> Callable[[str], Awaitable[bytes]]:
    """Reads members of a package: over the network those parts alone, from the disk after unpacking it to `folder`."""
    from rattler.package_streaming import extract, fetch_raw_package_file_from_url

    if url.startswith("file:"):
        extract(unquote(urlsplit(url).path), folder)

    async def member(name: str) -> bytes:
        if url.startswith("file:"):
            return (folder / name).read_bytes()
        try:
            return bytes(await fetch_raw_package_file_from_url(client, url, name))
        except Exception as error:
            if "not found" in str(error).lower() and "404" not in str(error):
                raise FileNotFoundError(f"{url} has no {name}") from error
            raise RuntimeError(f"{url}: {error}") from error

    return member


def _distribution(path: str) -> tuple[str, str] | None:
    """(name, version) of the distribution whose metadata lies at `path`."""
    for end in _DIST_INFO:
        if path.endswith(end) and "/" in path:
            name, _, rest = path.removesuffix(end).rpartition("/")[2].partition("-")
            version = rest.partition("-py")[0] if "egg-info" in end else rest
            return (name, version) if version else None
    return None


async def match(request: Mapping[str, Any]) -> dict[str, Any]:
    """Those dependencies of `packages` that neither another of them nor a virtual package satisfies.

    Each problem is (package, match spec, what was found or an empty text).
    """
    records = {each["name"]: _record(each) for each in request["packages"]}
    records |= {name: _virtual_record(name, version, build) for name, version, build in request["virtual"]}
    problems = []
    for package in request["packages"]:
        for text in package["depends"]:
            spec = _spec(text)
            found = records.get(text.split()[0])
            if found is None or not spec.matches(found):
                problems.append((package["name"], text, str(found) if found else ""))
    return {"problems": problems}


def _spec(text: str) -> Any:
    from rattler import MatchSpec

    try:
        return MatchSpec(text)
    except Exception as error:
        raise ValueError(f"{text!r} is not a match spec: {error}") from error


def _virtual(name: str, version: str, build: str) -> Any:
    from rattler import GenericVirtualPackage, PackageName, Version
    from rattler.package import BuildString

    return GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))


def _virtual_record(name: str, version: str, build: str) -> Any:
    from rattler import PackageRecord
    from rattler.package import BuildString

    return PackageRecord(name, version, BuildString(build), 0, "noarch")


def _record(entry: Mapping[str, Any]) -> Any:
    from rattler import PackageRecord, RepoDataRecord
    from rattler.package import BuildString

    number = entry["build"].rpartition("_")[2]
    folder, _, file = entry["url"].rpartition("/")
    record = PackageRecord(
        entry["name"],
        entry["version"],
        BuildString(entry["build"]),
        int(number) if number.isdigit() else 0,
        folder.rpartition("/")[2],
        depends=list(entry["depends"]),
        sha256=bytes.fromhex(entry["sha256"]) if entry["sha256"] else None,
        md5=bytes.fromhex(entry["md5"]) if entry["md5"] else None,
    )
    return RepoDataRecord(record, file, entry["url"], folder.rpartition("/")[0])


def _answer(record: Any) -> dict[str, Any]:
    return {
        "name": record.name.normalized,
        "version": str(record.version),
        "build": str(record.build),
        "url": record.url,
        "md5": record.md5.hex() if record.md5 else "",
        "sha256": record.sha256.hex() if record.sha256 else "",
        "size": record.size or 0,
        "depends": list(record.depends),
        "site_packages": record.python_site_packages_path or "",
    }


def main() -> None:
    request = json.load(sys.stdin)
    try:
        answer = asyncio.run({"solve": solve, "inspect": inspect, "match": match}[request["task"]](request))
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
