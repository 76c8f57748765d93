"""Documentation that would otherwise fall behind the code."""

from __future__ import annotations

import argparse
import ast
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel

from reprise.bom.provenance import provenance
from reprise.cli.verbs import make_app
from reprise.lock.environment import read_environment
from reprise.lock.read import read_lock
from reprise_trainer import errors
from reprise_trainer.commands.main import parser as trainer_parser
from reprise_trainer.config import (
    checkpoint,
    code,
    data,
    evaluate,
    model,
    optimizer,
    run,
    stages,
    start,
    train,
    validation,
)
from reprise_trainer.identity.policy import read_policy

CHECKOUT = Path(__file__).parents[1]
SECTIONS = [
    each
    for module in (run, data, model, code, stages, train, optimizer, checkpoint, start, validation, evaluate)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == module.__name__
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_configuration_key_is_documented_with_its_meaning(section: type[BaseModel]) -> None:
    text = (CHECKOUT / "docs/configuration.md").read_text()
    for name, field in section.model_fields.items():
        assert f"`{name}`" in text, name
        assert field.description is None or field.description in text, (name, field.description)


def choices(annotation: Any) -> set[str]:
    """The values that a key may have, where there is a closed list of them."""
    if get_origin(annotation) is Literal:
        return {str(value) for value in get_args(annotation)}
    return {value for inner in get_args(annotation) for value in choices(inner)}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_value_that_a_key_can_have_is_documented_beside_it(section: type[BaseModel]) -> None:
    text = (CHECKOUT / "docs/configuration.md").read_text()
    for name, field in section.model_fields.items():
        values = choices(field.annotation)
        if name in ("kind", "metrics"):  # these have headings and a list of their own
            assert all(f'"{value}"' in text or f"`{value}`" in text for value in values), values
        elif values:
            said = field.description or ""
            assert all(f"`{value}`" in said for value in values), (name, said)


def test_every_key_of_an_environment_file_is_documented() -> None:
    text = (CHECKOUT / "docs/locking.md").read_text()
    source = ast.parse((CHECKOUT / "containers/reprise/lock/environment.py").read_text())
    readers = ("text", "texts", "number", "table")
    keys = {
        argument.value
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in readers
        for argument in node.args[:1]
        if isinstance(argument, ast.Constant)
    }
    assert {"suite", "channels", "specification", "requirements", "find_links"} <= keys
    for key in keys - {"debian", "conda", "pypi", "sources"}:
        assert re.search(rf"^\| `(allow\.)?{key}` \|", text, re.MULTILINE), key
    for table in ("debian", "conda", "pypi", "sources"):
        assert f"### `[{table}]`" in text


def test_the_environment_file_that_is_shown_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (CHECKOUT / "docs/locking.md").read_text(), re.DOTALL)
    (tmp_path / "train.toml").write_text(example)
    found = read_environment(tmp_path / "train.toml")
    assert found.conda is not None and found.conda.virtual == (("__cuda", "12.4"),)


def test_every_option_of_lock_is_documented() -> None:
    text = (CHECKOUT / "docs/locking.md").read_text()
    lock = typer.main.get_command(make_app()).commands["lock"]  # type: ignore[attr-defined]
    options = {option for parameter in lock.params for option in parameter.opts if option.startswith("--")}
    for option in options - {"--project", "--store", "--help"}:
        assert f"{option}" in text, option


def test_every_key_of_a_policy_is_documented_under_its_table() -> None:
    sections = re.split(r"^### `\[+(\w+)\]+`$", (CHECKOUT / "docs/policy.md").read_text(), flags=re.MULTILINE)
    documented = {
        name: tuple(re.findall(r"^\| `(\w+)` \|", text.partition("\n## ")[0], re.MULTILINE))
        for name, text in zip(sections[1::2], sections[2::2], strict=True)
    }
    source = ast.parse((CHECKOUT / "trainer/reprise_trainer/identity/policy.py").read_text())
    read = {
        ast.literal_eval(node.args[0]): ast.literal_eval(node.args[1])
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("table", "tables")
    }
    assert {"policy", "keys", "identities", "launchers", "require", "revoked"} == set(read)
    assert {name: set(keys) for name, keys in documented.items()} == {name: set(keys) for name, keys in read.items()}


