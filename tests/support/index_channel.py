"""Index a folder as a conda channel: `python index_channel.py FOLDER NAME`, with conda-index, in a process of its own.

conda-index compares versions with conda's own code. conda is not a package that pip can install; conda-lock carries a
copy of it, which serves here.
"""

from __future__ import annotations

import importlib
import sys

for _name in ("", ".models", ".models.version"):
    sys.modules[f"conda{_name}"] = importlib.import_module(f"conda_lock._vendor.conda{_name}")

from conda_index.index import ChannelIndex  # noqa: E402 - needs conda

if __name__ == "__main__":
    index = ChannelIndex(sys.argv[1], sys.argv[2], threads=1, write_zst=True, write_current_repodata=False)
    index.index(None)
