"""One root names all shards; a proof ties one of them to it, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise_trainer.data.merkle import merkle_proof, merkle_root, proof_holds


def test_the_roots_are_those_of_certificate_transparency() -> None:
    # Known answers of RFC 6962's reference implementation: its eight test leaves.
    leaves = [bytes.fromhex(each) for each in LEAVES]
    assert [merkle_root(leaves[:count]) for count in (0, 1, 2, 3, 5, 8)] == ROOTS


LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
@settings(max_examples=150, deadline=None)
def test_a_proof_holds_for_its_leaf_and_place_alone(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, proof = merkle_root(leaves), merkle_proof(leaves, index)
    count = len(leaves)
    assert proof_holds(leaves[index], index, count, proof, root)
    assert not proof_holds(leaves[index] + b"x", index, count, proof, root)
    assert not proof_holds(leaves[index], index, count, [*proof, root], root)
    if proof:
        assert not proof_holds(leaves[index], index, count, proof[:-1], root)
    for other in range(count):
        if leaves[other] != leaves[index]:
            assert not proof_holds(leaves[other], index, count, proof, root)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_place_outside_the_tree_is_refused(index: int) -> None:
    leaves = [b"a", b"b", b"c"]
    assert not proof_holds(b"c", index, 3, merkle_proof(leaves, 2), merkle_root(leaves))
