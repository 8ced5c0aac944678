"""What a training's result depends on, in one name."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ernn.asr.data import Dataset
from ernn.checkpoint import Part


def identity(settings: Sequence[Any], parts: Sequence[Part], datasets: Sequence[Dataset]) -> str:
    """Digest of everything that a run's result depends on.

    Args:
        settings: anything that JSON can hold.
        parts: models and ADMM as they are before the first epoch.
        datasets: the training and the dev set.
    """
    digest = hashlib.sha256(json.dumps(settings).encode())
    tensors: list[Tensor] = []
    for part in parts:
        tensors += [] if part is None else part.state_dict().values()
    for dataset in datasets:
        digest.update(json.dumps([dataset.symbols, dataset.phones]).encode())
        tensors += dataset.features + dataset.targets + (dataset.alignments or [])
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
