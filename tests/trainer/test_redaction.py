"""Secrets are known by their form or by their variable's name, and never written."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trainer.conftest import CONFIG, environment

from reprise.cli.progress import progress
from reprise.engine.choose import print_error_line
from reprise.run_config import load_config
from reprise_trainer import redaction
from reprise_trainer.config.overrides import Override
from reprise_trainer.config.read import read_config
from reprise_trainer.ending import ended
from reprise_trainer.errors import InputError
from reprise_trainer.redaction import find_secret, hide, redact
from reprise_trainer.reporting.events import Events
from reprise_trainer.secret_files import read_secret_files, wrong_secret_files
from reprise_trainer.training.records.attempts import attempt, read_attempts

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
        "https://host:5000/v2/a@sha256:" + "1" * 64 + ", and mail to somebody@example.org",
        "git+https://host:8443/team/x.git@v1.2?a=b@c",
        "http://[::1]:8080/a@b",
        "http://127.0.0.1:9090/metrics of a run@home",
        "oci://registry/name:tag@sha256:" + "1" * 64,
        "ssh://git@host:22/path@v1",
        "https://host/a:b@c",
        "file:///data/a:b@c",
        "sk-learn",
        "pkg:deb/debian/a@1",
        "authorization, token by token",
        "{'Authorization': None}",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text, {}) == text and find_secret(text) is None


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("redis://:s3cretpw@cache:6379/0", "redis://[…]@cache:6379/0"),
        ("postgresql+psycopg2://user:p/s3cretpw@host/db", "postgresql+psycopg2://[…]@host/db"),
        ("https://alice:p@ss/s3cretpw@host", "https://[…]@host"),
        ('"https://a:s3cretpw@host","b@c"', '"https://[…]@host","b@c"'),
        ("https://a:s3cretpw@host,https://b:s3cretpw@host", "https://[…]@host,https://[…]@host"),
        ("https://alice:1234s3cretpw@host:1234/a", "https://[…]@host:1234/a"),
    ],
)
def test_a_password_in_a_url_is_found_wherever_it_ends(text: str, left: str) -> None:
    assert redact(text, {}) == left.replace("[…]", "[redacted: password in a URL]")
    assert find_secret(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        *("Authorization: Bearer […]", "authorization:Bearer […]", "Proxy-Authorization: Basic […]"),
        *('{"Authorization": "Bearer […]"}', '{"Authorization":"token […]"}', r"{\"Authorization\": \"Bearer […]\"}"),
        *("{'Authorization': 'Bearer […]'}", "(b'Authorization', b'Bearer […]')", 'Authorization = "Bearer […]"'),
    ],
)
def test_what_a_header_says_is_found_in_every_spelling(text: str) -> None:
    scheme = next(each for each in ("Bearer", "Basic", "token") if each in text)
    mask = "[redacted: authorization header]"
    assert redact(text.replace("[…]", "abc.s3cret=="), {}) == text.replace(f"{scheme} […]", mask)


@pytest.mark.parametrize("name", ["DB_PASS", "db_pwd", "DB_PASSWORD", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"])
def test_a_variable_is_named_like_a_secret(name: str) -> None:
    assert redact("as hunter22 said", {name: "hunter22"}) == f"as [redacted: value of {name}] said"


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "GIT_ASKPASS", "COMPASS", "PASSED", "HOME"])
def test_a_variable_that_holds_a_place_is_none(name: str) -> None:
    assert redact("in /home/somebody", {name: "/home/somebody"}) == "in /home/somebody"


@given(value=st.text(min_size=6, max_size=30), before=st.text(max_size=20))
def test_the_value_of_a_variable_named_like_a_secret_is_never_written(value: str, before: str) -> None:
    mask = "[redacted: value of WANDB_API_KEY]"
    found = redact(f"{before}{value}", {"WANDB_API_KEY": value, "HOME": "/root"})
    assert value not in found or value in mask


@pytest.mark.parametrize("value", ["hunter22\n", "\thunter22", "hunter22\r\n"])
def test_a_value_is_found_without_the_space_around_it(value: str) -> None:
    assert redact("as hunter22 said", {"DB_PASSWORD": value}) == "as [redacted: value of DB_PASSWORD] said"
    assert find_secret("as hunter22 said", {"DB_PASSWORD": value}) is not None
    assert redact("as n   said", {"DB_PASSWORD": "n      "}) == "as n   said"


def test_why_an_attempt_ended_is_kept_without_its_secrets(awkward: str, tmp_path: Path) -> None:
    with pytest.raises(InputError), attempt(tmp_path, step=0, workers=1):
        raise InputError(f"cannot log in with {AWKWARD}")
    assert [each.why for each in read_attempts(tmp_path)] == [f"cannot log in with {awkward}"]


WORKERS = """
from reprise_trainer.errors import InputError
from reprise_trainer.training.workers.crew import crew

