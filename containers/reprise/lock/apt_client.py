"""What this machine's apt is configured with: archives and proxy."""

from __future__ import annotations

import shutil
import subprocess

import requests

from reprise.lock.session import open_session


def configured_mirrors(suite: str) -> list[str]:
    """The archives from which this machine's apt reads `suite` (its codename), in apt's order; none without apt."""
    output = _apt("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {suite}")
    return list(dict.fromkeys(line for line in output.split() if line.startswith(("http:", "https:", "file:"))))


def apt_session() -> requests.Session:
    """A session with apt's proxies and certificates (apt.conf(5), apt-transport-http(1), apt-transport-https(1))."""
    values = {}
    for key in ("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::https::CAInfo"):
        values[key] = _apt("apt-config", "dump", "--no-empty", "--format", "%v%n", key).strip()
    http = values["Acquire::http::Proxy"]
    https = values["Acquire::https::Proxy"] or http
    proxies = {scheme: each for scheme, each in (("http", http), ("https", https)) if each and each != "DIRECT"}
    return open_session(proxies=proxies, certificates=values["Acquire::https::CAInfo"])


def _apt(*command: str) -> str:
    """Output of an apt program; empty when it fails or is not there."""
    if shutil.which(command[0]) is None:
        return ""
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout if answer.returncode == 0 else ""
