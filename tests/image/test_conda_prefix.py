"""Prefix replacement: properties that must hold for any bytes, and the exact forms of first lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.image.conda_prefix import MAX_SHEBANG, python_shebang, replace_in_binary, replace_in_text
from reprise_trainer.errors import InputError

OLD = b"/placehold_placehold"
SHORTER = st.from_regex(rb"/[a-z/]{0,18}", fullmatch=True)
PIECES = st.lists(st.one_of(st.just(OLD), st.just(b"\0"), st.binary(max_size=6)), max_size=12)


@given(PIECES, SHORTER)
def test_a_binary_keeps_its_length_and_each_string_its_place(pieces: list[bytes], prefix: bytes) -> None:
    data = b"".join(pieces)
    replaced = replace_in_binary(data, OLD, prefix, "x")
    assert len(replaced) == len(data)
    assert OLD not in replaced or OLD in prefix


def _strings(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    for each in data.split(b"\0"):
        found.append((at, each))
        at += len(each) + 1
    return found


@given(PIECES, SHORTER)
def test_each_c_string_is_the_old_one_with_every_prefix_replaced(pieces: list[bytes], prefix: bytes) -> None:
    data = b"".join(pieces)
    replaced = replace_in_binary(data, OLD, prefix, "x")
    for at, text in _strings(data):
        now = replaced[at : at + len(text)]
        if OLD in text:
            start = text.index(OLD)
            assert now.rstrip(b"\0") == (text[:start] + text[start:].replace(OLD, prefix)).rstrip(b"\0")
        else:
            assert now == text


@given(PIECES, st.from_regex(rb"/[a-z]{1,60}", fullmatch=True))
def test_a_text_turns_back_into_itself(pieces: list[bytes], prefix: bytes) -> None:
    data = b"x" + b"".join(piece for piece in pieces if prefix not in piece)
    if prefix in data:
        return
    assert replace_in_text(replace_in_text(data, OLD, prefix), prefix, OLD) == data


def test_a_longer_prefix_is_refused_in_a_binary_and_fine_in_a_text() -> None:
    with pytest.raises(InputError, match="where was built for a prefix of at most 20 bytes"):
        replace_in_binary(OLD, OLD, OLD + b"x", "where")
    assert replace_in_text(b"a " + OLD, OLD, OLD + b"xyz") == b"a " + OLD + b"xyz"


@pytest.mark.parametrize(
    ("line", "length", "first"),
    [
        ("{}/bin/python", 10, "#!{}/bin/python"),
        ("{}/bin/python -s", 10, "#!{}/bin/python -s"),
        ("{}/bin/python3.11", 120, "#!/bin/sh\n'''exec' \"{}/bin/python3.11\" \"$0\" \"$@\" #'''"),
        ("{}/bin/python -s", 120, "#!/bin/sh\n'''exec' \"{}/bin/python\" -s \"$0\" \"$@\" #'''"),
        ("{}/bin/perl", 120, "#!/usr/bin/env perl"),
        ("{}/bin/perl -w", 120, "#!/usr/bin/env perl -w"),
        ("{}/bin/pythonw", 120, "#!/usr/bin/env pythonw"),
    ],
)
def test_a_first_line_that_is_too_long_is_rewritten(line: str, length: int, first: str) -> None:
    prefix = "/" + "p" * (length - 1)
    text = f"#!{line.format(OLD.decode())}\nrest {OLD.decode()}\n".encode()
    assert replace_in_text(text, OLD, prefix.encode()).decode() == f"{first.format(prefix)}\nrest {prefix}\n"


def test_the_limit_is_127_bytes_with_the_first_two() -> None:
    fits = "/" + "p" * (MAX_SHEBANG - 2 - len("/bin/perl") - 1)
    text = b"#!" + OLD + b"/bin/perl\n"
    assert replace_in_text(text, OLD, fits.encode()).decode() == f"#!{fits}/bin/perl\n"
    assert replace_in_text(text, OLD, f"{fits}p".encode()) == b"#!/usr/bin/env perl\n"


def test_a_program_with_a_long_interpreter_runs(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 140)
    folder.mkdir()
    (folder / "python3").symlink_to(Path(sys.executable).resolve())
    program = tmp_path / "program"
    program.write_text(f"{python_shebang(f'{folder}/python3')}\nimport sys\nprint(sys.argv[1:])\n")
    program.chmod(0o755)
    assert program.read_text().startswith("#!/bin/sh\n")
    done = subprocess.run([str(program), "one", "two words"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "['one', 'two words']\n"
