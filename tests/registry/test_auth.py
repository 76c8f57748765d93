"""Who a registry believes, and who gets to see what proves it."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from loopback import Site, serve
from oci_registry import Fault, OciRegistry
from servers import docker_registry

from reprise.registry.auth import RegistryAuth, origin_of
from reprise.registry.credentials import Credentials, find_credentials
from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise_trainer.errors import InputError, UnavailableError

from .conftest import log_in

HTPASSWD = "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
"""User "me", password "secret" (bcrypt)."""


def at(host: str, path: str = "team/small:1") -> Any:
    return parse_reference(f"{host}/{path}")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A docker-registry that asks for a password."""
    with docker_registry(tmp_path_factory.mktemp("guarded"), htpasswd=HTPASSWD) as host:
        yield host


@pytest.fixture
def token_registry(registry: OciRegistry) -> OciRegistry:
    registry.password = "secret"
    return registry


def test_docker_s_login_is_used(image: Any, guarded: str, no_logins: Path, tmp_path: Path) -> None:
    log_in(no_logins, guarded)
    push(image.store, image.digest, at(guarded))
    assert pull(at(guarded), Store.open(tmp_path / "fresh")).digest == image.digest


@pytest.mark.parametrize("password", ["", "wrong"])
def test_without_the_password_it_is_said_what_to_do(image: Any, guarded: str, no_logins: Path, password: str) -> None:
    if password:
        log_in(no_logins, guarded, password=password)
    with pytest.raises(UnavailableError, match=f"(?s)denies access.*docker login {guarded}"):
        push(image.store, image.digest, at(guarded, "denied/small:1"))


def test_a_token_server_is_asked_for_a_token(
    image: Any, token_registry: OciRegistry, no_logins: Path, tmp_path: Path
) -> None:
    log_in(no_logins, token_registry.host)
    push(image.store, image.digest, at(token_registry.host))
    assert pull(at(token_registry.host), Store.open(tmp_path / "fresh")).digest == image.digest
    with_password = [each.path for each in token_registry.asked if "Basic" in each.headers.get("Authorization", "")]
    assert with_password and all(path.startswith("/token?") for path in with_password)


@pytest.mark.parametrize("stored", ["a wrong password", "a wrong identity token", "nothing"])
def test_a_token_server_that_refuses_is_said_with_what_to_do(
    image: Any, registry: OciRegistry, no_logins: Path, tmp_path: Path, stored: str
) -> None:
    push(image.store, image.digest, at(registry.host))
    registry.password = "secret"
    match stored:
        case "a wrong password":
            log_in(no_logins, registry.host, password="wrong")
            said = "refuses the credentials of me"
        case "a wrong identity token":
            write(no_logins, {"auths": {registry.host: {"identitytoken": "wrong"}}})
            said = "refuses the credentials of an identity token"
        case _:
            said = "wants credentials"
    fresh = Store.open(tmp_path / "fresh")
    with pytest.raises(UnavailableError, match=rf"(?s)denies access: .*/token {said} \(HTTP status 401\)") as caught:
        pull(at(registry.host), fresh)
    assert f"docker login {registry.host}" in caught.value.hint and not fresh.listed()
    assert len([each for each in registry.asked if each.path.startswith("/token")]) == 1  # a refusal is not retried


def test_an_identity_token_is_exchanged_for_a_token(
    image: Any, token_registry: OciRegistry, no_logins: Path, tmp_path: Path
) -> None:
    write(no_logins, {"auths": {token_registry.host: {"identitytoken": "secret"}}})
    push(image.store, image.digest, at(token_registry.host))
    assert pull(at(token_registry.host), Store.open(tmp_path / "fresh")).digest == image.digest


