"""What every engine gives a run, and what it keeps from it; the same claims for each engine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from reprise.engine.choose import choose_engine
from reprise_trainer.errors import InputError

ADDED = {
    "namespaces": {"HOME", "HOSTNAME"},
    "docker": {"HOME", "HOSTNAME"},
    "podman": {"HOME", "HOSTNAME", "TERM", "container"},
}
"""Variables that an engine sets by itself, which the trainer knows."""

VERIFY = """
from reprise_trainer.identity.start import verify_identity, verify_end
from reprise_trainer.errors import RefusedError
try:
    identity = verify_identity()
    verify_end(identity)
    print(identity.line())
except RefusedError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_the_image_measures_itself_inside_as_what_was_built_and_signed(bench, engine: str) -> None:
    outcome = bench.run(engine, VERIFY)
    assert outcome.errors == []
    assert outcome.code == 0
    assert outcome.lines[0].startswith(f"image {bench.image.digest} measured: ")


def test_the_root_can_not_be_written(bench, engine: str) -> None:
    for place in ("/x", "/usr/x", "/etc/passwd", "/data/x", "/run/reprise/x"):
        outcome = bench.run(engine, f"try: Path({place!r}).write_text('')\nexcept OSError as e: print(e.errno)")
        assert outcome.lines == ["30"], place  # EROFS


def test_output_can_be_written_and_memory_folders_too(bench, engine: str) -> None:
    program = "for p in ('/output/x', '/tmp/x', '/var/tmp/x', '/dev/shm/x'): Path(p).write_text('here')"
    assert bench.run(engine, program).code == 0
    assert (bench.folders.output / "x").read_text() == "here"


def test_data_and_launch_folder_are_seen(bench, engine: str) -> None:
    (bench.folders.data / "snapshot.json").write_text("the data")
    outcome = bench.run(engine, "print(Path('/data/snapshot.json').read_text(), os.listdir('/run/reprise'))")
    assert outcome.lines[0].startswith("the data [")
    assert "policy.toml" in outcome.lines[0]


def test_there_is_no_network(bench, engine: str) -> None:
    program = """
import socket
print(sorted(name for _, name in socket.if_nameindex()))
for address in ("127.0.0.1", "192.0.2.1"):
    try: socket.create_connection((address, 80), 2)
    except OSError as error: print(type(error).__name__)
"""
    outcome = bench.run(engine, program)
    assert outcome.lines[0] == "['lo']"
    assert len(outcome.lines) == 3


def test_a_run_reaches_the_network_that_it_asks_for_and_measures_itself_there(bench, engine_with_network: str) -> None:
    """The other end answers: what listens here, or the gateway, where nothing does, and which refuses."""
    program = """
import socket
from reprise_trainer.training.records.resources import interfaces
print(bool(interfaces()))
if PORT: address = ("127.0.0.1", PORT)
else:
    routes = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    gateway = next(route[2] for route in routes if route[1] == "00000000")
    address = (socket.inet_ntoa(bytes.fromhex(gateway)[::-1]), 9)
try: print(socket.create_connection(address, 10).recv(5))
except ConnectionRefusedError: print(b"no")
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"hello"), daemon=True).start()
        port = server.getsockname()[1] if engine_with_network == "namespaces" else 0
        outcome = bench.run(engine_with_network, f"PORT = {port}\n{program}{VERIFY}", network=True)
        socket.create_connection(server.getsockname()).close()  # where nobody else came
    assert (outcome.code, outcome.errors) == (0, [])
    assert outcome.lines[:2] == ["True", "b'hello'" if port else "b'no'"]
    assert outcome.lines[2].startswith(f"image {bench.image.digest} measured: ")


def test_what_rules_the_whole_kernel_is_read_only(bench, engine: str) -> None:
    program = """
for place in ("sys/kernel/core_pattern", "sys/vm/drop_caches", "sysrq-trigger"):
    try: os.close(os.open(f"/proc/{place}", os.O_WRONLY))
    except FileNotFoundError: print("none")
    except OSError as error: print(error.errno)
"""
    outcome = bench.run(engine, f"{program}{VERIFY}")
    assert (outcome.code, outcome.errors) == (0, [])
    assert outcome.lines[:2] == ["30", "30"]  # EROFS
    assert outcome.lines[2] in ("30", "none")  # kernels may be built without it
    assert outcome.lines[3].startswith(f"image {bench.image.digest} measured: ")


def test_a_run_on_a_network_has_no_more_than_that(bench, engine_with_network: str) -> None:
    program = """
from reprise_trainer.identity.mounts import read_mounts
print(Path('/proc/self/status').read_text())
for place in ("/etc/passwd", "/proc/sys/kernel/core_pattern", "/proc/sys/net/ipv4/ip_default_ttl"):
    try: open(place, "r+")
    except OSError as error: print("refused:", error.errno)
