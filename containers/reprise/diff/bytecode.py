"""Two pyc files (PEP 552) → how they differ: Python, header or code, and where."""

from __future__ import annotations

import json
import subprocess
import sys

_HEADER = 16
_KINDS = {0: "checked by time", 1: "never checked", 3: "checked by hash"}
_SECONDS = 20

_FIND = """
import json, marshal, sys
def walk(left, right, name):
    for field in [each for each in dir(left) if each.startswith("co_")]:
        ours, theirs = getattr(left, field), getattr(right, field)
        if field == "co_consts":
            if len(ours) != len(theirs):
                return f"{name}: {len(ours)} constants and {len(theirs)}"
            for one, other in zip(ours, theirs):
                if hasattr(one, "co_code") and hasattr(other, "co_code"):
                    if found := walk(one, other, one.co_qualname):
                        return found
                elif repr(one) != repr(other):
                    return f"{name}: constant {one!r:.60} in place of {other!r:.60}"
        elif not callable(ours) and ours != theirs:
            shown = "" if isinstance(ours, bytes) else f" {ours!r:.80} in place of {theirs!r:.80}"
            return f"{name}: {field}{shown}"
    return ""
left, right = (marshal.loads(bytes.fromhex(each)) for each in json.load(sys.stdin))
print(walk(left, right, "module") or "equal code, written in another way (order of references)")
"""
"""Runs in a process of its own, since `marshal` may crash on data that is not what it expects."""


def compare_bytecode(left: bytes, right: bytes, source_equal: bool | None) -> str:
    """One sentence or more on how two pyc files differ."""
    about = {True: "the source is the same", False: "the source differs too", None: "its source is not there"}[
        source_equal
    ]
    if min(len(left), len(right)) < _HEADER:
        return f"{about}; one is too short to be bytecode: {len(left)} and {len(right)} bytes"
    if left[:4] != right[:4]:
        return f"{about}; made by different versions of Python (magic {left[:4].hex()} and {right[:4].hex()})"
    flags = [int.from_bytes(data[4:8], "little") for data in (left, right)]
    said = [about]
    if flags[0] != flags[1]:
        said.append(f"header: {_KINDS.get(flags[0], flags[0])} in place of {_KINDS.get(flags[1], flags[1])}")
    elif left[8:16] != right[8:16]:
        said.append(
            "header: another time or size of the source" if flags[0] == 0 else "header: another hash of the source"
        )
    said.append(
        "the code is the same" if left[_HEADER:] == right[_HEADER:] else f"the code differs: {_where(left, right)}"
    )
    return "; ".join(said)


def _where(left: bytes, right: bytes) -> str:
    from importlib.util import MAGIC_NUMBER

    offset = next(
        (at for at, (one, other) in enumerate(zip(left, right, strict=False)) if at >= _HEADER and one != other),
        min(len(left), len(right)),
    )
    place = f"at offset {offset:,}"
    if left[:4] != MAGIC_NUMBER:
        return place
    codes = json.dumps([data[_HEADER:].hex() for data in (left, right)])
    command = [sys.executable, "-I", "-c", _FIND]
    try:
        done = subprocess.run(command, input=codes, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return place
    return f"{place}, in {done.stdout.strip()}" if done.returncode == 0 else place
