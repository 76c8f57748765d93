"""Tables of a policy file, read strictly: no unknown key, each value of its one type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from reprise_trainer.errors import InputError


class Table:
    """A TOML table and where it stands.

    Args:
        values: what it holds.
        where: its place, for messages.
        valid: the keys that it may have.

    Raises:
        InputError: it has another key; the nearest valid one is named.
    """

    def __init__(self, values: dict[str, Any], where: str, valid: tuple[str, ...]) -> None:
        self.values, self.where = values, where
        for name in values:
            if name not in valid:
                import difflib

                nearest = difflib.get_close_matches(name, sorted(valid), n=1, cutoff=0.0)
                raise InputError(f"{where}: unknown key {name!r}; did you mean {nearest[0]!r}?")

    def table(self, name: str, valid: tuple[str, ...]) -> Table:
        """The table `[name]`, empty where there is none."""
        values = self.values.get(name, {})
        if not isinstance(values, dict):
            raise InputError(f"{self.where}: [{name}] must be a table")
        return Table(values, f"{self.where}: [{name}]", valid)

    def tables(self, name: str, valid: tuple[str, ...]) -> Iterator[Table]:
        """The tables `[[name]]`, in the file's order."""
        entries = self.values.get(name, [])
        if not isinstance(entries, list):
            raise InputError(f"{self.where}: no [[{name}]]; write each between double brackets")
        for number, entry in enumerate(entries, 1):
            place = f"{self.where}: [[{name}]] number {number}"
            if not isinstance(entry, dict):
                raise InputError(f"{place} must be a table")
            yield Table(entry, place, valid)

    def text(self, name: str, form: re.Pattern[str] | None = None, expected: str = "") -> str:
        """A string, empty where there is none; with `form`, one that matches it."""
        value = self.values.get(name, "")
        if not isinstance(value, str) or (form and name in self.values and not form.match(value)):
            raise InputError(f"{self.where} {name} is {value!r}; expected {expected or 'a string'}")
        return value

    def texts(self, name: str, form: re.Pattern[str], expected: str) -> tuple[str, ...]:
        """A list of strings that match `form`, each once; an empty list is refused, since it would ask for nothing."""
        values = self.values.get(name)
        if values is None:
            return ()
        if not isinstance(values, list) or not values:
            raise InputError(f"{self.where} {name} must be a list of at least one string")
        for value in values:
            if not isinstance(value, str) or not form.match(value):
                raise InputError(f"{self.where} {name} has {value!r}; expected {expected}")
        return tuple(dict.fromkeys(values))

    def number(self, name: str, default: int) -> int:
        """An integer of at least one."""
        value = self.values.get(name, default)
        if type(value) is not int or value < 1:
            raise InputError(f"{self.where} {name} is {value!r}; expected a number of at least 1")
        return value

    def flag(self, name: str) -> bool:
        """True or false; false where nothing is said."""
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise InputError(f"{self.where} {name} is {value!r}; expected true or false")
        return value

    def time(self, name: str) -> datetime | None:
        """A time with a time zone, in UTC and whole seconds; None where there is none."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise InputError(f"{self.where} {name} is {value!s}; expected a time such as 2027-01-31T00:00:00Z")
        try:
            return value.astimezone(UTC).replace(microsecond=0)
        except OverflowError:  # another year in UTC, that no calendar here has
            raise InputError(
                f"{self.where} {name} is {value!s}; expected a time of the years 1 to 9999 in UTC"
            ) from None
