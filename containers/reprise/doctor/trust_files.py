"""The policy and the signing key: that they are there, can be read, and can't be changed by others."""

from __future__ import annotations

import stat
from pathlib import Path

from reprise.doctor.finding import Finding
from reprise.trust.keys import KEY_FILE, home, is_encrypted, load_key
from reprise.trust.policy_file import POLICY_FILE, load_policy
from reprise_trainer.errors import RepriseError


def policy(path: Path | None = None) -> Finding:
    """The policy at `path`; by default the user's own, which may not exist yet."""
    name, place = "policy", path or home() / POLICY_FILE
    if path is None and not place.exists():
        todo = "Get the policy of those who sign the images, and name it with --policy."
        return Finding(name, "warning", f"{place} does not exist: the first run writes one that trusts your key", todo)
    try:
        keys = load_policy(place).keys
    except RepriseError as error:
        return Finding(name, "problem", error.message, error.hint or f"Correct {place}, or name another: --policy.")
    if writable := _written_by_others(place):
        return Finding(name, "problem", f"others can change {writable}", f"chmod go-w {writable}")
    return Finding(name, "ok", f"{place} trusts {', '.join(each.name for each in keys)}")


def key(path: Path | None = None) -> Finding:
    """The signing key at `path`; by default the user's own, which may not exist yet."""
    name, place = "signing key", path or home() / KEY_FILE
    if path is None and not place.exists():
        return Finding(name, "ok", f"{place} is made by the first run")
    try:
        if is_encrypted(place):
            return Finding(name, "ok", f"{place} is readable by its owner alone, and has a passphrase")
        load_key(place)
    except RepriseError as error:
        return Finding(name, "problem", error.message, error.hint or f"Name another key (--key), or delete {place}.")
    return Finding(name, "ok", f"{place} is readable by its owner alone")


def _written_by_others(path: Path) -> Path | None:
    """The file or its folder, where group or others may write; a sticky folder (/tmp) keeps its files."""
    resolved = path.resolve()
    if resolved.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return resolved
    folder = resolved.parent.stat().st_mode
    open_to_all = folder & (stat.S_IWGRP | stat.S_IWOTH) and not folder & stat.S_ISVTX
    return resolved.parent if open_to_all else None
