"""Old image formats give their old bytes; a tool with other bytes is refused, never taken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from image_inputs import unpacked
from layer_jobs import GOLDEN, digests, inputs

from reprise.image.bootstrap import ImagePython
from reprise.image.formats import DEFAULT_FORMAT, FORMATS, image_format, require_libzstd
from reprise.image.job import LayerJob
from reprise_trainer.errors import InputError

TELLS = """The bytes of layers have changed in image format {format}.
If that is meant: leave this format as it is, add one with the next number to reprise/image/formats.py beside it, make
the code follow it, and put the digests that this test then shows for the new number into tests/support/layer_jobs.py;
name the new format in CHANGELOG.md. A lock keeps the format that it was made for, so no environment.digest moves.
If it is not meant: find what made the bytes change (`git bisect` with this test)."""


@pytest.mark.parametrize("number", sorted(FORMATS))
def test_layers_of_each_kind_have_these_digests_in_each_format(
    build: Any, pythons: Mapping[int, ImagePython], tmp_path: Path, number: int
) -> None:
    built = build(*inputs(tmp_path / "in"), with_python=pythons[number], format=number)
    assert digests(built) == GOLDEN[number], TELLS.format(format=number)


def test_each_format_has_golden_digests_and_no_two_are_alike() -> None:
    assert GOLDEN.keys() == FORMATS.keys()
    assert len({tuple(sorted(each.items())) for each in GOLDEN.values()}) == len(FORMATS)


def test_formats_with_another_compressor_hold_the_same_content(
    build: Any, pythons: Mapping[int, ImagePython], tmp_path: Path
) -> None:
    jobs = inputs(tmp_path / "in")
    one, other = (build(*jobs, with_python=pythons[number], format=number) for number in (1, 2))
    for name in one:
        assert one[name].diff_id == other[name].diff_id
        assert unpacked(one[name].blob_path.read_bytes()) == unpacked(other[name].blob_path.read_bytes())


def test_a_wheel_with_another_libzstd_is_refused_with_what_to_do(
    build: Any, pythons: Mapping[int, ImagePython], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"image format 1 is written by libzstd 1\.5\.7, .* brings 1\.5\.6") as error:
        build(LayerJob("base", "base"), with_python=pythons[2], format=1)
    assert "zstandard==0.25.0" in error.value.hint and "format = 2" in error.value.hint
    assert list((tmp_path / "built-0").iterdir()) == []


def test_a_libzstd_of_no_format_is_refused_too() -> None:
    with pytest.raises(InputError, match=r"brings 1\.6\.0"):
        require_libzstd(FORMATS[DEFAULT_FORMAT], (1, 6, 0))


def test_an_unknown_format_is_refused_with_those_that_there_are(build: Any) -> None:
    with pytest.raises(InputError, match=r"x\.toml names image format 7; this version of reprise writes 1, 2"):
        image_format(7, "x.toml")
    with pytest.raises(InputError, match="names image format 7"):
        build(LayerJob("base", "base"), format=7)


def test_a_new_lock_gets_the_newest_libzstd() -> None:
    assert FORMATS[DEFAULT_FORMAT].libzstd == max(each.libzstd for each in FORMATS.values())


def test_every_parameter_of_the_compressor_is_written_out() -> None:
    """A parameter that is left out would have libzstd's or zstandard's default, which may move with their versions."""
    names = {
        *("format", "compression_level", "window_log", "hash_log", "chain_log", "search_log", "min_match"),
        *("target_length", "strategy", "write_content_size", "write_checksum", "write_dict_id", "job_size"),
        *("overlap_log", "force_max_window", "enable_ldm"),
    }
    for each in FORMATS.values():
        assert each.zstd.keys() == names
