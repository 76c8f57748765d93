"""The run record: what one run was and what came out, as the predicate of a signed in-toto statement.

The statement's subject is the image that the trainer measured itself to be. It is signed by the run's own key, which
the launcher's delegation vouches for. Floats are hex strings, so that a record has one canonical form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, RefusedError, RepriseError
from reprise_trainer.identity.bundle import RUN_RECORD, make_statement, public_pem, sign_statement
from reprise_trainer.identity.delegation import verify_delegation
from reprise_trainer.identity.launch import DELEGATION_FILE, POLICY_FILE, RUN_KEY_FILE, Launch, read_launch_file
from reprise_trainer.identity.policy import read_policy

FORMAT = 1
FILE_NAME = "record.sigstore.json"

_DIGEST = r"^sha256:[0-9a-f]{64}$"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ImageFacts(_Document):
    """The image as measured: its digest, how many files and bytes were hashed, and in how many milliseconds."""

    digest: str = Field(pattern=_DIGEST)
    files: int
    bytes_hashed: int
    milliseconds: int


class DriverFacts(_Document):
    """NVIDIA's driver, the host's: versions of libcuda and of the kernel's part (empty: not known), sha256 of each of
    its files by path, and of the linker's cache where the container runtime rewrote it for them."""

    version: str
    module: str
    files: dict[str, str]
    library_cache: str


class ProfileFacts(_Document):
    """The profile's name, its promise (or that it is withdrawn, and why), and every switch that it set."""

    name: str
    promise: str
    table: dict[str, dict[str, str]]


class WorkerFacts(_Document):
    """The machine of one worker: its class (empty: none), and the digest of the operations' hashes that it computed."""

    machine: str
    operations: str = Field(pattern=_DIGEST)


class ProofFacts(_Document):
    """Whether the profile's promise holds for this run: "proved", "unproven" with reasons, or "not reproducible"; the
    class of the first worker's machine (empty: none), the hash of every operation that it computed at the start, and
    every worker's machine, by rank: they are equal, or the run would not have begun."""

    status: Literal["proved", "unproven", "not reproducible"]
    reasons: tuple[str, ...]
    machine: str
    operations: dict[str, str]
    workers: tuple[WorkerFacts, ...] = ()  # absent from records of earlier trainers


class LedgerFacts(_Document):
    """The ledger's head, and its lines after the header."""

    head: str = Field(pattern=_DIGEST)
    lines: int


class CheckpointFacts(_Document):
    """One checkpoint: finished steps, and the state digest."""

    step: int
    state: str = Field(pattern=_DIGEST)


class ParentFacts(_Document):
    """The checkpoint of another run that this one started from: state digest, finished steps, digest of that run's
    record (empty where it has none), and the tensors that were taken."""

    state: str = Field(pattern=_DIGEST)
    step: int
    record: str
    tensors: tuple[str, ...]


class AttemptFacts(_Document):
    """One start of the run: times in UTC, why it ended, finished steps at its start and end, and its workers. `ended`
    is empty where it was killed; `last_step` is then that of its start. `network` has the interfaces that were up
    beside the loopback one: what came out may then follow from what was fetched. `secrets` are names: of files for the
    run's own code, which no record holds."""

    started: str
    ended: str
    why: str
    first_step: int
    last_step: int
    workers: int
    network: tuple[str, ...] = ()  # empty without a network, and in records of earlier trainers
    secrets: tuple[str, ...] = ()  # likewise


class ResourceFacts(_Document):
    """What the process used, from its first start to the record; `workers` computed shards side by side. `sampled` has
    what was sampled while it ran, as far as the machine counts it: GPU memory, energy."""

    workers: int
    wall_milliseconds: int
    cpu_milliseconds: int
    peak_memory_bytes: int
    sampled: dict[str, int] = {}


class StreamFacts(_Document):
    """A stream of random numbers: what it is keyed by, and the configuration's rationale for it (empty: none)."""

    keyed_by: str
    rationale: str


class FairnessFacts(_Document):
    """Group → its records and right answers, and the largest differences between groups, hex floats."""

    column: str
    groups: dict[str, dict[str, int]]
    demographic_parity_difference: str
    equal_opportunity_difference: str
    equalized_odds_difference: str


