"""A real Slurm of one node, the tests' own: munged, slurmctld and slurmd, on loopback and with files of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from reprise.slurm import REQUEUE_LINE


@dataclass(frozen=True)
class Slurm:
    """Runs Slurm's commands against the tests' own controller."""

    environment: dict[str, str]

    def __call__(self, *argv: str) -> str:
        done = subprocess.run(argv, env=self.environment, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout

    def state(self, job: str) -> str:
        fields = dict(pair.partition("=")[::2] for pair in self("scontrol", "show", "job", job).split())
        return fields["JobState"]

    def wait_until(self, job: str, states: tuple[str, ...], seconds: float = 60) -> str:
        end = time.monotonic() + seconds
        while (state := self.state(job)) not in states:
            assert time.monotonic() < end, f"job {job} is still {state}"
            time.sleep(0.2)
        return state


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def configuration(folder: Path, host: str) -> str:
    return f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
ReturnToService=2
{REQUEUE_LINE}
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, ExitStack() as ended:  # a socket's path must be short
        folder = Path(name)
        folder.chmod(0o755)
        for each in ("state", "spool", "munge"):
            (folder / each).mkdir(mode=0o700)
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        conf = folder / "slurm.conf"
        # cred_expire is also how long a requeued job waits: two minutes by default.
        conf.write_text(configuration(folder, socket.gethostname().partition(".")[0]))
        environment = {**os.environ, "SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        munge = [f"--{what}={folder}/munge/{what}" for what in ("pid-file", "seed-file", "log-file")]
        for argv in (
            ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.sock", *munge],
            ["slurmctld", "-D", "-f", str(conf)],
            ["slurmd", "-D", "-f", str(conf)],
        ):
            log = ended.enter_context((folder / f"{argv[0]}.out").open("wb"))
            process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
            ended.callback(process.wait)
            ended.callback(process.terminate)
            if argv[0] == "munged":
                _wait_for((folder / "munge.sock").exists)
        found = Slurm(environment)
        _wait_for(lambda: "idle" in found("sinfo", "-h", "-o", "%T"))
        yield found


def _wait_for(condition: object, seconds: float = 30) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except subprocess.CalledProcessError:
            pass
        assert time.monotonic() < end
        time.sleep(0.2)