with crew(2) as group:
    if group.rank:
        raise {error}("as hunter22-secret said")
"""


@pytest.mark.parametrize("error", ["InputError", "ValueError"])
def test_the_last_word_of_another_worker_has_no_secret(error: str) -> None:
    argv = [sys.executable, "-c", WORKERS.format(error=error)]
    env = {**environment(), "DB_PASSWORD": "hunter22-secret"}
    process = subprocess.run(argv, env=env, check=False, capture_output=True, text=True)
    assert "as [redacted: value of DB_PASSWORD] said" in process.stderr and "hunter22" not in process.stderr


def test_the_longer_of_two_values_goes_first() -> None:
    found = redact("abcdef123", {"A_TOKEN": "abcdef", "B_TOKEN": "abcdef123"})
    assert found == "[redacted: value of B_TOKEN]"


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test hides is hidden for no other one."""
    monkeypatch.setattr(redaction, "_hidden", {})


FILE = b"  name = somebody\r\n\n  key = k\xc3\xa4y\\-12345\nshort\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (FILE.decode(), "{}"),
        (f"<{FILE.decode().strip()}>", "<{}>"),
        ("it says name = somebody twice: name = somebody", "it says {} twice: {}"),
        ("key = käy\\-12345", "{}"),
        ("a short line", "a short line"),
    ],
)
def test_what_a_secrets_file_holds_is_redacted_whole_and_by_its_longer_lines(
    no_files: None, text: str, left: str
) -> None:
    hide({"hub": FILE})
    assert redact(text, {}) == left.format(*["[redacted: secret hub]"] * 2)
    assert (find_secret(text) is None) is (text == left)


def test_a_files_secret_that_python_writes_otherwise_is_redacted_too(no_files: None) -> None:
    hide({"hub": FILE})
    assert redact(repr("<key = käy\\-12345>"), {}) == "'<[redacted: secret hub]>'"


def test_a_files_secret_goes_by_its_length_among_those_of_variables(no_files: None) -> None:
    hide({"hub": b"abcdef123\n", "few": b"abc12"})
    assert redact("abcdef123 abc12", {"A_TOKEN": "abcdef"}) == "[redacted: secret hub] abc12"


def test_a_secret_that_is_no_text_is_redacted_as_programs_read_and_show_it(no_files: None) -> None:
    content = b"\xff\xfe\x80abc"
    hide({"key": content})
    for text in (repr(content), content.decode(errors="replace"), content.decode(errors="surrogateescape")):
        assert "abc" not in redact(text, {})


def test_a_configuration_with_a_files_secret_is_refused(no_files: None) -> None:
    hide({"hub": b"hunter22-secret\n"})
    with pytest.raises(InputError, match="holds the secret hub; a run record would publish it") as caught:
        read_config(f"{CONFIG}\n# hunter22-secret\n".encode(), where="run.toml")
    assert "hunter22" not in str(caught.value)


TRAINER = """
import sys
from pathlib import Path
from reprise_trainer import __main__ as trainer, secret_files

folder = Path(sys.argv.pop())
trainer.read_secret_files = lambda: secret_files.read_secret_files(folder)
def fail(*_): raise {error}("as hunter22-secret said")
trainer._form_of_events, trainer._run = lambda _: "text", fail
sys.exit(trainer.main())
"""


