"""The numbers in an event that a tracker draws."""

from __future__ import annotations

from collections.abc import Mapping

from reprise.events import Event


def step_values(event: Event) -> tuple[int, dict[str, float]] | None:
    """Finished steps, and name → value at that step; None where the event has none."""
    match event:
        case {"event": "step", "step": int(step), "loss": int() | float() as loss}:
            return step, {"train/loss": float(loss)}
        case {"event": "validated", "step": int(step), "loss": str(loss)}:
            return step, {"validation/loss": float.fromhex(loss)}
        case {"event": "health", "step": int(step), **values}:
            return step, {
                f"health/{name}": float(value) for name, value in values.items() if isinstance(value, int | float)
            }
        case _:
            return None


def final_values(event: Event) -> dict[str, float]:
    """Name → value of a finished evaluation; empty for other events. Hex floats are read, words are left out."""
    metrics = event.get("metrics") if event.get("event") == "evaluated" else None
    if not isinstance(metrics, Mapping):
        return {}
    found = {f"{event.get('split', 'test')}/{name}": _number(value) for name, value in metrics.items()}
    return {name: value for name, value in found.items() if value is not None}


def _number(value: object) -> float | None:
    match value:
        case int() | float():
            return float(value)
        case str() if "x" in value:
            return float.fromhex(value)
        case str():
            return float(value)
        case _:
            return None