class RunRecord(_Document):
    """The predicate. `lock`, `source` and `environment` are digests from the labels of the image's config, empty where
    it has none; `config` is the digest of `config_text`. `resources`, `machine`, `driver`, `attempts`, `started` and
    `finished` are never compared; the last two and `resources` are of the last attempt. `reused` names the stages whose
    result an earlier attempt had computed."""

    format: Literal[1] = 1
    run: str
    image: ImageFacts
    lock: str
    source: str
    environment: str
    engine: str
    config: str = Field(pattern=_DIGEST)
    config_text: str
    snapshot: str = Field(pattern=_DIGEST)
    snapshot_name: str
    profile: ProfileFacts
    proof: ProofFacts | None = None  # absent from records of earlier trainers
    seed: int
    random_streams: dict[str, StreamFacts] = {}
    backend: str
    backend_version: str
    ledger: LedgerFacts
    checkpoints: tuple[CheckpointFacts, ...]
    state: str = Field(pattern=_DIGEST)
    metrics: dict[str, str | int]
    fairness: FairnessFacts | None = None
    membership: dict[str, str | int] | None = None
    reused: tuple[str, ...] = ()
    resources: ResourceFacts
    machine: dict[str, str | int]
    driver: DriverFacts | None = None  # absent without a GPU, and from records of earlier trainers
    started: str
    finished: str
    delegation: str = Field(pattern=_DIGEST)
    attempts: tuple[AttemptFacts, ...] = ()
    parent: ParentFacts | None = None


@dataclass(frozen=True, slots=True)
class RunKey:
    """The run's own key, and the digest of the delegation that vouches for it."""

    key: ec.EllipticCurvePrivateKey
    delegation: str


def read_record(predicate: Mapping[str, Any]) -> RunRecord:
    """The record in a verified statement's predicate.

    Raises:
        InputError: not a run record of this format; names the first field that doesn't fit.
    """
    try:
        return RunRecord.model_validate(dict(predicate), strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"not a run record of format {FORMAT}: {place}: {first['msg']}") from error


def sign_record(record: RunRecord, key: RunKey, *, subject: str) -> bytes:
    """The bundle that holds the record, signed by the run's key. `subject` is the image's name, for people."""
    predicate = record.model_dump(mode="json")
    return sign_statement(key.key, make_statement(subject, record.image.digest, RUN_RECORD, predicate))


def read_run_key(folder: Path, launch: Launch, *, config: str, at: datetime) -> RunKey:
    """The run's key from the launch folder, once the delegation is known to vouch for it and for this very run.

    Checked before training: a record that nobody may accept would only be noticed after it.

    Args:
        folder: the launch folder.
        launch: its launch.json; the image digest in it was compared with the measured one.
        config: digest of the configuration's bytes.
        at: now, with a time zone.

    Raises:
        RefusedError: key or delegation is missing or malformed, or for another run, image, configuration or
            snapshot.
    """
    pem = read_launch_file(folder, RUN_KEY_FILE, "the record can't be signed without the run's key")
    data = read_launch_file(folder, DELEGATION_FILE, "nobody vouches for the run's key")
    policy = read_launch_file(folder, POLICY_FILE, "no policy says whose signature counts")
    try:
        key = load_pem_private_key(pem, None)
        delegation = verify_delegation(data, read_policy(policy).delegating_keys(at), at=at)
    except (RepriseError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RefusedError(f"the run's key or its delegation does not hold: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or public_pem(key.public_key()) != delegation.public_key:
        raise RefusedError(f"{folder / RUN_KEY_FILE}: the delegation is for another key")
    said = {
        "run": (delegation.run, launch.run),
        "image": (delegation.image, launch.image),
        "configuration": (delegation.config, config),
        "snapshot": (delegation.snapshot, launch.snapshot),
    }
    for what, (allowed, found) in said.items():
        if allowed != found:
            raise RefusedError(f"the delegation is for another {what}: {allowed}, this run's is {found}")
    return RunKey(key, sha256_digest(data))
