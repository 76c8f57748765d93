"""How bad a vulnerability is: one of five words, from CVSS vectors or from the database's own word."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

Severity = Literal["unknown", "low", "medium", "high", "critical"]
ORDER: tuple[Severity, ...] = get_args(Severity)

_WORDS: dict[str, Severity] = {
    "negligible": "low",
    "unimportant": "low",
    "none": "low",
    "low": "low",
    "moderate": "medium",
    "medium": "medium",
    "important": "high",
    "high": "high",
    "critical": "critical",
}
"""Words of the databases that OSV collects; Debian's "not yet assigned" and whatever else is there say nothing."""

_BOUNDS: tuple[tuple[float, Severity], ...] = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.0, "low"))
"""Lowest base score of each word (CVSS v3.1 and v4.0 specifications, "Qualitative severity rating scale")."""


def severity_of(said: Iterable[tuple[str, str]]) -> tuple[Severity, float | None]:
    """The severity that (type, text) pairs give, and its CVSS base score; the worst one where they differ.

    A CVSS vector counts before a word: who wrote the word had the vector, too.
    """
    scores, words = [], []
    for kind, text in said:
        if kind == "word":
            words.append(_WORDS.get(text.strip().lower(), "unknown"))
        elif (score := _base_score(kind, text)) is not None:
            scores.append(score)
    if scores:
        worst = max(scores)
        return next(word for bound, word in _BOUNDS if worst >= bound), worst
    return max(words, key=ORDER.index, default="unknown"), None


def is_at_least(severity: Severity, threshold: Severity) -> bool:
    """Whether it counts at a threshold. One that nobody rated counts always: it cannot be called harmless."""
    return severity == "unknown" or ORDER.index(severity) >= ORDER.index(threshold)


def _base_score(kind: str, vector: str) -> float | None:
    """The base score of a CVSS vector; None for one that cannot be read, or of a version that nobody rates by."""
    from cvss import CVSS2, CVSS3, CVSS4
    from cvss.exceptions import CVSSError

    reader = {"CVSS_V2": CVSS2, "CVSS_V3": CVSS3, "CVSS_V4": CVSS4}.get(kind)
    if reader is None:
        return None
    try:
        return float(reader(vector).base_score)
    except (CVSSError, ValueError, KeyError, IndexError):
        return None
