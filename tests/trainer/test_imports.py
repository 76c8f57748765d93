"""Who may import whom in the trainer."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from tests.trainer.conftest import environment

import reprise_trainer

PACKAGE = Path(reprise_trainer.__file__).parent


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_bytes())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_trainer_never_imports_the_host_side(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] == "reprise"}


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_only_its_own_modules_import_a_framework(framework: str) -> None:
    users = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if framework in imports(path)}
    assert users
    for path in users:
        assert path.parent.name in ("backends", "numerics") and path.name.startswith(f"{framework}_"), path


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("reprise_trainer.__main__", ("pydantic", "numpy", "torch", "cryptography", "safetensors")),
        ("reprise_trainer.data.snapshot", ("numpy", "torch")),
        ("reprise_trainer.data.croissant", ("numpy", "torch")),
        ("reprise_trainer.data.shard_order", ("numpy", "torch")),
        ("reprise_trainer.data.feed", ("numpy", "torch")),
        ("reprise_trainer.config.read", ("numpy", "torch")),
        ("reprise_trainer.training.records.record", ("numpy", "torch")),
        ("reprise_trainer.training.ledger", ("numpy", "torch", "pydantic")),
        ("reprise_trainer.training.plan", ("torch",)),
    ],
)
def test_modules_load_no_more_than_they_may(module: str, forbidden: tuple[str, ...]) -> None:
    script = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"
    process = subprocess.run(
        [sys.executable, "-c", script], env=environment(), check=False, capture_output=True, text=True
    )
    assert process.stdout == "[]\n", process.stderr
