"""Read an environment's TOML, with the standard library alone (it is quick to import)."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

from reprise.image.formats import DEFAULT_FORMAT, image_format
from reprise.lock.model import (
    DEFAULT_PREFIX,
    PLATFORM,
    Allowed,
    CondaPart,
    DebianPart,
    Environment,
    PythonPart,
    Sources,
)
from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import InputError, NotFoundError

_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_PYTHON = re.compile(r"3\.\d+")
_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)+")


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
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    table = _Table(path, "", document)
    debian, pypi = table.table("debian"), table.table("pypi")
    sources = table.table("sources", required=False)
    conda, conda_tables = _conda_part(path, table) if "conda" in document else (None, ())
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
        conda=conda,
        format=image_format(table.number("format", default=DEFAULT_FORMAT), str(path)).number,
    )
    for each in (table, debian, pypi, sources, *conda_tables):
        each.refuse_others()
    if environment.platform != PLATFORM:
        raise InputError(f"{path}: platform is {environment.platform!r}, only {PLATFORM!r} is supported")
    return environment


def _beside(path: Path, place: str) -> str:
    """An address as it is; a folder relative to the one that the file at `path` is in."""
    return place if not place or "://" in place else str((path.parent / Path(place).expanduser()).absolute())


def _conda_part(path: Path, table: _Table) -> tuple[CondaPart, tuple[_Table, ...]]:
    """The conda part, and its tables, whose unknown keys are refused later."""
    conda = table.table("conda")
    virtual, allow = conda.table("virtual", required=False), conda.table("allow", required=False)
    clobbers = allow.table("clobbers", required=False)
    part = CondaPart(
        channels=conda.texts("channels", required=False),
        packages=conda.texts("packages", required=False),
        specification=_beside(path, conda.text("specification", required=False)),
        lock=_beside(path, conda.text("lock", required=False)),
        categories=conda.texts("categories", required=False),
        virtual=virtual.pairs(),
        prefix=conda.text("prefix", required=False, pattern=_PREFIX) or DEFAULT_PREFIX,
        allowed=Allowed(allow.texts("post_link", required=False), clobbers.pairs()),
    )
    named = [key for key in ("packages", "specification", "lock") if getattr(part, key)]
    if len(named) != 1:
        found = f"has {' and '.join(named)}" if named else "has none of them"
        raise InputError(f"{path}: conda needs one of packages, specification and lock, and {found}")
    if part.categories and not part.lock:
        raise InputError(f"{path}: conda.categories is for a conda lock alone, and conda.lock is not there")
    if part.channels and part.lock:
        raise InputError(f"{path}: conda.channels has no use beside conda.lock, whose entries have addresses")
    if part.packages and not part.channels:
        raise InputError(f"{path}: conda.packages needs conda.channels to find them in")
    return part, (conda, virtual, allow, clobbers)


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
        if pattern is not None and (required or value) and not pattern.fullmatch(value):
            raise InputError(f"{self._place(key)} is {value!r}, expected the form {pattern.pattern}")
        return value

    def texts(self, key: str, *, required: bool = True) -> tuple[str, ...]:
        value = self._value(key, required, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise InputError(f"{self._place(key)} is {value!r}, expected a list of texts")
        return tuple(value)

    def number(self, key: str, *, default: int) -> int:
        value = self._value(key, False, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"{self._place(key)} is {value!r}, expected a whole number")
        return value

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """All keys of a table whose keys are free, with their texts, sorted."""
        return tuple((key, self.text(key)) for key in sorted(self._content))

    def table(self, key: str, *, required: bool = True) -> _Table:
        value = self._value(key, required, {})
        if not isinstance(value, dict):
            raise InputError(f"{self._place(key)} is {value!r}, expected a table")
        return _Table(self._path, f"{self._name}.{key}" if self._name else key, value)

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
