"""Jobs of a training that need nothing of each other, in this process or in several."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
import torch

from restoration_toolchain.data.errors import ToolchainError

Job = TypeVar("Job")
Done = TypeVar("Done")


@contextlib.contextmanager
def in_processes(
    work: Callable[[Job], Done], jobs: Sequence[Job], num_processes: int
) -> Iterator[Iterable[Done]]:
    """Do jobs; yields what comes of them, as they end. On leaving, no further job is begun.

    Args:
        work: What is done with a job; a function of a module, if there are several processes.
        jobs: Jobs.
        num_processes: Processes, each with one thread; one alone is this one, with its threads.

    Raises:
        ToolchainError: A process ended too early.
    """
    if num_processes == 1:
        yield map(work, jobs)
        return
    # Started afresh: threads of PyTorch do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_processes, context, _use_one_thread)
    try:
        yield (done.result() for done in as_completed([pool.submit(work, job) for job in jobs]))
    except BrokenProcessPool as error:
        raise ToolchainError(
            "a process ended too early, perhaps for want of memory; resume with fewer of them "
            "(num_processes)"
        ) from error
    finally:  # after an error, too, jobs that nobody waits for are not begun
        pool.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
