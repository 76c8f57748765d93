"""Signed image + configuration → a training run inside the image, and its signed record in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprise.artifacts.fetch import fetch
from reprise.engine.interface import EngineName, ImageRef, RunFolders
from reprise.engine.launch import LaunchContents, launch_folder
from reprise.engine.secret_folder import Secret, hide_secrets, secret_folder
from reprise.events import OnEvent, ignore
from reprise.kept_runs import keep_run
from reprise.lock.environment import read_environment
from reprise.lock.model import Sources
from reprise.project import Project
from reprise.run_config import LoadedConfig
from reprise.run_folder import BegunRun, held, load_run, make_run_folder, new_run_id
from reprise.run_record import check_record, finished_run
from reprise.snapshots import StoredSnapshot, data_artifacts, prepare_snapshot
from reprise.store import Store
from reprise.trainer_process import run_trainer
from reprise.trust.delegation import delegate
from reprise.trust.keys import make_key, private_pem
from reprise.trust.policy_file import with_launcher
from reprise.trust.verify import accept_image, policy_bundles, verify_image
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.config.data import MadeData, StoreSection
from reprise_trainer.config.overrides import Override
from reprise_trainer.config.read import read_config
from reprise_trainer.durable import write_durably
from reprise_trainer.identity.bundle import SigningKey
from reprise_trainer.identity.launch import CONFIG_FILE, DELEGATION_FILE, Launch
from reprise_trainer.identity.policy import Policy, write_policy
from reprise_trainer.training.records.record import RunRecord
from reprise_trainer.training.records.results import forget_results
from reprise_trainer.training.workers.group import own_shards

if TYPE_CHECKING:  # what a registry needs is slow to import
    from reprise.feed.snapshot import FedSnapshot, ShardPlace

LAUNCHER = "launcher"
"""What a launcher's key is called where the policy does not name it."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """Who starts runs: the store that holds the images, the key that delegates to run keys, the policy that an image
    has to meet, the engine, the GPUs that a run sees (as `docker run --gpus` takes them), whether it reaches the
    network, and the secrets that its own code reads."""

    store: Store
    key: SigningKey
    policy: Policy
    engine: EngineName = "namespaces"
    gpus: str = ""
    network: bool = False
    secrets: tuple[Secret, ...] = ()

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
    config: Path | None,
    launcher: Launcher,
    project: Project,
    *,
    overrides: Sequence[Override] = (),
    output: Path | None = None,
    resume: Path | None = None,
    workers: int = 1,
    shards: ShardPlace | None = None,
    fresh: bool = False,
    on_event: OnEvent = ignore,
) -> RunResult:
    """Train as a configuration says, inside the signed image of its environment.

    Args:
        config: the configuration's file (TOML); None for that of the run that goes on.
        launcher: who starts the run.
        project: where the environment's sources of data are named.
        overrides: values that stand before the file's.
        output: a new or empty folder for the run's files; `runs/<run id>` by default.
        resume: the folder of a run that goes on; where nothing has begun in it, the run of `config` starts there.
        workers: how many processes share the work; it decides nothing.
        shards: where the snapshot's shards come from while the run goes on; None brings all of them first.
        fresh: do evaluation and report of the run in `resume` again, whatever an earlier attempt has kept of them.
        on_event: told of phases and steps.

    Returns:
        The run, its record verified and kept in the store.

    Raises:
        NotFoundError: no such file, or the environment's image is not in the store.
        InputError: the configuration or the data is wrong.
        UnavailableError: the data are not to be had.
        DoesNotHoldError: the policy does not hold for the image, or shards have other bytes than their digests.
        RefusedError: the trainer refused to start on what it measured.
    """
    loaded, begun = load_run(config, overrides, resume, launcher.store)
    parsed = loaded.config
    image = begun.image if begun else launcher.store.resolve(parsed.run.environment)
    accept_image(launcher.store, image, launcher.policy, name=parsed.run.environment)
    environment = project.environment_file(parsed.run.environment)
    return run_loaded(
        loaded,
        begun,
        image,
        launcher,
        lambda: read_environment(environment).sources,
        base=config.parent if config else None,
        shards=shards,
        output=resume or output,
        workers=workers,
        fresh=fresh,
        on_event=on_event,
    )


def run_loaded(
    loaded: LoadedConfig,
    begun: BegunRun | None,
    image: str,
    launcher: Launcher,
    sources: Callable[[], Sources],
    *,
    base: Path | None,
    shards: ShardPlace | None,
    output: Path | None,
    workers: int,
    fresh: bool,
    on_event: OnEvent,
) -> RunResult:
    """Bring the data that a configuration names, and run it in an image that the policy has let in.

    Args:
        loaded, begun: as `load_run` gives them.
        image: digest of an image in the store.
        launcher: who starts the run.
        sources: gives the places to fetch data from; asked only where the store lacks some.
        base: folder of the configuration's file; None where a run goes on without one.
        shards, workers, fresh, on_event: see `train`.
        output: see `run_training`.

    Raises:
        InputError, NotFoundError, UnavailableError: the data are wrong, or not to be had; or the workers can't share
            the shards.
        DoesNotHoldError, RefusedError: see `run_training`; or shards have other bytes than their digests.
    """
    own_shards(0, workers, loaded.config.train.shards)  # said before anything is brought or unpacked
    with _snapshot(loaded.config.data, launcher.store, sources, base, shards, on_event) as snapshot:
        return run_training(
            loaded.data,
            image,
            snapshot,
            launcher,
            code=loaded.code,
            start=loaded.start,
            output=output,
            begun=begun,
            workers=workers,
            fresh=fresh,
            on_event=on_event,
        )


@contextmanager
def _snapshot(
    data: MadeData | StoreSection,
    store: Store,
    sources: Callable[[], Sources],
    base: Path | None,
    shards: ShardPlace | None,
    on_event: OnEvent,
) -> Iterator[StoredSnapshot | FedSnapshot]:
    if shards is not None:
        from reprise.feed.snapshot import fed_snapshot

        with fed_snapshot(data, shards, store, on_event=on_event) as fed:
            yield fed
        return
    artifacts = data_artifacts(data, store, base=base)
    there = all(store.has(each.digest) for each in artifacts)
    fetch(artifacts, store, Sources() if there else sources(), on_event=on_event)
    on_event({"event": "phase", "name": "make the data snapshot"})
    yield prepare_snapshot(data, store)


def run_training(
    config: bytes,
    image: str,
    snapshot: StoredSnapshot | FedSnapshot,
    launcher: Launcher,
    *,
    code: bytes | None = None,
    start: Path | None = None,
    output: Path | None = None,
    begun: BegunRun | None = None,
    workers: int = 1,
    fresh: bool = False,
    on_event: OnEvent = ignore,
) -> RunResult:
    """Run the trainer of `image` on `snapshot`, and keep its record.

    Args:
        config: the configuration's bytes.
        image: manifest digest of a training image in the launcher's store.
        code: archive of the run's own code, whose digest the configuration says; None where it names none.
        start: folder of the checkpoint to start from, likewise. A copy stays in the run's folder, for audits.
        output: a new or empty folder; `runs/<run id>` by default.
        begun: the run that goes on, in its own folder and by its own id, whose image and configuration these are. Its
            record will be signed by a new key, which a new delegation vouches for. One that has finished, and whose
            files all hold, is not run again: the result is that of its record.
        workers, fresh: see `train`.

    Raises:
        DoesNotHoldError: the policy does not hold for the image, or the record's chain of signatures is broken.
        RefusedError: the trainer refused to start.
    """
    hide_secrets(launcher.secrets)
    verify_image(launcher.store, image, launcher.policy).require()
    started = time.monotonic()
    if begun and not fresh:
        with held(begun.folder):
            finished = finished_run(begun, snapshot.digest, launcher.run_policy, on_event)
        if finished is not None:
            return _result(launcher.store, image, finished, begun.folder, time.monotonic() - started)
    parsed = read_config(config, where=CONFIG_FILE)
    run_id = begun.run if begun else new_run_id(parsed.run.name)
    contents = replace(_launch_contents(config, image, snapshot, launcher, run_id, workers), code=code, start=start)
    output = begun.folder if begun else make_run_folder(output or Path("runs") / run_id, contents)
    with (
        held(output),
        launch_folder(contents) as launch,
        secret_folder(launcher.secrets) as secrets,
        _serving(snapshot, launch),
    ):
        if fresh:
            forget_results(output)
        write_durably(output / DELEGATION_FILE, contents.delegation)
        folders = RunFolders(launch, snapshot.folder, output, secrets)
        run_trainer(
            launcher.engine,
            ImageRef(launcher.store, image),
            folders,
            gpus=launcher.gpus,
            network=launcher.network,
            on_event=on_event,
        )
    record = check_record(output, launcher.run_policy)
    return _result(launcher.store, image, record, output, time.monotonic() - started)


def _result(store: Store, image: str, record: RunRecord, output: Path, seconds: float) -> RunResult:
    """The result of the run that was started in `image`, its record checked; what it left is in the store then."""
    return RunResult(
        run=record.run,
        image_digest=image,
        measured_digest=record.image.digest,
        snapshot_digest=record.snapshot,
        ledger_head=record.ledger.head,
        state_digest=record.state,
        metrics=dict(record.metrics),
        record=keep_run(store, image, output),
        output=output,
        seconds={
            "run": round(seconds, 3),
            "measure": record.image.milliseconds / 1000,
            "train": record.resources.wall_milliseconds / 1000,
        },
    )


def _serving(snapshot: StoredSnapshot | FedSnapshot, launch: Path) -> AbstractContextManager[None]:
    return nullcontext() if isinstance(snapshot, StoredSnapshot) else snapshot.serving(launch)


def _launch_contents(
    config: bytes, image: str, snapshot: StoredSnapshot | FedSnapshot, launcher: Launcher, run_id: str, workers: int
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
        launch=Launch(image, snapshot.digest, run_id, launcher.engine, events="json", workers=workers),
        config=config,
        image_bundle=bundles[0],
        more_bundles=tuple(bundles[1:]),
        delegation=delegation,
        run_key=private_pem(run_key),
        policy=policy,
    )
