"""The real command line, with the builder (the process that makes the bytes) started under another program.

    python builder_under.py LOG PREFIX… -- build small --json …

A build starts its builder with an empty environment and by its own loader, so that emulators and preloaded clocks which
the host's process was started with end there. Here `PREFIX…` is put before the builder's own command line, and LOG gets
what the builder's dynamic loader says of the CPU, and its Python of the time, under that prefix.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from reprise.cli.main import main
from reprise.image.bootstrap import ImagePython

CLOCK = "import time; print(time.time())"


def start_under(prefix: list[str], log: Path) -> None:
    """Put `prefix` before every builder that this process starts."""
    plain = ImagePython.command

    def command(python: ImagePython, module: str) -> list[str]:
        loader = [*prefix, python.argv[0]]
        said = subprocess.run([*loader, "--list-diagnostics"], capture_output=True, text=True, check=True).stdout
        clock = subprocess.run([*prefix, *python.argv, "-c", CLOCK], capture_output=True, text=True, check=True).stdout
        cpu = dict(line.split("=", 1) for line in said.splitlines() if line.startswith("x86.cpu_features.basic."))
        log.write_text(json.dumps({"prefix": prefix, "cpu": cpu, "clock": float(clock), "now": time.time()}))
        return [*prefix, *plain(python, module)]

    ImagePython.command = command  # type: ignore[method-assign]


if __name__ == "__main__":
    split = sys.argv.index("--")
    start_under(sys.argv[2:split], Path(sys.argv[1]))
    sys.argv[1:] = sys.argv[split + 1 :]
    main()
