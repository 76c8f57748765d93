"""What this machine's pip is configured with: indexes, find-links, proxy and certificates."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

import requests

from reprise.lock.session import open_session

_LINE = re.compile(r"(?P<section>[^.]+)\.(?P<key>[a-z-]+)=(?P<value>.*)")
_SECTIONS = ("global", "download", "install", ":env:")
"""Where pip looks for an option, weakest first (pip's documentation, "Configuration")."""


@dataclass(frozen=True, slots=True)
class PipConfiguration:
    """`indexes` are simple repositories (PEP 503, 691), `find_links` pages or folders; empty texts where unset."""

    indexes: tuple[str, ...]
    find_links: tuple[str, ...]
    proxy: str = ""
    certificates: str = ""

    def session(self) -> requests.Session:
        """A session with pip's proxy, certificates and credentials."""
        proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else None
        places = (*self.indexes, *self.find_links)
        return open_session(proxies=proxies, certificates=self.certificates, places=places)


def pip_configuration() -> PipConfiguration:
    """The configuration of the pip that runs under this Python, else of the one on PATH.

    Without `index-url` it is the index that the packaging tools know as the default one; with `no-index`, or where it
    is set to nothing, there is none.
    """
    options = _options(_config_list())
    indexes: list[str] = []
    if options.get("no-index", "").lower() not in ("1", "true", "yes", "on"):
        indexes += [options["index-url"]] if "index-url" in options else [_default_index()]
        indexes += options.get("extra-index-url", "").split()
    return PipConfiguration(
        indexes=tuple(filter(None, indexes)),
        find_links=tuple(options.get("find-links", "").split()),
        proxy=options.get("proxy", ""),
        certificates=options.get("cert", ""),
    )


def _config_list() -> str:
    """Output of `pip config list`; empty where this machine has no pip."""
    commands = [[sys.executable, "-m", "pip"]]
    if pip := shutil.which("pip") or shutil.which("pip3"):
        commands.append([pip])
    for command in commands:
        answer = subprocess.run(
            [*command, "--disable-pip-version-check", "config", "list"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            return answer.stdout
    return ""


def _options(config_list: str) -> dict[str, str]:
    """The options in `pip config list`'s output (lines of `section.key='value'`), each from its strongest section."""
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in config_list.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match and match["section"] in found:
            try:
                found[match["section"]][match["key"]] = str(ast.literal_eval(match["value"]))
            except (SyntaxError, ValueError):
                continue
    return {key: value for section in _SECTIONS for key, value in found[section].items()}


def _default_index() -> str:
    import pypi_simple

    return pypi_simple.PYPI_SIMPLE_ENDPOINT
