"""What verbs print for people has no Python in it."""

from __future__ import annotations

import pytest

from reprise.cli.output import print_document


def test_a_document_is_printed_as_people_write_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_document(
        {
            "image": "sha256:1",
            "blobs_new": 1029,
            "has_policy": True,
            "judged": False,
            "claimed_references": [],
            "build": ["numpy", "trainer"],
            "metrics": {"accuracy": "0.9", "total": 10},
            "parent": None,
            "seconds": 1.5,
            "skipped": ["left out"],
        },
        without=["skipped"],
    )
    assert capsys.readouterr().out.splitlines() == [
        "image               sha256:1",
        "blobs new           1,029",
        "has policy          yes",
        "judged              no",
        "claimed references  none",
        "build               numpy, trainer",
        "metrics             accuracy 0.9, total 10",
        "parent",
        "seconds             1.5",
    ]