@pytest.mark.parametrize("error", ["trainer.RefusedError", "ValueError"])
def test_the_trainers_last_word_has_no_secret_that_was_mounted(error: str, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("hunter22-secret\n")
    argv = [sys.executable, "-c", TRAINER.format(error=error), str(tmp_path)]
    process = subprocess.run(argv, env=environment(), check=False, capture_output=True, text=True)
    said = process.stdout + process.stderr
    assert "as [redacted: secret hub] said" in said and "hunter22-secret" not in said


def test_what_a_run_writes_to_stderr_is_passed_on_without_its_secrets(
    no_files: None, capsys: pytest.CaptureFixture[str]
) -> None:
    hide({"hub": b"hunter22-secret\n"})
    print_error_line("as hunter22-secret said")
    assert capsys.readouterr().err == "as [redacted: secret hub] said\n"


def test_secret_files_are_those_that_a_launcher_could_have_given(tmp_path: Path) -> None:
    assert read_secret_files(tmp_path / "none") == {} and wrong_secret_files(tmp_path / "none") != ()
    for name in ("b", "a", ".c"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    assert read_secret_files(tmp_path) == {"a": b"a", "b": b"b"}


def test_events_carry_no_secret() -> None:
    stream = io.StringIO()
    Events("json", stream).emit({"event": "failed", "message": f"cannot read {SECRETS['password in a URL']}"})
    assert "pa55word" not in stream.getvalue()


AWKWARD = 'p"ss\\wörd-99'
"""A value that JSON and Python write otherwise than it is."""


@pytest.fixture
def awkward(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DB_PASSWORD", AWKWARD)
    return "[redacted: value of DB_PASSWORD]"


def test_a_document_is_redacted_before_it_is_json(awkward: str) -> None:
    event = {"event": "failed", AWKWARD: [f"cannot log in with {AWKWARD}", {"step": 3, "right": None}], "rate": 0.5}
    stream = io.StringIO()
    Events("json", stream).emit(event)
    said = [f"cannot log in with {awkward}", {"step": 3, "right": None}]
    assert json.loads(stream.getvalue()) == {"event": "failed", awkward: said, "rate": 0.5}


def test_an_event_in_words_has_no_secret_either(awkward: str) -> None:
    stream = io.StringIO()
    Events("text", stream).emit({"event": "own", "message": AWKWARD})
    Events("text", stream).emit({"event": "checked", "message": f"as {AWKWARD!r} and {AWKWARD}"})
    first, second = stream.getvalue().splitlines()
    assert json.loads(first) == {"event": "own", "message": awkward} and second == f"as '{awkward}' and {awkward}"


def test_the_launchers_events_and_errors_as_json_have_no_secret(
    awkward: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("json") as on_event:
        on_event({"event": "phase", "name": AWKWARD})
    assert json.loads(capsys.readouterr().err) == {"event": "phase", "name": awkward}

    def command() -> int:
        raise InputError(f"cannot use {AWKWARD}")

    assert ended(command, as_json=True) == InputError.exit_code
    assert json.loads(capsys.readouterr().out)["error"]["message"] == f"cannot use {awkward}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('reason = "hunter22-secret"', "line"),
        ("# hunter22-secret", "line"),
        (r'reason = "hunter\u00322-secret"', "random_streams.reason"),
    ],
)
def test_a_configuration_with_its_writers_secret_is_refused(
    text: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG + f"\n[random_streams]\n{text}\n")
    read_config(path.read_bytes(), where="a record")  # whoever reads a record has other secrets
    assert load_config(path).data == path.read_bytes()
    monkeypatch.setenv("DB_PASSWORD", "hunter22-secret")
    with pytest.raises(InputError, match="holds the value of the environment variable DB_PASSWORD") as caught:
        load_config(path)
    assert f"run.toml: {place}" in str(caught.value) and "hunter" not in str(caught.value)


def test_a_secret_that_an_option_sets_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG)
    monkeypatch.setenv("DB_PASSWORD", "hunter22-secret")
    with pytest.raises(InputError, match=r"random_streams\.order holds the value"):
        load_config(path, [Override("random_streams.order", "hunter22-secret")])
    with pytest.raises(InputError, match=r"random_streams\.order holds what looks like a password in a URL"):
        load_config(path, [Override("random_streams.order", "redis://:s3cretpw@cache")])


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
