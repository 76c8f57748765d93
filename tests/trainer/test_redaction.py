"""Secrets are known by their form or by their variable's name, and never written."""

from __future__ import annotations

import io
import subprocess
import sys
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trainer.conftest import CONFIG, environment

from reprise_trainer.config.read import read_config
from reprise_trainer.errors import InputError
from reprise_trainer.redaction import find_secret, redact
from reprise_trainer.reporting.events import Events

# Put together here, so that no scanner takes this file for one that leaks.
SECRETS = {
    "AWS access key": "AK" + "IA" + "ABCDEFGHIJKLMNOP",
    "GitHub token": "gh" + "p_" + "a1B2" * 9,
    "GitLab token": "gl" + "pat-" + "abcdefghij0123456789",
    "Slack token": "xo" + "xb-" + "1234567890-abcdef",
    "Hugging Face token": "h" + "f_" + "aB" * 17,
    "API key": "s" + "k-" + "proj-" + "x1" * 12,
    "Google API key": "AI" + "za" + "a" * 35,
    "package index token": "np" + "m_" + "a" * 36,
    "JSON web token": "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "private key": "-----BEGIN EC PRIVATE" + " KEY-----\nMHcCAQEE\n-----END EC PRIVATE" + " KEY-----",
    "password in a URL": "https://somebody:pa55word@registry.example.org/v2/",
    "authorization header": "Authorization: Bearer " + "abc.def",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_known_form_is_replaced_by_its_name(name: str) -> None:
    text = f"before {SECRETS[name]} after"
    found = redact(text, {})
    assert f"[redacted: {name}]" in found
    assert found.startswith("before ") and found.endswith(" after")
    value = {"password in a URL": "pa55word", "authorization header": "abc.def", "private key": "MHcCAQEE"}
    assert value.get(name, SECRETS[name]) not in found


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "0a" * 32,
        "step 3/10 loss 2.3",
        "https://host:5000/v2/a@sha256:" + "1" * 64,
        "sk-learn",
        "pkg:deb/debian/a@1",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text, {}) == text and find_secret(text) is None


@given(value=st.text(min_size=6, max_size=30), before=st.text(max_size=20))
def test_the_value_of_a_variable_named_like_a_secret_is_never_written(value: str, before: str) -> None:
    mask = "[redacted: value of WANDB_API_KEY]"
    found = redact(f"{before}{value}", {"WANDB_API_KEY": value, "HOME": "/root"})
    assert value not in found or value in mask


def test_the_longer_of_two_values_goes_first() -> None:
    found = redact("abcdef123", {"A_TOKEN": "abcdef", "B_TOKEN": "abcdef123"})
    assert found == "[redacted: value of B_TOKEN]"


def test_events_carry_no_secret() -> None:
    stream = io.StringIO()
    Events("json", stream).emit({"event": "failed", "message": f"cannot read {SECRETS['password in a URL']}"})
    assert "pa55word" not in stream.getvalue()


def test_a_configuration_with_a_secret_is_refused_without_showing_it() -> None:
    text = CONFIG + f"\n# {SECRETS['GitHub token']}\n"
    with pytest.raises(InputError, match="holds what looks like a GitHub token") as caught:
        read_config(text.encode(), where="run.toml")
    line = text[: text.index("gh" + "p_")].count("\n") + 1
    assert f"line {line} " in str(caught.value) and "a1B2" not in str(caught.value)
    assert "a1B2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(("program", "verb"), [("reprise", "train"), ("reprise_trainer", "config")])
def test_a_command_line_prints_no_secret_of_its_environment(program: str, verb: str) -> None:
    argv = [sys.executable, "-m", program, verb, "/nowhere/hunter2hunter2"]
    process = subprocess.run(
        argv, env={**environment(), "DB_PASSWORD": "hunter2hunter2"}, check=False, capture_output=True, text=True
    )
    assert process.returncode != 0
    assert "hunter2hunter2" not in process.stdout + process.stderr
    assert "[redacted: value of DB_PASSWORD]" in process.stderr
