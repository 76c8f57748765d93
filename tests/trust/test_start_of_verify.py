"""Verification is what a host waits for before each start: it loads little."""

from __future__ import annotations

import subprocess
import sys

SLOW = (
    "requests",
    "pydantic",
    "rich",
    "docker",
    "zstandard",
    "sigstore",
    "cryptography.x509",
    "http.client",
    "asyncio",
    "difflib",
)

PROGRAM = f"""
import sys
from reprise.store import Store
from reprise.trust.keys import home
from reprise.trust.policy_file import load_policy
from reprise.trust.verify import verify_image
from reprise_trainer.identity.delegation import read_time
print([name for name in {SLOW!r} if name in sys.modules])
"""


def test_what_verify_imports_is_quick_to_load() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
