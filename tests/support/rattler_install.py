"""Install packages of a channel with py-rattler: `python rattler_install.py JOB`, in a process of its own.

JOB is a JSON file: `channel` (folder), `files` (names of packages in it), `prefix` (where to), `target` (the prefix to
write into files), `cache`. py-rattler can crash when its process ends, after its work is done: judge by results.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from rattler import Channel, Platform, RepoData, install


async def main(job: dict[str, object]) -> None:
    folder = Path(str(job["channel"]))
    records = []
    for subdir in ("linux-64", "noarch"):
        repodata = RepoData.from_path(folder / subdir / "repodata.json")
        records += repodata.into_repo_data(Channel(folder.as_uri()))
    wanted = [record for record in records if record.file_name in job["files"]]  # type: ignore[operator]
    assert len(wanted) == len(job["files"]), [record.file_name for record in wanted]  # type: ignore[arg-type]
    await install(
        wanted,
        target_prefix=str(job["prefix"]),
        cache_dir=str(job["cache"]),
        platform=Platform("linux-64"),
        execute_link_scripts=False,
        show_progress=False,
        alternative_target_prefix=str(job["target"]),
    )


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
    print("installed", flush=True)
