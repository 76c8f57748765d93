"""The lowest layer: folders, links and small files that no package owns.

Container engines add files to an image when it has none of that name. All of those are here, empty and with the mode
that the engine gives them, so that a running image holds no path outside its lists (docker's daemon/initlayer makes
`.dockerenv`, `etc/hosts`, `etc/hostname`, `etc/resolv.conf` with mode 0755 and the `etc/mtab` link; podman the file
`run/.containerenv`; every engine the folders that it mounts over).
"""

from __future__ import annotations

from reprise.image.entries import Entry, directory, file, symlink
from reprise.image.format import PROGRAM_MODE

_FOLDERS = (
    "data",
    "dev",
    "etc",
    "home",
    "opt",
    "output",
    "proc",
    "root",
    "run",
    "run/lock",
    "run/reprise",
    "sys",
    "tmp",
    "usr/bin",
    "usr/lib",
    "usr/lib64",
    "usr/local/bin",
    "usr/sbin",
    "var/cache",
    "var/lib",
    "var/log",
    "var/tmp",
)

_LINKS = {
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "sbin": "usr/sbin",
    "etc/mtab": "/proc/mounts",
    "var/lock": "/run/lock",
    "var/run": "/run",
}

_FROM_ENGINES = (".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "run/.containerenv")

_FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def base_entries() -> list[Entry]:
    """All paths of the base layer."""
    return [
        *(directory(path) for path in _FOLDERS),
        *(symlink(path, target) for path, target in _LINKS.items()),
        *(file(path, b"", PROGRAM_MODE) for path in _FROM_ENGINES),
        *(file(path, text.encode()) for path, text in _FILES.items()),
    ]
