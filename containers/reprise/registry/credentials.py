"""User names and passwords for registries, from where docker and podman keep them.

Source: docker's config.json (`auths`, `credHelpers`, `credsStore`) and the protocol of its credential helpers;
containers-auth.json(5) for podman's file. Nothing is ever written.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprise_trainer.errors import InputError, UnavailableError

_HELPER_SECONDS = 60
_TOKEN_USER = "<token>"
"""User name by which a helper says that its secret is an identity token."""

_DOCKER_HUB = "https://index.docker.io/v1/"
"""What docker calls its own hub, in its configuration and to its helpers."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and password, or an identity token (OAuth 2 refresh token); secrets stay out of `repr`."""

    username: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


def find_credentials(host: str, repository: str = "") -> Credentials | None:
    """What this machine's user has stored for a repository of a registry; None where there is nothing.

    Logins may be for a namespace of the registry alone: the nearest one counts, and none for another.

    Raises:
        InputError: a configuration file is malformed.
        UnavailableError: a credential helper is configured and does not work.
    """
    for path in config_files():
        config = _read(path)
        for name in _stored_names(host):
            helper = _table(config, "credHelpers").get(name) or config.get("credsStore")
            if helper and (found := _ask_helper(str(helper), name)):
                return found
        for place in _places(host, repository):
            for key, entry in _table(config, "auths").items():
                if _place_of(key) == place and isinstance(entry, dict) and (found := _stored(path, place, entry)):
                    return found
    return None


def config_files() -> Iterator[Path]:
    """Where credentials may be, first come first served: podman's and docker's variables, then their usual places."""
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    yield Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"
    yield Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "containers" / "auth.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}", hint="`docker login` writes it anew.") from error
    return document if isinstance(document, dict) else {}


def _table(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _stored_names(host: str) -> tuple[str, ...]:
    """By which names docker and podman have helpers store a registry's login."""
    return (_DOCKER_HUB, host) if host == "docker.io" else (host,)


def _place_of(key: str) -> str:
    """`https://host/v1/` as `host`, `host/namespace` as it is; docker calls its own hub by an older name there."""
    _, scheme, place = key.rpartition("://")
    host, _, namespace = place.partition("/")
    host = "docker.io" if host == "index.docker.io" else host
    return host if scheme or namespace in ("", "v1/", "v2/") else f"{host}/{namespace}"


def _places(host: str, repository: str) -> Iterator[str]:
    """`host/a/b`, `host/a`, `host`: what a login may be for, the nearest first."""
    while repository:
        yield f"{host}/{repository}"
        repository = repository.rpartition("/")[0]
    yield host


def _stored(path: Path, place: str, entry: Mapping[str, Any]) -> Credentials | None:
    token = str(entry.get("identitytoken") or "")
    if not entry.get("auth"):
        pair = str(entry.get("username") or ""), str(entry.get("password") or "")
        return Credentials(*pair, token) if token or all(pair) else None
    try:
        user, colon, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
    except ValueError as error:  # also of what is not ASCII, or not UTF-8 once decoded
        raise InputError(f"{path}: the entry of {place} is not base64") from error
    if not colon:
        raise InputError(f"{path}: the entry of {place} is not a user name and a password")
    return Credentials(user, password.rstrip("\0"), token)


def _ask_helper(name: str, host: str) -> Credentials | None:
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"], input=host, capture_output=True, text=True, timeout=_HELPER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(
            f"the credential helper {program} does not work: {error}",
            hint="Install it, or take it out of docker's config.json.",
        ) from error
    if done.returncode != 0:
        if "not found" in (done.stdout + done.stderr).lower():  # the helpers' own words for "nothing stored"
            return None
        raise UnavailableError(f"the credential helper {program} failed: {(done.stdout + done.stderr).strip()[:200]}")
    try:
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise UnavailableError(f"the credential helper {program} gave no credentials") from error
    if not secret:
        return None  # as some helpers say that they have nothing
    return Credentials("", "", secret) if user == _TOKEN_USER else Credentials(user, secret)
