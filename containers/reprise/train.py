"""Signed image + configuration → a training run inside the image, and its signed record in the store."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reprise.artifacts.fetch import fetch
from reprise.engine.choose import run
from reprise.engine.interface import EngineName, ImageRef, RunFolders
from reprise.engine.launch import LaunchContents, launch_folder
from reprise.events import Event, OnEvent, ignore
from reprise.lock.environment import read_environment
from reprise.project import Project
from reprise.run_config import load_config
from reprise.snapshots import StoredSnapshot, data_artifacts, prepare_snapshot
from reprise.store import Store
from reprise.trust.delegation import delegate, verify_record
from reprise.trust.keys import make_key, private_pem
from reprise.trust.policy_file import with_launcher
from reprise.trust.verify import accept_image, policy_bundles, verify_image
from reprise_trainer import errors
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.config.overrides import Override
from reprise_trainer.config.read import read_config
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import InputError, NotFoundError, RepriseError
from reprise_trainer.identity.bundle import SigningKey
from reprise_trainer.identity.launch import CODE_FILE, CONFIG_FILE, DELEGATION_FILE, Launch
from reprise_trainer.identity.policy import Policy, write_policy
from reprise_trainer.training.ledger import FILE_NAME as LEDGER_FILE
from reprise_trainer.training.record import FILE_NAME as RECORD_FILE
from reprise_trainer.training.record import RunRecord, read_record

RUN_TYPE = "application/vnd.reprise.run.v1"
LAUNCHER = "launcher"
"""What a launcher's key is called where the policy does not name it."""

RUN_FILES = {
    RECORD_FILE: "application/vnd.dev.sigstore.bundle.v0.3+json",
    DELEGATION_FILE: "application/vnd.dev.sigstore.bundle.v0.3+json",
    CONFIG_FILE: "application/toml",
    LEDGER_FILE: "application/x-ndjson",
    "report.json": "application/json",
    CODE_FILE: "application/x-tar",
}
"""What the store keeps of a run, as an artifact whose subject is the image."""

_EXIT_CODES = {
    kind.exit_code: kind
    for kind in (
        errors.DoesNotHoldError,
        errors.InputError,
        errors.NotFoundError,
        errors.UnavailableError,
        errors.SystemFailureError,
        errors.StorageError,
        errors.RefusedError,
    )
}


@dataclass(frozen=True, slots=True)
class Launcher:
    """Who starts runs: the store that holds the images, the key that delegates to run keys, the policy that an image
    has to meet, the engine, and the GPUs that a run sees (as `docker run --gpus` takes them)."""

    store: Store
    key: SigningKey
    policy: Policy
    engine: EngineName = "namespaces"
    gpus: str = ""

    @property
    def run_policy(self) -> Policy:
        """What a run is judged by: the policy, and this launcher's own key, which delegates to the run's and signs no
        image."""
        return with_launcher(self.policy, LAUNCHER, self.key.public_key())


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run. All digests are `sha256:<hex>`; `record` is the digest of the run's manifest in the store."""

    run: str
    image_digest: str
    measured_digest: str
    snapshot_digest: str
    ledger_head: str
    state_digest: str
    metrics: dict[str, Any]
    record: str
    output: Path
    seconds: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """The result for `--json`."""
        return {
            "run": self.run,
            "image_digest": self.image_digest,
            "measured_digest": self.measured_digest,
            "snapshot_digest": self.snapshot_digest,
            "ledger_head": self.ledger_head,
            "state_digest": self.state_digest,
            "metrics": self.metrics,
            "record": self.record,
            "output": str(self.output),
            "seconds": self.seconds,
        }


def train(
    config: Path,
    launcher: Launcher,
    project: Project,
    *,
    overrides: Sequence[Override] = (),
    output: Path | None = None,
    on_event: OnEvent = ignore,
) -> RunResult:
    """Train as a configuration says, inside the signed image of its environment.

    Args:
        config: the configuration's file (TOML).
        launcher: who starts the run.
        project: where the environment's sources of data are named.
        overrides: values that stand before the file's.
        output: a new or empty folder for the run's files; `runs/<run id>` by default.
        on_event: told of phases and steps.

    Returns:
        The run, its record verified and kept in the store.

    Raises:
        NotFoundError: no such file, or the environment's image is not in the store.
        InputError: the configuration or the data is wrong.
        DoesNotHoldError: the policy does not hold for the image.
        RefusedError: the trainer refused to start on what it measured.
    """
    loaded = load_config(config, overrides)
    parsed = loaded.config
    image = launcher.store.resolve(parsed.run.environment)
    accept_image(launcher.store, image, launcher.policy, name=parsed.run.environment)
    sources = read_environment(project.environment_file(parsed.run.environment)).sources
    fetch(data_artifacts(parsed.data, launcher.store, base=config.parent), launcher.store, sources, on_event=on_event)
    on_event({"event": "phase", "name": "make the data snapshot"})
    snapshot = prepare_snapshot(parsed.data, launcher.store)
    return run_training(loaded.data, image, snapshot, launcher, code=loaded.code, output=output, on_event=on_event)


