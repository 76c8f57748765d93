"""One root names all leaves, by the hashing of Certificate Transparency."""

from __future__ import annotations

from reprise_trainer.data.merkle import merkle_root


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
