"""Checkpoints and state digests: bit for bit, whole or absent, and damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from sigstore_logs import root_of, sha256

from reprise_trainer.errors import DoesNotHoldError, InputError, RepriseError, StorageError
from reprise_trainer.training.checkpoints.checkpoint import latest_good, read_checkpoint, write_checkpoint
from reprise_trainer.training.checkpoints.names import checkpoint_name
from reprise_trainer.training.checkpoints.state_digest import CHUNK, first_difference, state_digest, tensor_rows

GOLDEN = "sha256:1b5502d3db310f454647dbc53fd0587ef9e0df1a5040bac9f986e105933bf734"


def tensors() -> dict[str, np.ndarray]:
    odd = np.array([0.0, -0.0, np.inf, -np.inf, 1e-45, 3.4e38], np.float32)
    payload = np.array([0x7FC00001, 0xFFC12345], np.uint32).view(np.float32)  # two NaNs with different bits
    return {
        "step": np.array(12, np.int64),
        "model/w": np.arange(600_000, dtype=np.float32).reshape(300, 2000),
        "model/b": np.concatenate([odd, payload]),
        "optimizer/mean/w": np.zeros((3, 0), np.float32),
    }


def test_a_state_reads_back_bit_for_bit(tmp_path: Path) -> None:
    digest = write_checkpoint(tmp_path, 12, tensors())
    read = read_checkpoint(tmp_path / "step-00000012")
    assert (read.step, read.digest) == (12, digest)
    for name, tensor in tensors().items():
        assert read.tensors[name].tobytes() == tensor.tobytes()
        assert (read.tensors[name].dtype, read.tensors[name].shape) == (tensor.dtype, tensor.shape)


def test_the_digest_is_that_of_format_2() -> None:
    assert state_digest(tensors()) == GOLDEN


def test_the_digest_is_the_root_of_a_tree_over_chunks_and_tensors() -> None:
    def leaf(data: bytes) -> bytes:
        return sha256(b"\0" + data)

    leaves = [leaf(b'{"chunk":1048576,"format":2}')]
    for name, tensor in sorted(tensors().items()):
        data = tensor.tobytes()
        chunks = [sha256(data[start : start + CHUNK]) for start in range(0, len(data), CHUNK)]
        root = root_of([leaf(chunk) for chunk in chunks]) if chunks else sha256(b"")
        row = {"name": name, "dtype": str(tensor.dtype), "shape": tensor.shape, "chunks": root.hex()}
        leaves.append(leaf(json.dumps(row, sort_keys=True, separators=(",", ":")).encode()))
    assert state_digest(tensors()) == f"sha256:{root_of(leaves).hex()}"


def test_the_digest_knows_content_and_not_layout_or_order() -> None:
    state = tensors()
    turned = {**dict(reversed(state.items())), "model/w": np.asfortranarray(state["model/w"])}
    assert state_digest(turned) == state_digest(state)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["model/w"].__setitem__((299, 1999), np.nextafter(np.float32(599_999), np.float32(0))),
        lambda state: state["model/b"].__setitem__(0, np.float32(-0.0)),
        lambda state: state.update({"model/w": state["model/w"].reshape(2000, 300)}),
        lambda state: state.update({"model/b": state["model/b"].view(np.int32)}),
        lambda state: state.update({"model/c": state.pop("model/b")}),
        lambda state: state.update(step=np.array(13, np.int64)),
        lambda state: state.pop("optimizer/mean/w"),
    ],
)
def test_any_change_changes_the_digest(change) -> None:  # type: ignore[no-untyped-def]
    state = tensors()
    change(state)
    assert state_digest(state) != state_digest(tensors())


@given(st.integers(0, 600_000 * 4 - 1))
def test_the_chunk_of_a_changed_byte_is_found(position: int) -> None:
    state, original = tensors(), tensor_rows(tensors())
    state["model/w"].reshape(-1).view(np.uint8)[position] ^= 1
    where = f"tensor 'model/w' differs in its bytes from {position // CHUNK * CHUNK} on"
    assert first_difference(original, tensor_rows(state)) == where


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path, 12, tensors())
    return tmp_path / "step-00000012"


def test_a_flipped_bit_names_its_tensor(checkpoint: Path) -> None:
    path = checkpoint / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DoesNotHoldError, match="tensor 'model/"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize("cut", [0, 7, 100, 1000])
def test_a_torn_file_is_refused(checkpoint: Path, cut: int) -> None:
    for name in ("state.safetensors", "state.json"):
        path = checkpoint / name
        original = path.read_bytes()
        path.write_bytes(original[: min(cut, len(original) - 1)])
        with pytest.raises(RepriseError):
            read_checkpoint(checkpoint)
        path.write_bytes(original)
    read_checkpoint(checkpoint)


def test_a_document_with_another_list_is_refused(checkpoint: Path) -> None:
    path = checkpoint / "state.json"
    document = json.loads(path.read_bytes())
    document["tensors"].pop()
    path.write_text(json.dumps(document))
    with pytest.raises(DoesNotHoldError, match=r"state\.json"):
        read_checkpoint(checkpoint)
    path.unlink()
    with pytest.raises(InputError):
        read_checkpoint(checkpoint)


def test_a_checkpoint_is_never_written_over(checkpoint: Path) -> None:
    with pytest.raises(StorageError):
        write_checkpoint(checkpoint.parent, 12, tensors())
    read_checkpoint(checkpoint)
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_a_full_disk_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(StorageError, match="No space left"):
        write_checkpoint(small_disk, 1, {"w": np.zeros(2_000_000, np.float32)})
    assert list(small_disk.iterdir()) == []


def damage(folder: Path, how: str) -> None:
    """Damage a checkpoint as disks and crashes do."""
    tensors, document = folder / "state.safetensors", folder / "state.json"
    match how:
        case "bit":
            data = bytearray(tensors.read_bytes())
            data[len(data) // 2] ^= 4
            tensors.write_bytes(data)
        case "torn":
            tensors.write_bytes(tensors.read_bytes()[:-4096])
        case "zeros":
            document.write_bytes(bytes(len(document.read_bytes())))
        case "missing":
            document.unlink()
        case "other step":
            document.write_bytes(document.read_bytes().replace(b'"step":3', b'"step":4'))
        case "renamed":
            folder.rename(folder.with_name(checkpoint_name(9)))


@pytest.mark.parametrize("how", ["bit", "torn", "zeros", "missing", "other step", "renamed"])
def test_the_newest_whole_checkpoint_is_found_and_damaged_ones_are_named(tmp_path: Path, how: str) -> None:
    digests = [write_checkpoint(tmp_path, step, {**tensors(), "step": np.array(step)}) for step in (1, 2, 3)]
    found, messages = latest_good(tmp_path)
    assert found is not None and (found.step, found.digest, messages) == (3, digests[2], ())
    damage(tmp_path / checkpoint_name(3), how)
    found, (message,) = latest_good(tmp_path)
    assert found is not None and (found.step, found.digest) == (2, digests[1])
    assert "passed over" in message and checkpoint_name(9 if how == "renamed" else 3) in message


def test_without_a_whole_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert latest_good(tmp_path / "absent") == (None, ())
    (tmp_path / checkpoint_name(5)).mkdir()
    (tmp_path / ".step-00000006.partial").mkdir()
    found, messages = latest_good(tmp_path)
    assert found is None and len(messages) == 1


def test_tied_weights_are_stored_once_with_their_second_name_beside(tmp_path: Path) -> None:
    state = {"model/embed": np.arange(12, dtype=np.float32).reshape(3, 4), "step": np.array(1)}
    digest = write_checkpoint(tmp_path, 1, state, aliases={"model/head": "model/embed"})
    assert digest == state_digest(state)  # content alone counts
    read = read_checkpoint(tmp_path / checkpoint_name(1))
    assert set(load_file(tmp_path / checkpoint_name(1) / "state.safetensors")) == set(read.tensors) == set(state)
    assert read.aliases == {"model/head": "model/embed"}


def test_views_of_any_layout_are_stored_as_they_read(tmp_path: Path) -> None:
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    state = {"a": whole, "b": whole[:2], "c": whole.T, "d": whole[:, 1], "e": whole.astype(">f4")}
    write_checkpoint(tmp_path, 1, state)
    read = read_checkpoint(tmp_path / checkpoint_name(1)).tensors
    assert all(np.array_equal(read[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"aliases":{}', b'"aliases":{"x":"absent"}'),
        (b'"aliases":{}', b'"aliases":{"model/b":"model/w"}'),
        (b'"format":2', b'"format":1'),
        (b'"chunk":1048576', b'"chunk":1'),
        (b'"step":12', b'"step":"12"'),
        (b'"shape":[8]', b'"shape":[-8]'),
    ],
)
def test_a_malformed_document_is_one_message(checkpoint: Path, old: bytes, new: bytes) -> None:
    path = checkpoint / "state.json"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(InputError, match="not a checkpoint"):
        read_checkpoint(checkpoint)
