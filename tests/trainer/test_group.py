"""Which worker a process is: by the variables of an outside launcher, or alone."""

from __future__ import annotations

import pytest

from reprise_trainer.errors import InputError
from reprise_trainer.training.workers.group import Group, group_outside, own_shards

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node-1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RESTART_COUNT": "1",
}
SRUN = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "5000"}


def test_torchruns_and_sruns_variables_are_read() -> None:
    assert group_outside(TORCHRUN) == Group(3, 4, 2, "node-1", 29500, served=True, attempt="1")
    assert group_outside(SRUN) == Group(1, 2, 1, "10.0.0.1", 5000)
    assert group_outside({**SRUN, "SLURM_NTASKS_PER_NODE": "2"}) == Group(1, 2, 2, "10.0.0.1", 5000)


def test_one_worker_or_none_is_no_group() -> None:
    assert group_outside({}) is group_outside({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert group_outside({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}) is None  # a batch job of one task


@pytest.mark.parametrize("change", [{"MASTER_PORT": ""}, {"RANK": "-1"}, {"WORLD_SIZE": "four"}, {"MASTER_ADDR": ""}])
def test_a_variable_that_is_missing_or_no_number_is_named(change: dict[str, str]) -> None:
    with pytest.raises(InputError, match="|".join(change)):
        group_outside({**TORCHRUN, **change})


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_shards_are_shared_as_neighbours_and_none_twice(size: int) -> None:
    shares = [own_shards(rank, size, 8) for rank in range(size)]
    assert [shard for share in shares for shard in share] == list(range(8))
    assert {len(share) for share in shares} == {8 // size}
