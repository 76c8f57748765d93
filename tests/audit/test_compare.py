from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from reprise.audit.compare import compare_digests, compare_images, compare_ledgers
from reprise_trainer.identity.file_list import ListedFile
from reprise_trainer.identity.inventory import Inventory, LayerRecord

A, B, C = (f"sha256:{digit * 64}" for digit in "abc")
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
BASE = LayerRecord("base", ZSTD, A, 10, A, A)
TORCH = LayerRecord("torch", ZSTD, B, 20, B, B)
IMAGE = Inventory((BASE, TORCH), {"os": "linux", "config": {"User": "0:0", "Labels": {"x": "1"}}})
FILES = {
    "torch": [
        ListedFile("usr/a", "file", 0o644, 1, "1" * 64),
        ListedFile("usr/b", "symlink", 0o777, target="a"),
    ]
}


def difference(found: Inventory, files: dict[str, list[ListedFile]] | None = None) -> str:
    part = compare_images(IMAGE, found, FILES if files else {}, files or {})
    assert part.equal is False and part.expected != part.found
    return part.difference


def with_torch(**changes: object) -> Inventory:
    return replace(IMAGE, layers=(BASE, replace(TORCH, **changes)))


def test_equal_images_are_equal() -> None:
    part = compare_images(IMAGE, IMAGE, {}, {})
    assert part.equal is True and part.expected == part.found and part.difference == ""


def test_the_first_layer_with_other_content_is_named() -> None:
    why = difference(with_torch(digest=C, diff_id=C))
    assert why == f"layer 2 (torch): other content: {C} in place of {B}"


def test_another_compressor_is_told_from_other_content() -> None:
    assert "same content, compressed otherwise" in difference(with_torch(digest=C))


def test_the_first_path_that_differs_is_named() -> None:
    changed = [FILES["torch"][0]._replace(mode=0o755), FILES["torch"][1]]
    why = difference(with_torch(digest=C, diff_id=C, list_digest=C), {"torch": changed})
    assert why.endswith(f"; first path: /usr/a: mode {0o755} in place of {0o644}")


@pytest.mark.parametrize(
    ("files", "whose"),
    [
        ([FILES["torch"][1]], "/usr/a, which only the run image has"),
        ([*FILES["torch"], ListedFile("usr/aa", "directory", 0o755)], "/usr/aa, which only the rebuilt image has"),
    ],
)
def test_a_missing_or_added_path_is_named(files: list[ListedFile], whose: str) -> None:
    assert difference(with_torch(digest=C, diff_id=C), {"torch": files}).endswith(whose)


def test_a_missing_layer_and_an_added_one_are_named() -> None:
    assert difference(replace(IMAGE, layers=(BASE,))) == "layer 2 (torch): only the run image has it"
    more = replace(IMAGE, layers=(BASE, TORCH, replace(TORCH, name="more")))
    assert difference(more) == "layer 3 (more): only the rebuilt image has it"


def test_layers_in_another_order_are_told() -> None:
    assert "has layer 'torch' in its place" in difference(replace(IMAGE, layers=(TORCH, BASE)))


def test_another_config_is_named_by_its_key() -> None:
    changed = replace(IMAGE, config={"os": "linux", "config": {"User": "0:0", "Labels": {"x": "2"}}})
    assert difference(changed) == "config: config.Labels.x is '2' in place of '1'"


def test_digests_are_compared_and_both_are_said() -> None:
    assert compare_digests(A, A, "state").equal is True
    part = compare_digests(A, B, "state")
    assert part.equal is False and A in part.difference and B in part.difference


def test_the_first_ledger_line_that_differs_is_named(ledger_of: Callable[..., tuple[bytes, str, int]]) -> None:
    ours, head, _ = ledger_of((0.5, 0.25, 0.125))
    theirs, other_head, _ = ledger_of((0.5, 0.25 + 2**-52, 0.125))
    part = compare_ledgers(ours, theirs, head, other_head)
    assert part.equal is False
    assert part.difference.startswith("line 3 (step 1): loss 0x1.0000000000000p-2 against 0x1.0000000000004p-2")


def test_a_ledger_that_ends_early_is_told(ledger_of: Callable[..., tuple[bytes, str, int]]) -> None:
    ours, head, _ = ledger_of((0.5, 0.25))
    theirs, other_head, _ = ledger_of((0.5,))
    assert compare_ledgers(ours, theirs, head, other_head).difference.startswith("line 3")


def test_equal_ledgers_are_equal(ledger_of: Callable[..., tuple[bytes, str, int]]) -> None:
    data, head, _ = ledger_of()
    assert compare_ledgers(data, data, head, head).equal is True
