"""The streams of random numbers in a run, for its record: what each is keyed by, and why it may decide a bit."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from reprise_trainer.backends.interface import Backend
from reprise_trainer.config.read import RunConfig
from reprise_trainer.errors import InputError


@dataclass(frozen=True, slots=True)
class Stream:
    """What a stream is keyed by, in words, and the configuration's rationale for it (empty: none is given)."""

    keyed_by: str
    rationale: str = ""


def find_streams(config: RunConfig, backend: Backend) -> dict[str, Stream]:
    """Every stream that this run draws from, by name.

    Raises:
        InputError: the configuration gives a rationale for a stream that there isn't.
    """
    found = {"order": "seed, epoch"}
    if getattr(config.data, "augment", None) is not None:
        found["augmentation"] = "seed, epoch, record"
    found |= backend.random_streams()
    _refuse_unknown(config.random_streams, found)
    return {name: Stream(keyed, config.random_streams.get(name, "")) for name, keyed in sorted(found.items())}


def _refuse_unknown(rationales: Mapping[str, str], found: Mapping[str, str]) -> None:
    for name in rationales:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1, cutoff=0.5)
            better = f"did you mean {near[0]!r}?" if near else f"this run has {', '.join(sorted(found))}"
            raise InputError(f"random_streams.{name}: no such stream of random numbers; {better}")
