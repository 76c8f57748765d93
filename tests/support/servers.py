"""Real servers for tests and benchmarks: on loopback or a socket, with folders of their own, ended by process id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
START_SECONDS = 60


@contextmanager
def dockerd(folder: Path, *, bridge: bool = False) -> Iterator[str]:
    """A Docker daemon with nothing in it; gives its address. Containers get no network, and nothing is left behind.

    With `bridge` they get one that leads to the daemon and no further: it is in a network namespace of its own.
    """
    with tempfile.TemporaryDirectory(prefix="dockerd-") as short:  # a socket's path must be short
        address = f"unix://{short}/docker.sock"
        command = [program("dockerd", "docker.io"), "-H", address, "--data-root", f"{folder}/data"]
        command += ["--exec-root", f"{short}/exec", "--pidfile", f"{short}/pid", "--iptables=false"]
        command = on_another_network(command) if bridge else [*command, "--bridge=none"]
        environment = {**os.environ, "DOCKER_HOST": address}
        client = program("docker", "docker.io")

        def answers() -> bool:
            return subprocess.run([client, "version"], env=environment, capture_output=True).returncode == 0

        try:
            with _running(command, folder, "dockerd.log", answers):
                yield address
        finally:
            unmount_below(short, str(folder))  # dockerd leaves the network namespace of its containers mounted


def on_another_network(command: list[str]) -> list[str]:
    """A command that runs another one, in its own process, in a new network namespace."""
    return ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', *command]


@contextmanager
def docker_registry(folder: Path, *, htpasswd: str = "", tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """An empty OCI registry; gives `127.0.0.1:<port>`.

    Args:
        htpasswd: a line of an htpasswd file (bcrypt); then that user name and password are asked for.
        tls: files of a certificate and its key; then it is https alone that is answered.
    """
    host = f"127.0.0.1:{free_port()}"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\nhttp:\n  addr: '{host}'\n"
        + (f"  tls: {{certificate: {tls[0]}, key: {tls[1]}}}\n" if tls else "")
        + (f"auth: {{htpasswd: {{realm: registry, path: {folder}/htpasswd}}}}\n" if htpasswd else "")
    )
    (folder / "htpasswd").write_text(f"{htpasswd}\n")

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://{host}/v2/", timeout=1) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            return error.code in (400, 401)  # http asked of https, or a password missing
        except (urllib.error.URLError, OSError):
            return False

    command = [program("docker-registry", "docker-registry"), "serve", str(config)]
    with _running(command, folder, "registry.log", answers):
        yield host


def free_port() -> int:
    """A port of the loopback interface that nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def program(name: str, package: str) -> str:
    """The full path of a system program; without it there is no test, and the message names Debian's package."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise RuntimeError(f"{name} is missing: install Debian's package {package}, or run scripts/test-tools")
    return found


def unmount_below(*folders: str) -> None:
    """Unmount what a server left mounted below these folders."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if (mounted := line.split()[1]).startswith(folders):
            subprocess.run(["umount", mounted], check=True)


@contextmanager
def _running(command: list[str], folder: Path, log_name: str, answers: Callable[[], bool]) -> Iterator[None]:
    """A process that runs for the length of the block, once it `answers`."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / log_name
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + START_SECONDS
        while not answers():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} does not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(START_SECONDS)
