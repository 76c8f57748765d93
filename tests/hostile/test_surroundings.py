"""One lock, one image, in whatever process it is built: each test changes one thing, and proves that it was changed."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from servers import program
from tests.hostile.conftest import Same

from hostile import CHECKOUT, OURS, SMALL, Outcome, Surroundings, build, stocked
from reprise.store import Store

NOBODY = 4_242
YEAR = 365.25 * 86_400
POLLUTION = {
    "SOURCE_DATE_EPOCH": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONNODEBUGRANGES": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONWARNINGS": "default",
    "ZSTD_CLEVEL": "19",
    "ZSTD_NBTHREADS": "1",
    "TAR_OPTIONS": "--owner=someone",
    "GZIP": "-9",
    "LD_LIBRARY_PATH": "/nonexistent",
}


@dataclass(frozen=True)
class Variation:
    """Surroundings, and whether a process that saw `dict` was in them."""

    around: Surroundings
    seen: Callable[[dict[str, Any]], bool]


def with_umask(mask: str) -> Surroundings:
    return Surroundings(prefix=("/bin/sh", "-c", f'umask {mask}; exec "$@"', "sh"))


VARIATIONS = {
    "a closed umask": Variation(with_umask("077"), lambda saw: saw["umask"] == 0o077),
    "an open umask": Variation(with_umask("000"), lambda saw: saw["umask"] == 0),
    "an ASCII locale": Variation(
        Surroundings(environment={"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
        lambda saw: "utf-8" not in [each.lower() for each in saw["encodings"]],
    ),
    "a time zone far ahead": Variation(
        Surroundings(environment={"TZ": "FAR-14:00"}), lambda saw: saw["utc_offset"] == 14 * 3600
    ),
    "a time zone with odd minutes": Variation(
        Surroundings(environment={"TZ": "ODD+09:37"}), lambda saw: saw["utc_offset"] == -(9 * 3600 + 37 * 60)
    ),
    "a clock 18 years ahead": Variation(
        Surroundings(prefix=("faketime", "-f", "+18y")), lambda saw: saw["time"] > time.time() + 17 * YEAR
    ),
    "a clock in the last century": Variation(
        Surroundings(prefix=("faketime", "1999-12-31 23:59:58")), lambda saw: saw["time"] < 946_771_200
    ),
    "another host name": Variation(
        Surroundings(prefix=("unshare", "--uts", "/bin/sh", "-c", 'hostname h0stile.example; exec "$@"', "sh")),
        lambda saw: saw["hostname"] == "h0stile.example",
    ),
    "one CPU": Variation(Surroundings(prefix=("taskset", "-c", "0")), lambda saw: saw["cpus"] == 1),
    "another hash seed": Variation(
        Surroundings(environment={"PYTHONHASHSEED": "4242"}),
        lambda saw: saw["environment"].get("PYTHONHASHSEED") == "4242",
    ),
    "addresses that are not random": Variation(
        Surroundings(prefix=("setarch", "-R")), lambda saw: not saw["randomized_addresses"]
    ),
    "variables of other tools": Variation(
        Surroundings(environment=POLLUTION), lambda saw: POLLUTION.items() <= saw["environment"].items()
    ),
    "hardly any variables": Variation(
        Surroundings(prefix=("env", "-i", "PATH=/usr/bin")),
        lambda saw: len(saw["environment"]) <= 3,
    ),
    "no network": Variation(Surroundings(prefix=("unshare", "--net")), lambda saw: saw["network"] == ["lo"]),
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_the_bits_are_the_same_with(name: str, plain: Outcome, stock: Store, same: Same, tmp_path: Path) -> None:
    tried(VARIATIONS[name], plain, stock, same, tmp_path)


def tried(
    variation: Variation, plain: Outcome, stock: Store, same: Same, work: Path, *, project: Path = SMALL.root
) -> Outcome:
    """Build in a variation's surroundings, which the plain build must not have been in."""
    assert not variation.seen(plain.saw), "the plain build was in these surroundings too: nothing is varied here"
    outcome = build(work, stock, variation.around, project=project)
    assert variation.seen(outcome.saw), "the surroundings did not take effect"
    assert outcome.said["built"] == len(outcome.said["layers"])
    same(outcome)
    return outcome


