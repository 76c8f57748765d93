"""An image of conda packages: their Python builds it, runs in it, and measures it."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conda_channel import PYTHON_VERSION, SITE_PACKAGES, Channel, ChannelPackage
from conda_image import PYTHON, conda_lock, probing_trainer
from launch_folders import signed_folders

from reprise.build import BuiltImage, build_image
from reprise.engine.choose import choose_engine
from reprise.engine.interface import ImageRef
from reprise.layers import missing_layers
from reprise.lock.model import Allowed, Lock
from reprise.store import Store
from reprise_trainer.errors import InputError
from reprise_trainer.identity.file_list import decode_list
from reprise_trainer.identity.launch import CONFIG_FILE

PREFIX = "opt/conda"
SMALL = 300


@dataclass(frozen=True)
class CondaImage:
    """An image that was built from the channel, and all that it was built from."""

    channel: Channel
    names: tuple[str | ChannelPackage, ...]
    lock: Lock
    source: bytes
    store: Store
    built: BuiltImage

    def config(self) -> dict[str, Any]:
        manifest = json.loads(self.store.read(self.built.digest))
        return dict(json.loads(self.store.read(manifest["config"]["digest"]))["config"])

    def paths(self) -> dict[str, set[str]]:
        """Each path's layers."""
        found: dict[str, set[str]] = {}
        for layer in self.built.layers:
            for file in decode_list(self.store.read(layer.list_digest))[1]:
                found.setdefault(file.path, set()).add(layer.name)
        return found


@pytest.fixture(scope="module")
def image(conda_channel: Channel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CondaImage]:
    """Python, NumPy, a noarch package, a C program, an old one, one that sets variables, and 300 small ones."""
    with tempfile.TemporaryDirectory(prefix="reprise-test-conda-") as folder:
        store = Store.open(Path(folder, "store"))
        names = (
            *(*PYTHON, "numpy", "settings", "where", "old"),
            *(conda_channel.package("hello", "2.0"), conda_channel.package("both", suffix=".tar.bz2")),
            *(f"small-{number:03}" for number in range(SMALL)),
        )
        lock = conda_lock(conda_channel, names, store)
        source = probing_trainer(tmp_path_factory.mktemp("trainer"))
        yield CondaImage(conda_channel, names, lock, source, store, build_image(lock, {}, source, store))


PROGRAM = """
import json, os, subprocess, sys
from pathlib import Path
from reprise_trainer.identity.start import verify_end, verify_identity

identity = verify_identity(Path("/run/reprise"))
import numpy, hello.cli, ssl, ctypes, lzma, bz2, zlib
programs = [["hello"], ["hello-main"], ["greet"], ["/opt/conda/bin/where"], ["where-is"], ["old"]]
said = [subprocess.run(each, capture_output=True, text=True, check=True).stdout.strip() for each in programs]
verify_end(identity)
loaded = {name: module.__cached__ for name, module in sys.modules.items() if getattr(module, "__cached__", None)}
print(json.dumps({
    "digest": identity.digest, "sum": int(numpy.arange(5).sum()), "numpy": numpy.__file__, "prefix": sys.prefix,
    "path": sys.path, "executable": sys.executable, "said": said, "home": os.environ["SETTINGS_HOME"],
    "without_bytecode": [name for name, path in loaded.items() if not os.path.exists(path)],
}))
"""


def test_it_runs_its_python_imports_numpy_and_measures_itself(image: CondaImage, tmp_path: Path) -> None:
    folders = signed_folders(tmp_path, image.built.digest)
    (folders.launch / CONFIG_FILE).write_text(PROGRAM)
    lines: list[str] = []
    errors: list[str] = []
    ref = ImageRef(image.store, image.built.digest)
    code = choose_engine("namespaces").run(ref, folders, on_line=lines.append, on_error_line=errors.append)
    assert (code, errors) == (0, [])
    found = json.loads(lines[-1])
    assert found["digest"] == image.built.digest
    assert (found["sum"], found["numpy"]) == (10, f"/{PREFIX}/{SITE_PACKAGES}/numpy/__init__.py")
    assert (found["prefix"], found["executable"]) == ("/opt/conda", "/opt/conda/bin/python3.11")
    assert f"/{PREFIX}/{SITE_PACKAGES}" in found["path"]
    hello, where = "hello from /opt/conda", "/opt/conda/share/where"
    assert found["said"] == [hello, hello, hello, where, where, "old"]
    assert found["home"] == "/opt/conda/share/settings"
    assert found["without_bytecode"] == []


