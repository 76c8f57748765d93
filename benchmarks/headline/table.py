"""Which trainers give the same bits, whatever should not matter: every cell of the headline table, measured.

Each contender trains the same small network on the same records by its framework's own means (see `task.py`), and its
weights and optimizer tensors are hashed at the end. A row changes one thing that should not matter. A cell is `same`
when every run of the row has the hash of the contender's own undisturbed run, `differs` when one has not, and `cannot`
when the contender has no way to do it. Contenders but ours live in environments of their own below .cache.

Run: .venv/bin/python benchmarks/headline/table.py [--write] [--rows NAME,…] [CONTENDER …]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from records import write_records

from reprise_trainer.cpuinfo import read_cpuinfo

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
PAGE = CHECKOUT / "docs" / "headline.md"
TIMEOUT = 900


@dataclass(frozen=True, slots=True)
class Contender:
    """A column. `environment` is a file of `locks/` (empty: ours), `packages` those whose versions are told; `world`
    says how several processes are started: by torchrun, by Composer's launcher, by the contender itself (`own`), or
    not at all (`none`)."""

    title: str
    script: str
    environment: str = ""
    packages: tuple[str, ...] = ()
    world: str = "torchrun"


CONTENDERS = {
    "torch": Contender("plain torch", "plain_torch.py", "current", ("torch",)),
    "lightning": Contender("Lightning", "lightning_fit.py", "current", ("lightning",), world="own"),
    "accelerate": Contender(
        "Accelerate + StatefulDataLoader", "accelerate_loop.py", "current", ("accelerate", "torchdata")
    ),
    "composer": Contender(
        "Composer + Streaming", "composer_fit.py", "composer", ("mosaicml", "mosaicml-streaming"), world="composer"
    ),
    "keras": Contender("Keras 3", "keras_fit.py", "current", ("keras",), world="none"),
    "ours": Contender("reprise", "ours.py", world="own"),
}


INTRODUCTION = """\
Each trainer trains one small network (two convolutions, two dense layers, dropout, AdamW) for 60 steps on 1,600 records
of Fashion-MNIST, by its own means for reproducible runs; its checkpoints come every 10 steps. A row changes one thing
that should not matter. `same`: weights and optimizer tensors have the bytes of the trainer's own undisturbed run.
`.venv/bin/python benchmarks/headline/table.py` measures every cell (after `make test`); a column is one short script.

"""


EMULATION = """\
The emulated CPU is `qemu-x86_64 -cpu Haswell`: it shows what a library chooses by a CPU's name and flags, not what
another maker's approximate instructions give.
"""


class CannotError(Exception):
    """The contender has no way to do what the row asks."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One contender at work: its Python, its data, and a folder for its runs."""

    contender: Contender
    python: Path
    data: Path
    folder: Path

    def command(self, out: Path, *, workers: int = 0, world: int = 1) -> list[str]:
        script = [str(HERE / self.contender.script), "--data", str(self.data), "--out", str(out)]
        script += ["--workers", str(workers)]
        if world == 1:
            return [str(self.python), *script]
        match self.contender.world:
            case "torchrun":
                launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
                return [str(self.python), *launcher, *script]
            case "composer":
                return [str(self.python), "-m", "composer.cli.launcher", "-n", str(world), *script]
            case "own":
                return [str(self.python), *script, "--world", str(world)]
            case _:
                raise CannotError(f"{self.contender.title} trains in one process here")

    def run(
        self,
        *,
        kills: tuple[int, ...] = (),
        changes: Mapping[str, str] = {},
        prefix: tuple[str, ...] = (),
        cwd: Path = HERE,
        workers: int = 0,
        world: int = 1,
    ) -> str:
        """The digest of a run that is killed after each of `kills` steps, and started again each time."""
        out = Path(tempfile.mkdtemp(dir=self.folder))
        command = [*prefix, *self.command(out, workers=workers, world=world)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE), **changes}
        for kill in (*kills, None):
            _attempt(command, environment, cwd, kill)
        return (out / "final").read_text()


