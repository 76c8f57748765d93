"""What costs much is said before step 0, and what costs very much is refused unless it is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.trainer.conftest import CONFIG

from reprise_trainer.config.read import RunConfig, read_config
from reprise_trainer.errors import InputError, RefusedError
from reprise_trainer.training.prices import PORTABLE, SLOW_BFLOAT16, prices


def config(*changes: tuple[str, str]) -> RunConfig:
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read_config(text.encode(), where="test")


ROUGH = ("shards = 4", 'shards = 4\nprecision = "bfloat16"')
ALLOWED = ("shards = 4", 'shards = 4\nprecision = "bfloat16"\nallow_slow = true')


@pytest.fixture
def cpuinfo(tmp_path: Path) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text("model name\t: Some CPU\nflags\t\t: avx2 fma\n\n")
    return path


def test_a_plain_run_costs_nothing_more(cpuinfo: Path) -> None:
    assert prices(config(), cpuinfo=cpuinfo) == []


def test_portable_has_a_price(cpuinfo: Path) -> None:
    assert prices(config(("seed = 7", 'seed = 7\nprofile = "portable"')), cpuinfo=cpuinfo) == [PORTABLE]


def test_bfloat16_without_instructions_is_refused_unless_allowed(cpuinfo: Path) -> None:
    with pytest.raises(RefusedError, match=r"none of avx512_bf16, amx_bf16; .* 15 times as long"):
        prices(config(ROUGH), cpuinfo=cpuinfo)
    assert prices(config(ALLOWED), cpuinfo=cpuinfo) == [SLOW_BFLOAT16]
    cpuinfo.write_text("flags\t\t: avx2 fma avx512_bf16\n\n")
    assert prices(config(ROUGH), cpuinfo=cpuinfo) == []


def test_a_model_of_one_s_own_decides_its_precision_itself(cpuinfo: Path) -> None:
    own = CONFIG[: CONFIG.index("[model]")] + "[model]\nkind = 'own'\nmodel = 'a:b'\nloss = 'a:c'\n\n"
    text = own + CONFIG[CONFIG.index("[train]") :].replace(*ROUGH)
    with pytest.raises(InputError, match="bfloat16 is for built-in models"):
        prices(read_config(text.encode(), where="test"), cpuinfo=cpuinfo)
