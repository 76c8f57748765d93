"""Arrays, folders of images, and what the store holds already."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.ingest.conftest import REST, Ingest, data_table

from reprise.ingest.files import folder_list
from reprise.snapshots import data_artifacts
from reprise.store import Store
from reprise_trainer.config.data import StoreSection
from reprise_trainer.data.batches import open_columns
from reprise_trainer.errors import InputError, NotFoundError

PIXELS = np.random.default_rng(3).integers(0, 256, (6, 4, 5), np.uint8)
LABELS = np.array([0, 1, 1, 0, 1, 0], np.uint8)
ARRAYS = """
[data]
kind = "arrays"
name = "pictures"
[data.files.train.image]
@images
[data.files.train.label]
@labels
[data.fields.label]
classes = ["cat", "dog"]
"""
IMAGES = """
[data]
kind = "images"
name = "pictures"
size = [4, 5]
colour = "grey"
[data.files.train]
@pictures
"""


def idx(array: np.ndarray, magic: int) -> bytes:
    return (
        struct.pack(f">{1 + array.ndim}I", magic + array.ndim, *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def npy(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def test_idx_and_npy_of_the_same_values_give_the_same_records(folder: Path, ingest: Ingest) -> None:
    npy(folder / "images", np.asfortranarray(PIXELS))
    npy(folder / "labels", LABELS)
    first = ingest(ARRAYS)
    (folder / "images").write_bytes(gzip.compress(idx(PIXELS, 0x800)))
    (folder / "labels").write_bytes(idx(LABELS, 0x800))
    second = ingest(ARRAYS)
    assert first.snapshot.root == second.snapshot.root and first.digest != second.digest
    assert np.array_equal(open_columns(second, "train")["image"].take(np.arange(6)), PIXELS)


@pytest.mark.parametrize(("dtype", "magic"), [(np.int32, 0xC00), (np.float32, 0xD00)])
def test_wide_values_come_in_either_byte_order(folder: Path, ingest: Ingest, dtype: type, magic: int) -> None:
    values = (np.arange(12) - 5).astype(dtype).reshape(6, 2)
    table = ARRAYS.partition("[data.files.train.label]")[0].replace("image", "value", 1)
    for data in (idx(values, magic), None):
        if data is None:
            npy(folder / "images", values.astype(np.dtype(dtype).newbyteorder(">")))
        else:
            (folder / "images").write_bytes(data)
        assert np.array_equal(open_columns(ingest(table), "train")["value"].take(np.arange(6)), values)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PIXELS[:5], LABELS, "images has 5, labels has 6"),
        (PIXELS.astype(np.float64), LABELS, "3 axes of float64"),
        (PIXELS, LABELS + 1, r"images with labels, row 1: label is 2, expected 0 to 1"),
        (np.full((6, 2), np.nan, np.float32), LABELS, "6 bad rows: images with labels, row 0: image is nan"),
        (PIXELS, LABELS.reshape(6, 1), "has classes, but is uint8 of shape"),
        (np.concatenate([PIXELS[:5], PIXELS[:1]]), LABELS, "train: images with labels, row 5 equals .* row 0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    folder: Path, ingest: Ingest, images: np.ndarray, labels: np.ndarray, message: str
) -> None:
    npy(folder / "images", images)
    npy(folder / "labels", labels)
    with pytest.raises(InputError, match=message):
        ingest(ARRAYS)


def test_two_classes_of_an_array_have_two_names(folder: Path, ingest: Ingest) -> None:
    npy(folder / "images", PIXELS)
    npy(folder / "labels", LABELS)
    with pytest.raises(InputError, match=r"data\.fields\.label\.classes: a name stands there twice"):
        ingest(re.sub(r"classes = .*", 'classes = ["a", "a"]', ARRAYS))


@pytest.mark.parametrize("form", ["npy", "idx"])
def test_an_array_of_records_without_a_value_is_refused(folder: Path, ingest: Ingest, form: str) -> None:
    npy(folder / "labels", LABELS)
    empty = np.zeros((6, 0), np.uint8)
    if form == "npy":
        npy(folder / "images", empty)
    else:
        (folder / "images").write_bytes(idx(empty, 0x800))
    with pytest.raises(InputError, match=r"images: a record of field image has shape \(0,\), expected no extent of 0"):
        ingest(ARRAYS)


def test_a_pickled_array_is_never_loaded(folder: Path, ingest: Ingest) -> None:
    npy(folder / "images", np.array([{}, {}], object))
    npy(folder / "labels", LABELS)
    with pytest.raises(InputError, match=r"images: not a .npy file that can be read"):
        ingest(ARRAYS)


def save_pictures(folder: Path) -> None:
    for number, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        path = folder / "pictures" / ("cat", "dog")[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def test_a_folder_of_images_gives_their_pixels_and_classes(folder: Path, ingest: Ingest) -> None:
    save_pictures(folder)
    source = ingest(IMAGES)
    order = np.argsort(LABELS, kind="stable")  # by path: cat before dog
    columns = open_columns(source, "train")
    assert np.array_equal(columns["image"].take(np.arange(6)), PIXELS[order])
    assert columns["label"].take(np.arange(6)).tolist() == LABELS[order].tolist()
    assert source.snapshot.field("label").classes == ("cat", "dog")


def test_the_lossy_formats_name_their_decoder(folder: Path, ingest: Ingest) -> None:
    save_pictures(folder)
    assert "pil" not in ingest(IMAGES).snapshot.preprocessing[0].parameters
    Image.fromarray(PIXELS[0]).save(folder / "pictures" / "cat" / "more.jpg")
    assert "pil" in ingest(IMAGES).snapshot.preprocessing[0].parameters


def test_an_image_that_cannot_be_is_named(folder: Path, ingest: Ingest) -> None:
    save_pictures(folder)
    (folder / "pictures" / "dog" / "bad.png").write_bytes(b"no picture")
    Image.fromarray(PIXELS[0].T).save(folder / "pictures" / "dog" / "turned.png")
    with pytest.raises(InputError, match=r"dog/bad.png: not an image .*; dog/turned.png: the image is 5 x 4"):
        ingest(IMAGES)
    (folder / "pictures" / "loose.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"loose.png does not lie in the folder of a class"):
        ingest(IMAGES)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_an_image_of_more_than_eight_bits_a_channel_is_bad(folder: Path, ingest: Ingest, dtype: type) -> None:
    save_pictures(folder)
    deep = np.linspace(5000, 53000, 20).reshape(4, 5).astype(dtype)
    Image.fromarray(deep).save(folder / "pictures" / "dog" / "deep.tiff")
    with pytest.raises(InputError, match=r"1 bad row: dog/deep.tiff: .* mode [IF].*, expected 8 bits a channel"):
        ingest(IMAGES)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_an_image_of_eight_bits_a_channel_is_converted(folder: Path, ingest: Ingest, mode: str, colour: str) -> None:
    path = folder / "pictures" / "cat" / "one.tiff"
    path.parent.mkdir(parents=True)
    image = Image.fromarray(PIXELS[0]).convert("RGB" if mode in ("CMYK", "YCbCr") else "L").convert(mode)
    image.save(path)
    made = open_columns(ingest(IMAGES.replace("grey", colour)), "train")["image"].take(np.arange(1))[0]
    assert np.array_equal(made, np.asarray(image.convert({"grey": "L", "rgb": "RGB"}[colour])))


def test_a_folders_digest_is_that_of_the_documented_command(folder: Path) -> None:
    save_pictures(folder)
    for name in ("Übung b", "b\x0bc\x1cd\u2028e"):
        (folder / "pictures" / "cat" / name).write_bytes(b"x")
    command = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
    listed = subprocess.run(["sh", "-c", command], cwd=folder / "pictures", check=True, capture_output=True).stdout
    assert listed == folder_list(folder / "pictures")


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"two\nlines.png", b"car\rriage.png", b"back\\slash.png"])
def test_a_file_name_that_no_list_can_hold_is_refused(folder: Path, name: bytes) -> None:
    save_pictures(folder)
    (folder / "pictures" / "cat" / os.fsdecode(name)).write_bytes(b"x")
    with pytest.raises(InputError, match=re.escape(f"the file name {b'cat/' + name!r} has")):
        folder_list(folder / "pictures")


def test_a_snapshot_in_the_store_is_a_source_of_its_own(folder: Path, ingest: Ingest, store: Store) -> None:
    save_pictures(folder)
    made = ingest(IMAGES)
    again = ingest(f'[data]\nkind = "store"\nname = "pictures"\nsnapshot = "{made.digest}"')
    assert again.digest == made.digest
    kept = data_artifacts(StoreSection(kind="store", name="x", snapshot=made.digest), store)
    assert {artifact.digest for artifact in kept} == {
        made.digest,
        *(f"sha256:{shard.sha256}" for shard in made.snapshot.shards()),
    }
    for path in made.folder.glob("shards/*"):
        path.unlink()
    assert ingest(f'[data]\nkind = "store"\nname = "pictures"\nsnapshot = "{made.digest}"').digest == made.digest
    with pytest.raises(NotFoundError, match="has no snapshot sha256:000"):
        ingest(f'[data]\nkind = "store"\nname = "pictures"\nsnapshot = "sha256:{"0" * 64}"')


def test_file_names_may_hold_what_other_readers_take_for_the_end_of_a_line(folder: Path, ingest: Ingest) -> None:
    save_pictures(folder)
    picture = next((folder / "pictures").rglob("*.png"))
    picture.rename(picture.with_name("b\x0bc\x1cd\u2028e.png"))
    made = ingest(IMAGES)
    assert sum(split.records for split in made.snapshot.splits.values()) == len(
        list((folder / "pictures").rglob("*.png"))
    )


def test_a_file_that_is_nowhere_is_said_to_be(folder: Path, ingest: Ingest) -> None:
    table = f'[data]\nkind = "text"\nname = "t"\nblock = 4\nfile = "gone.txt"\nsha256 = "{"0" * 64}"'
    with pytest.raises(NotFoundError, match=r"beside/gone.txt: there is no such file or folder"):
        ingest(table)


def test_the_sources_stay_in_the_store_when_the_folder_is_gone(folder: Path, ingest: Ingest, store: Store) -> None:
    save_pictures(folder)
    table = data_table(IMAGES, folder)
    made = ingest(table)
    digest = hashlib.sha256(folder_list(folder / "pictures")).hexdigest()
    (folder / "pictures").rename(folder / "elsewhere")
    for left in (store.cache / "snapshots").iterdir():
        left.rename(folder / left.name)
    assert store.has(f"sha256:{digest}") and ingest(table).digest == made.digest


def test_a_dry_run_says_what_would_be_made_and_keeps_nothing(folder: Path, store: Store) -> None:
    save_pictures(folder)
    config = folder / "run.toml"
    config.write_text(data_table(IMAGES, folder) + REST)
    command = [sys.executable, "-m", "reprise", "ingest", str(config), "--store", str(store.root), "--json"]
    dry = json.loads(subprocess.run([*command, "--dry-run"], check=True, capture_output=True).stdout)
    assert dry["splits"]["train"]["records"] == 6 and dry["folder"] is None
    assert not (store.cache / "snapshots").exists() and not list(store.cache.iterdir())
    kept = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert store.manifest(kept["artifact"])["config"]["digest"] == kept["digest"]
    assert kept["digest"] == dry["digest"] and (Path(kept["folder"]) / "snapshot.json").exists()
    (folder / "pictures" / "cat" / "bad.png").write_bytes(b"")
    config.write_text(data_table(IMAGES, folder) + REST)
    refused = subprocess.run([*command, "--dry-run"], check=False, capture_output=True, text=True)
    assert refused.returncode == 65 and "1 bad row: cat/bad.png" in refused.stderr
    assert "Traceback" not in refused.stderr
