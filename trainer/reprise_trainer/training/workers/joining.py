"""How a worker meets the others: by what they were forked with, or by the means of the run's backend."""

from __future__ import annotations

from reprise_trainer.backends.meeting import Meeting
from reprise_trainer.training.workers.exchange import ALONE, Exchange
from reprise_trainer.training.workers.group import Group
from reprise_trainer.training.workers.host_exchange import HostExchange


def join(name: str, group: Group) -> Exchange:
    """Meet the other workers of a run; those that are not our own forks, by the means of the backend called `name`.
    Comes before `make_backend`, since a framework finds its devices once.

    Raises:
        UnavailableError: they don't come.
    """
    if group.size == 1:
        return ALONE
    if group.desk is not None:
        return HostExchange(group.rank, group.size, group.desk)
    meeting = Meeting(
        group.rank,
        group.size,
        group.host,
        group.port,
        local=group.on_host == group.size,
        served=group.served,
        attempt=group.attempt,
    )
    if name == "torch":
        from reprise_trainer.backends.torch_exchange import TorchExchange

        return TorchExchange(meeting)
    from reprise_trainer.backends.jax_exchange import JaxExchange

    return JaxExchange(meeting)