def _attempt(command: list[str], environment: Mapping[str, str], cwd: Path, kill: int | None) -> None:
    """Run `command` to its end, or until it has said `step <kill>`; then end it and its children by SIGKILL."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, env=dict(environment), cwd=cwd, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        ) as process,
    ):
        started, stdout = time.monotonic(), process.stdout
        assert stdout is not None
        for line in stdout:
            if kill is not None and line.strip() == f"step {kill}".encode():
                os.killpg(process.pid, signal.SIGKILL)
            if time.monotonic() - started > TIMEOUT:
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        if kill is None and code != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise CannotError(f"ended with code {code}: {said[-1] if said else 'no word'}")


def elsewhere(bench: Bench) -> list[str]:
    """Another date, host name, working folder, home, locale, time zone and hash seed."""
    changes = {"PYTHONHASHSEED": "12345", "HOME": "/", "TZ": "Pacific/Kiritimati", "LC_ALL": "C"}
    prefix = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec faketime "2031-05-06 07:08:09" "$@"', "sh")
    return [bench.run(changes=changes, prefix=prefix, cwd=Path("/"))]


ROWS: dict[str, tuple[str, Callable[[Bench], list[str]]]] = {
    "again": ("run again", lambda bench: [bench.run()]),
    "kill": ("killed once, resumed", lambda bench: [bench.run(kills=(25,))]),
    "kills": ("killed three times in an epoch", lambda bench: [bench.run(kills=(13, 27, 41))]),
    "loaders": ("loader workers 0 → 2", lambda bench: [bench.run(workers=2)]),
    "world": ("2 and 4 training processes", lambda bench: [bench.run(world=world) for world in (2, 4)]),
    "threads": ("2 and 4 threads offered", lambda b: [b.run(changes={"OMP_NUM_THREADS": n}) for n in ("2", "4")]),
    "cpu": ("an emulated Intel CPU", lambda bench: [bench.run(prefix=("qemu-x86_64", "-cpu", "Haswell"))]),
    "elsewhere": ("other host, date, folder", elsewhere),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="The headline table.")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(CHECKOUT)}")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("contenders", nargs="*", default=list(CONTENDERS), metavar="CONTENDER")
    asked = parser.parse_args()
    rows = asked.rows.split(",")
    table: dict[str, dict[str, str]] = {row: {} for row in rows}
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="reprise-headline-") as name:
        data = write_records(Path(name))
        for column in asked.contenders:
            contender = CONTENDERS[column]
            folder = Path(name) / column
            folder.mkdir()
            try:
                bench = Bench(contender, python_of(contender), data, folder)
                versions[column], expected = version_of(bench), bench.run()
            except (CannotError, subprocess.CalledProcessError) as error:
                versions[column] = f"not to be had here: {_last_line(error)}"
                print(f"{column}: {versions[column]}", flush=True)
                for row in rows:
                    table[row][column] = "—"
                continue
            for row in rows:
                table[row][column] = judged(bench, row, expected)
                print(f"{column}: {ROWS[row][0]}: {table[row][column]}", flush=True)
    text = page(table, versions, asked.contenders)
    print(text)
    if asked.write:
        PAGE.write_text(text)
    ours = [table[row].get("ours", "same") for row in rows]
    return 0 if all(cell == "same" for cell in ours) else 1


def judged(bench: Bench, row: str, expected: str) -> str:
    """What a cell says."""
    try:
        found = ROWS[row][1](bench)
    except CannotError as error:
        print(f"  {error}", flush=True)
        return "cannot"
    return "same" if set(found) == {expected} else "differs"


def python_of(contender: Contender) -> Path:
    """The Python of a contender: ours, or one of an environment that is made once below .cache."""
    if not contender.environment:
        return Path(sys.executable)
    environment = CHECKOUT / ".cache" / "benchmarks" / f"headline-{contender.environment}"
    python, done = environment / "bin" / "python", environment / ".done"
    if not done.exists():
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        lock = HERE / "locks" / f"{contender.environment}.txt"
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(lock)]
        subprocess.run(install, check=True, capture_output=True, text=True)
        done.touch()
    return python


def version_of(bench: Bench) -> str:
    """Names and versions of what the contender runs on."""
    if not bench.contender.packages:
        from reprise import __version__

        return f"reprise {__version__}"
    names = sorted({*bench.contender.packages, "torch"})
    program = f"import json; from importlib.metadata import version; print(json.dumps([version(n) for n in {names!r}]))"
    done = subprocess.run([str(bench.python), "-c", program], check=True, capture_output=True, text=True)
    return ", ".join(f"{name} {version}" for name, version in zip(names, json.loads(done.stdout), strict=True))


def page(table: Mapping[str, Mapping[str, str]], versions: Mapping[str, str], columns: list[str]) -> str:
    """The table as a page."""
    head = ["", *(CONTENDERS[column].title for column in columns)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join([ROWS[row][0], *(cells[c] for c in columns)])} |" for row, cells in table.items()]
    stated = "\n".join(f"- {CONTENDERS[column].title}: {versions[column]}" for column in columns)
    return (
        "# The same bits, side by side\n\n"
        + INTRODUCTION
        + "\n".join(lines)
        + f"\n\n{stated}\n\nMeasured on {time.strftime('%Y-%m-%d', time.gmtime())}, "
        + f"{read_cpuinfo().get('model name', 'an unknown CPU')}, {len(os.sched_getaffinity(0))} cores.\n"
        + EMULATION
    )


def _last_line(error: Exception) -> str:
    text = str(getattr(error, "stderr", "") or error).strip()
    return text.splitlines()[-1][:200] if text else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