def test_a_token_that_ran_out_is_renewed(image: Any, token_registry: OciRegistry, no_logins: Path) -> None:
    log_in(no_logins, token_registry.host)
    challenge = f'Bearer realm="http://{token_registry.host}/token",service="registry",'
    challenge += 'scope="repository:team/small:pull,push"'
    token_registry.faults = [Fault("PUT", "", status=401, headers={"WWW-Authenticate": challenge}, times=1)]
    push(image.store, image.digest, at(token_registry.host))
    assert len([each for each in token_registry.asked if each.path.startswith("/token")]) == 3


@pytest.mark.parametrize("order", ["{bearer}, {basic}", "{basic}, {bearer}", "Negotiate abc==, {basic}, {bearer}"])
def test_of_several_challenges_the_token_servers_is_answered(
    image: Any, token_registry: OciRegistry, no_logins: Path, order: str
) -> None:
    log_in(no_logins, token_registry.host)
    bearer = f'Bearer realm="http://{token_registry.host}/token",service="registry",scope="repository:team/small:pull"'
    said = order.format(bearer=bearer, basic='Basic realm="a, b"')
    token_registry.faults = [Fault("HEAD", "", status=401, headers={"WWW-Authenticate": said})]
    push(image.store, image.digest, at(token_registry.host))
    sent = [each.headers.get("Authorization", "") for each in token_registry.asked if "/token" not in each.path]
    assert not [each for each in sent if each.startswith("Basic")]


def test_a_mount_asks_for_the_right_to_read_its_source(
    image: Any, token_registry: OciRegistry, no_logins: Path
) -> None:
    log_in(no_logins, token_registry.host)
    push(image.store, image.digest, at(token_registry.host, "first/small:1"))
    report = push(image.store, image.digest, at(token_registry.host, "second/small:1"))
    assert report.uploaded == [] and report.mounted


def test_no_token_follows_a_redirect_to_another_host(
    image: Any, token_registry: OciRegistry, no_logins: Path, tmp_path: Path
) -> None:
    log_in(no_logins, token_registry.host)
    push(image.store, image.digest, at(token_registry.host))
    layer = max(image.store.manifest(image.digest)["layers"], key=lambda each: each["size"])
    seen: list[str | None] = []
    with serve(Site(files={"/elsewhere": image.store.read(layer["digest"])})) as site:
        from http.server import BaseHTTPRequestHandler

        original = BaseHTTPRequestHandler.parse_request

        def watch(handler: Any) -> bool:
            parsed = original(handler)
            if handler.path == "/elsewhere":
                seen.append(handler.headers.get("Authorization"))
            return parsed

        BaseHTTPRequestHandler.parse_request = watch  # type: ignore[method-assign]
        try:
            place = site.url("/elsewhere")
            token_registry.faults = [Fault("GET", layer["digest"], status=307, headers={"Location": place})]
            pull(at(token_registry.host), Store.open(tmp_path / "fresh"))
        finally:
            BaseHTTPRequestHandler.parse_request = original  # type: ignore[method-assign]
    assert seen == [None]


def test_no_token_goes_with_an_upload_that_is_sent_to_another_host(
    image: Any, token_registry: OciRegistry, no_logins: Path
) -> None:
    from oci_registry import serve_registry

    log_in(no_logins, token_registry.host)
    with serve_registry(OciRegistry()) as other:
        other.uploads["1"] = bytearray()
        place = f"http://{other.host}/v2/theirs/blobs/uploads/1"
        token_registry.faults = [Fault("POST", "/blobs/uploads/", status=202, headers={"Location": place})]
        with pytest.raises(Exception, match="does not have it afterwards"):
            push(image.store, image.digest, at(token_registry.host))
        (sent,) = other.asked
        assert "Authorization" not in sent.headers


def test_a_token_server_without_tls_gets_no_password(image: Any, registry: OciRegistry, no_logins: Path) -> None:
    log_in(no_logins, registry.host)
    challenge = 'Bearer realm="http://tokens.example.org/token",service="registry"'
    registry.faults = [Fault("HEAD", "", status=401, headers={"WWW-Authenticate": challenge}, times=99)]
    with pytest.raises(UnavailableError, match=r"tokens\.example\.org.* not asked over a safe connection"):
        push(image.store, image.digest, at(registry.host))


