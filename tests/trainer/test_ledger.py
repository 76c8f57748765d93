"""The ledger: one head names every line, and a changed line is found."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trainer.conftest import environment

from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError, RepriseError, StorageError
from reprise_trainer.training.ledger import (
    Header,
    first_difference,
    gradient_digest,
    read_ledger,
    verify_ledger,
)
from reprise_trainer.training.ledger_writer import LedgerWriter
from reprise_trainer.training.records.attempts import FILE_NAME, attempt, read_attempts

HEADER = Header("sha256:" + "a" * 64, "sha256:" + "b" * 64, "sha256:" + "c" * 64, 7)
GOLDEN_HEAD = "sha256:7ea3d866636e6983b655cea4c6337d596fdf601ceb52737077f654848c0ffe70"


def write(path: Path, *, header: Header = HEADER, steps: int = 6, changed: int | None = None) -> str:
    ledger = LedgerWriter(path, header)
    for step in range(steps):
        loss = 2.0 / (step + 1) + (1e-12 if step == changed else 0.0)
        ledger.add_step(step, loss=loss, batch=f"{step:064x}", gradient=gradient_digest({"w": step}))
    ledger.add_checkpoint(steps, "sha256:" + "d" * 64)
    ledger.close()
    return ledger.head


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    write(tmp_path / "ledger.jsonl")
    return tmp_path / "ledger.jsonl"


def test_a_ledger_reads_back(tmp_path: Path) -> None:
    head = write(tmp_path / "ledger.jsonl")
    read = verify_ledger((tmp_path / "ledger.jsonl").read_bytes(), head)
    assert (read.header, read.head, len(read.lines)) == (HEADER, head, 7)
    assert float.fromhex(read.lines[1]["loss"]) == 1.0
    assert read.checkpoints == {6: "sha256:" + "d" * 64}


def test_the_head_is_that_of_format_1(tmp_path: Path) -> None:
    assert write(tmp_path / "ledger.jsonl") == GOLDEN_HEAD


@pytest.mark.parametrize("line", range(2, 9))
def test_a_changed_line_is_the_first_that_is_named(ledger: Path, line: int) -> None:
    lines = ledger.read_bytes().splitlines(keepends=True)
    entry = json.loads(lines[line - 1])
    key = "loss" if "loss" in entry else "state"
    entry[key] = entry[key][:-1] + "9"
    lines[line - 1] = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    with pytest.raises(DoesNotHoldError, match=f"line {line} breaks the chain"):
        read_ledger(b"".join(lines))


def test_a_changed_header_breaks_the_first_line(ledger: Path) -> None:
    with pytest.raises(DoesNotHoldError, match="line 2 breaks"):
        read_ledger(ledger.read_bytes().replace(b'"seed":7', b'"seed":8'))


def test_a_removed_line_and_swapped_lines_break_the_chain(ledger: Path) -> None:
    lines = ledger.read_bytes().splitlines(keepends=True)
    with pytest.raises(DoesNotHoldError, match="line 4"):
        read_ledger(b"".join(lines[:3] + lines[4:]))
    with pytest.raises(DoesNotHoldError, match="line 3"):
        read_ledger(b"".join([*lines[:2], lines[3], lines[2], *lines[4:]]))


def test_lines_cut_off_at_the_end_change_the_head(ledger: Path) -> None:
    head = read_ledger(ledger.read_bytes()).head
    shorter = b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1])
    with pytest.raises(DoesNotHoldError, match="the ledger's head is"):
        verify_ledger(shorter, head)


def test_a_torn_last_line_is_named(ledger: Path) -> None:
    with pytest.raises(InputError, match="line 8 is cut short"):
        read_ledger(ledger.read_bytes()[:-5])


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message(data: bytes) -> None:
    with pytest.raises(RepriseError):
        read_ledger(data)


def test_the_first_differing_line_is_named_with_both_values(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    write(tmp_path / "b.jsonl", changed=3)
    a, b = (tmp_path / "a.jsonl").read_bytes(), (tmp_path / "b.jsonl").read_bytes()
    assert first_difference(a, a) is None
    found = first_difference(a, b)
    assert found is not None and (found.line, found.fields) == (5, ("loss",))
    assert "step 3" in str(found) and (2.0 / 4).hex() in str(found)


def test_a_shorter_ledger_and_another_header_differ(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    a = (tmp_path / "a.jsonl").read_bytes()
    shorter = first_difference(a, b"".join(a.splitlines(keepends=True)[:4]))
    assert shorter is not None and shorter.line == 5 and shorter.right is None
    write(tmp_path / "b.jsonl", header=Header(HEADER.config, HEADER.snapshot, HEADER.image, 8))
    header = first_difference(a, (tmp_path / "b.jsonl").read_bytes())
    assert header is not None and (header.line, header.fields) == (1, ("seed",))


def test_a_ledger_is_never_written_over(ledger: Path) -> None:
    before = ledger.read_bytes()
    with pytest.raises(StorageError):
        LedgerWriter(ledger, HEADER)
    assert ledger.read_bytes() == before


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """In the block, a write that goes beyond `size` bytes of its file writes a part, as on a disk that is nearly full;
    the next one fails (RLIMIT_FSIZE, setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_line_that_is_written_in_part_is_an_error_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = LedgerWriter(path, HEADER)
    add_steps(ledger, 0, 2)
    whole = path.read_bytes()
    ledger = LedgerWriter.resume(path, HEADER, 2, state=STATES[2])
    with no_file_above(len(whole) + 100), pytest.raises(StorageError, match="File too large"):
        ledger.add_checkpoint(4, STATES[4])
    assert len(path.read_bytes()) == len(whole) + 100
    add_steps(LedgerWriter.resume(path, HEADER, 2, state=STATES[2]), 2)
    assert path.read_bytes().startswith(whole) and 4 in read_ledger(path.read_bytes()).checkpoints


def test_an_attempt_whose_line_is_written_in_part_is_an_error_at_once(tmp_path: Path) -> None:
    with no_file_above(20), pytest.raises(StorageError, match="File too large"), attempt(tmp_path, step=0, workers=1):
        pytest.fail("the attempt goes on without its line")
    with attempt(tmp_path, step=0, workers=1):
        pass
    assert [each.why for each in read_attempts(tmp_path)] == ["finished"]


def test_an_attempt_says_which_network_it_could_reach_and_without_one_nothing_of_it(tmp_path: Path) -> None:
    for network in ((), ("eth0", "eth1")):
        with attempt(tmp_path, step=0, workers=1, network=network):
            pass
    assert [each.network for each in read_attempts(tmp_path)] == [(), ("eth0", "eth1")]
    assert "network" not in (tmp_path / FILE_NAME).read_text().splitlines()[0]


def test_an_attempt_names_its_secrets(tmp_path: Path) -> None:
    for secrets in ((), ("hub", "key.pem")):
        with attempt(tmp_path, step=0, workers=1, secrets=secrets):
            pass
    assert [each.secrets for each in read_attempts(tmp_path)] == [(), ("hub", "key.pem")]
    assert "secrets" not in (tmp_path / FILE_NAME).read_text().splitlines()[0]


STATES = {step: f"sha256:{step:064x}" for step in (2, 4)}


def add_steps(ledger: LedgerWriter, first: int, end: int = 5) -> str:
    """Steps `first` to `end`, with a checkpoint after each second one."""
    for step in range(first, end):
        ledger.add_step(step, loss=1.0 / (step + 1), batch=f"{step:064x}", gradient=gradient_digest({"w": step}))
        if step + 1 in STATES:
            ledger.add_checkpoint(step + 1, STATES[step + 1])
    ledger.close()
    return ledger.head


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    add_steps(LedgerWriter(path, HEADER), 0)
    return path.read_bytes()


@given(data=st.data())
def test_a_ledger_cut_anywhere_goes_on_to_the_same_bytes(
    undisturbed: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    at_step = data.draw(st.sampled_from([0, 2, 4]))
    # The line of the step before the checkpoint is on the disk, since the ledger is synced first; all else may be lost.
    needed = undisturbed.index(b'"step":%d}' % (at_step - 1)) if at_step else 0
    cut = data.draw(st.integers(undisturbed.index(b"\n", needed) + 1, len(undisturbed)))
    rest = data.draw(st.sampled_from([b"", b"\0\0\0", b'{"step":', b"\n\n", b"{}\n"]))
    path = tmp_path_factory.mktemp("cut") / "ledger.jsonl"
    path.write_bytes(undisturbed[:cut] + rest)
    resumed = LedgerWriter.resume(path, HEADER, at_step, state=STATES.get(at_step))
    assert resumed.head == read_ledger(path.read_bytes()).head
    assert resumed.lines == len(read_ledger(path.read_bytes()).lines)
    add_steps(resumed, at_step)
    assert path.read_bytes() == undisturbed


def test_a_ledger_of_another_run_or_state_is_not_gone_on_with(undisturbed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with pytest.raises(NotFoundError, match="no ledger"):
        LedgerWriter.resume(path, HEADER, 2)
    path.write_bytes(undisturbed)
    other = Header(HEADER.config, HEADER.snapshot, HEADER.image, 8)
    for message, header, at_step, state in (
        ("another run", other, 2, None),
        ("the state after step 2 is", HEADER, 2, STATES[4]),
        ("does not reach the checkpoint after step 3", HEADER, 3, None),
        ("does not reach the checkpoint after step 6", HEADER, 6, STATES[4]),
    ):
        with pytest.raises(DoesNotHoldError, match=message):
            LedgerWriter.resume(path, header, at_step, state=state)
        assert path.read_bytes() == undisturbed


def test_a_ledger_changed_before_the_checkpoint_is_not_gone_on_with(undisturbed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(undisturbed.replace(b'"loss":"0x1.0000000000000p-1"', b'"loss":"0x1.0000000000001p-1"'))
    with pytest.raises(DoesNotHoldError, match="line 3 breaks the chain"):
        LedgerWriter.resume(path, HEADER, 4)
    assert LedgerWriter.resume(path, HEADER, 0).lines == 0  # what was changed is dropped with the rest


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "reprise_trainer", "ledger", "verify", *map(str, arguments)]
    return subprocess.run(argv, check=False, capture_output=True, text=True, env=environment())


def test_the_command_finds_what_was_changed_and_what_was_cut_off(undisturbed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(undisturbed)
    head = read_ledger(undisturbed).head
    whole = command(path, "--head", head)
    assert (whole.returncode, whole.stderr) == (0, "") and f"head {head}: 5 steps, 2 checkpoints" in whole.stdout
    assert json.loads(command(path, "--json").stdout)["checkpoints"] == {str(step): STATES[step] for step in STATES}
    path.write_bytes(b"".join(undisturbed.splitlines(keepends=True)[:-1]))
    cut = command(path, "--head", head)
    assert cut.returncode == 1 and "the ledger's head is" in cut.stderr
    assert "can't tell whether its end was cut off" in command(path).stdout
    path.write_bytes(undisturbed.replace(b'"step":1', b'"step":7'))
    changed = command(path)
    assert changed.returncode == 1 and "line 3 breaks the chain" in changed.stderr
    assert command(tmp_path / "absent").returncode == 66
    assert command(path, "--head", "abc").returncode == 65
