"""A checkpoint's signature by its run's own key, in OpenSSF's model-signing form, so that its verifier reads it too.

    model_signing verify key CHECKPOINT --signature CHECKPOINT/model.sig --public_key run-key.pub

An in-toto statement over the folder's files: each with its sha256, and as the subject's digest the sha256 of those
digests, one after the other. The key alone proves nothing: that it is the run's is what the launcher's delegation says.

Source: model-signing 1.1, the `files` method of predicate https://model_signing/signature/v1.0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from reprise_trainer.durable import write_durably
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.bundle import SigningKey, make_statement, public_pem, sign_statement, verify_bundle
from reprise_trainer.training.checkpoints.names import DOCUMENT, TENSORS

SIGNATURE = "model.sig"
PUBLIC_KEY = "run-key.pub"
"""The public half of the run's key, in the run's folder; another one after a run was started again."""
PREDICATE = "https://model_signing/signature/v1.0"

_SERIALIZATION = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [SIGNATURE]}


def checkpoint_signer(key: SigningKey, output: Path) -> Callable[[Path, str], None]:
    """What signs a checkpoint's folder, given its name; the public key is left in the run's folder `output`.

    Raises:
        StorageError: it can't be written.
    """
    write_durably(output / PUBLIC_KEY, public_pem(key.public_key()).encode())
    return partial(sign_checkpoint, key=key)


def sign_checkpoint(folder: Path, name: str, key: SigningKey) -> None:
    """Write the signature of the checkpoint in `folder` beside its files.

    Args:
        folder: holds the checkpoint's two files.
        name: the checkpoint's, for people.
        key: the run's own, on P-256.

    Raises:
        StorageError: it can't be written.
    """
    files = _hashes(folder)
    predicate = {
        "serialization": _SERIALIZATION,
        "resources": [{"name": file, "algorithm": "sha256", "digest": digest} for file, digest in files.items()],
    }
    # Its verifier refuses any other hint at the key than this one.
    hint = hashlib.sha256(public_pem(key.public_key()).encode()).hexdigest()
    statement = make_statement(name, f"sha256:{_root(files)}", PREDICATE, predicate)
    write_durably(folder / SIGNATURE, sign_statement(key, statement, hint=hint))


def verify_checkpoint_signature(folder: Path, key: ec.EllipticCurvePublicKey) -> None:
    """Check that `key` signed the files of the checkpoint in `folder`, these two and no others.

    Raises:
        InputError: there is no signature, or it is malformed.
        DoesNotHoldError: it is by another key, or over other bytes; names the first file that differs.
    """
    try:
        data = (folder / SIGNATURE).read_bytes()
        found = _hashes(folder)
    except OSError as error:
        raise InputError(f"{folder}: not a signed checkpoint: {error}") from error
    statement = verify_bundle(data, {"the run's": key})
    if statement.predicate_type != PREDICATE:
        raise InputError(f"{folder / SIGNATURE}: says {statement.predicate_type}, expected {PREDICATE}")
    try:
        signed = {str(each["name"]): str(each["digest"]) for each in statement.predicate["resources"]}
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / SIGNATURE}: its list of files is malformed: {error}") from error
    for name in sorted({*signed, *found}):
        if signed.get(name) != found.get(name):
            raise DoesNotHoldError(f"{folder / name}: not the file that was signed")
    if not statement.is_about(f"sha256:{_root(found)}"):
        raise DoesNotHoldError(f"{folder / SIGNATURE}: the statement's subject is not the digest of its files")


def _hashes(folder: Path) -> dict[str, str]:
    """File → sha256, bare hex, in the order of the names."""
    found = {}
    for name in sorted((DOCUMENT, TENSORS)):
        with (folder / name).open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _root(files: Mapping[str, str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in files.values())).hexdigest()