def test_the_policy_that_is_shown_is_one_and_every_option_is_named() -> None:
    text = (CHECKOUT / "docs/policy.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert read_policy(example.encode()).repositories == ("registry.example.org/team/*",)
    for option in ("--policy", "--at", "--accept-older", "--json", "--for", "--output", "--trusted-root"):
        assert option in text, option


def test_the_tests_that_the_threat_model_names_are_there() -> None:
    text = (CHECKOUT / "docs/threat-model.md").read_text()
    named = re.findall(r"`(tests/[\w/.]+)`", text)
    assert named and all((CHECKOUT / path).exists() for path in named)


@pytest.mark.parametrize("verb", ["key", "sign", "witness"])
def test_every_option_of_signing_is_documented(verb: str) -> None:
    text = (CHECKOUT / "docs/signing.md").read_text()
    command = typer.main.get_command(make_app()).commands[verb]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    for option in options - {"--store", "--help"}:
        assert f"{option}" in text, option


def test_the_build_type_of_provenance_is_documented() -> None:
    text = (CHECKOUT / "docs/signing.md").read_text()
    predicate = provenance(read_lock(CHECKOUT / "locks/torch-cpu"), "sha256:" + "0" * 64)
    definition = predicate["buildDefinition"]
    assert f"`{definition['buildType']}`" in text and f"`{predicate['runDetails']['builder']['id']}`" in text
    for field in (*definition, *definition["externalParameters"]):
        assert field in text, field


def test_every_exit_code_is_documented() -> None:
    text = (CHECKOUT / "docs/exit-codes.md").read_text()
    documented = {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RepriseError)]
    assert {kind.exit_code for kind in kinds} <= documented


@pytest.mark.parametrize("page", sorted(CHECKOUT.glob("*.md")) + sorted(CHECKOUT.glob("docs/**/*.md")), ids=str)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_paths_that_how_it_works_names_exist() -> None:
    text = (CHECKOUT / "docs/how-it-works.md").read_text()
    for path in re.findall(r"`((?:reprise|reprise_trainer)/[\w/.]+)`", text):
        top = "containers" if path.startswith("reprise/") else "trainer"
        assert (CHECKOUT / top / path).exists(), path


@pytest.mark.parametrize("verb", ["run", "doctor", "bundle", "load"])
def test_every_option_of_a_hosts_verbs_is_documented(verb: str) -> None:
    text = (CHECKOUT / "docs/gpu-hosts.md").read_text()
    command = typer.main.get_command(make_app()).commands[verb]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    for option in options - {"--help", "--output"}:
        assert option in text, option


@pytest.mark.parametrize("verb", ["checkpoint", "ledger"])
def test_every_action_and_option_of_the_trainers_files_is_documented(verb: str) -> None:
    text = (CHECKOUT / "docs/checkpoints.md").read_text()
    for action, parser in actions_of(actions_of(trainer_parser())[verb]).items():
        assert f"reprise_trainer {verb} {action}" in text
        for option in {each for action in parser._actions for each in action.option_strings} - {"-h", "--help"}:
            assert option in text, (action, option)


def actions_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's verbs, by name."""
    (verbs,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return dict(verbs.choices)


def test_every_page_is_reached_from_the_readme_by_links() -> None:
    found, reached = [CHECKOUT / "README.md"], set()
    while found:
        page = found.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            found += [
                (page.parent / link).resolve() for link in re.findall(r"\]\(([^)#:]+\.md)[^)]*\)", page.read_text())
            ]
    assert {*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")} <= reached


def anchor(heading: str) -> str:
    """What a heading is linked by, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Those of a page."""
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("page", sorted(CHECKOUT.glob("*.md")) + sorted(CHECKOUT.glob("docs/**/*.md")), ids=str)
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        assert heading in anchors(page.parent / target if target else page), f"{page.name}: {target}#{heading}"


@pytest.mark.parametrize("page", sorted(CHECKOUT.glob("docs/*.md")), ids=lambda page: page.name)
def test_a_long_page_begins_with_a_map(page: Path) -> None:
    text = page.read_text()
    if text.count("\n") > 150:
        sections = [anchor(heading) for heading in re.findall(r"^## (.*)$", text, re.MULTILINE)]
        (links,) = re.findall(r"^On this page: (.*?)\n\n", text.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
        assert re.findall(r"\]\(#([^)]+)\)", links) == sections


def test_every_extra_is_documented() -> None:
    text = (CHECKOUT / "docs/installing.md").read_text()
    for extra in tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]:
        assert re.search(rf"^\|.*`{extra}`.*\|.*\|$", text, re.MULTILINE), extra


def test_every_event_that_is_told_is_documented() -> None:
    text = (CHECKOUT / "docs/watching.md").read_text()
    sources = [*(CHECKOUT / "containers/reprise").rglob("*.py"), *(CHECKOUT / "trainer/reprise_trainer").rglob("*.py")]
    events = {
        name
        for path in sources
        if path.relative_to(CHECKOUT).parts[:3] != ("containers", "reprise", "image")  # the builder's own process
        for name in re.findall(r'"event": "(\w+)"', path.read_text())
    }
    assert {"phase", "step", "validated", "measured"} <= events
    for event in events:
        assert f"`{event}`" in text, event
