"""Environment → lock: what an image holds, down to the exact artifacts.

In: an environment's TOML (`containers/images/<name>.toml`) and, to solve it, the host's apt and pip.
Out: the files of `locks/<name>/`, and their models (`model`, `read`), which everything else builds on.
May import: `reprise_trainer`, packaging's and conda-lock's libraries; of `reprise`, `store` and `events`, and `image`
to look into artifacts. Models and readers import the standard library alone: every build reads a lock first.
"""
