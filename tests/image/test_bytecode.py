from __future__ import annotations

import io
import json
import marshal
import py_compile
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reprise.image import bytecode as module
from reprise.image.bootstrap import ImagePython
from reprise.image.bytecode import bytecode, bytecode_path, in_a_fork, read_all, write_all
from reprise.image.entries import file

SUPPORT = Path(__file__).parents[1] / "support"
SOURCE = b"""'Doc.'
SET = {"b", "a", "c"} | frozenset(("x", "y"))


def f(x: int) -> int:
    assert x in {1, 2}
    return x
"""


def test_each_file_s_bytecode_depends_on_that_file_alone(
    python: ImagePython, debs: Sequence[tuple[Any, Path]], locked: Any
) -> None:
    """The standard library and NumPy. Each process has another hash seed, since `-I` lets Python choose it."""
    asked = {
        "debs": [str(path) for artifact, path in debs if "python3" in artifact.name],
        "wheels": [str(path) for _, path in locked(lambda artifact: artifact.name == "numpy")],
    }
    command = python.command("compile_ways")
    command[-1] = f"import sys; sys.path.append({str(SUPPORT)!r}); {command[-1]}"

    def compiled(way: str) -> dict[str, str]:
        told = json.dumps({**asked, "way": way})
        done = subprocess.run(command, input=told, capture_output=True, text=True, check=True, env={})
        digests: dict[str, str] = json.loads(done.stdout)
        return digests

    with ThreadPoolExecutor() as executor:
        forked, *others = executor.map(compiled, ("a fork a file", "one process", "backwards"))
    assert len(forked) > 1000
    for other in others:
        assert {path: digest for path, digest in other.items() if forked[path] != digest} == {}


def test_it_is_what_py_compile_writes(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(SOURCE)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    written = py_compile.compile(str(tmp_path / "a.py"), dfile="/usr/lib/a.py", invalidation_mode=unchecked, optimize=0)
    assert written is not None
    assert bytecode(SOURCE, "usr/lib/a.py") == Path(written).read_bytes()


def test_tracebacks_name_the_path_in_the_image() -> None:
    compiled = bytecode(SOURCE, "usr/lib/python3.11/a.py")
    assert compiled is not None
    assert marshal.loads(compiled[16:]).co_filename == "/usr/lib/python3.11/a.py"


def test_it_lies_where_python_looks() -> None:
    assert bytecode_path("usr/lib/a.py").startswith("usr/lib/__pycache__/a.cpython-3")


@pytest.mark.parametrize("source", [b"print 1\n", b"\0", b"# coding: nonsense\n", b"x = '\xff'\n"])
def test_a_file_that_is_no_python_of_this_version_gets_none(source: bytes) -> None:
    assert bytecode(source, "a.py") is None
    assert in_a_fork(source, "a.py") is None


def test_warnings_turned_into_errors_on_the_host_do_not_count(recwarn: pytest.WarningsRecorder) -> None:
    assert bytecode(b"x = 1 is 1\ny = '\\d'\n", "a.py") is not None
    assert len(recwarn) == 0


@pytest.mark.parametrize("order_matters", [False, True])
def test_what_is_written_is_read_back_without_what_does_not_compile(
    monkeypatch: pytest.MonkeyPatch, order_matters: bool
) -> None:
    monkeypatch.setattr(module, "ORDER_MATTERS", order_matters)
    sources = [file("a.py", b"a = 1\n"), file("bad.py", b"a ="), file("b.py", b"")]
    out = io.BytesIO()
    write_all(sources, out)
    out.seek(0)
    assert [(entry.path, data) for entry, data in read_all(sources, out)] == [
        ("a.py", bytecode(b"a = 1\n", "a.py")),
        ("b.py", bytecode(b"", "b.py")),
    ]
    assert out.read() == b""
