"""Whether an engine can start a run here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

from reprise.doctor.finding import Finding

_SECONDS = 30
_PODMAN_TODO = "Install podman and see what `podman info` says, or use --engine namespaces."
_DOCKER_TODO = "Start the daemon and allow this user to use it (`docker info` says more), or use --engine namespaces."


def engines(user_namespaces: Finding) -> list[Finding]:
    """One finding for each engine; with none that works, each is a problem."""
    found = [_namespaces(user_namespaces), _docker(), _podman()]
    if all(each.state != "ok" for each in found):
        found = [Finding(each.name, "problem", each.what, each.todo) for each in found]
    return found


def _namespaces(user_namespaces: Finding) -> Finding:
    name = "engine namespaces"
    if user_namespaces.state == "ok":
        return Finding(name, "ok", "needs nothing but the kernel")
    if os.geteuid() == 0 and _has_admin():
        return Finding(name, "ok", "as root, without a user namespace")
    return Finding(name, "warning", f"user namespaces {user_namespaces.what}", user_namespaces.todo)


def _has_admin(status: str = "/proc/self/status") -> bool:
    """Whether this process has CAP_SYS_ADMIN (21), which makes mounts without a user namespace."""
    with open(status) as file:  # noqa: PTH123
        match = re.search(r"^CapEff:\s*([0-9a-f]+)", file.read(), re.MULTILINE)
    return bool(match and int(match[1], 16) >> 21 & 1)


def _docker() -> Finding:
    name = "engine docker"
    import docker
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        client: Any = docker.from_env(timeout=10)
        try:
            version, info = str(client.version()["Version"]), client.info()
        finally:
            client.close()
    except (DockerException, RequestException, KeyError) as error:
        return Finding(name, "warning", f"does not answer: {error}", _DOCKER_TODO)
    runtimes = sorted(info.get("Runtimes") or {})
    return Finding(name, "ok", f"Docker {version}, runtimes {' '.join(runtimes)}")


def _podman() -> Finding:
    """Asked for what it needs of the system (storage, cgroups, namespaces), which it finds out by itself."""
    name = "engine podman"
    podman = shutil.which("podman")
    if podman is None:
        return Finding(name, "warning", "there is no podman on PATH", _PODMAN_TODO)
    command = [podman, "info", "--format", "{{.Version.Version}}, {{.Store.GraphDriverName}} storage"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, "warning", f"does not answer: {error}", _PODMAN_TODO)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return Finding(name, "warning", f"does not work: {said[-1] if said else done.returncode}", _PODMAN_TODO)
    return Finding(name, "ok", f"podman {done.stdout.strip()}")
