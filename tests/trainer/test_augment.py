"""Augmentation is drawn by (seed, epoch, record), and by nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.ingest.rows import Reading, Rows
from reprise.ingest.write import write_snapshot
from reprise_trainer.config.data import FashionMnistSection
from reprise_trainer.data.augment import Augmentation
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import OpenSnapshot, RecordField, Source, open_snapshot
from reprise_trainer.errors import InputError

IMAGES = np.random.default_rng(0).integers(1, 256, (64, 9, 7), np.uint8)


def augmented(images: np.ndarray, *, seed: int = 1, epoch: int = 0, shift: int = 2, flip: bool = True) -> np.ndarray:
    records = np.arange(len(images), dtype=np.int64)
    return Augmentation("image", shift, flip).apply(images, seed, np.full(len(images), epoch), records)


def candidates(image: np.ndarray, shift: int, flip: bool) -> list[np.ndarray]:
    """Every image that may come out: an oracle that moves whole images in a padded canvas."""
    canvas = np.pad(image, [(shift, shift), (shift, shift)] + [(0, 0)] * (image.ndim - 2))
    height, width = image.shape[:2]
    moved = [canvas[y : y + height, x : x + width] for y in range(2 * shift + 1) for x in range(2 * shift + 1)]
    return moved + ([each[:, ::-1] for each in moved] if flip else [])


@given(st.integers(0, 3), st.booleans(), st.sampled_from([(5, 4), (5, 4, 3)]), st.integers(0, 2**63 - 1))
@settings(max_examples=25, deadline=None)
def test_an_image_comes_out_shifted_and_mirrored_and_nothing_else(
    shift: int, flip: bool, shape: tuple[int, ...], seed: int
) -> None:
    images = np.random.default_rng(1).integers(1, 256, (8, *shape), np.uint8)
    for before, after in zip(images, augmented(images, seed=seed, shift=shift, flip=flip), strict=True):
        assert any(np.array_equal(after, each) for each in candidates(before, shift, flip))


def test_every_shift_and_both_directions_come_up_about_alike() -> None:
    images = np.repeat(np.arange(1, 64, dtype=np.uint8).reshape(1, 9, 7), 5000, axis=0)
    kinds = {image.tobytes(): 0 for image in candidates(images[0], 2, True)}
    assert len(kinds) == 50
    for image in augmented(images):
        kinds[image.tobytes()] += 1
    chi_square = sum((count - 100) ** 2 / 100 for count in kinds.values())
    assert chi_square < 49 + 6 * np.sqrt(2 * 49)


def test_a_record_is_changed_alike_in_any_company() -> None:
    together = augmented(IMAGES)
    some = np.array([5, 63, 0])
    alone = Augmentation("image", 2, True).apply(IMAGES[some], 1, np.zeros(3, np.int64), some)
    assert np.array_equal(alone, together[some])


@pytest.mark.parametrize("other", [{"seed": 2}, {"epoch": 1}])
def test_seed_and_epoch_both_key_the_change(other: dict[str, int]) -> None:
    same = [np.array_equal(a, b) for a, b in zip(augmented(IMAGES), augmented(IMAGES, **other), strict=True)]
    assert sum(same) < 12  # one in fifty by chance


def test_records_that_differ_in_their_high_word_are_changed_differently() -> None:
    low = np.arange(64, dtype=np.int64)
    change, epochs = Augmentation("image", 2, True), np.zeros(64, np.int64)
    first, second = (change.apply(IMAGES, 1, epochs, records) for records in (low, low + 2**32))
    assert sum(np.array_equal(a, b) for a, b in zip(first, second, strict=True)) < 12


def test_a_digest_names_the_epoch_too(tmp_path: Path) -> None:
    field = RecordField(name="image", dtype="uint8", shape=(4, 4))
    reading = Reading((field,), {"train": [Rows("made", [0], {"image": bytes(range(16))})]})
    rules = FashionMnistSection(name="one", file="made", sha256="0" * 64)
    write_snapshot(tmp_path / "one", reading, rules, [Source(artifact="pkg:generic/made", sha256="0" * 64)])
    change = Augmentation("image", 3)
    batches = Batches(open_snapshot(tmp_path / "one"), "train", seed=1, batch_size=1, augmentation=change)
    made = [batches.batch(step) for step in range(8)]  # the same record, epoch by epoch
    assert len({batch.digest for batch in made}) == 8
    assert len({batch.fields["image"].tobytes() for batch in made}) > 4


def test_a_batch_across_epochs_has_each_records_own_epoch(snapshot: OpenSnapshot) -> None:
    change = Augmentation("image", 3, True)
    plain = Batches(snapshot, "train", seed=1, batch_size=64).batch(4)  # records 256 to 319 of 300
    batch = Batches(snapshot, "train", seed=1, batch_size=64, augmentation=change).batch(4)
    epochs = np.array([0] * 44 + [1] * 20)
    assert np.array_equal(batch.fields["image"], change.apply(plain.fields["image"], 1, epochs, plain.records))
    assert batch.digest != plain.digest and np.array_equal(batch.fields["label"], plain.fields["label"])
    wider = Batches(snapshot, "train", seed=1, batch_size=64, augmentation=Augmentation("image", 4, True)).batch(4)
    assert wider.digest != batch.digest


def test_only_images_can_be_changed(snapshot: OpenSnapshot) -> None:
    with pytest.raises(InputError, match=r"field 'label' has shape \(\), which is no image's"):
        Batches(snapshot, "train", seed=1, batch_size=4, augmentation=Augmentation("label"))


def test_the_bytes_are_those_of_format_1() -> None:
    assert hashlib.sha256(augmented(IMAGES).tobytes()).hexdigest() == GOLDEN


GOLDEN = "2daaf2eb7eb6b9008d09d38a2c44b4ec0179fdc87badcbe8c7c2965ee2cb9fed"
