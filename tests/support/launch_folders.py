"""The folders of a run, signed so that the image inside trusts what it is told."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from reprise.engine.interface import RunFolders
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, make_statement, public_pem, sign_statement
from reprise_trainer.identity.launch import BUNDLE_FILE, LAUNCH_FILE, POLICY_FILE, Launch, encode_launch
from reprise_trainer.identity.policy import Policy, PolicyKey, write_policy


def signed_folders(folder: Path, digest: str, name: str = "small") -> RunFolders:
    """Launch, data and output folders below `folder` for a run of the image `digest`, signed with a new key."""
    folders = RunFolders(folder / "launch", folder / "data", folder / "output")
    for each in (folders.launch, folders.data, folders.output):
        each.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    statement = make_statement(name, digest, IMAGE_SIGNATURE, {})
    policy = Policy((PolicyKey("release", public_pem(key.public_key())),))
    launch = Launch(digest, sha256_digest(b""), "run-1", "namespaces")
    (folders.launch / POLICY_FILE).write_text(write_policy(policy))
    (folders.launch / BUNDLE_FILE).write_bytes(sign_statement(key, statement))
    (folders.launch / LAUNCH_FILE).write_bytes(encode_launch(launch))
    return folders
