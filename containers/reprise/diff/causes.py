"""Two versions of one file → what kind of difference it is. Pure functions on bytes."""

from __future__ import annotations

import difflib
import re
import zlib

from reprise.diff.bytecode import compare_bytecode
from reprise.diff.report import Cause

MAX_LINES = 60
"""Lines of a text's difference that are kept."""

_MAX_TEXT = 2 << 20
_TIMES = re.compile(
    rb"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?"  # ISO 8601
    rb"|\b\d\d:\d\d:\d\d\b|\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b"
    rb"|\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2}\b"
    rb"|\b1\d{9}(\.\d+)?\b"  # seconds since 1970, from 2001 to 2033
)
_PATH_BYTES = re.compile(rb"/[A-Za-z0-9_.+\-/ ]*\Z")
_PATH_END = re.compile(rb"[A-Za-z0-9_.+\-/]*")
_GZIP = b"\x1f\x8b"


def content_cause(
    path: str, left: bytes, right: bytes, *, source_equal: bool | None = None
) -> tuple[Cause, str, tuple[str, ...]]:
    """The cause of a difference, its description, and the lines of a text's unified diff.

    Args:
        path: the file's path; its name tells bytecode.
        left, right: two contents, which differ.
        source_equal: for bytecode, whether its source is the same on both sides; None when it isn't known.
    """
    if path.endswith(".pyc"):
        return "bytecode", compare_bytecode(left, right, source_equal), ()
    lines = text_lines(left, right)
    if prefixes := _moved_prefix(left, right):
        old, new = (each.decode("utf-8", "replace") for each in prefixes)
        return "prefix", f"{new} in place of {old} is all that differs", lines
    if left.startswith(_GZIP) and right.startswith(_GZIP):
        return _compare_gzip(left, right)
    if left.replace(b"\r\n", b"\n") == right.replace(b"\r\n", b"\n"):
        return "line endings", "only the ends of lines differ", ()
    if sorted(left.splitlines()) == sorted(right.splitlines()):
        return "order", "the same lines in another order", lines
    if lines and _TIMES.sub(b"?", left) == _TIMES.sub(b"?", right):
        return "time", "only dates and times in the text differ", lines
    return "content", _sizes(left, right), lines


def text_lines(left: bytes, right: bytes) -> tuple[str, ...]:
    """A unified diff of two texts, at most MAX_LINES; empty when one of them is no text, or too long to compare."""
    if max(len(left), len(right)) > _MAX_TEXT or b"\0" in left or b"\0" in right:
        return ()
    try:
        ours, theirs = left.decode().splitlines(), right.decode().splitlines()
    except UnicodeDecodeError:
        return ()
    lines = list(difflib.unified_diff(ours, theirs, "left", "right", lineterm="", n=2))
    lines = [
        "".join(each if each.isprintable() or each == "\t" else ascii(each)[1:-1] for each in line) for line in lines
    ]
    more = len(lines) - MAX_LINES
    return tuple([*lines[:MAX_LINES], f"… {more} lines more"] if more > 0 else lines)


def first_difference(left: bytes, right: bytes) -> int:
    """Offset of the first byte that differs; the shorter length when one begins with the other."""
    low, high = 0, min(len(left), len(right))
    while low < high:  # halving, since comparing slices is fast and comparing bytes one by one is not
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _sizes(left: bytes, right: bytes) -> str:
    offset = first_difference(left, right)
    return f"the first byte that differs is at offset {offset:,}; {len(left):,} and {len(right):,} bytes"


def _moved_prefix(left: bytes, right: bytes) -> tuple[bytes, bytes] | None:
    """The two prefixes, if one file is the other with each path below a prefix moved to another prefix.

    In a binary file the string keeps its length, filled up with NULs.
    """
    at = first_difference(left, right)
    start = _PATH_BYTES.search(left[max(0, at - 512) : at])
    if start is None:
        return None
    begin = at - len(start[0])
    old, new = (data[begin : begin + len(start[0])] + _path_from(data, at) for data in (left, right))
    old, new = _without_common_end(old, new)
    if min(len(old), len(new)) < 2 or old == new:
        return None
    binary = b"\0" in left or b"\0" in right
    if left.replace(old, new) == right or (binary and _strings(left.replace(old, new)) == _strings(right)):
        return old, new
    return None


def _path_from(data: bytes, at: int) -> bytes:
    match = _PATH_END.match(data, at)
    return match[0] if match else b""


def _without_common_end(old: bytes, new: bytes) -> tuple[bytes, bytes]:
    """/a/b/lib and /c/lib → /a/b and /c."""
    left, right = old.split(b"/"), new.split(b"/")
    while len(left) > 2 and len(right) > 2 and left[-1] == right[-1]:
        left.pop()
        right.pop()
    return b"/".join(left), b"/".join(right)


def _strings(data: bytes) -> list[bytes]:
    return [part for part in data.split(b"\0") if part]


def _compare_gzip(left: bytes, right: bytes) -> tuple[Cause, str, tuple[str, ...]]:
    """RFC 1952: the header holds a time at offset 4; the same content may be packed in many ways."""
    try:
        plain = [zlib.decompressobj(31).decompress(data, _MAX_TEXT * 32) for data in (left, right)]
    except zlib.error:
        return "content", _sizes(left, right), ()
    if plain[0] != plain[1]:
        return "content", f"unpacked: {_sizes(*plain)}", text_lines(*plain)
    if left[:4] + left[8:] == right[:4] + right[8:]:
        return "time", "the same gzip file but for the time in its header", ()
    return "compressor", "the same content, packed by another compressor", ()