def run_training(
    config: bytes,
    image: str,
    snapshot: StoredSnapshot,
    launcher: Launcher,
    *,
    code: bytes | None = None,
    output: Path | None = None,
    on_event: OnEvent = ignore,
) -> RunResult:
    """Run the trainer of `image` on `snapshot`, and keep its record.

    Args:
        config: the configuration's bytes.
        image: manifest digest of a training image in the launcher's store.
        code: archive of the run's own code, whose digest the configuration says; None where it names none.

    Raises:
        DoesNotHoldError: the policy does not hold for the image, or the record's chain of signatures is broken.
        RefusedError: the trainer refused to start.
    """
    verify_image(launcher.store, image, launcher.policy).require()
    parsed = read_config(config, where=CONFIG_FILE)
    run_id = f"{parsed.run.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    output = _empty_folder(output or Path("runs") / run_id)
    contents = replace(_launch_contents(config, image, snapshot, launcher, run_id), code=code)
    started = time.monotonic()
    with launch_folder(contents) as launch:
        events = _Events(on_event)
        ended = run(
            launcher.engine,
            ImageRef(launcher.store, image),
            RunFolders(launch, snapshot.folder, output),
            on_line=events.on_line,
            on_event=on_event,
            gpus=launcher.gpus,
        )
    if ended != 0:
        raise _EXIT_CODES.get(ended, RepriseError)(
            events.failure or f"the trainer ended with exit code {ended}", hint=f"Its files are in {output}."
        )
    write_durably(output / DELEGATION_FILE, contents.delegation)
    write_durably(output / CONFIG_FILE, config)
    if code is not None:
        write_durably(output / CODE_FILE, code)
    record = check_record(output, launcher.run_policy)
    kept = _keep_run(launcher.store, image, output)
    return RunResult(
        run=run_id,
        image_digest=image,
        measured_digest=record.image.digest,
        snapshot_digest=record.snapshot,
        ledger_head=record.ledger.head,
        state_digest=record.state,
        metrics=dict(record.metrics),
        record=kept,
        output=output,
        seconds={
            "run": round(time.monotonic() - started, 3),
            "measure": record.image.milliseconds / 1000,
            "train": record.resources.wall_milliseconds / 1000,
        },
    )


def check_record(folder: Path, policy: Policy) -> RunRecord:
    """The run record in a run's folder, once the way from it to the policy's key holds.

    Raises:
        NotFoundError: the record or the delegation is not there.
        DoesNotHoldError: a signature does not hold.
    """
    try:
        record, delegation = (folder / RECORD_FILE).read_bytes(), (folder / DELEGATION_FILE).read_bytes()
    except OSError as error:
        raise NotFoundError(
            f"{error.filename} cannot be read: {error.strerror}; a run leaves it in its folder"
        ) from error
    return read_record(verify_record(record, delegation, policy).record.predicate)


def _launch_contents(
    config: bytes, image: str, snapshot: StoredSnapshot, launcher: Launcher, run_id: str
) -> LaunchContents:
    run_key = make_key()
    policy = write_policy(launcher.run_policy).encode()
    bundles = policy_bundles(launcher.store, image, launcher.policy)
    delegation = delegate(
        launcher.key,
        run_key.public_key(),
        image=image,
        config=sha256_digest(config),
        snapshot=snapshot.digest,
        run=run_id,
        now=datetime.now(UTC),
        policy=sha256_digest(policy),
    )
    return LaunchContents(
        launch=Launch(image, snapshot.digest, run_id, launcher.engine, events="json"),
        config=config,
        image_bundle=bundles[0],
        more_bundles=tuple(bundles[1:]),
        delegation=delegation,
        run_key=private_pem(run_key),
        policy=policy,
    )


def _empty_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"the output folder {folder} is not empty", hint="Name a new folder with --output.")
    except OSError as error:
        raise storage_error(error, folder) from error
    return folder.resolve()


class _Events:
    """The trainer's events: passed on, and the message of a failure remembered."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self.failure = ""

    def on_line(self, line: str) -> None:
        try:
            event: Event = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError):
            return  # a library printed something of its own
        if kind in ("refused", "failed"):
            self.failure = str(event.get("message", ""))
        self._on_event(event)


def _keep_run(store: Store, image: str, folder: Path) -> str:
    """Put a run's small files into the store, as an artifact of its image; the artifact's digest."""
    files = [
        (name, media_type, (folder / name).read_bytes())
        for name, media_type in RUN_FILES.items()
        if name != CODE_FILE or (folder / name).exists()
    ]
    return store.attach(image, RUN_TYPE, files)
