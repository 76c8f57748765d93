"""Data flows one way, and so do imports: each folder may import what its table row says, and nothing else of ours."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]

HOST = {
    # folder or module of `reprise`: what else of `reprise` it may import
    "events": (),
    "project": (),
    "trackers": ("events",),
    "store": (),
    "image": (),
    "lock": ("store", "events", "image"),
    "artifacts": ("lock", "store", "events"),
    "registry": ("artifacts", "events", "lock", "store", "trust"),
    "trust": ("artifacts", "lock", "store"),
    "engine": ("store", "events"),
    "layers": ("events", "image", "lock", "store"),
    "build": ("events", "image", "layers", "lock", "store"),
    "layouts": ("store", "trust"),
    "nix": ("build", "environments", "image", "layers", "lock", "store"),
    "environments": ("artifacts", "build", "events", "layers", "lock", "project", "store"),
    "stored_image": ("build", "environments", "lock", "store"),
    "diff": ("engine", "image", "store", "stored_image"),
    "feed": ("events", "registry", "store"),
    "ingest": ("image", "lock", "store"),
    "snapshots": ("ingest", "lock", "store"),
    "checkpoints": ("store",),
    "start": ("checkpoints", "store"),
    "run_config": ("image", "start", "store"),
    "ingest_data": ("artifacts", "events", "lock", "project", "run_config", "snapshots", "store"),
    "run_folder": ("engine", "run_config", "store"),
    "slurm": (),
    "run_record": ("events", "run_folder", "trust"),
    "trainer_process": ("engine", "events"),
    "train": (
        *("artifacts", "engine", "events", "feed", "kept_runs", "lock", "project", "run_config", "run_folder"),
        *("run_record", "snapshots", "store", "trainer_process", "trust"),
    ),
    "host": (
        *("artifacts", "build", "events", "feed", "lock", "registry", "run_config", "run_folder", "snapshots"),
        *("store", "stored_image", "train", "trust"),
    ),
    "admission": ("registry", "store", "trust"),
    "bundle": ("events", "registry", "store", "trust"),
    "doctor": ("artifacts", "lock", "registry", "store", "stored_image", "trust"),
    "kept_runs": ("store",),
    "runs": ("kept_runs", "start", "store", "stored_image"),
    "audit": (
        "artifacts",
        "build",
        "checkpoints",
        "engine",
        "environments",
        "events",
        "image",
        "kept_runs",
        "lock",
        "run_config",
        "run_record",
        "snapshots",
        "start",
        "store",
        "stored_image",
        "train",
        "trust",
    ),
    "bom": ("build", "image", "lock", "store", "stored_image", "trust"),
    "vulnerabilities": ("environments", "lock", "project", "store", "stored_image"),
    "outdated": ("artifacts", "lock", "store", "vulnerabilities"),
    "rebuild": ("audit", "diff", "engine", "events", "store", "stored_image"),
    "host_wheels": (),
    "archive": ("build", "host_wheels", "lock", "store", "stored_image"),
    "demo": ("audit", "environments", "events", "project", "run_config", "store", "train", "trust"),
    "witness": ("audit", "kept_runs", "store", "trust"),
    "prune": ("engine", "kept_runs", "store"),
    "cli": (
        *("audit", "build", "demo", "environments", "events", "lock", "project", "store", "train", "trust"),
        *("archive", "artifacts", "bom", "diff", "engine", "layouts", "nix", "outdated", "rebuild", "registry"),
        *("checkpoints", "feed", "ingest_data", "prune", "start"),
        *("admission", "bundle", "doctor", "host", "run_config", "run_folder", "runs", "snapshots"),
        *("slurm", "trackers"),
        *("vulnerabilities", "witness"),
    ),
    "__main__": ("cli",),
}

TRAINER = {
    "canonical": (),
    "errors": (),
    "cpuinfo": ("errors",),
    "durable": ("errors",),
    "redaction": (),
    "printable": (),
    "secret_files": ("printable",),
    "ending": ("errors", "redaction"),
    "entry_point": ("errors",),
    "config": ("entry_point", "errors", "redaction"),
    "identity": ("canonical", "errors", "printable", "secret_files"),
    "data": ("canonical", "durable", "errors"),
    "backends": ("cpuinfo", "data", "entry_point", "errors"),
    "evaluation": ("backends", "config", "data", "errors"),
    "numerics": ("backends", "canonical", "cpuinfo", "data", "durable", "errors"),
    "training": (
        *("backends", "canonical", "config", "cpuinfo", "data", "durable", "entry_point", "errors", "evaluation"),
        *("identity", "numerics", "redaction", "secret_files"),
    ),
    "reporting": ("canonical", "durable", "errors", "redaction", "training"),
    "commands": (
        *("backends", "canonical", "config", "data", "durable", "errors", "evaluation", "identity", "numerics"),
        *("ending", "training"),
    ),
    "torchrun": ("errors", "training"),
    "__main__": (
        "canonical",
        "commands",
        "config",
        "durable",
        "errors",
        "identity",
        "numerics",
        "redaction",
        "reporting",
        "secret_files",
        "training",
    ),
}


def imports(folder: Path, part: str) -> set[str]:
    """Every module that the files of `part` import, by full name."""
    path = folder / part
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Import():
                    found |= {alias.name for alias in node.names}
                case ast.ImportFrom(module=str(module)):
                    found |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return found


def named_imports(file: Path) -> Iterator[tuple[str, str]]:
    """Module and name of each `from reprise… import …` in a file, those within functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and re.match(r"reprise(_trainer)?(\.|$)", node.module or ""):
            yield from ((str(node.module), alias.name) for alias in node.names)


def parts_of(package: Path) -> list[str]:
    found = [path.stem for path in package.iterdir() if path.suffix == ".py" and path.stem != "__init__"]
    return sorted(found + [path.name for path in package.iterdir() if (path / "__init__.py").exists()])


@pytest.mark.parametrize(
    ("package", "table"), [("containers/reprise", HOST), ("trainer/reprise_trainer", TRAINER)], ids=["host", "trainer"]
)
def test_every_folder_imports_only_what_its_row_allows(package: str, table: dict[str, tuple[str, ...]]) -> None:
    folder = CHECKOUT / package
    assert parts_of(folder) == sorted(table), "a new part needs a row: what may it import?"
    name = folder.name
    for part, allowed in table.items():
        ours = {match[1] for each in imports(folder, part) if (match := re.match(rf"{name}\.(\w+)", each))}
        assert ours <= {part, *allowed}, f"{name}.{part} imports {sorted(ours - {part, *allowed})}"


def test_the_trainer_never_imports_the_host_side() -> None:
    for file in (CHECKOUT / "trainer").rglob("*.py"):
        text = file.read_text()
        assert not re.search(r"^\s*(from|import) reprise(\.|\s|$)", text, re.MULTILINE), file


@pytest.mark.parametrize("folder", ["benchmarks", "tests"])
def test_what_is_imported_from_us_is_there(folder: str) -> None:
    """Most of these files are run by hand, or import within functions: a module that moves is noticed here."""
    files = (CHECKOUT / folder).rglob("*.py")
    named = {(module, name): file for file in files for module, name in named_imports(file)}
    missing = {f"{file}: {module}.{name}" for (module, name), file in named.items() if not is_there(module, name)}
    assert named and not missing


def is_there(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or find_spec(f"{module}.{name}") is not None
    except ModuleNotFoundError:
        return False