def test_its_config_starts_conda_s_python_in_the_activated_environment(image: CondaImage) -> None:
    config = image.config()
    assert config["Entrypoint"] == ["/opt/conda/bin/python3.11", "-I", "-m", "reprise_trainer"]
    assert config["Env"] == [
        "PATH=/opt/conda/bin:/usr/local/bin:/usr/bin",
        "LANG=C.UTF-8",
        "PYTHONHASHSEED=0",
        "PYTHONDONTWRITEBYTECODE=1",
        "CONDA_PREFIX=/opt/conda",
        "SETTINGS_HOME=/opt/conda/share/settings",
        "SETTINGS_LEVEL=3",
        "SETTINGS_MODE=plain",
    ]


def test_three_hundred_small_packages_stay_within_sixty_layers(image: CondaImage) -> None:
    assert len(image.built.layers) + 1 <= 60
    by_layer = {layer.name: layer.artifacts for layer in image.lock.layers}
    assert [name for name in by_layer if name.startswith("conda-")][-1] == "conda-numpy"
    assert sum("small-" in purl for purls in by_layer.values() for purl in purls) == SMALL


def test_wheels_and_the_trainer_go_where_conda_s_python_looks(image: CondaImage) -> None:
    paths = image.paths()
    assert paths[f"{PREFIX}/{SITE_PACKAGES}/reprise_trainer/__main__.py"] == {"trainer"}
    assert all(layer.startswith("wheel-") for layer in paths[f"{PREFIX}/{SITE_PACKAGES}/cryptography/__init__.py"])
    assert not any(path.startswith(("usr/local/lib/python", "usr/lib/python")) for path in paths)


def test_bytecode_is_the_image_s_own_and_every_package_is_on_record(image: CondaImage) -> None:
    paths = image.paths()
    for name in ("hello/cli", "numpy/__init__", "reprise_trainer/__main__"):
        folder, _, module = name.rpartition("/")
        assert f"{PREFIX}/{SITE_PACKAGES}/{folder}/__pycache__/{module}.cpython-311.pyc" in paths
    assert f"{PREFIX}/lib/python3.11/__pycache__/os.cpython-311.pyc" in paths
    records = {path.rpartition("/")[2] for path in paths if path.startswith(f"{PREFIX}/conda-meta/")}
    assert len(records) == len(image.names) + 1 and f"python-{PYTHON_VERSION}-0_cpython.json" in records


def test_another_order_another_folder_and_other_workers_give_the_same_digest(image: CondaImage, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "ünother folder" / "store")
    artifacts = list(image.lock.artifacts)
    for artifact in artifacts:
        store.add(image.store.read(artifact.digest))
    random.Random(7).shuffle(artifacts)
    layers = tuple(replace(layer, artifacts=layer.artifacts[::-1]) for layer in image.lock.layers)
    lock = replace(image.lock, artifacts=tuple(artifacts), layers=layers)
    again = build_image(lock, {}, image.source, store, workers=1)
    assert again.built == len(again.layers)
    assert again.digest == image.built.digest


def test_a_build_with_nothing_to_do_builds_nothing_and_has_the_same_environment(image: CondaImage) -> None:
    again = build_image(image.lock, {}, image.source, image.store)
    assert (again.digest, again.built) == (image.built.digest, 0)
    assert again.seconds < 0.5
    assert missing_layers(image.lock, image.source, image.store) == []


def test_a_new_version_of_one_small_package_builds_one_layer(image: CondaImage, conda_channel: Channel) -> None:
    names = [
        conda_channel.package("hello", "1.1") if isinstance(n, ChannelPackage) and n.name == "hello" else n
        for n in image.names
    ]
    lock = conda_lock(conda_channel, names, image.store)
    assert len(missing_layers(lock, image.source, image.store)) == 1


