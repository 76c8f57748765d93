"""Every way out of a command is a documented exit code and at most one message: nobody has to read a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "examples" / "fashion-mnist.toml"
HOST, TRAINER = "reprise", "reprise_trainer"
SPEAKING = [
    (HOST, "key"),
    (HOST, "key", "--json"),
    (HOST, "lock", "--help"),
    (TRAINER, "config", str(CONFIG), "--explain"),
    (TRAINER, "profile", "portable"),
]
"""Commands that print something and change nothing but the home folder."""


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "REPRISE_HOME": str(home), "REPRISE_STORE": str(home / "store")}


def argv(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


@pytest.mark.parametrize("command", SPEAKING, ids=" ".join)
def test_a_reader_that_has_left_is_no_error_to_speak_of(command: tuple[str, ...], tmp_path: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "wb") as pipe:
        done = subprocess.run(
            argv(*command), env=environment(tmp_path), stdout=pipe, stderr=subprocess.PIPE, check=False, text=True
        )
    assert done.returncode == (1 if command == (HOST, "lock", "--help") else 141)  # that help is Typer's and rich's
    assert "Traceback" not in done.stderr and "Error" not in done.stderr, done.stderr


@pytest.mark.parametrize("command", SPEAKING, ids=" ".join)
def test_a_full_disk_behind_standard_output_is_one_message(command: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            argv(*command), env=environment(tmp_path), stdout=full, stderr=subprocess.PIPE, check=False, text=True
        )
    assert done.returncode == 74, done.stderr
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_ctrl_c_is_one_message_and_130(tmp_path: Path) -> None:
    command = argv(HOST, "key", "--encrypt", "--new-passphrase-command", f"sh -c 'touch {tmp_path}/asked; sleep 60'")
    command = ["env", "--default-signal=INT", *command]  # a shell lets what it starts in the background ignore it
    with subprocess.Popen(
        command, env=environment(tmp_path), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not (tmp_path / "asked").exists():
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error == "interrupted; what was finished is kept, the same command goes on from there\n"
    assert not (tmp_path / "signing-key.pem").exists()


DEFECT = """
import os, sys
sys.argv = {argv!r}
import {module} as verb
def command(chosen: str = "") -> None:
    raise ZeroDivisionError(os.environ["SOME_TOKEN"])
verb.command = command
from {entry} import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "entry", "arguments"),
    [
        ("reprise.cli.runs", "reprise.cli.main", ["reprise", "runs"]),
        ("reprise_trainer.commands.profile", "reprise_trainer.__main__", ["reprise_trainer", "profile"]),
    ],
)
def test_a_defect_is_70_and_its_traceback_has_no_secrets(
    module: str, entry: str, arguments: list[str], tmp_path: Path
) -> None:
    script = DEFECT.format(argv=arguments, module=module, entry=entry)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment(tmp_path), "SOME_TOKEN": "hush-hush-hush"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 70, done.stderr
    assert "ZeroDivisionError: [redacted: value of SOME_TOKEN]" in done.stderr and "hush" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        (TRAINER, "config"),
        (TRAINER, "config", "x.toml", "--colour"),
        (TRAINER, "nonsense"),
        (HOST, "nonsense"),
        (HOST, "lock"),
        (HOST, "lock", "torch-cpu", "--check", "--dry-run"),
        (HOST, "scan", "torch-cpu"),
        (HOST, "key", "--encrypt", "--change-passphrase"),
        (HOST, "train"),
        (HOST, "sign", "torch-cpu", "--identity-token", "token"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2(command: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(argv(*command), env=environment(tmp_path), capture_output=True, check=False, text=True)
    assert done.returncode == 2 and done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        (TRAINER, "config", "missing.toml", "--json"),
        (TRAINER, "ledger", "verify", "missing.jsonl", "--json"),
        (HOST, "load", "missing.tar", "--json"),
    ],
    ids=" ".join,
)
def test_an_error_is_a_document_for_machines_too(command: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        argv(*command), env=environment(tmp_path), cwd=tmp_path, capture_output=True, check=False, text=True
    )
    error = json.loads(done.stdout)["error"]
    assert done.returncode == error["exit_code"] == 66 and "missing" in error["message"]
