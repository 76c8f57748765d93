"""The batches of the benchmark: 12 pieces of 65 tokens a step, the same for everybody."""

from __future__ import annotations

import hashlib

import numpy as np

from reprise_trainer.data.batches import Batch

VOCABULARY, BLOCK, LAYERS, HEADS, WIDTH = 65, 64, 4, 4, 128
BATCH = 12
RATE = 1e-3


class TextBatches:
    """Batches of pseudo-random text; see `reprise_trainer.data.batches.BatchSource`."""

    def batch(self, step: int) -> Batch:
        """The batch of `step`."""
        tokens = np.random.default_rng(step).integers(0, VOCABULARY, (BATCH, BLOCK + 1)).astype(np.int32)
        digest = hashlib.sha256(tokens.tobytes()).hexdigest()
        return Batch(step, np.arange(BATCH, dtype=np.int64), {"tokens": tokens}, digest)
