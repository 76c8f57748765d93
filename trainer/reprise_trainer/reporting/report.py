"""The report of a finished run: the record's main facts, for programs (`report.json`) and for people (`report.md`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reprise_trainer.canonical import canonical_json
from reprise_trainer.durable import write_durably
from reprise_trainer.training.records.record import RunRecord

FORMAT = 1
JSON_NAME, MARKDOWN_NAME = "report.json", "report.md"


def write_report(record: RunRecord, folder: Path) -> None:
    """Write both files into `folder`.

    Raises:
        StorageError: they can't be written.
    """
    write_durably(folder / JSON_NAME, canonical_json(report(record)))
    write_durably(folder / MARKDOWN_NAME, markdown(record).encode())


def report(record: RunRecord) -> dict[str, Any]:
    """What `report.json` holds: the keys that a launcher shows, from the record."""
    return {
        "format": FORMAT,
        "run": record.run,
        "image": record.image.digest,
        "snapshot": record.snapshot,
        "config": record.config,
        "ledger": record.ledger.head,
        "steps": record.ledger.lines - len(record.checkpoints),
        "state": record.state,
        "metrics": record.metrics,
        "profile": record.profile.name,
        "resources": record.resources.model_dump(),
    }


def markdown(record: RunRecord) -> str:
    """What `report.md` holds."""
    resources, metrics = record.resources, record.metrics
    networks = sorted({name for each in record.attempts for name in each.network})
    rows = [
        *(
            [("accuracy", f"{metrics['accuracy']} ({metrics['correct']} of {metrics['total']})")]
            if "accuracy" in metrics
            else []
        ),
        ("mean loss", f"{float.fromhex(str(metrics['loss'])):.4f} (`{metrics['loss']}`)"),
        ("image", f"`{record.image.digest}`"),
        ("snapshot", f"{record.snapshot_name}, `{record.snapshot}`"),
        ("configuration", f"`{record.config}`"),
        ("ledger", f"`{record.ledger.head}`, {record.ledger.lines} lines"),
        ("state", f"`{record.state}`"),
        ("profile", f"{record.profile.name}: {record.profile.promise}"),
        ("machine", f"{record.machine['cpu_model']}, {record.machine['cores']} cores"),
        *([("network", f"could be reached by {', '.join(networks)}")] if networks else []),
        ("time", f"{resources.wall_milliseconds / 1000:.1f} s wall, {resources.cpu_milliseconds / 1000:.1f} s CPU"),
        ("memory", f"{resources.peak_memory_bytes / 2**20:.0f} MiB at most"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    checkpoints = "\n".join(f"- after step {each.step}: `{each.state}`" for each in record.checkpoints)
    return (
        f"# Run {record.run}\n\nFrom {record.started} to {record.finished}.\n\n"
        f"| | |\n|---|---|\n{table}\n\n## Checkpoints\n\n{checkpoints}\n\n"
        f"## Configuration\n\n```toml\n{record.config_text.rstrip()}\n```\n"
    )
