"""The scripts of conda packages, none of which ever runs, and the environment that they leave.

conda sources `etc/conda/activate.d/*.sh` when an environment is entered, after it has set what
`etc/conda/env_vars.d/*.json` say. An image is always entered in the same way, so both are worked out once, when it is
built, and become its environment variables. A script that does more than set variables is refused, and so is one that
would run at installation; a person can allow a package to go without.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from reprise_trainer.errors import InputError

SYSTEM_PATH = "/usr/local/bin:/usr/bin"

_ACTIVATE = re.compile(r"etc/conda/activate\.d/[^/]+\.sh")
_VARIABLES = re.compile(r"etc/conda/env_vars\.d/[^/]+\.json")
_LINK = ("pre-link", "post-link", "pre-unlink")
_OURS = re.compile(r"LD_.*|PYTHON.*|LANG|LC_.*|CONDA_PREFIX")
"""Variables that decide which code runs, and how: no package sets them."""

_SHELLS_OWN = re.compile(
    r"_|BASH\w*|COMP_\w+|COPROC|DIRSTACK|EPOCH\w+|E?UID|GROUPS|HIST\w*|HOSTNAME|HOSTTYPE|IFS|LINENO|MACHTYPE|MAPFILE"
    r"|OLDPWD|OPT\w+|OSTYPE|PIPESTATUS|PPID|PS[0-4]|PWD|RANDOM|READLINE_\w+|REPLY|SECONDS|SHELL|SHELLOPTS|SHLVL|SRANDOM|TERM"
)
"""Variables that the shell itself sets (bash(1), "Shell Variables"): what they hold is the shell's, and no image's."""

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_ASSIGNMENT = re.compile(rf"({_NAME})=(.*)", re.DOTALL)
_DEFAULT = re.compile(rf""":\s+(?P<quote>"?)\$\{{(?P<name>{_NAME})(?P<operator>:?=)(?P<value>[^{{}}]*)\}}(?P=quote)""")
_WORD = re.compile(
    rf"""(?P<single>'[^']*')|"(?P<double>(?:[^"\\`$]|\\[\\"$`]|\$(?:{_NAME}|\{{[^{{}}]*\}}))*)\"|"""
    rf"""(?P<plain>(?:[A-Za-z0-9_./:,=+@%^-]|\$(?:{_NAME}|\{{[^{{}}]*\}}))+)"""
)
_REFERENCE = re.compile(rf"\\(?P<escaped>[\\\"$`])|\$(?P<bare>{_NAME})|\$\{{(?P<braced>[^{{}}]*)\}}")
_BRACED = re.compile(rf"(?P<name>{_NAME})(?P<operator>:?-)?(?P<default>(?(operator)[^\"'`$\\]*|))")


@dataclass(frozen=True, slots=True)
class PackageScript:
    """A script, or a file of variables, of the conda package `package`, at `path` below the prefix, as installed."""

    package: str
    path: str
    text: str


def is_script(path: str, package: str) -> bool:
    """Whether conda would run the file at `path` (below the prefix) of `package`, or set variables from it."""
    return bool(_ACTIVATE.fullmatch(path) or _VARIABLES.fullmatch(path)) or path in _link_scripts(package)


def _link_scripts(package: str) -> tuple[str, ...]:
    return tuple(f"bin/.{package}-{moment}.sh" for moment in _LINK)


def before_activation(prefix: str) -> dict[str, str]:
    """What conda sets in any case for the environment at `prefix` ("/opt/conda")."""
    return {"CONDA_PREFIX": prefix, "PATH": f"{prefix}/bin:{SYSTEM_PATH}"}


def activated(
    scripts: Iterable[PackageScript], environment: Mapping[str, str], allowed: Collection[str] = ()
) -> dict[str, str]:
    """What `activate` leaves, where every script could become variables or its package is allowed to go without.

    Raises:
        InputError: a script does more, and its package is not in `allowed`.
    """
    after, refused = activate(scripts, environment)
    for script, why in refused:
        if script.package not in allowed:
            raise InputError(
                f"conda package {script.package}: {script.path} {why}",
                hint="Leave the package out, or allow it to go without the script: add its name to "
                "conda.allow.post_link in the environment file, and lock it again.",
            )
    return after


