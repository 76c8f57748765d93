"""Numbers in the headers of an answer, which may be anything."""

from __future__ import annotations

import re

import requests

_NUMBER = re.compile(r"[0-9]{1,18}")


def header_number(answer: requests.Response, name: str) -> int | None:
    """The number that a header gives; None where there is none, or something else."""
    said = answer.headers.get(name, "").strip()
    return int(said) if _NUMBER.fullmatch(said) else None
