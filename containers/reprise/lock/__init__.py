"""Environment → lock: what an image holds, down to the exact artifacts.

In: an environment's TOML (`containers/images/<name>.toml`) and, to solve it, the host's apt and pip.
Out: the files of `locks/<name>/`, and their models (`model`, `read`), which everything else builds on.
May import: `reprise_trainer`, the third-party resolvers' libraries; of `reprise`, the store alone.
"""
