"""The main job in one go: lock → artifacts → image → signature → verification → training inside → audit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reprise.audit import AuditReport, audit
from reprise.environments import build_environment, fetch_environment
from reprise.events import OnEvent, ignore
from reprise.project import Project
from reprise.run_config import load_config
from reprise.train import Launcher, RunResult, train
from reprise.trust.sign import sign_image, signed_digest
from reprise.trust.verify import verify_image


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What came out: the image digest as built and as the signature names it, the run (with the digest measured
    inside), the audit, and the seconds of each step in order."""

    built: str
    environment: str
    signed: str
    run: RunResult
    audit: AuditReport
    seconds: dict[str, float]


def run_demo(config: Path, launcher: Launcher, project: Project, *, on_event: OnEvent = ignore) -> DemoReport:
    """Do all that `reprise` is for, on the configuration's environment and data.

    Raises:
        RepriseError: a step failed; the message is that step's.
    """
    seconds: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        on_event({"event": "phase", "name": name})
        started = time.monotonic()
        yield
        seconds[name] = time.monotonic() - started

    environment = load_config(config).config.run.environment
    with step("fetch"):
        fetch_environment(project, environment, launcher.store, on_event=on_event)
    with step("build"):
        image = build_environment(project, environment, launcher.store, on_event=on_event)
    with step("sign"):
        sign_image(launcher.store, image.digest, environment, launcher.key)
    with step("verify"):
        verify_image(launcher.store, image.digest, launcher.policy).require()
        signed = signed_digest(launcher.store, image.digest, launcher.policy)
    with step("train"):
        run = train(config, launcher, project, on_event=on_event)
    with step("audit"):
        report = audit(run.output, launcher, on_event=on_event)
    return DemoReport(image.digest, image.environment_digest, signed, run, report, seconds)
