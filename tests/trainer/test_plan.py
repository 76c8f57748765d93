"""A plan fits the snapshot to the model, or says which field the model does not take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.trainer.conftest import CONFIG

from reprise_trainer.config.read import read_config
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError
from reprise_trainer.training.plan import make_plan

CNN = "channels = [4, 8]\nhidden = 16"
MODELS = {"cnn": CONFIG, "mlp": CONFIG.replace('kind = "cnn"', 'kind = "mlp"').replace(CNN, "hidden = [16]")}


def with_field(source: OpenSnapshot, name: str, **changed: Any) -> OpenSnapshot:
    """The snapshot with another schema; its shards are not read here."""
    fields = tuple(each.model_copy(update=changed) if each.name == name else each for each in source.snapshot.fields)
    return replace(source, snapshot=source.snapshot.model_copy(update={"fields": fields}))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    ("field", "changed", "message"),
    [
        (
            "image",
            {"shape": (28, 28, 3)},
            r"has shape \[28, 28, 3\], model .* takes .* \[height, width\]\n.*colour = \"grey\"",
        ),
        ("image", {"shape": (784,)}, r"has shape \[784\]"),
        ("label", {"classes": None}, r"field 'label' has no classes, model .* takes one class a record"),
        ("label", {"shape": (2,)}, r"field 'label' has shape \[2\]"),
    ],
    ids=["colour", "flat", "no classes", "two labels"],
)
def test_a_field_that_the_model_does_not_take_is_named(
    snapshot: OpenSnapshot, kind: str, field: str, changed: dict[str, Any], message: str
) -> None:
    config = read_config(MODELS[kind].encode(), where="test")
    assert make_plan(config, snapshot).model.__class__.__name__.lower() == kind
    with pytest.raises(InputError, match=message):
        make_plan(config, with_field(snapshot, field, **changed))
