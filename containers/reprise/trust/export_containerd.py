"""A policy for containerd: the program that its image verifier calls, and the lines for its configuration.

Unlike other tools', this export carries the policy itself, and the program judges by it as `reprise verify` would.

Source: containerd's docs/image-verification.md: every file in `bin_dir` is called; its exit code 0 accepts.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from reprise.trust.export import Export
from reprise.trust.policy_file import ROOT_FILE
from reprise_trainer.errors import InputError

PROGRAM = "bin/reprise"
SECONDS = 30
"""How long containerd waits: registries may be slow, and a pull that can't be judged is refused."""


def export_containerd(policy: bytes, root: bytes, folder: Path, python: str) -> Export:
    """The files for containerd.

    Args:
        policy: the policy file's bytes, which were read as a policy.
        root: the trusted root that it pins; empty where it pins none.
        folder: where the files will be, and stay: the program names the policy by its full path.
        python: the Python program that has `reprise`.

    Raises:
        InputError: the folder's name can't stand in TOML; or the trusted root is not text.
    """
    try:
        root_text = root.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"the trusted root is not text: {error}") from error
    place = str(folder.resolve())
    if any(char in place for char in '"\\\n') or not place.isprintable():
        raise InputError(f"the folder {place!r} cannot be named in containerd's configuration")
    command = shlex.join([python, "-I", "-m", "reprise", "admit", "--policy", f"{place}/policy.toml"])
    files = {
        PROGRAM: f'#!/bin/sh\nexec {command} "$@"\n',
        "policy.toml": policy.decode(),
        "config.toml": _CONFIG.format(place=place, seconds=SECONDS),
        **({ROOT_FILE: root_text} if root else {}),
    }
    return Export(files, ("a tag that goes back to an older image",), executables=frozenset({PROGRAM}))


_CONFIG = """\
# For containerd 2 (/etc/containerd/config.toml). An empty or missing bin_dir lets everything be pulled.
version = 3

[plugins."io.containerd.image-verifier.v1.bindir"]
  bin_dir = "{place}/bin"
  max_verifiers = -1
  per_verifier_timeout = "{seconds}s"
"""
