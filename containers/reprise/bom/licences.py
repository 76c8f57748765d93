"""The licence that an artifact declares, read from its own metadata and never guessed from its name or its texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import Any

_CLASSIFIER = "License :: "
_LONGEST_NAME = 120
"""Characters. `License` of older metadata often holds the licence's whole text instead of its name."""

_DEP5 = re.compile(r"https?://\S*(copyright-format|dep/?5)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Licences:
    """Either one SPDX `expression`, or `names` in the artifact's own words, sorted; neither where it says nothing."""

    expression: str = ""
    names: tuple[str, ...] = ()


def wheel_licences(metadata: str) -> Licences:
    """From a wheel's METADATA: `License-Expression` (PEP 639), else the classifiers, else `License`."""
    headers = HeaderParser().parsestr(metadata)
    if expression := _words(headers.get("License-Expression", "")):
        return Licences(expression)
    classifiers = [each for each in headers.get_all("Classifier", []) if each.startswith(_CLASSIFIER)]
    named = {each.rpartition(" :: ")[2].strip() for each in classifiers} - {"OSI Approved"}
    if named:
        return Licences(names=tuple(sorted(named)))
    text = headers.get("License", "").strip()
    return Licences(names=(text,)) if text and "\n" not in text and len(text) <= _LONGEST_NAME else Licences()


def debian_licences(copyright_file: str) -> Licences:
    """From a Debian copyright file in the machine-readable form (DEP 5): the short names of its Files paragraphs.

    They are Debian's names, which are not always SPDX's. A file in free text gives none.
    """
    paragraphs = [_fields(each) for each in re.split(r"\n[ \t]*\n", copyright_file.strip())]
    if not paragraphs or not _DEP5.match(paragraphs[0].get("format", "")):
        return Licences()
    return Licences(
        names=tuple(sorted({each["license"] for each in paragraphs if "files" in each and each.get("license")}))
    )


def conda_licences(index: Mapping[str, Any]) -> Licences:
    """From a conda package's `info/index.json`: its `license`, as the recipe's author wrote it."""
    text = index.get("license")
    return Licences(names=(_words(text),)) if isinstance(text, str) and text.strip() else Licences()


def _fields(paragraph: str) -> dict[str, str]:
    """The first line of each field of a paragraph (Debian policy 5.1), by its name in lower case."""
    lines = (line.partition(":") for line in paragraph.splitlines() if line[:1] not in (" ", "\t", "#", ""))
    return {name.strip().lower(): _words(value) for name, _, value in lines}


def _words(text: str) -> str:
    return " ".join(text.split())
