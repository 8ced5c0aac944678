"""Work side by side, in as many processes as there are cores."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from tqdm import tqdm

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def in_parallel(work: Callable[[Task], Answer], tasks: Sequence[Task]) -> list[Answer]:
    """Work on the tasks in as many processes as there are cores; they end with this one."""
    context = multiprocessing.get_context("spawn")
    processes = min(os.cpu_count() or 1, len(tasks))
    with context.Pool(processes, _start_worker, (context.RLock(),)) as pool:
        results = pool.map(work, tasks, chunksize=1)
        pool.close()  # let the workers end by themselves
        pool.join()
    return results


def _start_worker(terminal: Any) -> None:
    """End this worker with its parent, which handles interrupts; share the lock of the bars."""
    torch.set_num_threads(1)
    tqdm.set_lock(terminal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
