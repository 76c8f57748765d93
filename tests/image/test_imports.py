"""The code that makes bytes imports the standard library, the builder's two tools and four modules of the trainer."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import reprise.image
from reprise.image.bootstrap import ImagePython

FOLDER = Path(next(iter(reprise.image.__path__)))
TRAINER = (
    "reprise_trainer.canonical",
    "reprise_trainer.errors",
    "reprise_trainer.identity.file_list",
    "reprise_trainer.identity.inventory",
)
TOOLS = ("zstandard", "isal")
WHERE_THE_SOURCES_ARE = {"bootstrap.py": {"reprise", "reprise_trainer"}}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path.name} has a relative import"
            whole = node.module in ("reprise_trainer", "reprise.image", "reprise_trainer.identity")
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if whole else {node.module}
    return names


def test_each_module_imports_only_what_is_allowed() -> None:
    for path in FOLDER.glob("*.py"):
        for name in imported(path) - WHERE_THE_SOURCES_ARE.get(path.name, set()):
            known = name.partition(".")[0] in (*sys.stdlib_module_names, *TOOLS)
            assert known or name.startswith(("reprise.image.", *TRAINER)), (path.name, name)


def test_the_running_builder_has_loaded_nothing_else(python: ImagePython) -> None:
    show = "json.dump({name: getattr(each, '__file__', None) for name, each in sys.modules.items()}, sys.stdout)"
    *argv, code = python.command("reprise.image.builder")
    code = f"{code.partition('from reprise')[0]}import json, reprise.image.builder; {show}"
    done = subprocess.run([*argv, code], capture_output=True, text=True, check=True, env={})
    loaded: dict[str, str | None] = json.loads(done.stdout)
    tree = str(python.packages.parent)
    for name, file in loaded.items():
        own = name.startswith(("reprise.image", *TRAINER)) or name in (
            "reprise",
            "reprise_trainer",
            "reprise_trainer.identity",
        )
        assert own or file is None or file.startswith(tree), (name, file)
    allowed = {*sys.stdlib_module_names, "__main__", *TOOLS, "reprise", "reprise_trainer"}
    assert {name.partition(".")[0] for name in loaded} - allowed <= {"_distutils_hack", "sitecustomize"}