def activate(
    scripts: Iterable[PackageScript], environment: Mapping[str, str]
) -> tuple[dict[str, str], list[tuple[PackageScript, str]]]:
    """The environment that sourcing all scripts leaves, in conda's order: variables' files, then scripts, by name.

    Args:
        scripts: those of all packages of an image, in any order.
        environment: what there is before them: PATH, CONDA_PREFIX …

    Returns:
        The environment, and each script that does more than set variables, which counts for nothing, with the reason.
    """
    found, refused = dict(environment), []
    for script in sorted(scripts, key=lambda each: (not _VARIABLES.fullmatch(each.path), each.path.encode())):
        problem = _problem(script, found)
        if problem is None:
            found = _after(script, found)
        else:
            refused.append((script, problem))
    return found, refused


def _problem(script: PackageScript, environment: Mapping[str, str]) -> str | None:
    """Why `script` can't become environment variables; None where it can."""
    if script.path in _link_scripts(script.package):
        return "would run at installation; an image is built without running anything"
    try:
        after = _after(script, environment)
    except ValueError as error:
        return f"does more than set environment variables: {error}"
    changed = sorted(name for name in after.keys() | environment.keys() if after.get(name) != environment.get(name))
    ours = [name for name in changed if _OURS.fullmatch(name)]
    return f"sets {ours[0]}, which decides what code runs" if ours else None


def _after(script: PackageScript, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment after one script. Raises ValueError where it does more than set variables."""
    if script.path.endswith(".json"):
        variables = json.loads(script.text)
        if not isinstance(variables, dict) or not all(
            re.fullmatch(_NAME, name) and isinstance(value, str) for name, value in variables.items()
        ):
            raise ValueError("it is no JSON object of names and texts")
        return {**environment, **variables}
    return _Shell(environment).run(script.text)


class _Shell:
    """The part of the shell's language that sets variables (POSIX, "Shell Command Language", 2.6.2 and 2.9.1)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._variables = dict(environment)
        self._exported = set(environment)

    def run(self, text: str) -> dict[str, str]:
        for line in text.splitlines():
            line = line.strip()
            if line and not line.startswith("#"):
                self._line(line)
        return {name: self._variables[name] for name in self._exported if name in self._variables}

    def _line(self, line: str) -> None:
        if match := _DEFAULT.fullmatch(line):
            if _SHELLS_OWN.fullmatch(match["name"]):
                raise ValueError(f"{line!r}")
            known = self._variables.get(match["name"])
            if known is None or (match["operator"] == ":=" and not known):
                self._variables[match["name"]] = self._value(f'"{match["value"]}"', line)
            return
        exports = line.startswith("export ")
        assigned: dict[str, str] = {}
        for word in self._split(line.removeprefix("export ").strip(), line):
            match = _ASSIGNMENT.fullmatch(word)
            name = match[1] if match else word
            if not re.fullmatch(_NAME, name) or _SHELLS_OWN.fullmatch(name) or not (match or exports):
                raise ValueError(f"{line!r}")
            if match:
                assigned[name] = self._value(match[2], line)
            if exports:
                self._exported.add(name)
            else:  # without a command each assignment counts for the next one; a command's words are all expanded first
                self._variables |= assigned
        self._variables |= assigned

    @staticmethod
    def _split(text: str, line: str) -> list[str]:
        """Words as they are written, with their quotation marks."""
        words, at = [""], 0
        while at < len(text):
            if text[at] in " \t":
                words.append("")
                at += 1
            elif text[at] == "#" and not words[-1]:
                break
            elif found := _WORD.match(text, at):
                words[-1] += found[0]
                at = found.end()
            else:
                raise ValueError(f"{line!r}")
        return [word for word in words if word]

    def _value(self, text: str, line: str) -> str:
        value, at = "", 0
        while at < len(text):
            found = _WORD.match(text, at)
            if found is None:
                raise ValueError(f"{line!r}")
            single, double, plain = found["single"], found["double"], found["plain"]
            value += single[1:-1] if single is not None else self._expanded(double if double is not None else plain)
            at = found.end()
        return value

    def _expanded(self, text: str) -> str:
        return _REFERENCE.sub(self._reference, text)

    def _reference(self, match: re.Match[str]) -> str:
        if match["escaped"]:
            return match["escaped"]
        inner = _BRACED.fullmatch(match["bare"] or match["braced"])
        if inner is None or _SHELLS_OWN.fullmatch(inner["name"]):
            raise ValueError(f"{match[0]!r}")
        value = self._variables.get(inner["name"])
        if inner["operator"] == ":-":
            return value or inner["default"]
        return (inner["default"] or "") if value is None else value
