"""The policy and the signing key: that they are there, can be read, and can't be changed by others."""

from __future__ import annotations

import stat
from pathlib import Path

from reprise.doctor.finding import Finding
from reprise.trust.held_keys import is_held
from reprise.trust.keyless import with_sigstore
from reprise.trust.keys import KEY_FILE, home, is_encrypted, load_key
from reprise.trust.policy_file import POLICY_FILE, ROOT_FILE, load_policy
from reprise.trust.proofs import SigstoreProofs
from reprise_trainer.errors import RepriseError
from reprise_trainer.identity.policy import Policy


def policy(path: Path | None = None) -> Finding:
    """The policy at `path`; by default the user's own, which may not exist yet."""
    name, place = "policy", path or home() / POLICY_FILE
    if path is None and not place.exists():
        todo = "Get the policy of those who sign the images, and name it with --policy."
        return Finding(name, "warning", f"{place} does not exist: the first run writes one that trusts your key", todo)
    try:
        rules = load_policy(place)
    except RepriseError as error:
        return Finding(name, "problem", error.message, error.hint or f"Correct {place}, or name another: --policy.")
    if writable := _written_by_others(place):
        return Finding(name, "problem", f"others can change {writable}", f"chmod go-w {writable}")
    if rules.needs_root and (why := _root_problem(rules)):
        return Finding(name, "problem", why, f"The policy pins {place.with_name(ROOT_FILE)} by its sha256.")
    trusted = [each.name for each in rules.keys]
    trusted += [each.subject or each.subject_pattern for each in rules.identities]
    return Finding(name, "ok", f"{place} trusts {', '.join(trusted)}")


def _root_problem(policy: Policy) -> str:
    """Why nothing can be checked by the policy's trusted root; empty where it can."""
    if not policy.trusted_root:
        return "it asks for what only a trusted root proves, and pins none"
    try:
        SigstoreProofs(policy.root).require_root(policy.trusted_root)
        with_sigstore()
    except RepriseError as error:
        return f"its trusted root: {error}"
    return ""


def key(named: str | None = None) -> Finding:
    """The signing key that is named; by default the user's own file, which may not exist yet. A key that a token or a
    service holds is not asked: that may need a PIN."""
    name = "signing key"
    if named is not None and is_held(named):
        return Finding(name, "ok", f"{named} is held elsewhere; `reprise key --key` tries it")
    place = Path(named) if named else home() / KEY_FILE
    if named is None and not place.exists():
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
