"""Places: pip's and apt's as this machine configures them, then the environment's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.artifacts.conftest import deb, leftovers, wheel
from tests.support.debian_archive import Package, write_archive
from tests.support.loopback import Site

from reprise.artifacts.fetch import fetch
from reprise.lock.model import Artifact, Sources
from reprise.lock.pip_client import pip_configuration
from reprise.store import Store
from reprise_trainer.errors import InputError, UnavailableError

DATA = b"the right bytes" * 1000
WRONG = b"other bytes" * 1000


def page(*links: str) -> bytes:
    return ("<!DOCTYPE html><html><body>" + "".join(f'<a href="{link}">x</a>' for link in links)).encode()


def serve_index(site: Site, artifact: Artifact, data: bytes = DATA, at: str = "/simple") -> str:
    """A simple index (PEP 503) that has `artifact`; its address."""
    site.types[f"{at}/{artifact.name}/"] = "text/html"
    quoted = artifact.file_name.replace("+", "%2B")
    site.files[f"{at}/{artifact.name}/"] = page(f"../../files{at}/{quoted}#sha256={artifact.sha256}")
    site.files[f"/files{at}/{artifact.file_name}"] = data
    return site.url(at)


def set_pip(monkeypatch: pytest.MonkeyPatch, **options: str) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    for key, value in options.items():
        monkeypatch.setenv(f"PIP_{key.upper()}", value)


def test_pips_index_is_asked(site: Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = wheel(DATA)
    set_pip(monkeypatch, index_url=serve_index(site, artifact))
    fetch([artifact], store, Sources())
    assert site.paths() == ["/simple/thing/", f"/files/simple/{artifact.file_name}"]


def test_a_local_version_is_found(site: Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = wheel(DATA, "torch", "2.13.0+cpu")
    assert artifact.file_name == "torch-2.13.0+cpu-py3-none-any.whl"
    set_pip(monkeypatch, index_url=serve_index(site, artifact))
    fetch([artifact], store, Sources())
    assert store.read(artifact.digest) == DATA


def test_an_indexs_password_counts_for_the_files_that_it_links(
    site: Site, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = wheel(DATA)
    serve_index(site, artifact)
    site.files["/simple/thing/"] = page(site.url(f"/files/simple/{artifact.file_name}"))
    site.password = "secret"
    set_pip(monkeypatch, index_url=site.url("/simple").replace("http://", "http://me:secret@"))
    report = fetch([artifact], store, Sources())
    assert store.has(artifact.digest)
    assert "secret" not in report.fetched[0].url


def test_an_index_that_speaks_json_is_asked(site: Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = wheel(DATA)
    files = [{"filename": artifact.file_name, "url": site.url("/w/" + artifact.file_name), "hashes": {}}]
    body = {"meta": {"api-version": "1.0"}, "name": "thing", "files": files}
    site.files["/simple/thing/"] = json.dumps(body).encode()
    site.types["/simple/thing/"] = "application/vnd.pypi.simple.v1+json"
    site.files["/w/" + artifact.file_name] = DATA
    set_pip(monkeypatch, index_url=site.url("/simple"))
    fetch([artifact], store, Sources())
    assert store.has(artifact.digest)


def test_an_index_on_disk_is_asked(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = wheel(DATA)
    (tmp_path / "simple" / "thing").mkdir(parents=True)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / artifact.file_name).write_bytes(DATA)
    (tmp_path / "simple" / "thing" / "index.html").write_bytes(page(f"../../files/{artifact.file_name}"))
    set_pip(monkeypatch, index_url=(tmp_path / "simple").as_uri())
    fetch([artifact], store, Sources())
    assert store.has(artifact.digest)


def test_an_extra_index_is_asked_when_the_first_is_silent(
    site: Site, store: Store, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = wheel(DATA)
    set_pip(monkeypatch, index_url=closed_port, extra_index_url=serve_index(site, artifact))
    fetch([artifact], store, Sources())
    assert store.has(artifact.digest)


@pytest.mark.parametrize("as_address", [False, True])
def test_pips_find_links_folder_is_looked_into(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, as_address: bool
) -> None:
    artifact = wheel(DATA)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / artifact.file_name).write_bytes(DATA)
    folder = (tmp_path / "wheels").as_uri() if as_address else str(tmp_path / "wheels")
    monkeypatch.setenv("PIP_FIND_LINKS", folder)
    fetch([artifact], store, Sources())
    assert store.has(artifact.digest)
    assert (tmp_path / "wheels" / artifact.file_name).exists(), "fetching copies; it never takes away"


def test_pips_configuration_file_counts_and_the_environment_is_stronger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = http://one/simple\nextra-index-url =\n  http://two/simple\n  http://three/simple\n"
        "find-links = /global\ncert = /ca.pem\nproxy = http://proxy:3128\n[install]\nfind-links = /install\n"
    )
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    found = pip_configuration()
    assert found.indexes == ("http://one/simple", "http://two/simple", "http://three/simple")
    assert (found.find_links, found.certificates, found.proxy) == (("/install",), "/ca.pem", "http://proxy:3128")
    monkeypatch.setenv("PIP_FIND_LINKS", "/a /b")
    assert pip_configuration().find_links == ("/a", "/b")
    monkeypatch.setenv("PIP_NO_INDEX", "true")
    assert pip_configuration().indexes == ()


def test_apts_sources_are_asked(tmp_path: Path, site: Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package("libthing", "2:1.0-1")
    archive = tmp_path / "archive"
    write_archive(archive, [package])
    for file in archive.rglob("*"):
        if file.is_file():
            site.files[f"/debian/{file.relative_to(archive)}"] = file.read_bytes()
    root = tmp_path / "apt"
    for folder in (
        "etc/apt/preferences.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/lib/dpkg",
    ):
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes arch=amd64] {site.url('/debian')} bookworm main\n")
    (root / "apt.conf").write_text(f'Dir "{root}"; Dir::State::status "{root}/var/lib/dpkg/status";\n')
    (root / "apt.conf").open("a").write(
        'Acquire::Languages "none"; APT::Sandbox::User ""; APT::Architecture "amd64";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(root / "apt.conf"))
    subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
    site.asked.clear()
    artifact = deb(package.data)
    artifact = Artifact(artifact.purl, artifact.sha256, location=package.path)
    fetch([artifact], store, Sources())
    assert site.paths() == [f"/debian/{package.path}"]


def test_the_environments_page_of_links_is_asked_last(
    site: Site, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = wheel(DATA)
    set_pip(monkeypatch, index_url=site.url("/empty"))
    site.files["/links/"] = page("unrelated.txt", artifact.file_name)
    site.types["/links/"] = "text/html"
    site.files[f"/links/{artifact.file_name}"] = DATA
    fetch([artifact], store, Sources(find_links=(site.url("/links/"),)))
    assert site.paths() == ["/empty/thing/", "/links/", f"/links/{artifact.file_name}"]


def test_the_environments_mirror_on_disk_is_used(tmp_path: Path, store: Store) -> None:
    package = Package("libthing", "1.0-1")
    write_archive(tmp_path / "archive", [package])
    artifact = Artifact(deb(package.data).purl, deb(package.data).sha256, location=package.path)
    fetch([artifact], store, Sources(debian_mirror=str(tmp_path / "archive")))
    assert store.has(artifact.digest)


def test_the_environments_directories_have_files_by_their_names(tmp_path: Path, store: Store) -> None:
    wanted = [wheel(DATA), deb(WRONG)]
    for artifact, data in zip(wanted, (DATA, WRONG), strict=True):
        (tmp_path / artifact.file_name).write_bytes(data)
    fetch(wanted, store, Sources(directories=(str(tmp_path / "absent"), str(tmp_path))))
    assert all(store.has(artifact.digest) for artifact in wanted)


def test_after_wrong_bytes_the_next_place_is_asked(site: Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = wheel(DATA)
    bad = serve_index(site, artifact, WRONG, at="/bad")
    set_pip(monkeypatch, index_url=bad, extra_index_url=serve_index(site, artifact, DATA, at="/good"))
    report = fetch([artifact], store, Sources())
    assert report.fetched[0].url == site.url(f"/files/good/{artifact.file_name}")


def test_an_artifact_that_nobody_has_names_all_who_were_asked(
    site: Site, store: Store, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pip(monkeypatch, index_url=closed_port.replace("http://", "http://me:secret@"))
    artifact = wheel(DATA)
    with pytest.raises(UnavailableError) as raised:
        fetch([artifact], store, Sources(find_links=(site.url("/nothing/"),)))
    message = str(raised.value)
    for part in (artifact.purl, artifact.digest, closed_port, "refused", site.url("/nothing/"), "does not have it"):
        assert part in message
    assert "secret" not in message
    assert "debian_mirror" in raised.value.hint
    assert leftovers(store) == []


def test_no_network_is_one_message_soon(store: Store, closed_port: str) -> None:
    wanted = [deb(b"%d" % number, f"lib{number}") for number in range(40)]
    with pytest.raises(UnavailableError, match=r"and 39 more artifacts.*refused"):
        fetch(wanted, store, Sources(debian_mirror=closed_port))


def test_what_can_be_had_comes_in_although_something_else_cannot(site: Site, store: Store) -> None:
    good, absent, wrong = deb(DATA, "libgood"), deb(b"absent", "libabsent"), deb(b"right", "libwrong")
    site.files[f"/{good.location}"] = DATA
    site.files[f"/{wrong.location}"] = WRONG
    with pytest.raises(InputError, match=r"libwrong.*1 more artifacts"):
        fetch([absent, wrong, good], store, Sources(debian_mirror=site.address))
    assert store.has(good.digest)
    assert leftovers(store) == []


def test_a_page_that_is_no_page_is_named(site: Site, store: Store) -> None:
    site.files["/links/"] = b"\x00\x01"
    site.types["/links/"] = "image/png"
    with pytest.raises(UnavailableError, match="is not a page of files"):
        fetch([wheel(DATA)], store, Sources(find_links=(site.url("/links/"),)))


WARM = """
import sys
from pathlib import Path
from reprise.artifacts.fetch import fetch
from reprise.lock.model import Artifact, Sources
from reprise.store import Store
report = fetch([Artifact(sys.argv[1], sys.argv[2])], Store.open(Path(sys.argv[3])), Sources(find_links=("http://x/",)))
assert len(report.present) == 1 and report.fetched == ()
print(*({"requests", "pypi_simple", "tenacity", "subprocess"} & set(sys.modules)))
"""


def test_a_warm_store_starts_no_client_and_imports_none(store: Store) -> None:
    artifact = wheel(DATA)
    store.add(DATA)
    command = [sys.executable, "-c", WARM, artifact.purl, artifact.sha256, str(store.root)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []
