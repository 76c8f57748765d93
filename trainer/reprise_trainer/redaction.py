"""Secrets kept out of what is written: logs, events, records, tracebacks. Standard library alone; both sides use it.

Two ways to know one: by its form (tokens that their issuers gave a prefix so that they can be found, private keys,
passwords inside URLs), and by its environment variable's name. Forms are those that the issuers document. Plain hex is
never taken for a secret, since digests are hex.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

REPLACEMENT = "[redacted: {name}]"

SHORTEST = 6
"""Characters. A shorter value of a secret's variable is left alone: it would be found all over ordinary text."""

_NAMES = re.compile(r"token|secret|passw(or)?d|passphrase|api_?key|access_?key|private_?key|credential", re.IGNORECASE)

_FORMS = {
    "private key": r"-----BEGIN (?:[A-Z ]+ )?PRIVATE KEY-----.*?(?:-----END (?:[A-Z ]+ )?PRIVATE KEY-----|\Z)",
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[0-9A-Za-z]{36,255}|github_pat_[0-9A-Za-z_]{22,255})\b",
    "GitLab token": r"\bglpat-[0-9A-Za-z_-]{20,}",
    "Slack token": r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}",
    "Hugging Face token": r"\bhf_[0-9A-Za-z]{30,}\b",
    "API key": r"\bsk-[0-9A-Za-z_-]{20,}",
    "Google API key": r"\bAIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])",
    "package index token": r"\b(?:pypi-[0-9A-Za-z_-]{50,}|npm_[0-9A-Za-z]{36})\b",
    "JSON web token": r"\beyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*",
    "password in a URL": r"(?<=://)[^\s/@:]+:[^\s/@]+(?=@)",
    "authorization header": r"(?i:(?<=\bauthorization: )(?:basic|bearer|token) +[^\s'\"]+)",
}
_PATTERN = re.compile("|".join(f"(?P<f{number}>{form})" for number, form in enumerate(_FORMS.values())), re.DOTALL)
_FORM_NAMES = tuple(_FORMS)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret found in a text: what kind it is, and on which line it starts, counted from 1. Never its value."""

    name: str
    line: int


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` with every secret replaced by its kind.

    Args:
        text: anything that is about to be written.
        environment: whose values of variables named like secrets count too.
    """
    for name, value in _secret_variables(environment):
        text = text.replace(value, REPLACEMENT.format(name=f"value of {name}"))
    return _PATTERN.sub(lambda match: REPLACEMENT.format(name=_form(match)), text)


def find_secret(text: str) -> Secret | None:
    """The first thing in `text` that has a secret's form; None where there is none."""
    match = _PATTERN.search(text)
    return None if match is None else Secret(_form(match), text.count("\n", 0, match.start()) + 1)


def _secret_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Name and value of each variable that is named like a secret, the longest value first: one may hold another."""
    found = [(name, value) for name, value in environment.items() if _NAMES.search(name) and len(value) >= SHORTEST]
    yield from sorted(found, key=lambda pair: -len(pair[1]))


def _form(match: re.Match[str]) -> str:
    return _FORM_NAMES[int(str(match.lastgroup)[1:])]
