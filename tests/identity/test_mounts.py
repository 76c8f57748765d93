"""The mounts of a running image are on a closed list; each other one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from reprise_trainer.errors import SystemFailureError
from reprise_trainer.identity.mounts import AllowedMount, Mount, allowed_points, check_mounts, read_mounts

DOCKER = """\
72 48 0:39 / / ro,relatime master:2 - overlay overlay rw,lowerdir=/l/U:/l/J,upperdir=/d/diff,workdir=/d/work
73 72 0:42 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
74 72 0:43 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
75 74 0:44 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620,ptmxmode=666
76 72 0:45 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
77 76 0:46 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
78 77 0:29 /docker/b3a3 /sys/fs/cgroup/cpu ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,cpu
87 74 0:41 / /dev/mqueue rw,nosuid,nodev,noexec,relatime - mqueue mqueue rw
88 74 0:47 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=65536k
89 72 254:0 /home/me/snapshot /data ro,relatime - ext4 /dev/vda rw
90 72 254:0 /home/me/out /output rw,relatime - ext4 /dev/vda rw
91 72 0:48 / /tmp rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw
92 72 254:0 /tmp/launch /run/reprise ro,relatime - ext4 /dev/vda rw
93 72 254:0 /c/resolv.conf /etc/resolv.conf ro,relatime - ext4 /dev/vda rw
94 72 254:0 /c/hostname /etc/hostname ro,relatime - ext4 /dev/vda rw
95 72 254:0 /c/hosts /etc/hosts ro,relatime - ext4 /dev/vda rw
96 72 0:49 / /var/tmp rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw
49 73 0:42 /bus /proc/bus ro,nosuid,nodev,noexec,relatime - proc proc rw
52 73 0:42 /sys /proc/sys ro,nosuid,nodev,noexec,relatime - proc proc rw
53 73 0:50 / /proc/acpi ro,relatime - tmpfs tmpfs ro
54 73 0:43 /null /proc/keys rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
56 76 0:51 / /sys/firmware ro,relatime - tmpfs tmpfs ro
"""
"""What dockerd 20.10 mounts, as it was read inside a container."""

PODMAN = """\
75 49 0:40 / / ro,relatime - overlay overlay rw,lowerdir=/l/Y,upperdir=/p/diff,workdir=/p/work,uuid=on
76 75 0:43 / /dev rw,nosuid,noexec - tmpfs tmpfs rw,size=65536k,mode=755
77 75 0:44 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
79 75 0:45 / /run rw,nosuid,nodev,relatime - tmpfs tmpfs rw
78 75 254:0 /home/me/snapshot /data ro,relatime - ext4 /dev/vda rw
81 75 254:0 /home/me/out /output rw,relatime - ext4 /dev/vda rw
82 75 0:47 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
83 79 254:0 /tmp/launch /run/reprise ro,relatime - ext4 /dev/vda rw
86 75 254:0 /u/.containerenv /run/.containerenv ro,nosuid,nodev,noexec,relatime - ext4 /dev/vda rw
56 82 0:43 /null /proc/timer_list rw,nosuid,noexec - tmpfs tmpfs rw,size=65536k,mode=755
58 77 0:53 / /sys/dev/block ro,relatime - tmpfs tmpfs ro
"""
"""What podman 4.3 mounts with --read-only."""


def _read(tmp_path: Path, text: str) -> tuple[Mount, ...]:
    path = tmp_path / "mountinfo"
    path.write_text(text)
    return read_mounts(path)


@pytest.mark.parametrize("text", [DOCKER, PODMAN], ids=["docker", "podman"])
def test_what_an_engine_mounts_is_allowed(tmp_path: Path, text: str) -> None:
    mounts = _read(tmp_path, text)
    assert check_mounts(mounts) == ()
    assert allowed_points(mounts) == {mount.point for mount in mounts if mount.point}


def _with(tmp_path: Path, line: str) -> tuple[str, ...]:
    return check_mounts(_read(tmp_path, DOCKER + line + "\n"))


def test_a_file_mounted_over_a_module_is_named(tmp_path: Path) -> None:
    line = "99 72 254:0 /evil.py /usr/lib/python3.11/json/__init__.py ro,relatime - ext4 /dev/vda rw"
    problem = "/usr/lib/python3.11/json/__init__.py: mounted over the image (ext4); only a run's own mounts are allowed"
    assert _with(tmp_path, line) == (problem,)
    assert "usr/lib/python3.11/json/__init__.py" not in allowed_points(_read(tmp_path, DOCKER + line))


@pytest.mark.parametrize(
    "point", ["/usr", "/etc/ld.so.preload", "/mnt/x", "/data/more", "/tmp/x", "/run/secrets/x", "/home"]
)
def test_any_other_mount_is_named(tmp_path: Path, point: str) -> None:
    (problem,) = _with(tmp_path, f"99 72 254:0 / {point} ro,relatime - ext4 /dev/vda rw")
    assert problem.startswith(f"{point}: mounted over the image")


def test_secrets_may_be_mounted_and_only_read(tmp_path: Path) -> None:
    line = "99 72 254:0 /tmp/secrets /run/secrets ro,relatime - ext4 /dev/vda rw"
    assert _with(tmp_path, line) == ()
    assert _with(tmp_path, line.replace(" ro,", " rw,")) == ("/run/secrets: mounted writable, expected read-only",)


def test_a_folder_mounted_as_proc_is_named(tmp_path: Path) -> None:
    line = "99 72 254:0 /fake /proc rw,relatime - ext4 /dev/vda rw"
    assert _with(tmp_path, line) == ("/proc: mounted as ext4, expected proc",)


def test_a_file_over_the_mount_table_is_named(tmp_path: Path) -> None:
    (problem,) = _with(tmp_path, "99 73 254:0 /fake /proc/self/mountinfo rw,relatime - ext4 /dev/vda rw")
    assert problem.startswith("/proc/self/mountinfo: mounted over the image")


def test_a_host_folder_as_tmp_is_named(tmp_path: Path) -> None:
    line = "99 72 254:0 /tmp /tmp rw,relatime - ext4 /dev/vda rw"
    assert _with(tmp_path, line) == ("/tmp: mounted as ext4, expected tmpfs",)


@pytest.mark.parametrize("point", ["data", "run/reprise"])
def test_what_is_only_read_must_be_mounted_read_only(tmp_path: Path, point: str) -> None:
    text = DOCKER.replace(f"/{point} ro,", f"/{point} rw,")
    assert check_mounts(_read(tmp_path, text)) == (f"/{point}: mounted writable, expected read-only",)


def test_a_writable_root_is_named(tmp_path: Path) -> None:
    text = DOCKER.replace("/ / ro,", "/ / rw,")
    assert check_mounts(_read(tmp_path, text)) == ("/: the root is writable; it must be mounted read-only",)


def test_a_root_that_is_read_only_as_a_file_system_is_read_only(tmp_path: Path) -> None:
    assert check_mounts(_read(tmp_path, "70 43 0:40 / / rw,relatime - overlay overlay ro,lowerdir=a:b\n")) == ()


def test_a_changed_root_without_a_mount_is_named(tmp_path: Path) -> None:
    (problem,) = check_mounts(_read(tmp_path, "73 72 0:42 / /proc rw,nosuid - proc proc rw\n"))
    assert problem.startswith("/: not a mount of its own")


def test_escaped_names_are_read(tmp_path: Path) -> None:
    (mount,) = _read(tmp_path, r"99 72 254:0 /a\040b /usr/with\040space\134n ro - ext4 /dev/vda rw" + "\n")
    assert mount == Mount("usr/with space\\n", "/a b", "ext4", read_only=True)


def test_a_name_may_hold_what_other_readers_take_for_the_end_of_a_line(tmp_path: Path) -> None:
    """The kernel escapes line feeds alone."""
    (mount,) = _read(tmp_path, "99 72 254:0 / /usr/a\rb\x0bc\x1cd\u2028e ro - ext4 /dev/vda rw\n")
    assert mount == Mount("usr/a\rb\x0bc\x1cd\u2028e", "/", "ext4", read_only=True)


def test_optional_fields_and_dashes_are_read(tmp_path: Path) -> None:
    (mount,) = _read(tmp_path, "99 72 254:0 / /a-b rw,relatime shared:1 master:2 - fuse.x-y x-y rw\n")
    assert mount == Mount("a-b", "/", "fuse.x-y", read_only=False)


def test_a_table_of_further_mounts_can_be_given(tmp_path: Path) -> None:
    mounts = _read(tmp_path, "7 4 0:4 / / ro - overlay o ro\n9 7 0:6 /x /dev/device0 rw - devtmpfs d rw\n")
    table = (AllowedMount("dev/device[0-9]+", frozenset({"devtmpfs"}), "a device"),)
    assert len(check_mounts(mounts)) == 1
    assert check_mounts(mounts, table) == ()


def test_no_mount_table_is_a_failure_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(SystemFailureError, match="No such file"):
        read_mounts(tmp_path / "gone")
