"""Workers of the torch backend: point-to-point messages of torch.distributed, over gloo."""

from __future__ import annotations

import os
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from reprise_trainer.backends.meeting import ANSWER_SECONDS, MEETING_SECONDS, Meeting, no_answer, nobody_came


class TorchExchange:
    """See `training.workers.exchange.Exchange`."""

    def __init__(self, meeting: Meeting) -> None:
        self.rank, self.size = meeting.rank, meeting.size
        if meeting.local:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else it asks what address the host's name has
        limit = timedelta(seconds=MEETING_SECONDS)
        try:
            store = dist.TCPStore(
                meeting.host,
                meeting.port,
                self.size,
                is_master=self.rank == 0 and not meeting.served,
                timeout=limit,
            )
            store = dist.PrefixStore(f"reprise-{meeting.attempt}", store)
            dist.init_process_group("gloo", store=store, rank=self.rank, world_size=self.size, timeout=limit)
            dist.barrier()
        except (RuntimeError, dist.DistError) as error:
            raise nobody_came(meeting, error) from error

    def swap(self, data: NDArray[np.uint8], distance: int) -> NDArray[np.uint8]:
        """See `Exchange.swap`."""
        peer = self.rank ^ distance
        received = torch.empty(len(data), dtype=torch.uint8)
        try:
            works = (dist.isend(torch.from_numpy(data), peer), dist.irecv(received, peer))
            for work in works:
                assert work is not None
                work.wait(timedelta(seconds=ANSWER_SECONDS))
        except (RuntimeError, dist.DistError) as error:
            raise no_answer(peer, error) from error
        found: NDArray[np.uint8] = received.numpy()
        return found

    def close(self) -> None:
        """See `Exchange.close`."""
        dist.destroy_process_group()
