"""Solve an environment and write its lock."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reprise.events import OnEvent, ignore
from reprise.lock import debian
from reprise.lock.by_md5 import fetch_by_md5
from reprise.lock.changes import Change, changes_between
from reprise.lock.conda_part import CondaSolution, solve_conda_part
from reprise.lock.environment import read_environment
from reprise.lock.extra import require_libraries
from reprise.lock.model import CONDA_LOCK, CONDA_SPEC, DEBIAN_LOCK, LAYER_PLAN, Artifact, Environment, Lock
from reprise.lock.plan import plan_layers
from reprise.lock.pypi import Given, LockedWheel
from reprise.lock.read import read_lock
from reprise.lock.render import conda_lock, conda_spec, debian_lock, layer_plan
from reprise.lock.sizes import file_sizes
from reprise.lock.target import Target, target_of
from reprise.lock.update import NOTHING, Kept, keep, solve_wheels
from reprise.store import Store
from reprise_trainer.errors import InputError, NotFoundError, StorageError


@dataclass(frozen=True, slots=True)
class Proposal:
    """A solved lock that is not written yet: its files by name, what it says, and what moves against the old one."""

    files: Mapping[str, str]
    lock: Lock
    changes: tuple[Change, ...]


def lock_environment(
    environment_path: Path, folder: Path, *, debian_mirror: str = "", on_event: OnEvent = ignore
) -> Lock:
    """Solve the environment at `environment_path` and write its lock into `folder` (`locks/<name>/`).

    Arguments and errors are those of `propose_lock` and `write_lock`.
    """
    proposal = propose_lock(environment_path, folder, debian_mirror=debian_mirror, on_event=on_event)
    write_lock(folder, proposal)
    return read_lock(folder, environment_path)


def propose_lock(
    environment_path: Path,
    folder: Path,
    *,
    update: Collection[str] = (),
    accept_md5: bool = False,
    store: Store | None = None,
    debian_mirror: str = "",
    on_event: OnEvent = ignore,
) -> Proposal:
    """Solve an environment, and write nothing.

    Args:
        environment_path: `containers/images/<name>.toml`.
        folder: `locks/<name>/`, where the old lock is, if there is one.
        update: names of packages; when given, only these move, and what that forces.
        accept_md5: fetch what somebody else's lock knows by md5 alone, and record the sha256 that is seen.
        store: keeps what is fetched so, and tells sizes of what it has.
        debian_mirror: a Debian archive's address, in place of the TOML's and of the machine's own.
        on_event: called with a "phase" event before each part.

    Raises:
        InputError: the environment is malformed, or can't be solved; there is no package to update.
        NotFoundError: a file or channel that it names does not exist; there is no lock to update.
        UnavailableError: a mirror, an index or a channel does not answer.
        SystemFailureError: apt, pip, conda-lock or py-rattler is missing.
    """
    environment = read_environment(environment_path)
    require_libraries(conda=environment.conda is not None)
    target = target_of(environment.python, environment.platform, environment.debian.suite)
    old = _old(folder, needed=bool(update))
    kept = keep(old, folder, update) if old and update else NOTHING
    if environment.conda:
        on_event({"event": "phase", "name": "solve the conda part"})
    by_md5 = partial(fetch_by_md5, store=store) if accept_md5 else None
    solution = solve_conda_part(environment, environment_path, kept, by_md5)
    on_event({"event": "phase", "name": "solve the Debian part"})
    mirror = debian_mirror or environment.sources.debian_mirror
    packages = _unmoved(debian.solve(environment.debian, mirror, pins=kept.debian), old if update else None)
    on_event({"event": "phase", "name": "solve the Python part"})
    wheels = _wheels(environment, target, solution, kept)
    build = solve_wheels(environment.pypi.build, target, "build", Given(), kept)
    on_event({"event": "phase", "name": "plan the layers"})
    main = [*packages.packages, *(e.artifact for e in solution.packages), *(e.artifact for e in wheels)]
    sizes = file_sizes(main, {each.artifact.purl: each.url for each in wheels}, store)
    files = {
        CONDA_SPEC: conda_spec(environment, solution.asked),
        CONDA_LOCK: conda_lock(environment, [*wheels, *build], solution),
        DEBIAN_LOCK: debian_lock(packages),
        LAYER_PLAN: layer_plan(plan_layers(main, sizes)),
    }
    lock = _as_read(files, environment_path)
    return Proposal(files, lock, changes_between(old, lock, sizes, partial(_stored_size, store)))


def write_lock(folder: Path, proposal: Proposal) -> None:
    """Write the files of a proposal into `folder`, which is made when it is not there; other files in it stay.

    Raises:
        StorageError: the folder can't be written.
    """
    _write(folder, proposal.files)


def _old(folder: Path, *, needed: bool) -> Lock | None:
    try:
        return read_lock(folder)
    except (InputError, NotFoundError, NotADirectoryError):
        if needed:
            raise
        return None


def _unmoved(solution: debian.DebianSolution, old: Lock | None) -> debian.DebianSolution:
    """The solution, with the old lock's date where none of its packages moved: the image carries that date."""
    if old is None or solution.packages != tuple(each for each in old.artifacts if each.kind == "deb"):
        return solution
    return debian.DebianSolution(solution.suite, old.created, solution.packages)


def _wheels(environment: Environment, target: Target, solution: CondaSolution, kept: Kept) -> Sequence[LockedWheel]:
    """The image's wheels: what somebody's lock has, and what pip adds for the requirements."""
    taken = {each.artifact.name: each for each in solution.wheels}
    given = Given(solution.provided, {name: each.artifact.version for name, each in taken.items()})
    requirements = [*environment.pypi.requirements, *solution.asked.requirements]
    python = Target(target.python, target.glibc, solution.release)
    solved = solve_wheels(requirements, python, "main", given, kept)
    return list(({each.artifact.name: each for each in solved} | taken).values())


def _as_read(files: Mapping[str, str], environment_path: Path) -> Lock:
    with tempfile.TemporaryDirectory(prefix="reprise-lock-") as aside:
        _write(Path(aside), files)
        return read_lock(Path(aside), environment_path)


def _stored_size(store: Store | None, artifact: Artifact) -> int:
    return store.path(artifact.digest).stat().st_size if store and store.has(artifact.digest) else 0


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write all `files` aside first, then put each in its place, so that no reader sees half a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as aside:
            for name, text in files.items():
                with (Path(aside) / name).open("w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            for name in files:
                (Path(aside) / name).replace(folder / name)
    except OSError as error:
        raise StorageError(f"cannot write the lock into {folder}: {error}") from error