def test_a_registry_elsewhere_is_never_asked_without_tls() -> None:
    from reprise.registry.connection import open_registry

    for host in ("registry.example.org", "192.168.1.2:5000", "127.0.0.1.example.org", "localhost.example.org:5000"):
        assert open_registry(host).address == f"https://{host}"
    for host in ("localhost:5000", "127.0.0.1:5000", "[::1]:5000", "127.3.2.1"):
        assert open_registry(host).address == f"http://{host}"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody trusts yet, and its key."""
    files = tmp_path / "tls.crt", tmp_path / "tls.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(files[0]), "-keyout"]
    subprocess.run([*command, str(files[1])], check=True, capture_output=True)
    return files


def test_certificates_of_one_s_own_are_trusted_when_named(
    image: Any, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with docker_registry(tmp_path / "registry", tls=certificate) as host:
        push(image.store, image.digest, at(host), certificates=certificate[0])
        folder = tmp_path / "config" / "containers" / "certs.d" / host
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(certificate[0].read_bytes())
        assert pull(at(host), Store.open(tmp_path / "fresh")).digest == image.digest
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        import certifi  # the usual authorities, none of which has signed it

        with pytest.raises(UnavailableError, match="certificate"):
            pull(at(host), Store.open(tmp_path / "other"), certificates=Path(certifi.where()))


@pytest.mark.parametrize(
    ("origin", "url", "sent"),
    [
        ("https://a.org", "https://a.org:443/v2/", True),
        ("https://a.org:443", "https://a.org/v2/", True),
        ("http://[::1]", "http://[::1]:80/v2/", True),
        ("https://a.org", "https://a.org:80/v2/", False),
        ("https://a.org", "http://a.org:443/v2/", False),
        ("https://a.org", "https://a.org:5443/v2/", False),
    ],
)
def test_a_registry_may_write_its_own_port_or_leave_it_out(origin: str, url: str, sent: bool) -> None:
    auth = RegistryAuth("a.org", origin_of(origin), lambda: None, requests.Session(), _header="Bearer t")
    prepared = requests.Request("GET", url, auth=auth).prepare()
    assert ("Authorization" in prepared.headers) is sent


def test_certificates_that_are_not_there_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.crt does not exist"):
        pull(at("127.0.0.1:1"), Store.open(tmp_path / "s"), certificates=tmp_path / "none.crt")


# -- where credentials are found


def write(folder: Path, document: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(document))


def test_each_host_has_its_own(no_logins: Path) -> None:
    pairs = {
        host: {"auth": base64.b64encode(f"u:{host}:x".encode()).decode()} for host in ("a.org", "https://b.org/v1/")
    }
    write(no_logins, {"auths": pairs})
    assert find_credentials("a.org") == Credentials("u", "a.org:x")
    assert find_credentials("b.org") == Credentials("u", "https://b.org/v1/:x")
    assert find_credentials("c.org") is None
    write(no_logins, {"auths": {"https://index.docker.io/v1/": {"username": "u", "password": "p"}}})
    assert find_credentials("docker.io") == Credentials("u", "p")


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "docker-credential-mine"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_a_helper_is_asked_with_the_host_on_its_input(
    no_logins: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    write(no_logins, {key: "mine" if key == "credsStore" else {"a.org": "mine"}})
    answer = 'read host; echo "{\\"ServerURL\\":\\"$host\\",\\"Username\\":\\"$1\\",\\"Secret\\":\\"for $host\\"}"'
    helper(no_logins, monkeypatch, answer)
    assert find_credentials("a.org") == Credentials("get", "for a.org")


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "credsStore"])
@pytest.mark.parametrize("stored", ["https://index.docker.io/v1/", "docker.io"])
def test_a_helper_is_asked_for_docker_s_hub_by_docker_s_name_and_by_ours(
    no_logins: Path, monkeypatch: pytest.MonkeyPatch, key: str, stored: str
) -> None:
    write(no_logins, {key: "mine"} if key == "credsStore" else {"credHelpers": {key: "mine"}})
    has = """echo '{"Username":"u","Secret":"p"}'"""
    helper(no_logins, monkeypatch, f'read host; [ "$host" = {stored} ] || {{ echo not found; exit 1; }}; {has}')
    asked = key in (stored, "credsStore")
    assert find_credentials("docker.io") == (Credentials("u", "p") if asked else None)


def test_a_helper_may_have_an_identity_token(no_logins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(no_logins, {"credsStore": "mine"})
    helper(no_logins, monkeypatch, """echo '{"Username":"<token>","Secret":"t"}'""")
    found = find_credentials("a.org")
    assert found == Credentials("", "", "t") and "'t'" not in repr(found)


def test_a_helper_that_has_nothing_is_no_failure(no_logins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(no_logins, {"credsStore": "mine", "auths": {"a.org": {"username": "u", "password": "p"}}})
    helper(no_logins, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert find_credentials("a.org") == Credentials("u", "p")


@pytest.mark.parametrize("user", ["", "<token>"])
def test_a_helper_that_answers_with_an_empty_secret_has_nothing(
    no_logins: Path, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    write(no_logins, {"credsStore": "mine"})
    helper(no_logins, monkeypatch, f"""echo '{{"Username":"{user}","Secret":""}}'""")
    assert find_credentials("a.org") is None


def test_a_helper_that_fails_is_named(no_logins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(no_logins, {"credsStore": "mine"})
    with pytest.raises(UnavailableError, match="docker-credential-mine does not work"):
        find_credentials("a.org")
    helper(no_logins, monkeypatch, "echo locked; exit 1")
    with pytest.raises(UnavailableError, match="docker-credential-mine failed: locked"):
        find_credentials("a.org")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"auths":{"a.org":{"auth":"***"}}}',
        '{"auths":{"a.org":{"auth":"bm8="}}}',
        r'{"auths":{"a.org":{"auth":"\u00e9"}}}',
    ],
)
def test_a_malformed_configuration_is_named(no_logins: Path, text: str) -> None:
    (no_logins / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        find_credentials("a.org")


def test_podman_s_file_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "auth.json").write_text('{"auths":{"a.org/team":{"username":"u","password":"p"}}}')
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    assert find_credentials("a.org", "team/small") == Credentials("u", "p")


def test_the_login_for_the_nearest_namespace_counts_and_none_for_another(no_logins: Path) -> None:
    """As containers-auth.json(5) has it: `podman login a.org/one` is for what is beneath that."""
    places = ("a.org/one", "a.org/two", "a.org/two/deep", "https://b.org/v1/", "b.org:5000/one")
    write(no_logins, {"auths": {place: {"username": place, "password": "p"} for place in places}})
    found = {
        text: (find_credentials(*text.split("/", 1)) or Credentials("")).username
        for text in ("a.org/two/x", "a.org/two/deep/x", "a.org/two", "a.org/twofold/x", "a.org/x", "b.org/x/y")
    }
    assert found == {
        "a.org/two/x": "a.org/two",
        "a.org/two/deep/x": "a.org/two/deep",
        "a.org/two": "a.org/two",
        "a.org/twofold/x": "",
        "a.org/x": "",
        "b.org/x/y": "https://b.org/v1/",
    }


def test_a_push_logs_in_with_the_login_for_its_namespace(
    image: Any, token_registry: OciRegistry, no_logins: Path
) -> None:
    places = {f"{token_registry.host}/other": "wrong", f"{token_registry.host}/team": "secret"}
    write(no_logins, {"auths": {place: {"username": "me", "password": word} for place, word in places.items()}})
    push(image.store, image.digest, at(token_registry.host))
    assert token_registry.manifests
