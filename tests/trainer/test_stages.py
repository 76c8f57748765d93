"""The user's own stages: found before anything is computed, pure, and part of what a record says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.trainer.conftest import CONFIG, RunOnce

from reprise_trainer.config.read import read_config
from reprise_trainer.data.batches import Batches, Fields
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError
from reprise_trainer.training.stages import PreprocessedBatches, load_stages, named_metrics, require_pure

OWN = """
import json
from reprise_trainer.training.loop import train


def brighter(fields, *, by):
    image = fields["image"].astype("int32") + by
    return {**fields, "image": image.clip(0, 255).astype("uint8")}


def bands(batches, *, least):
    found, records = 0, 0
    for fields, predictions in batches:
        assert len(fields["image"]) == len(predictions.scores) == len(predictions.labels)
        found += int((fields["image"].max(axis=(1, 2)) >= least).sum())
        records += len(fields["label"])
    return {"bright": found, "share": found / records}


def said(plan, *arguments, **more):
    print(json.dumps({"event": "own", "steps": plan.steps}))
    return train(plan, *arguments, **more)
"""

STAGES = """
[stages.preprocess]
function = "own_stages:brighter"
options = { by = 9 }

[stages.evaluate]
function = "own_stages:bands"
options = { least = 255 }

[stages.train]
function = "own_stages:said"
"""


def config_of(text: str) -> Any:
    return read_config((CONFIG + text).encode(), where="x").stages


def test_a_run_goes_through_its_own_stages(run_once: RunOnce, tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/own_stages.py").write_text(OWN)
    changes = {"PYTHONPATH": str(tmp_path / "modules")}
    plain = run_once(CONFIG.replace("epochs = 3", "steps = 2"), changes=changes)
    first, second = (run_once(CONFIG.replace("epochs = 3", "steps = 2") + STAGES, changes=changes) for _ in range(2))
    assert first.code == 0, first.error
    assert first.bits == second.bits and first.bits[1] != plain.bits[1]
    metrics = first.result["metrics"]
    assert metrics["own/bright"] == 70 and float.fromhex(metrics["own/share"]) == 1.0
    assert "own/bright" not in plain.result["metrics"]


def test_a_function_that_is_not_there_is_said_with_its_key() -> None:
    with pytest.raises(InputError, match=r"stages\.report\.function: 'json:nothing' cannot be loaded"):
        load_stages(config_of('\n[stages.report]\nfunction = "json:nothing"\n'))


def test_without_the_table_nothing_is_replaced() -> None:
    found = load_stages(config_of(""))
    assert (found.preprocess, found.evaluate, found.report) == (None, None, None)


def doubled(fields: Fields) -> Mapping[str, Any]:
    return {"image": fields["image"] * 2, "label": fields["label"]}


COUNTER = itertools.count()


def counted(fields: Fields) -> Mapping[str, Any]:
    return {"image": fields["image"] + np.uint8(next(COUNTER))}


def in_place(fields: Fields) -> Mapping[str, Any]:
    image: Any = fields["image"]
    image[image > 3] = 3
    return dict(fields)


def shorter(fields: Fields) -> Mapping[str, Any]:
    return {"image": fields["image"][1:]}


def nothing(fields: Fields) -> Mapping[str, Any]:
    return {}


def preprocess(name: str) -> Any:
    return load_stages(config_of(f'\n[stages.preprocess]\nfunction = "{__name__}:{name}"\n')).preprocess


def test_batches_keep_their_records_and_digest(snapshot: OpenSnapshot) -> None:
    batches = Batches(snapshot, "train", seed=1, batch_size=8)
    prepared = PreprocessedBatches(batches, preprocess("doubled"))
    for step in (0, 5):
        before, after = batches.batch(step), prepared.batch(step)
        assert (after.step, after.digest) == (before.step, before.digest)
        assert np.array_equal(after.fields["image"], before.fields["image"] * 2)


def test_a_function_with_a_state_of_its_own_is_refused(snapshot: OpenSnapshot) -> None:
    fields = Batches(snapshot, "train", seed=1, batch_size=8).batch(0).fields
    require_pure(preprocess("doubled"), fields)
    with pytest.raises(InputError, match="field 'image' is another at the second call"):
        require_pure(preprocess("counted"), fields)


def test_a_function_that_changes_its_batch_is_refused(snapshot: OpenSnapshot) -> None:
    fields = Batches(snapshot, "train", seed=1, batch_size=8).batch(0).fields
    with pytest.raises(InputError, match="it changed field 'image' of the batch that it was given"):
        require_pure(preprocess("in_place"), fields)


@pytest.mark.parametrize(("name", "said"), [("shorter", "expected numbers for 8 records"), ("nothing", "one array")])
def test_fields_that_are_no_batch_are_refused(snapshot: OpenSnapshot, name: str, said: str) -> None:
    fields = Batches(snapshot, "train", seed=1, batch_size=8).batch(0).fields
    with pytest.raises(InputError, match=said):
        preprocess(name)(fields)


def test_metrics_of_ones_own_are_integers_and_hex_floats() -> None:
    assert named_metrics({"a": 3, "b": np.float32(0.5)}) == {"own/a": 3, "own/b": "0x1.0000000000000p-1"}


@pytest.mark.parametrize("found", [None, [1], {"a": float("nan")}, {"a": "high"}])
def test_what_is_no_metric_is_refused(found: object) -> None:
    with pytest.raises(InputError, match=r"stages\.evaluate"):
        named_metrics(found)


def test_an_evaluation_is_a_generator_that_may_be_read_in_part(snapshot: OpenSnapshot) -> None:
    rows: Iterator[Any] = iter([])
    assert load_stages(config_of('\n[stages.evaluate]\nfunction = "builtins:dict"\n')).evaluate(rows) == {}  # type: ignore[misc]