def test_the_builder_is_conda_s_python_on_debian_s_c_library_wherever_it_lies(
    image: CondaImage, tmp_path: Path
) -> None:
    from reprise.layers import _locked_python

    python = _locked_python(image.lock, image.store)
    show = "import sys, ssl, zlib, ctypes, lzma, bz2; print(sys.version_info[:3], open('/proc/self/maps').read())"
    done = subprocess.run([*python.argv, "-c", show], capture_output=True, text=True, check=True, env={})
    assert done.stdout.startswith("(3, 11, 2)")
    tree = str(python.packages.parent)
    mapped = {line.split()[-1] for line in done.stdout.splitlines() if ".so" in line or "bin/python" in line}
    assert {path for path in mapped if not path.startswith(tree)} == set()
    from_debian = {path for path in mapped if not path.startswith(f"{tree}/{PREFIX}/")}
    names = {Path(path).name for path in from_debian}
    assert names <= {"ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"}


def test_a_conda_part_without_a_python_runs_debian_s(conda_channel: Channel, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    lock = conda_lock(conda_channel, ["where", "settings"], store)
    built = build_image(lock, {}, probing_trainer(tmp_path), store)
    found = CondaImage(conda_channel, (), lock, b"", store, built)
    assert found.config()["Entrypoint"][0] == "/usr/bin/python3.11"
    assert {"CONDA_PREFIX=/opt/conda", "SETTINGS_HOME=/opt/conda/share/settings"} <= set(found.config()["Env"])
    assert {"opt/conda/bin/where", "usr/local/lib/python3.11/dist-packages/cffi/__init__.py"} <= found.paths().keys()


def test_a_package_for_any_python_needs_one(conda_channel: Channel, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    lock = conda_lock(conda_channel, [conda_channel.package("hello", "1.0")], store)
    with pytest.raises(InputError, match=r"pkg:conda/hello@1\.0.*the lock has no conda package python"):
        build_image(lock, {}, probing_trainer(tmp_path), store)


def test_a_link_script_is_refused_unless_its_package_is_allowed(conda_channel: Channel, tmp_path: Path) -> None:
    store, source = Store.open(tmp_path / "store"), probing_trainer(tmp_path)
    names = ["scripted"]
    with pytest.raises(InputError, match=r"conda package scripted: bin/\.scripted-post-link\.sh would run"):
        build_image(conda_lock(conda_channel, names, store), {}, source, store)
    lock = conda_lock(conda_channel, names, store, allowed=Allowed(post_link=("scripted",)))
    assert build_image(lock, {}, source, store).digest


def test_a_clobber_is_refused_unless_the_lock_says_who_wins(conda_channel: Channel, tmp_path: Path) -> None:
    store, source = Store.open(tmp_path / "store"), probing_trainer(tmp_path)
    names = ["clash-one", "clash-two"]
    with pytest.raises(InputError, match=r"/opt/conda/share/clash\.txt: conda-2 and conda-6"):
        build_image(conda_lock(conda_channel, names, store), {}, source, store)
    digests = set()
    for winner, text in (("clash-one", b"one\n"), ("clash-two", b"two\n")):
        allowed = Allowed(clobbers=(("share/clash.txt", winner),))
        built = build_image(conda_lock(conda_channel, names, store, allowed=allowed), {}, source, store)
        lists = [decode_list(store.read(layer.list_digest))[1] for layer in built.layers]
        (clash,) = [each for files in lists for each in files if each.path == "opt/conda/share/clash.txt"]
        assert clash.size == len(text)
        digests.add(built.digest)
    assert len(digests) == 2


def test_a_prefix_longer_than_a_binary_s_is_refused_by_name(conda_channel: Channel, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    lock = conda_lock(conda_channel, ["where"], store, prefix="/" + "p" * 300)
    with pytest.raises(InputError, match=r"pkg:conda/where@1\.0.*bin/where was built for a prefix of at most 255"):
        build_image(lock, {}, probing_trainer(tmp_path), store)


def test_conda_packages_that_start_no_python_are_said(conda_channel: Channel, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    lock = conda_lock(conda_channel, ["where"], store)
    assert lock.conda is not None
    lock = replace(lock, conda=replace(lock.conda, site_packages=SITE_PACKAGES))
    with pytest.raises(InputError, match=r"no interpreter /opt/conda/bin/python3\.11"):
        build_image(lock, {}, probing_trainer(tmp_path), store)
