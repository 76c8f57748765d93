"""A training run inside the image, from its first act to its signed record; with a verb, that verb (`commands`)."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import RefusedError, RepriseError, StoppedError
from reprise_trainer.identity.launch import (
    CONFIG_FILE,
    DATA,
    FEED_SOCKET,
    LAUNCH_FILE,
    MOUNTED_AT,
    OUTPUT,
    START_FOLDER,
    decode_launch,
    read_launch_file,
)
from reprise_trainer.identity.start import Identity, verify_end, verify_identity
from reprise_trainer.numerics.cpu import require_cpu
from reprise_trainer.numerics.enter import enter_profile
from reprise_trainer.numerics.profiles import profile_asked_for
from reprise_trainer.redaction import hide, redact
from reprise_trainer.reporting.events import Events
from reprise_trainer.secret_files import read_secret_files
from reprise_trainer.training.stop import Stop, stop_on_signals
from reprise_trainer.training.workers.crew import crew
from reprise_trainer.training.workers.group import Group, group_outside

if TYPE_CHECKING:  # all the rest is imported once its files are known to be the image's own
    from reprise_trainer.identity.own_code import OwnCode
    from reprise_trainer.training.ready import Request
    from reprise_trainer.training.records.record import RunRecord


def main() -> int:
    """Run, and return the exit code: 0, or the error's, which is told once, as an event or on stderr."""
    if len(sys.argv) > 1:
        from reprise_trainer.commands.main import main as run_verb

        return run_verb(sys.argv[1:])
    hide(read_secret_files())
    events = Events()
    try:
        events = Events(_form_of_events(MOUNTED_AT))
        _run(MOUNTED_AT, DATA, OUTPUT, events)
    except RepriseError as error:
        return _failed(events, error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception:  # a defect of ours: its traceback is what a report of it needs
        print(redact(traceback.format_exc()), end="", file=sys.stderr)
        return RepriseError.exit_code
    return 0


def _run(launch_folder: Path, data: Path, output: Path, events: Events) -> None:
    # Under which numeric settings? The process starts again with them, before anything else is loaded.
    config = read_launch_file(launch_folder, CONFIG_FILE, "no configuration says what to train")
    profile, threads = profile_asked_for(config, where=CONFIG_FILE)
    require_cpu(profile)
    enter_profile(profile, threads)

    with stop_on_signals() as stop:
        _measure_and_train(launch_folder, config, profile.switches(threads), data, output, events, stop)


def _measure_and_train(
    launch_folder: Path,
    config: bytes,
    switches: Mapping[str, str],
    data: Path,
    output: Path,
    events: Events,
    stop: Stop,
) -> None:
    # What am I running on? The standard library and this package are all that has been used so far.
    identity = verify_identity(launch_folder, switches=switches)
    events.emit(_measured(identity))

    outside = group_outside(os.environ)
    with contextlib.nullcontext(outside) if outside else crew(identity.launch.workers) as group:
        if group.rank > 0:
            _train_along(identity, launch_folder, config, data, output, stop, group)
            return

        # Train, and leave a signed record of it.
        record = _train_and_record(identity, launch_folder, config, data, output, events, stop, group)
    events.emit(_finished(record))


def _train_along(
    identity: Identity, launch_folder: Path, config: bytes, data: Path, output: Path, stop: Stop, group: Group
) -> None:
    """As a worker that is not the first: no events, no record, no key."""
    from reprise_trainer.training.run import run_along

    code = _enter_own_code(launch_folder, config)
    request = _request(identity, launch_folder, config, data, output)
    run_along(request, stop=stop, group=group)
    verify_end(identity, code)


def _enter_own_code(launch_folder: Path, config: bytes) -> OwnCode | None:
    from reprise_trainer.config.read import read_config
    from reprise_trainer.identity.own_code import enter_code

    section = read_config(config, where=CONFIG_FILE).code
    return enter_code(launch_folder, section.sha256) if section else None


def _request(identity: Identity, launch_folder: Path, config: bytes, data: Path, output: Path) -> Request:
    from reprise_trainer.training.ready import Request

    start, feed = launch_folder / START_FOLDER, launch_folder / FEED_SOCKET
    return Request(
        config,
        identity.digest,
        identity.launch.snapshot,
        data,
        output,
        start if start.is_dir() else None,
        feed=feed if feed.is_socket() else None,
    )


def _train_and_record(
    identity: Identity,
    launch_folder: Path,
    config: bytes,
    data: Path,
    output: Path,
    events: Events,
    stop: Stop,
    group: Group,
) -> RunRecord:
    from reprise_trainer.durable import write_durably
    from reprise_trainer.reporting.report import write_report
    from reprise_trainer.training.checkpoints.signature import checkpoint_signer
    from reprise_trainer.training.records.describe import describe_run
    from reprise_trainer.training.records.own_report import write_own_report
    from reprise_trainer.training.records.record import FILE_NAME, read_run_key, sign_record
    from reprise_trainer.training.records.sampler import sampled
    from reprise_trainer.training.run import run
    from reprise_trainer.training.stages import load_stages

    # May I sign for this run? Asked before training, since an answer of no would only waste it.
    started = datetime.now(UTC)
    key = read_run_key(launch_folder, identity.launch, config=sha256_digest(config), at=started)

    code = _enter_own_code(launch_folder, config)
    request = _request(identity, launch_folder, config, data, output)
    request = replace(request, sign=checkpoint_signer(key.key, output))
    with sampled(lambda health: events.emit({"event": "health", "step": events.step, **health})) as usage:
        outcome = run(request, events.emit, stop=stop, group=group)

    # Was anything from outside the image loaded meanwhile? Only if not is there a record.
    verify_end(identity, code)
    record = describe_run(identity, config, outcome, key, started=started, sampled=usage.facts())
    write_report(record, output)
    write_durably(output / FILE_NAME, sign_record(record, key, subject=outcome.config.run.environment))
    if report := load_stages(outcome.config.stages).report:  # last: whatever it does, the record stands
        write_own_report(report, record, outcome.config, output)
    return record


def _form_of_events(launch_folder: Path) -> str:
    """How the launcher wants events; whether launch.json is right in all else is judged later."""
    return decode_launch(read_launch_file(launch_folder, LAUNCH_FILE, "nothing says what to run")).events


def _measured(identity: Identity) -> dict[str, object]:
    measured = identity.measurement
    return {
        "event": "measured",
        "image": identity.digest,
        "files": measured.files,
        "bytes": measured.bytes,
        "seconds": measured.seconds,
        "message": identity.line(),
    }


def _finished(record: RunRecord) -> dict[str, object]:
    return {
        "event": "finished",
        "image": record.image.digest,
        "snapshot": record.snapshot,
        "ledger": record.ledger.head,
        "state": record.state,
        "metrics": record.metrics,
    }


def _failed(events: Events, error: RepriseError) -> int:
    kinds: tuple[tuple[type[RepriseError], str], ...] = ((RefusedError, "refused"), (StoppedError, "stopped"))
    kind = next((name for each, name in kinds if isinstance(error, each)), "failed")
    told = False
    with contextlib.suppress(RepriseError):  # standard output may be gone; stderr and the exit code say it all
        events.emit({"event": kind, "message": error.message, "hint": error.hint, "exit_code": error.exit_code})
        told = events.for_launcher
    if not told:
        print(redact(f"error: {error}"), file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # what a framework does at its exit may wait for workers that are gone
