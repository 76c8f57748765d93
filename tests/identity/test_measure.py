"""A root is measured: an untouched one gives its image's digest, and each sabotage is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_image import PYTHON, STDLIB, Entry, base_entries, make_image, tiny_entries

from reprise.store import Store
from reprise_trainer.errors import RefusedError
from reprise_trainer.identity.file_list import list_path
from reprise_trainer.identity.inventory import INVENTORY_PATH
from reprise_trainer.identity.measure import measure

LIBRARY = f"{STDLIB}/site-packages/torch/lib/libtorch.so"
MODULE = f"{STDLIB}/json.py"


def _flip_byte(path: Path, position: int, mask: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= mask
    path.write_bytes(data)


def test_an_untouched_root_measures_to_the_images_manifest_digest(unpacked) -> None:
    measurement = unpacked.measure()
    assert measurement.digest == unpacked.image.digest
    assert measurement.differences == ()
    assert measurement.files == len([f for f in measurement.listed.values() if f.sha256])
    assert measurement.bytes == sum(file.size for file in measurement.listed.values())


def test_the_line_for_people_holds_digest_files_bytes_and_seconds(unpacked) -> None:
    measurement = unpacked.measure()
    line = measurement.line()
    assert line.startswith(f"image {unpacked.image.digest} measured: {measurement.files} files, 1.0 MB in ")
    assert line.endswith(" s")


def test_a_flipped_byte_in_a_library_is_named_with_both_hashes(unpacked) -> None:
    expected = unpacked.measure().listed[LIBRARY].sha256
    _flip_byte(unpacked.root / LIBRARY, 700_001)
    (difference,) = unpacked.differences()
    assert difference.startswith(f"/{LIBRARY}: bytes changed: expected sha256 {expected}, found ")


@given(position=st.integers(0, 256 * 4096 - 1), bit=st.integers(0, 7))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_flipped_bit_is_found(unpacked, position: int, bit: int) -> None:
    _flip_byte(unpacked.root / LIBRARY, position, 1 << bit)
    assert [difference.path for difference in unpacked.measure().differences] == [LIBRARY]
    _flip_byte(unpacked.root / LIBRARY, position, 1 << bit)
    assert unpacked.differences() == []


def test_a_longer_file_is_named_with_both_sizes(unpacked) -> None:
    with (unpacked.root / MODULE).open("ab") as file:
        file.write(b"#")
    size = unpacked.measure().listed[MODULE].size
    assert unpacked.differences() == [f"/{MODULE}: bytes changed: expected {size} bytes, found {size + 1}"]


def test_a_changed_mode_is_named(unpacked) -> None:
    (unpacked.root / MODULE).chmod(0o666)
    assert unpacked.differences() == [f"/{MODULE}: mode changed: expected 0644, found 0666"]


def test_a_set_uid_bit_is_a_changed_mode(unpacked) -> None:
    (unpacked.root / f"usr/bin/{PYTHON}").chmod(0o4755)
    assert unpacked.differences() == [f"/usr/bin/{PYTHON}: mode changed: expected 0755, found 4755"]


def test_a_changed_folder_mode_is_named(unpacked) -> None:
    (unpacked.root / "tmp").chmod(0o755)
    assert unpacked.differences() == ["/tmp: mode changed: expected 1777, found 0755"]


def test_a_removed_file_is_missing(unpacked) -> None:
    (unpacked.root / MODULE).unlink()
    assert unpacked.differences() == [f"/{MODULE}: missing"]


def test_an_added_module_is_named(unpacked) -> None:
    (unpacked.root / STDLIB / "sitecustomize.py").write_text("print('hello')")
    assert unpacked.differences() == [f"/{STDLIB}/sitecustomize.py: added: no layer lists it"]


def test_an_added_folder_is_one_difference(unpacked) -> None:
    folder = unpacked.root / STDLIB / "evil"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    assert unpacked.differences() == [f"/{STDLIB}/evil: added: no layer lists it"]


def test_an_added_bytecode_file_is_named(unpacked) -> None:
    cache = unpacked.root / STDLIB / "__pycache__"
    cache.mkdir()
    (cache / f"json.{PYTHON}.pyc").write_bytes(b"")
    assert unpacked.differences() == [f"/{STDLIB}/__pycache__: added: no layer lists it"]


def test_a_swapped_symlink_is_named_with_both_targets(unpacked) -> None:
    link = unpacked.root / "usr/bin/python3"
    link.unlink()
    link.symlink_to("/tmp/python3")
    assert unpacked.differences() == [f"/usr/bin/python3: target changed: expected {PYTHON}, found /tmp/python3"]


def test_a_file_that_became_a_symlink_is_named_and_not_followed(unpacked, tmp_path: Path) -> None:
    module = unpacked.root / MODULE
    module.rename(tmp_path / "json.py")
    module.symlink_to(tmp_path / "json.py")  # same bytes at the other end
    assert unpacked.differences() == [f"/{MODULE}: type changed: expected file, found symlink"]


def test_a_folder_that_became_a_symlink_is_named_with_all_that_is_missing(unpacked, tmp_path: Path) -> None:
    folder = unpacked.root / STDLIB / "site-packages"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    differences = unpacked.differences()
    assert f"/{STDLIB}/site-packages: type changed: expected directory, found symlink" in differences
    assert f"/{LIBRARY}: missing" in differences


def test_a_pipe_in_a_files_place_is_named_and_not_waited_for(unpacked) -> None:
    (unpacked.root / MODULE).unlink()
    os.mkfifo(unpacked.root / MODULE)
    assert unpacked.differences() == [f"/{MODULE}: type changed: expected file, found special file"]


def test_another_owner_is_named(unpacked) -> None:
    found = f"{os.getuid()}:{os.getgid()}"
    differences = measure(unpacked.root, owner=(os.getuid() + 1, os.getgid())).differences
    assert len(differences) > 10
    assert all(difference.what.endswith(f"found {found}") for difference in differences)


def test_an_edited_list_is_named_even_if_the_file_agrees_with_it(unpacked) -> None:
    path = unpacked.root / list_path("torch")
    document = json.loads(path.read_bytes())
    row = next(row for row in document["files"] if row[1] == MODULE)
    row[2] = 0o666
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    (unpacked.root / MODULE).chmod(0o666)
    first = unpacked.differences()[0]
    assert first.startswith(f"/{list_path('torch')}: list changed: its digest is sha256:")


def test_a_removed_list_is_named(unpacked) -> None:
    (unpacked.root / list_path("torch")).unlink()
    first = unpacked.differences()[0]
    assert first == f"/{list_path('torch')}: list of layer torch can't be read: No such file or directory"


def test_an_edited_inventory_gives_another_digest(unpacked) -> None:
    path = unpacked.root / INVENTORY_PATH
    document = json.loads(path.read_bytes())
    document["config"]["config"]["Env"].append("LD_PRELOAD=/tmp/evil.so")
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    measurement = unpacked.measure()
    assert measurement.digest != unpacked.image.digest


def test_an_inventory_in_another_spelling_is_refused(unpacked) -> None:
    path = unpacked.root / INVENTORY_PATH
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))
    with pytest.raises(RefusedError, match=r"not in its canonical form"):
        unpacked.measure()


def test_a_root_without_inventory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"no readable inventory at /usr/share/reprise/inventory.json"):
        measure(tmp_path)


def test_what_lies_on_an_allowed_mount_is_not_compared(unpacked) -> None:
    (unpacked.root / "data" / "shard.bin").write_bytes(b"data")
    (unpacked.root / "etc/hosts").write_text("127.0.0.1 localhost")
    owner = (os.getuid(), os.getgid())
    assert measure(unpacked.root, mounted={"data", "etc/hosts"}, owner=owner).differences == ()
    assert len(measure(unpacked.root, mounted={"dat"}, owner=owner).differences) == 2


def test_two_layers_that_disagree_on_a_path_are_named(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    upper = {MODULE: Entry(b"def loads(text): return {}\n")}
    image = make_image(store, {"base": base_entries(), "torch": tiny_entries(), "upper": upper})
    owner = (os.getuid(), os.getgid())
    (difference,) = measure(image.unpack(tmp_path / "root"), owner=owner).differences
    assert str(difference) == f"/{MODULE}: listed in two ways; the upper is that of layer upper"


def test_two_layers_that_agree_on_a_path_share_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    image = make_image(store, {"base": base_entries(), "torch": tiny_entries(), "again": tiny_entries()})
    owner = (os.getuid(), os.getgid())
    assert measure(image.unpack(tmp_path / "root"), owner=owner).differences == ()
