"""Attempts without the seconds that loading a framework takes: this process loads it once, and forks for each.

The command line is that of `run_once.py`: one such run comes first, so that all of it is loaded. Each line of standard
input is a request, a JSON object: `arguments` of `run_once.train`, `stdout` and `stderr` (paths), `go` (a FIFO that the
attempt reads before it starts), `folder` (where it runs), `environment` (what it sets), `workers`, and `signal`: none,
or an event's kind, its step, and the number of a signal that the attempt sends itself then, or its other worker.
Answers: `{"pid": …}`, and at the attempt's end `{"status": …}`, its wait status.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

import run_once  # beside this script

from reprise_trainer.errors import RepriseError
from reprise_trainer.numerics.enter import enter_profile
from reprise_trainer.numerics.profiles import profile_asked_for
from reprise_trainer.training.stop import Stop, stop_on_signals
from reprise_trainer.training.workers.crew import crew

Emit = Callable[[dict[str, Any]], None]


def main() -> None:
    config = Path(sys.argv[1]).read_bytes()
    enter_profile(*profile_asked_for(config, where=sys.argv[1]))
    with redirect_stdout(StringIO()):
        run_once.train(*sys.argv[1:], stop=Stop())
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _attempt(request)
        print(json.dumps({"pid": pid}), flush=True)
        print(json.dumps({"status": os.waitpid(pid, 0)[1]}), flush=True)


def _attempt(request: dict[str, Any]) -> NoReturn:
    code = 70
    try:
        os.setsid()
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT, 0o644), descriptor)
        os.chdir(request["folder"])
        os.environ.update(request["environment"])
        time.tzset()
        if request["go"]:
            Path(request["go"]).read_bytes()
        with stop_on_signals() as stop, crew(request["workers"]) as group:
            emit = _signalling(*request["signal"])
            code = run_once.train(*request["arguments"], stop=stop, group=group, emit=emit)
    except RepriseError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _signalling(
    kind: str = "", step: int = 0, number: int = 0, other: bool = False
) -> Callable[[dict[str, Any]], None]:
    def emit(event: dict[str, Any]) -> None:
        run_once.print_event(event)
        if kind and event.get("event") == kind and event["step"] == step:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            os.kill(int(children[0]) if other else os.getpid(), number)

    return emit


if __name__ == "__main__":
    main()
