"""Jobs of a training that need nothing of each other, in this process or in several."""

import contextlib
import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
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
        yield _as_they_end(pool, work, jobs, num_processes)
    except BrokenProcessPool as error:
        raise ToolchainError(
            "a process ended too early, perhaps for want of memory; resume with fewer of them "
            "(num_processes)"
        ) from error
    finally:  # waits for those that are running
        pool.shutdown(cancel_futures=True)


def _as_they_end(
    pool: ProcessPoolExecutor,
    work: Callable[[Job], Done],
    jobs: Sequence[Job],
    num_processes: int,
) -> Iterator[Done]:
    """Hand out as many jobs as there are processes: a pool begins what waits in its queue."""
    left = iter(jobs)
    running = {pool.submit(work, job) for job in itertools.islice(left, num_processes)}
    while running:
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        results = [job.result() for job in ended]
        running |= {pool.submit(work, job) for job in itertools.islice(left, len(ended))}
        yield from results


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
