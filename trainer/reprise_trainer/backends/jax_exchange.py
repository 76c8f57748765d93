"""Workers of the jax backend: `ppermute` between the processes of jax.distributed (on CPUs, over gloo).

Nothing is added here: the compiled program moves bytes, and the backend adds as it does within a worker.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from reprise_trainer.backends.meeting import (
    ANSWER_SECONDS,
    HEARTBEAT_SECONDS,
    MEETING_SECONDS,
    Meeting,
    no_answer,
    nobody_came,
)

_AXIS = "workers"


class JaxExchange:
    """See `training.workers.exchange.Exchange`. Comes before all else of JAX: devices are found out once."""

    def __init__(self, meeting: Meeting) -> None:
        self.rank, self.size = meeting.rank, meeting.size
        port = meeting.port + 1 if meeting.served else meeting.port  # the first is the other launcher's own
        jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
        try:
            jax.distributed.initialize(
                f"{meeting.host}:{port}",
                self.size,
                self.rank,
                cluster_detection_method="deactivate",
                initialization_timeout=round(MEETING_SECONDS),
                heartbeat_timeout_seconds=round(HEARTBEAT_SECONDS),
                shutdown_timeout_seconds=round(ANSWER_SECONDS),
                coordinator_bind_address=f"{meeting.host}:{port}" if meeting.local else None,
            )
            self._mesh = Mesh(np.array(jax.devices()), (_AXIS,))
        except (RuntimeError, ValueError) as error:
            raise nobody_came(meeting, error) from error
        self._sharding = NamedSharding(self._mesh, PartitionSpec(_AXIS))
        self._program = cache(self._make_program)

    def swap(self, data: NDArray[np.uint8], distance: int) -> NDArray[np.uint8]:
        """See `Exchange.swap`."""
        try:
            sent = jax.make_array_from_process_local_data(self._sharding, data[None], (self.size, len(data)))
            found: NDArray[np.uint8] = np.asarray(self._program(distance)(sent).addressable_shards[0].data)[0]
        except (RuntimeError, ValueError) as error:
            raise no_answer(self.rank ^ distance, error) from error
        return found

    def close(self) -> None:
        """See `Exchange.close`."""
        jax.distributed.shutdown()

    def _make_program(self, distance: int) -> Callable[[Any], Any]:
        pairs = [(rank, rank ^ distance) for rank in range(self.size)]
        spec = PartitionSpec(_AXIS)
        program: Callable[[Any], Any] = jax.jit(
            jax.shard_map(
                lambda block: lax.ppermute(block, _AXIS, pairs), mesh=self._mesh, in_specs=spec, out_specs=spec
            )
        )
        return program
