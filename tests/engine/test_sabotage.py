"""Inside real engines: what is put over, before or beside the image is named, and the start refused with code 78."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from small_image import PYTHON, STDLIB

from reprise.engine.docker import load_image
from reprise.engine.namespaces import Plan, make_plan, run_plan
from reprise.engine.unpack import unpacked_folder
from reprise_trainer.identity.launch import BUNDLE_FILE
from reprise_trainer.identity.process import read_mappings

VERIFY = """
from reprise_trainer.identity.start import verify_identity, verify_end
from reprise_trainer.errors import RefusedError
try:
    identity = verify_identity()
    exec(BEFORE_THE_END)
    verify_end(identity)
except RefusedError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def _verify(bench, before_the_end: str = "pass") -> None:
    bench.program(f"BEFORE_THE_END = {before_the_end!r}\n{VERIFY}")


def _run(bench, plan: Plan) -> tuple[int, str]:
    lines: list[str] = []
    code = run_plan(plan, on_line=lines.append, on_error_line=lines.append)
    return code, "\n".join(lines)


def _outside_library(folder: Path) -> Path:
    libm = next(area.path for area in read_mappings() if area.executable and "/libm" in area.path)
    return Path(shutil.copy(libm, folder / "evil.so"))


@pytest.fixture
def plan(bench) -> Plan:
    _verify(bench)
    return make_plan(bench.ref, bench.folders)


def test_the_untouched_plan_holds(bench, plan: Plan) -> None:
    assert _run(bench, plan) == (0, "")


def test_a_file_mounted_over_a_module_is_named(bench, plan: Plan, tmp_path: Path) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text("evil = True\n")
    code, output = _run(bench, replace(plan, mounts=(*plan.mounts, (str(evil), f"{STDLIB}/colorsys.py", False))))
    assert code == 78
    assert f"/{STDLIB}/colorsys.py: mounted over the image" in output
    assert f"/{STDLIB}/colorsys.py: " in output.split("mounted over the image")[1]  # its bytes are named as well


def test_an_empty_folder_mounted_over_a_package_is_named(bench, plan: Plan, tmp_path: Path) -> None:
    code, output = _run(bench, replace(plan, mounts=(*plan.mounts, (str(tmp_path), f"{STDLIB}/wsgiref", False))))
    assert code == 78
    assert f"/{STDLIB}/wsgiref: mounted over the image" in output


def test_a_preloaded_library_is_named_as_variable_and_as_mapping(bench, plan: Plan) -> None:
    _outside_library(bench.folders.data)
    code, output = _run(bench, replace(plan, environment=(*plan.environment, "LD_PRELOAD=/data/evil.so")))
    assert code == 78
    assert "LD_PRELOAD='/data/evil.so' is set" in output
    assert "/data/evil.so: mapped into the process as code" in output


def test_pythonpath_is_named(bench, plan: Plan) -> None:
    code, output = _run(bench, replace(plan, environment=(*plan.environment, "PYTHONPATH=/data")))
    assert code == 78
    assert "PYTHONPATH='/data' is set" in output


def test_python_without_isolation_is_named(bench, plan: Plan) -> None:
    arguments = tuple(argument for argument in plan.arguments if argument != "-I")
    code, output = _run(bench, replace(plan, arguments=arguments))
    assert code == 78
    assert "python: runs without -I" in output
    assert f"found '/usr/bin/{PYTHON} -m reprise_probe'" in output


def test_a_library_loaded_during_the_run_is_named_at_its_end(bench, plan: Plan) -> None:
    _outside_library(bench.folders.output)
    _verify(bench, "import ctypes; ctypes.CDLL('/output/evil.so')")
    code, output = _run(bench, plan)
    assert code == 78
    assert "code from outside the image was loaded during the run" in output
    assert "/output/evil.so: mapped into the process as code" in output


def test_a_module_imported_from_the_data_is_named_at_the_end(bench, plan: Plan) -> None:
    (bench.folders.data / "beside.py").write_text("")
    _verify(bench, "sys.path.append('/data'); import beside")
    code, output = _run(bench, plan)
    assert code == 78
    assert "/data/beside.py: imported as a Python module" in output


def test_a_flipped_byte_in_the_unpacked_layer_is_named(bench, plan: Plan) -> None:
    path = next(unpacked_folder(bench.image.store).glob(f"*/{STDLIB}/colorsys.py"))
    data = path.read_bytes()
    try:
        path.write_bytes(data[:-1] + b"#")
        code, output = _run(bench, plan)
    finally:
        path.write_bytes(data)
    assert code == 78
    assert f"/{STDLIB}/colorsys.py: bytes changed: expected sha256 " in output


def test_no_bundle_is_refused(bench, plan: Plan) -> None:
    (bench.folders.launch / BUNDLE_FILE).unlink()
    code, output = _run(bench, plan)
    assert code == 78
    assert f"image {bench.image.digest} comes without a signature" in output


def _docker_run(bench, **options: object) -> tuple[int, str]:
    """What somebody might start by hand: the image with the launch folder, and `options` on top."""
    client = docker.from_env()
    try:
        tag = load_image(client, bench.ref)
        folders = bench.folders
        volumes = [f"{folders.launch}:/run/reprise:ro", f"{folders.data}:/data:ro", f"{folders.output}:/output"]
        settings: dict[str, object] = {"read_only": True, "volumes": volumes, "network_mode": "none", **options}
        settings["volumes"] = [*volumes, *options.get("volumes", [])]  # type: ignore[misc]
        container = client.containers.run(tag, detach=True, **settings)
        try:
            return container.wait()["StatusCode"], container.logs().decode()
        finally:
            container.remove(force=True)
    finally:
        client.close()


def test_docker_alone_with_the_right_options_holds(bench, docker_host: str) -> None:
    _verify(bench)
    assert _docker_run(bench) == (0, "")


def test_dockers_writable_root_is_named(bench, docker_host: str) -> None:
    _verify(bench)
    code, output = _docker_run(bench, read_only=False)
    assert code == 78
    assert "/: the root is writable; it must be mounted read-only" in output


def test_a_file_mounted_over_a_module_by_docker_is_named(bench, docker_host: str, tmp_path: Path) -> None:
    _verify(bench)
    (tmp_path / "evil.py").write_text("evil = True\n")
    code, output = _docker_run(bench, volumes=[f"{tmp_path}/evil.py:/{STDLIB}/colorsys.py:ro"])
    assert code == 78
    assert f"/{STDLIB}/colorsys.py: mounted over the image" in output


def test_a_preload_by_docker_is_named(bench, docker_host: str) -> None:
    _verify(bench)
    _outside_library(bench.folders.data)
    code, output = _docker_run(bench, environment={"LD_PRELOAD": "/data/evil.so"})
    assert code == 78
    assert "LD_PRELOAD='/data/evil.so' is set" in output


def test_an_image_changed_by_docker_commit_is_named(bench, docker_host: str) -> None:
    _verify(bench)
    client = docker.from_env()
    tag = load_image(client, bench.ref)
    program = f"open('/{STDLIB}/sitecustomize.py', 'w').write('')"
    container = client.containers.run(tag, entrypoint=[f"/usr/bin/{PYTHON}", "-Ic", program], detach=True)
    try:
        container.wait()
        # The same name, so that only what is inside can tell.
        container.commit("reprise", tag.split(":")[1], conf={"Entrypoint": list(bench.ref.process().arguments)})
        code, output = _docker_run(bench)
    finally:
        container.remove(force=True)
        client.images.remove(tag, force=True)
        client.close()
    assert code == 78
    assert f"/{STDLIB}/sitecustomize.py: added: no layer lists it" in output
