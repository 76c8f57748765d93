"""Secrets kept out of what is written: logs, events, records, tracebacks. Standard library alone; both sides use it.

Three ways to know one: by its form (tokens that their issuers gave a prefix so that they can be found, private keys,
logins in URLs), by its environment variable's name, and by the file that it came in (`hide`). Forms are those that the
issuers document. Plain hex is never taken for a secret, since digests are hex. A document is redacted before it becomes
JSON, which spells a quote or an umlaut of a secret in its own way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

REPLACEMENT = "[redacted: {name}]"

SHORTEST = 6
"""Characters. A shorter value of a secret's variable is left alone: it would be found all over ordinary text."""

SHORTEST_LINE = 8
"""Characters. A shorter line of a secret's file is left alone, unless it is all that the file holds."""

_NAMES = re.compile(
    r"token|secret|passw(or)?d|passphrase|_pass$|_pwd$|api_?key|access_?key|private_?key|credential", re.IGNORECASE
)
"""Not PWD, OLDPWD and GIT_ASKPASS, which hold places."""

_LOGIN = r"(?<=://)[^\s/@:\[]*:(?:(?!\d{1,5}[/?#])(?:(?!://)[^\s\"<>])+|[^\s/@]+)(?=@)"
"""User and password of a URL. The user may be empty, and the password hold unescaped what should be escaped in it:
so it reaches to the last @ of the word. Digits before a slash are a port, and an @ behind that is the path's."""

_CREDENTIALS = (
    r"(?P<header>(?i:\bauthorization(?:(?:\\?['\"])?\s*[:=]\s*|\\?['\"]\s*,\s*)(?:b?\\?['\"])?))"
    r"(?i:basic|bearer|token) +[^\s'\"\\]+"
)
"""What follows a header's name, which stays: of HTTP's own text, JSON, TOML, or Python's mappings and pairs."""

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
    "password in a URL": _LOGIN,
    "authorization header": _CREDENTIALS,
}
_PATTERN = re.compile("|".join(f"(?P<f{number}>{form})" for number, form in enumerate(_FORMS.values())), re.DOTALL)
_FORM_NAMES = tuple(_FORMS)

_hidden: dict[str, tuple[str, ...]] = {}
"""Name and spellings of each secret that this process was given as a file."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret found in a text: what it is in words, and on which line it starts, counted from 1. Never its value."""

    what: str
    line: int


def hide(files: Mapping[str, bytes]) -> None:
    """From here on, take these secrets out of all that this process redacts: the content of each file, also without the
    space around it, and each longer line of it.

    Args:
        files: what each file holds, by the secret's name.
    """
    _hidden.update({name: _spellings(content) for name, content in files.items()})


def _spellings(content: bytes) -> tuple[str, ...]:
    try:
        texts = [content.decode()]
    except UnicodeDecodeError:  # as programs read it, and as they show it
        texts = [content.decode(errors="surrogateescape"), content.decode(errors="replace"), repr(content)[2:-1]]
    whole = [each for text in texts for each in (text, text.strip()) if len(each) >= SHORTEST]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return tuple(dict.fromkeys([*whole, *(line for line in lines if len(line) >= SHORTEST_LINE)]))


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` with every secret replaced by its kind.

    Args:
        text: anything that is about to be written.
        environment: whose values of variables named like secrets count too.
    """
    known = [(f"value of {name}", value) for name, value in _secret_variables(environment)]
    known += [(f"secret {name}", value) for name, value in _hidden_values()]
    for what, value in sorted(known, key=lambda each: -len(each[1])):
        for spelling in dict.fromkeys((value, repr(value)[1:-1])):  # messages and tracebacks show values by repr
            text = text.replace(spelling, REPLACEMENT.format(name=what))
    return _PATTERN.sub(lambda match: (match["header"] or "") + REPLACEMENT.format(name=_form(match)), text)


def redact_document(document: Any, environment: Mapping[str, str] = os.environ) -> Any:
    """`document`, made of what JSON has, with every secret in its texts replaced; keys are texts too.

    Args:
        document: anything that is about to be written as JSON.
        environment: as for `redact`.
    """
    match document:
        case str():
            return redact(document, environment)
        case Mapping():
            return {
                redact_document(key, environment): redact_document(value, environment)
                for key, value in document.items()
            }
        case list() | tuple():
            return [redact_document(each, environment) for each in document]
        case _:
            return document


def find_secret(text: str, environment: Mapping[str, str] = MappingProxyType({})) -> Secret | None:
    """The first thing in `text` that has a secret's form, is the value of a variable that is named like one, or is
    hidden; None where there is none.

    Args:
        text: anything that is about to be kept.
        environment: whose variables count; by default none.
    """
    found = [
        (text.index(value), f"the value of the environment variable {name}")
        for name, value in _secret_variables(environment)
        if value in text
    ]
    found += [(text.index(value), f"the secret {name}") for name, value in _hidden_values() if value in text]
    if match := _PATTERN.search(text):
        found.append((match.start(), f"what looks like a {_form(match)}"))
    if not found:
        return None
    place, what = min(found, key=lambda each: each[0])
    return Secret(what, text.count("\n", 0, place) + 1)


def _secret_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Name and value of each variable that is named like a secret, also without a file's last line feed and other
    space around it; the longest value first: one may hold another."""
    named = [(name, value) for name, value in environment.items() if _NAMES.search(name)]
    spelled = dict.fromkeys((name, text) for name, value in named for text in (value, value.strip()))
    found = [(name, value) for name, value in spelled if len(value) >= SHORTEST]
    yield from sorted(found, key=lambda pair: -len(pair[1]))


def _hidden_values() -> Iterator[tuple[str, str]]:
    for name, spellings in _hidden.items():
        yield from ((name, each) for each in spellings)


def _form(match: re.Match[str]) -> str:
    return _FORM_NAMES[int(str(match.lastgroup)[1:])]
