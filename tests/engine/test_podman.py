"""The engine `podman` beside what all engines are tested for: its service comes and goes with the run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reprise.engine.podman import PodmanEngine
from reprise_trainer.errors import SystemFailureError


def test_no_service_is_left_after_a_run(bench, own_podman: None) -> None:
    assert bench.run("podman", "print('ran')").lines == ["ran"]
    services = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
            parent = int((process.parent / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"service" in words and parent == os.getpid():
            services.append(words)
    assert services == []


def test_no_container_is_left_after_a_run(bench, own_podman: None) -> None:
    bench.run("podman", "sys.exit(1)")
    listed = subprocess.run(["podman", "ps", "--all", "--quiet"], capture_output=True, text=True, check=True)
    assert listed.stdout == ""


def test_an_image_that_podman_has_is_not_sent_again(bench, own_podman: None) -> None:
    events: list[str] = []
    for _ in range(2):
        bench.program("")
        PodmanEngine().run(
            bench.ref,
            bench.folders,
            on_line=print,
            on_error_line=print,
            on_event=lambda each: events.append(each["name"]),
        )
    assert len(events) <= 1


def test_a_podman_that_is_not_there_or_does_not_start_is_said(
    bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> SystemFailureError:
        with pytest.raises(SystemFailureError) as caught:
            PodmanEngine().run(bench.ref, bench.folders, on_line=print, on_error_line=print)
        return caught.value

    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no podman on PATH" in run().message
    (tmp_path / "podman").write_text("#!/bin/sh\necho no storage >&2\nexit 125\n")
    (tmp_path / "podman").chmod(0o755)
    assert "does not start: no storage" in run().message