def test_surroundings_that_take_no_effect_fail(plain: Outcome, stock: Store, same: Same, tmp_path: Path) -> None:
    dud = Variation(Surroundings(), VARIATIONS["a closed umask"].seen)
    with pytest.raises(AssertionError, match="did not take effect"):
        tried(dud, plain, stock, same, tmp_path)


def test_an_image_with_another_byte_fails(plain: Outcome, stock: Store, same: Same, tmp_path: Path) -> None:
    blobs, built = stock.root / "blobs", plain.store.root / "blobs"
    shutil.rmtree(blobs)
    shutil.copytree(built, blobs)
    outcome = replace(plain, store=stock)
    same(outcome)
    blob = stock.path(outcome.said["layers"][0]["digest"])
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with pytest.raises(AssertionError):
        same(outcome)


def test_the_bits_are_the_same_for_a_user_who_is_not_root(plain: Outcome, artifacts: Store, same: Same) -> None:
    """With a store of their own. The right to read is left to them, since the checkout may lie in root's folder."""
    right = "=-all,+dac_read_search"
    caps = (f"--inh-caps{right}", f"--ambient-caps{right}", f"--bounding-set{right}")
    around = Surroundings(
        prefix=("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", *caps),
        environment={"HOME": "/nonexistent"},
    )
    with tempfile.TemporaryDirectory(prefix="reprise-hostile-", dir="/tmp") as name:  # pytest's folders are root's
        work = Path(name)
        shutil.copytree(SMALL.root, work / "project")
        store = stocked(work / "store", artifacts)
        files = [store.root / "index.json", store.root / ".lock"]
        for path in (work, *(each for each in work.rglob("*") if each.is_dir() or each in files)):
            os.chown(path, NOBODY, NOBODY)
        variation = Variation(around, lambda saw: saw["uid"] == NOBODY)
        outcome = tried(variation, plain, store, same, work, project=work / "project")
        assert {store.path(layer["digest"]).stat().st_uid for layer in outcome.said["layers"]} == {NOBODY}


def test_the_bits_are_the_same_from_long_folders_with_spaces(
    plain: Outcome, artifacts: Store, same: Same, tmp_path: Path
) -> None:
    deep = (
        tmp_path / "a folder with spaces, umlauts äöü and 'quotes'" / ("long " * 40).strip() / ("longer " * 30).strip()
    )
    home = deep / "my home"
    home.mkdir(parents=True)
    around = Surroundings(environment={"HOME": str(home)}, folder=deep)
    variation = Variation(around, lambda saw: saw["home"] == str(home) and saw["cwd"] == str(deep))
    tried(variation, plain, stocked(deep / "the store", artifacts), same, tmp_path)


def test_the_bits_are_the_same_with_one_worker_and_with_seven(
    stock: Store, artifacts: Store, same: Same, tmp_path: Path
) -> None:
    one = build(tmp_path, stock, Surroundings(arguments=("--workers", "1")))
    seven = build(tmp_path, stocked(tmp_path / "other", artifacts), Surroundings(arguments=("--workers", "7")))
    assert seven.processes >= one.processes + 5, (one.processes, seven.processes)
    same(one)
    same(seven)


def test_the_bits_are_the_same_with_a_clock_that_lies_to_the_builder_itself(
    plain: Outcome, stock: Store, same: Same, tmp_path: Path
) -> None:
    """The builder starts with an empty environment, where a preloaded clock would end; here it is put back."""
    log = tmp_path / "log.json"
    command = (
        sys.executable,
        str(CHECKOUT / "tests/hostile/builder_under.py"),
        str(log),
        program("faketime", "faketime"),
    )
    around = Surroundings(command=(*command, "-f", "-25y", "--"), environment={"PYTHONPATH": os.pathsep.join(OURS)})
    outcome = build(tmp_path, stock, around)
    said = json.loads(log.read_text())
    assert said["clock"] < said["now"] - 24 * YEAR
    same(outcome)
