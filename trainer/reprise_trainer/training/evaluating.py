"""The stage evaluate: done once for one state, in however many attempts a run ends.

A result of an earlier attempt is taken where everything that it follows from is the same: image, code, state, snapshot,
what the configuration says of it, backend, profile and machine. It is never taken from another run: a run that is
repeated is repeated to see whether the same comes out (docs/decisions/0011-results-stay-in-their-run.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reprise_trainer.config.read import RunConfig
from reprise_trainer.config.train import TRAIN_SPLIT
from reprise_trainer.errors import DoesNotHoldError
from reprise_trainer.evaluation.judged import judge
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.training.journal import Emit
from reprise_trainer.training.loop import Trained
from reprise_trainer.training.ready import Ready
from reprise_trainer.training.records.resources import machine
from reprise_trainer.training.records.results import keep_result, kept_result, stage_key

EVALUATE = "evaluate"


def evaluate_once(ready: Ready, trained: Trained, output: Path, emit: Emit) -> tuple[dict[str, Any], bool]:
    """What the evaluation of the trained state says (`Evaluation.facts`), and whether an earlier attempt had it.

    Args:
        ready: of the run.
        trained: its state, whose digest the result is kept under.
        output: the run's folder.
        emit: told when a result is taken, and when one is damaged, which is then made again.

    Raises:
        InputError: see `judge`.
        StorageError: the result can't be kept.
    """
    key = _key(ready, trained)
    try:
        kept = kept_result(output, EVALUATE, key)
    except DoesNotHoldError as error:
        emit({"event": "checked", "message": f"evaluate: done again: {error.message}"})
        kept = None
    if kept is not None:
        emit({"event": "reused", "stage": EVALUATE, "message": f"{EVALUATE}: unchanged, reused"})
        return kept, True
    found = judge(
        ready.config.evaluate,
        ready.source,
        ready.backend,
        trained.state,
        trained_on=TRAIN_SPLIT,
        preprocess=ready.stages.preprocess,
        own=ready.stages.evaluate,
    ).facts()
    keep_result(output, EVALUATE, key, found)
    return found, False


def _key(ready: Ready, trained: Trained) -> str:
    config = ready.config
    return stage_key(
        EVALUATE,
        image=ready.header.image,
        code=config.code.sha256 if config.code else "",
        inputs={"state": trained.digest, "snapshot": ready.source.digest},
        settings={
            "configuration": _configuration(config),
            "backend": [ready.backend.name, ready.backend.version],
            "profile": PROFILES[config.run.profile].table(config.run.threads),
            "machine": machine(),
        },
    )


def _configuration(config: RunConfig) -> dict[str, Any]:
    """What an evaluation follows from: how the model computes, what is asked of it, and the user's own functions."""
    said = config.model_dump(mode="json", include={"model": True, "train": True, "evaluate": True})
    stages = config.stages.model_dump(mode="json") if config.stages else {}
    return {**said, "stages": {name: stages.get(name) for name in ("preprocess", EVALUATE)}}
