"""Plans for models of one's own: those of the examples, and those that a test's own module holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reprise_trainer.backends.interface import AdamW, Backend, Recipe, State
from reprise_trainer.backends.models import Own
from reprise_trainer.data.batches import Batches
from reprise_trainer.training.loop import first_state, steps
from reprise_trainer.training.plan import Plan, make_backend
from reprise_trainer.training.schedule import Schedule

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPE = Recipe(AdamW(0.9, 0.999, 1e-8, 0.0))
KINDS = {"torch_model": "torch", "nnx_model": "jax", "equinox_model": "jax"}
"""The examples' modules, by the backend that trains them."""


def plan(own: Own, shards: int = 4) -> Plan:
    """Six steps of 32 records."""
    return Plan(1, 6, 32, shards, 6, Schedule(0.01, "constant", 6), own, RECIPE)


def example(name: str, **options: Any) -> tuple[Plan, Backend]:
    """An example's plan and backend; its folder has to be importable."""
    asked = plan(Own(f"{name}:model", f"{name}:loss", options))
    return asked, make_backend(KINDS[name], asked)


def held(module: str, model: str, loss: str, backend: str = "torch", **options: Any) -> tuple[Plan, Backend]:
    """The plan and the backend of a model and a loss that a module holds."""
    asked = plan(Own(f"{module}:{model}", f"{module}:{loss}", options))
    return asked, make_backend(backend, asked)


def trained(asked: Plan, backend: Backend, batches: Batches, **kwargs: Any) -> State:
    """The state after a plan's last step."""
    *_, last = steps(asked, backend, batches, first_state(asked, backend), 0, **kwargs)
    return last.state
