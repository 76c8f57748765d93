"""What activation scripts leave is what a real shell leaves; what they do beyond that is refused."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.image.conda_scripts import PackageScript, activate, activated, before_activation, is_script
from reprise_trainer.errors import InputError

BEFORE = {**before_activation("/opt/conda"), "KEPT": "old value"}


def script(text: str, name: str = "a.sh", package: str = "a") -> PackageScript:
    return PackageScript(package, f"etc/conda/activate.d/{name}", text)


def by_shell(*texts: str) -> dict[str, str]:
    """The environment after bash has sourced the texts."""
    program = "\n".join(texts) + "\n/usr/bin/env -0"
    done = subprocess.run(
        ["/bin/bash", "--norc", "-c", program], env=BEFORE, capture_output=True, text=True, check=True
    )
    pairs = dict(pair.partition("=")[::2] for pair in done.stdout.split("\0") if pair)
    return {name: value for name, value in pairs.items() if name not in ("_", "SHLVL", "PWD", "OLDPWD")}


PLAIN = [
    "export A=1",
    "export A=1 B='two words' C=\"$A$A\"",
    'export A="${CONDA_PREFIX}/share"',
    "A=1\nexport A",
    "A=1",
    "A=1 B=$A\nexport A B",
    "export KEPT=$KEPT:new",
    'export A="${KEPT:-none}" B="${NONE:-none}" C="${NONE-}" D=${NONE}',
    ': "${KEPT:=new}"\n: ${A:=3}\nexport A KEPT',
    ": ${A=3}\nexport A",
    'export PATH="$CONDA_PREFIX/libexec:$PATH"',
    "#!/bin/sh\n# a comment\n\nexport A=x # why\n",
    'export A="a \\"quoted\\" \\$B \\\\"',
    "export A='$not'\"$KEPT\"",
    "export A=",
    "  export   A=1\t",
]


@pytest.mark.parametrize("text", PLAIN)
def test_a_script_of_assignments_leaves_what_bash_leaves(text: str) -> None:
    assert activated([script(text)], BEFORE) == by_shell(text)


@pytest.mark.parametrize(
    "text", ["export A=$_", 'export A="$RANDOM"', "A=${PWD:-x}", "export IFS=x", ": ${_=1}", "_=2"]
)
def test_what_the_shell_sets_itself_is_refused(text: str) -> None:
    found, refused = activate([script(text)], BEFORE)
    assert refused and found == BEFORE


WORDS = st.text(st.sampled_from("ab0 /:._-'$"), max_size=8).filter(lambda text: "'" not in text)


@given(st.lists(st.tuples(st.sampled_from("ABC"), WORDS, st.sampled_from(["'", '"', "x"])), min_size=1, max_size=4))
def test_any_assignment_is_refused_or_means_what_bash_says(parts: list[tuple[str, str, str]]) -> None:
    quoted = [
        f"export {name}={'' if quote == 'x' else quote}{word}{'' if quote == 'x' else quote}"
        for name, word, quote in parts
    ]
    found, refused = activate([script("\n".join(quoted))], BEFORE)
    if not refused:
        assert found == by_shell(*quoted)


@pytest.mark.parametrize(
    "text",
    [
        "date",
        "export A=$(date)",
        "export A=`date`",
        'export A="$(date)"',
        "if [ -d x ]; then export A=1; fi",
        "export A=1; date",
        "export A=1 && date",
        "export A=*",
        "export A=~/x",
        "export A=${B:+x}",
        "export A=${B#x}",
        "source other.sh",
        ". other.sh",
        "unset KEPT",
        'export A="unfinished',
        "export A=1 \\\n  B=2",
        "f() { export A=1; }",
        ": ${A:=$(date)}",
        "export 1A=2",
        "export A=1 > file",
    ],
)
def test_a_script_that_does_more_is_refused_with_its_package(text: str) -> None:
    with pytest.raises(InputError, match=r"conda package a: etc/conda/activate\.d/a\.sh does more than set"):
        activated([script(text)], BEFORE)
    assert activated([script(text)], BEFORE, allowed=("a",)) == BEFORE


@pytest.mark.parametrize(
    "name", ["LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHASHSEED", "CONDA_PREFIX", "LANG"]
)
def test_variables_that_decide_what_code_runs_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"sets {name}, which decides what code runs"):
        activated([script(f"export {name}=x")], BEFORE)


def test_scripts_count_in_the_order_of_their_names_after_the_files_of_variables() -> None:
    scripts = [
        script("export A=$A:second", "b.sh", "b"),
        script("export A=$A:first", "a.sh", "z"),
        PackageScript("c", "etc/conda/env_vars.d/c.json", '{"A": "zeroth", "B": "$A"}'),
    ]
    for order in (scripts, scripts[::-1]):
        found = activated(order, BEFORE)
        assert (found["A"], found["B"]) == ("zeroth:first:second", "$A")


@pytest.mark.parametrize("text", ["[]", '{"A": 1}', "{", '{"A B": "x"}'])
def test_a_malformed_file_of_variables_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"conda package c: etc/conda/env_vars\.d/c\.json does more"):
        activated([PackageScript("c", "etc/conda/env_vars.d/c.json", text)], BEFORE)


def test_scripts_are_those_that_conda_would_run() -> None:
    assert is_script("etc/conda/activate.d/x.sh", "p")
    assert is_script("etc/conda/env_vars.d/x.json", "p")
    assert is_script("bin/.p-post-link.sh", "p") and is_script("bin/.p-pre-unlink.sh", "p")
    assert not is_script("bin/.other-post-link.sh", "p")
    assert not is_script("etc/conda/activate.d/x.fish", "p")
    assert not is_script("etc/conda/deactivate.d/x.sh", "p")
