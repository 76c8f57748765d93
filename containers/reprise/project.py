"""Where a project keeps its environments and locks."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from reprise_trainer.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with `containers/images/` (one TOML an environment) and `locks/` (one folder an environment)."""

    root: Path

    @staticmethod
    def find(start: Path) -> Project:
        """The project that holds `start`: the nearest folder upwards that has both.

        Raises:
            NotFoundError: none has.
        """
        for folder in (start.resolve(), *start.resolve().parents):
            if (folder / "containers" / "images").is_dir() and (folder / "locks").is_dir():
                return Project(folder)
        raise NotFoundError(
            f"no project at {start.resolve()} or above: expected the folders containers/images and locks",
            hint="Change into the project, or name it with --project.",
        )

    @property
    def environments(self) -> list[str]:
        """Names of all environments that a person has written."""
        return sorted(path.stem for path in (self.root / "containers" / "images").glob("*.toml"))

    def environment_file(self, name: str) -> Path:
        """The TOML of an environment.

        Raises:
            NotFoundError: there is no such environment; the message lists those that exist.
        """
        if name not in self.environments:
            near = difflib.get_close_matches(name, self.environments, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.environments) or 'none'}"
            raise NotFoundError(f"unknown environment {name!r} in {self.root}: {known}")
        return self.root / "containers" / "images" / f"{name}.toml"

    def lock_folder(self, name: str) -> Path:
        """The lock of an environment.

        Raises:
            NotFoundError: the environment is unknown, or not locked yet.
        """
        self.environment_file(name)
        folder = self.root / "locks" / name
        if not (folder / "conda-lock.yml").exists():
            raise NotFoundError(
                f"environment {name!r} has no lock at {folder}", hint=f"Write one with: reprise lock {name}"
            )
        return folder