print("mounts:", *sorted(mount.point for mount in read_mounts() if mount.fs_type not in
    {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs", "overlay"}))
"""
    outcome = bench.run(engine_with_network, program, network=True)
    status = dict(line.split(":\t", 1) for line in outcome.lines if ":\t" in line)
    assert [int(status[field], 16) for field in ("CapPrm", "CapEff", "CapBnd")] == [0, 0, 0]
    assert status["NoNewPrivs"] == "1"
    assert [line for line in outcome.lines if line.startswith("refused: ")] == ["refused: 30"] * 3  # EROFS
    (mounts,) = [line.split()[1:] for line in outcome.lines if line.startswith("mounts: ")]
    assert set(mounts) <= {"data", "output", "run/reprise", "etc/hosts", "etc/hostname", "etc/resolv.conf"} | (
        {"", "run/.containerenv"}
    )


def test_secrets_are_read_only_files_and_the_image_measures_itself_beside_them(bench, engine: str) -> None:
    folder = bench.folders.output.parent / "secrets"
    folder.mkdir(mode=0o700)
    for name in ("token", "key.pem"):
        (folder / name).write_text(f"the {name}")
        (folder / name).chmod(0o400)
    program = """
for name in sorted(os.listdir("/run/secrets")): print(name, Path("/run/secrets", name).read_text())
for place in ("/run/secrets/new", "/run/secrets/token", "/run/reprise/x"):
    try: open(place, "w")
    except OSError as error: print(error.errno)
print([name for name, value in os.environ.items() if "the token" in value], os.listdir("/output"))
"""
    secret = replace(bench, folders=replace(bench.folders, secrets=folder))
    outcome = secret.run(engine, f"{program}{VERIFY}")
    assert (outcome.code, outcome.errors) == (0, [])
    assert outcome.lines[:2] == ["key.pem the key.pem", "token the token"]
    assert outcome.lines[2:6] == ["30", "30", "30", "[] []"]  # EROFS
    assert outcome.lines[6].startswith(f"image {bench.image.digest} measured: ")
    assert bench.run(engine, "print(os.path.exists('/run/secrets'))").lines == ["False"]


def test_what_is_no_secret_among_the_secrets_ends_the_run_before_it_starts(bench, engine: str) -> None:
    folder = bench.folders.output.parent / "secrets"
    (folder / "folder").mkdir(parents=True)
    outcome = replace(bench, folders=replace(bench.folders, secrets=folder)).run(engine, VERIFY)
    assert outcome.code == 78 and any("/run/secrets/folder: not a regular file" in line for line in outcome.errors)


def test_only_the_mounts_that_were_asked_for_show_the_host(bench, engine: str) -> None:
    program = """
from reprise_trainer.identity.mounts import read_mounts
memory = {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs", "overlay"}
print(sorted(mount.point for mount in read_mounts() if mount.point and mount.fs_type not in memory))
"""
    (line,) = bench.run(engine, program).lines
    written_by_docker = {"etc/hosts", "etc/hostname", "etc/resolv.conf"}
    assert set(json.loads(line.replace("'", '"'))) - written_by_docker <= {"data", "output", "run/reprise"}


def test_the_process_has_no_capability_and_gets_none(bench, engine: str) -> None:
    outcome = bench.run(engine, "print(Path('/proc/self/status').read_text())")
    status = dict(line.split(":\t", 1) for line in outcome.lines if ":\t" in line)
    for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[field], 16) == 0, field
    assert status["NoNewPrivs"] == "1"
    assert status["Uid"].split() == ["0"] * 4


def test_the_environment_is_the_images(bench, engine: str) -> None:
    (line,) = bench.run(engine, "print(dict(os.environ))").lines
    found = eval(line)
    expected = dict(pair.split("=", 1) for pair in bench.ref.process().environment)
    assert {name: value for name, value in found.items() if name not in ADDED[engine]} == expected


def test_the_callers_environment_stays_outside(bench, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/data")
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    (line,) = bench.run(engine, "print(sorted(os.environ))").lines
    assert "SECRET" not in line
    assert "PYTHONPATH" not in line


@pytest.mark.parametrize("code", [0, 1, 65, 78, 255])
def test_the_exit_code_is_passed_on(bench, engine: str, code: int) -> None:
    assert bench.run(engine, f"sys.exit({code})").code == code


def test_a_run_that_a_signal_ends_has_the_shells_code(bench, engine: str) -> None:
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_DFL); os.abort()"
    if engine != "namespaces":  # as process 1, abort's signal is ignored by the kernel and abort ends otherwise
        program = (
            "pid = os.fork()\nif pid == 0: os.abort()\nsys.exit(128 + os.waitstatus_to_exitcode(os.wait()[1]) * -1)"
        )
    assert bench.run(engine, program).code == 128 + signal.SIGABRT


def test_lines_come_one_by_one_as_they_are_written(bench, engine: str) -> None:
    program = "import time\nfor n in range(3): print(n, 'é', flush=True); time.sleep(0.3)\nprint('no end', end='')"
    bench.program(program)
    seen: list[tuple[float, str]] = []
    run = choose_engine(engine).run
    run(bench.ref, bench.folders, on_line=lambda line: seen.append((time.monotonic(), line)), on_error_line=print)
    assert [line for _, line in seen] == ["0 é", "1 é", "2 é", "no end"]
    assert seen[2][0] - seen[0][0] > 0.4


def test_the_two_streams_stay_apart(bench, engine: str) -> None:
    outcome = bench.run(engine, "print('out'); print('error', file=sys.stderr)")
    assert (outcome.lines, outcome.errors) == (["out"], ["error"])


def test_much_output_on_both_streams_blocks_nothing(bench, engine: str) -> None:
    program = "for n in range(20000): print('x' * 50); print('y' * 50, file=sys.stderr)"
    outcome = bench.run(engine, program)
    assert (len(outcome.lines), len(outcome.errors)) == (20000, 20000)


def test_nothing_is_left_behind(bench, engine: str, tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    bench.run(engine, "pass")
    assert Path("/proc/self/mountinfo").read_text() == before


def test_an_exception_of_the_caller_ends_the_run(bench, engine: str) -> None:
    class StopError(Exception):
        pass

    def stop(line: str) -> None:
        raise StopError

    bench.program("import time; print('go', flush=True); time.sleep(100)")
    began = time.monotonic()
    with pytest.raises(StopError):
        choose_engine(engine).run(bench.ref, bench.folders, on_line=stop, on_error_line=print)
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_caller_asks_the_run_to_end_and_its_exit_code_comes_back(
    bench, engine: str, number: signal.Signals
) -> None:
    bench.program("""
import signal, time
def end(number, frame):
    Path('/output/ended').write_text(signal.Signals(number).name)
    sys.exit(75)
signal.signal(signal.SIGTERM, end)
print('go', flush=True)
time.sleep(100)
""")
    caller = _start_caller(bench, engine)
    assert caller.stdout
    assert caller.stdout.readline() == "go\n"
    caller.send_signal(number)
    assert caller.wait(timeout=15) == 75
    assert (bench.folders.output / "ended").read_text() == "SIGTERM"


def test_a_run_that_does_not_end_when_it_is_asked_is_killed(bench) -> None:
    bench.program("""
import signal, time
for each in (signal.SIGTERM, signal.SIGINT): signal.signal(each, signal.SIG_IGN)
print('go', flush=True)
while True: Path('/output/beat').write_text(str(time.time()))
""")
    caller = _start_caller(
        bench,
        "namespaces",
        before="from reprise.engine import namespaces, signals\n"
        "signals.STOP_SECONDS, namespaces.GRACE_SECONDS = 0.5, 0.5",
    )
    assert caller.stdout
    assert caller.stdout.readline() == "go\n"
    caller.send_signal(signal.SIGTERM)
    assert caller.wait(timeout=15) == 128 + signal.SIGTERM
    beat = (bench.folders.output / "beat").read_text()
    time.sleep(0.3)
    assert (bench.folders.output / "beat").read_text() == beat


def test_a_killed_caller_takes_a_namespaces_run_with_it(bench) -> None:
    bench.program("import time\nprint('go', flush=True)\nwhile True: Path('/output/beat').write_text(str(time.time()))")
    caller = _start_caller(bench, "namespaces")
    assert caller.stdout
    assert caller.stdout.readline() == "go\n"
    caller.kill()
    caller.wait()
    time.sleep(0.5)
    beat = (bench.folders.output / "beat").read_text()
    time.sleep(0.5)
    assert (bench.folders.output / "beat").read_text() == beat


def _start_caller(bench, engine: str, before: str = "") -> subprocess.Popen[str]:
    """A process of its own that runs the engine, as the command line does."""
    folders = bench.folders
    program = f"""
from pathlib import Path
from reprise.engine.choose import run
from reprise.engine.interface import ImageRef, RunFolders
from reprise.store import Store
{before}
folders = RunFolders(Path({str(folders.launch)!r}), Path({str(folders.data)!r}), Path({str(folders.output)!r}))
image = ImageRef(Store(Path({str(bench.image.store.root)!r})), {bench.image.digest!r})
raise SystemExit(run({engine!r}, image, folders, on_line=lambda line: print(line, flush=True)))
"""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(folders.output.parent)},
    )


def test_an_unknown_engine_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InputError, match="unknown engine 'lxc'; there are: namespaces, docker"):
        choose_engine("lxc")
