"""torchrun, with the exit code that a scheduler needs: `python -m reprise_trainer.torchrun [torchrun's arguments]`.

torchrun itself ends with 1 whatever its workers said. Here a run that was asked to stop ends with 75, as everywhere:
its workers got SIGTERM, and the run goes on when it is started again, whether they left a checkpoint in time or not.
"""

from __future__ import annotations

import signal
import sys

from reprise_trainer.errors import StoppedError
from reprise_trainer.training.stop import STOPPING


def main(arguments: list[str]) -> int:
    """Run torchrun in this process; its exit code, or 75 where a stop was the reason of its end."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        torchrun(arguments)
    except SignalException as error:
        stopped = error.sigval in STOPPING
        return StoppedError.exit_code if stopped else 128 + signal.Signals(error.sigval)
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        if codes == {StoppedError.exit_code}:  # the signal went to the workers, and not to this process
            return StoppedError.exit_code
        worker, failure = error.get_first_failure()
        code: int = failure.exitcode
        if code < 0:  # a signal ended it, and it said nothing: torchrun's own table does
            raise
        print(f"worker {worker} ended with exit code {code}", file=sys.stderr)
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
