"""Read an environment's TOML and a lock's files, with the standard library alone (it is quick to import)."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprise.lock.model import (
    CONDA_LOCK,
    DEBIAN_LOCK,
    FORMAT,
    LAYER_PLAN,
    PLATFORM,
    Artifact,
    DebianPart,
    Environment,
    Lock,
    PlannedLayer,
    PythonPart,
    Sources,
)
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import InputError, NotFoundError

_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_PYTHON = re.compile(r"3\.\d+")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def read_lock(folder: Path, environment: Path | None = None) -> Lock:
    """The lock in `folder`.

    Args:
        folder: `locks/<environment>/`.
        environment: the environment's TOML; when given, the lock must have been made from its content.

    Raises:
        NotFoundError: a file of the lock is not there.
        InputError: a file is malformed, or the lock does not match its environment file.
    """
    data = {name: _read(folder / name) for name in (CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN)}
    conda, debian, plan = (_document(folder / name, text) for name, text in data.items())
    try:
        _expect_format(folder / CONDA_LOCK, conda["version"])
        _expect_format(folder / DEBIAN_LOCK, debian["format"])
        _expect_format(folder / LAYER_PLAN, plan["format"])
        metadata = conda["metadata"]
        (platform,) = metadata["platforms"]
        content = metadata["content_hash"][platform]
        files = {name: hashlib.sha256(text).hexdigest() for name, text in data.items()}
        lock = Lock(
            environment=metadata["custom_metadata"]["environment"],
            platform=platform,
            python=metadata["custom_metadata"]["python"],
            created=int(debian["created"]),
            artifacts=(*map(_deb, debian["packages"]), *map(_wheel, conda["package"])),
            layers=tuple(PlannedLayer(each["name"], tuple(each["artifacts"])) for each in plan["layers"]),
            environment_sha256=content,
            digest=sha256_digest(canonical_json({**files, "environment.toml": content})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder} is not a lock: {type(error).__name__} {error}", hint=_relock(folder.name)
        ) from error
    for artifact in lock.artifacts:
        _expect_artifact(folder, artifact)
    if environment is not None and read_environment(environment).content_sha256 != content:
        raise InputError(f"lock {folder} does not match its environment file {environment}", hint=_relock(folder.name))
    return lock


def _relock(name: str) -> str:
    return f"run `reprise lock {name}`"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist", hint=_relock(path.parent.name)) from error


def _document(path: Path, text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}", hint=_relock(path.parent.name)) from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no JSON object", hint=_relock(path.parent.name))
    return document


def _expect_format(path: Path, number: object) -> None:
    if number != FORMAT:
        raise InputError(f"{path} has format {number!r}, this version reads format {FORMAT}")


def _expect_artifact(folder: Path, artifact: Artifact) -> None:
    if not artifact.purl.startswith("pkg:"):
        raise InputError(f"{folder}: {artifact.purl!r} is not a package URL")
    if not _SHA256.match(artifact.sha256):
        raise InputError(f"{folder}: {artifact.purl} has no sha256 (found {artifact.sha256!r})")


def _deb(entry: Mapping[str, Any]) -> Artifact:
    return Artifact(entry["purl"], entry["sha256"], "main", entry["path"], int(entry["size"]))


def _wheel(entry: Mapping[str, Any]) -> Artifact:
    return Artifact(entry["url"], entry["hash"].get("sha256") or "", entry["category"])


def read_environment(path: Path) -> Environment:
    """The environment that a person wrote at `path`.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is not TOML, or a key is unknown, missing or of the wrong type.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"environment file {path} does not exist") from error
    except ValueError as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    table = _Table(path, "", document)
    debian, pypi = table.table("debian"), table.table("pypi")
    sources = table.table("sources", required=False)
    environment = Environment(
        name=table.text("name", pattern=_NAME),
        python=table.text("python", pattern=_PYTHON),
        platform=table.text("platform"),
        debian=DebianPart(debian.text("suite"), debian.texts("packages"), debian.texts("assume", required=False)),
        pypi=PythonPart(pypi.texts("requirements"), pypi.texts("build", required=False)),
        sources=Sources(
            tuple(_beside(path, each) for each in sources.texts("find_links", required=False)),
            _beside(path, sources.text("debian_mirror", required=False)),
            tuple(_beside(path, each) for each in sources.texts("directories", required=False)),
        ),
        content_sha256=_content_sha256(path, document),
    )
    for each in (table, debian, pypi, sources):
        each.refuse_others()
    if environment.platform != PLATFORM:
        raise InputError(f"{path}: platform is {environment.platform!r}, only {PLATFORM!r} is supported")
    return environment


def _beside(path: Path, place: str) -> str:
    """An address as it is; a folder relative to the one that the file at `path` is in."""
    return place if not place or "://" in place else str((path.parent / Path(place).expanduser()).absolute())


def _content_sha256(path: Path, document: dict[str, Any]) -> str:
    content = {key: value for key, value in document.items() if key != "sources"}
    try:
        return hashlib.sha256(canonical_json(content)).hexdigest()
    except TypeError as error:
        raise InputError(f"{path} holds a value of an unknown kind: {error}") from error


class _Table:
    """One table of a TOML file: its keys are asked for one by one, and those that nobody asked for are refused."""

    def __init__(self, path: Path, name: str, content: dict[str, Any]) -> None:
        self._path, self._name, self._content = path, name, content
        self._known: list[str] = []

    def text(self, key: str, *, required: bool = True, pattern: re.Pattern[str] | None = None) -> str:
        value = self._value(key, required, "")
        if not isinstance(value, str):
            raise InputError(f"{self._place(key)} is {value!r}, expected a text")
        if pattern is not None and not pattern.fullmatch(value):
            raise InputError(f"{self._place(key)} is {value!r}, expected the form {pattern.pattern}")
        return value

    def texts(self, key: str, *, required: bool = True) -> tuple[str, ...]:
        value = self._value(key, required, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise InputError(f"{self._place(key)} is {value!r}, expected a list of texts")
        return tuple(value)

    def table(self, key: str, *, required: bool = True) -> _Table:
        value = self._value(key, required, {})
        if not isinstance(value, dict):
            raise InputError(f"{self._place(key)} is {value!r}, expected a table")
        return _Table(self._path, key, value)

    def refuse_others(self) -> None:
        from difflib import get_close_matches

        for key in self._content:
            if key not in self._known:
                near = get_close_matches(key, self._known, n=1) or self._known
                raise InputError(f"{self._place(key)} is not known", hint=f"did you mean: {', '.join(near)}?")

    def _value(self, key: str, required: bool, default: object) -> object:
        self._known.append(key)
        if required and key not in self._content:
            raise InputError(f"{self._place(key)} is missing")
        return self._content.get(key, default)

    def _place(self, key: str) -> str:
        return f"{self._path}: {f'{self._name}.{key}' if self._name else key}"
