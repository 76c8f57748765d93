"""An artifact's name, version and file name are read from its package URL."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from packageurl import PackageURL

from reprise.lock.model import Artifact

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9+.-]{0,20}[a-z0-9+])?", fullmatch=True)
VERSIONS = st.from_regex(r"([0-9]:)?[0-9][A-Za-z0-9.+~-]{0,20}", fullmatch=True)


@given(NAMES, VERSIONS)
def test_a_debian_package_is_read_as_packageurl_reads_it(name: str, version: str) -> None:
    purl = PackageURL("deb", "debian", name, version, {"arch": "amd64", "distro": "bookworm"}).to_string()
    artifact = Artifact(purl, "0" * 64, location=f"pool/main/{name}.deb")
    parsed = PackageURL.from_string(purl)
    assert (artifact.kind, artifact.name, artifact.version) == ("deb", parsed.name, parsed.version)
    assert (artifact.qualifier("arch"), artifact.qualifier("distro")) == ("amd64", "bookworm")
    assert artifact.file_name == f"{name}.deb"


@given(st.from_regex(r"[a-z0-9](-?[a-z0-9]){0,10}", fullmatch=True), VERSIONS.filter(lambda each: ":" not in each))
def test_a_wheel_is_read_as_packageurl_reads_it(name: str, version: str) -> None:
    file_name = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    artifact = Artifact(PackageURL("pypi", None, name, version, {"file_name": file_name}).to_string(), "0" * 64)
    assert (artifact.kind, artifact.name, artifact.version) == ("wheel", name, version)
    assert artifact.file_name == file_name


def test_anything_else_is_data() -> None:
    assert Artifact("pkg:generic/images@1?file_name=images.gz", "0" * 64).kind == "data"
