"""Several processes that train one model, each on its share of every batch.

A script that is started by ``torchrun --nproc-per-node N script.py``, or without it::

    with processes() as device:
        model = AcousticModel(config).to(device)
        train(model, train_set, dev_set, TrainConfig(), "exp/dense")
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@contextmanager
def processes() -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did, and leave them at the end.

    Yields:
        The device of this process: a GPU of its own where CUDA is available, else the CPU.
    """
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else None
    if device is not None:
        torch.cuda.set_device(device)
    launched = dist.is_torchelastic_launched()
    if launched:
        dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device or torch.device("cpu")
        if launched:
            dist.barrier()  # one that leaves while another still sends would abort it
    finally:
        if launched:
            dist.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def parallel(module: nn.Module) -> nn.Module:
    """The module with rank 0's weights, its gradients the mean over the processes."""
    return DistributedDataParallel(module) if count() > 1 else module


def mean(value: Tensor) -> Tensor:
    """The mean over the processes of a tensor, in place."""
    if count() > 1:
        dist.all_reduce(value)
        value /= count()
    return value


def agree(value: object) -> bool:
    """Whether all processes hold the same value."""
    values = [value] * count()
    if count() > 1:
        dist.all_gather_object(values, value)
    return all(other == value for other in values)


def from_first(value: T) -> T:
    """What rank 0 gives, once it is there."""
    values = [value]
    if count() > 1:
        dist.broadcast_object_list(values)
    return values[0]
