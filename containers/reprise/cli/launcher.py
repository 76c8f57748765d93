"""Who starts runs, from the options that `train`, `run` and `demo` share."""

from __future__ import annotations

from pathlib import Path

from reprise.cli.options import EngineName, passphrase_source
from reprise.engine.secret_folder import Secret
from reprise.store import Store
from reprise.train import Launcher
from reprise.trust.keys import home
from reprise.trust.open_key import open_key
from reprise.trust.policy_file import POLICY_FILE, load_or_make_policy, load_policy
from reprise_trainer.identity.policy import Policy


def open_launcher(
    store: Store,
    key: str | None,
    policy: Path | None,
    engine: EngineName,
    gpus: str = "",
    *,
    network: bool = False,
    secrets: tuple[Secret, ...] = (),
    passphrase_fd: int | None = None,
    passphrase_command: str | None = None,
    make_policy: bool = True,
) -> Launcher:
    """A store with your key, policy and engine.

    Your own key is made on first use; so is your own policy, where `make_policy` allows it. A policy that you name must
    exist, since one that appears out of a misspelt name would trust only you. A passphrase comes from a descriptor, a
    command, or the terminal.

    Args:
        make_policy: for commands that run only what was built and signed here. A host that runs others' images must be
            told whom to trust.

    Raises:
        NotFoundError: the policy, or the key that was named, does not exist.
        InputError: a file is not what it should be, or the passphrase is wrong.
    """
    rules = None
    if policy is not None or not make_policy:
        rules = load_policy(policy or home() / POLICY_FILE)  # what is wrong with it is said before a key is made
    signing_key = open_key(key, passphrase_source(passphrase_fd, passphrase_command))
    judged_by = rules or load_or_make_policy(signing_key.public_key())
    return Launcher(store, signing_key, judged_by, engine, gpus, network, secrets)


def witness_note(policy: Policy, run: Path) -> str:
    """What is left to do for a run's record, where the policy asks for what nobody can have proven yet; else empty."""
    if not policy.log and not policy.time:
        return ""
    asked = " and ".join(
        what for what, wanted in (("a log entry", policy.log), ("a proven time", policy.time)) if wanted
    )
    return f"note: the policy asks for {asked}, which the record gets by: reprise witness {run}"
