"""Properties of jobs that are done in several processes."""

import os
from pathlib import Path

import pytest

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.training.processes import in_processes


def square(number: int) -> tuple[int, int]:
    if number == 13:
        os._exit(1)
    if number < 0:
        raise ValueError(number)
    return number * number, os.getpid()


@pytest.mark.parametrize("num_processes", [1, 2])
def test_every_job_is_done_once(num_processes: int) -> None:
    with in_processes(square, [1, 2, 3], num_processes) as done:
        results = list(done)
    assert sorted(result for result, _ in results) == [1, 4, 9]
    assert all((process == os.getpid()) == (num_processes == 1) for _, process in results)


def test_what_a_job_raises_arrives_and_a_lost_process_is_one_line() -> None:
    with pytest.raises(ValueError, match="-1"), in_processes(square, [-1], 2) as done:
        list(done)
    with pytest.raises(ToolchainError, match="num_processes"), in_processes(square, [13], 2) as d:
        list(d)


def touch(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.parametrize("num_processes", [1, 2])
def test_who_leaves_early_waits_for_no_job_that_was_not_begun(
    num_processes: int, tmp_path: Path
) -> None:
    jobs = [tmp_path / str(number) for number in range(20)]
    with in_processes(touch, jobs, num_processes) as done:
        next(iter(done))
    # One came back, and each process may have gone on with another, or two.
    assert len(list(tmp_path.iterdir())) <= 1 + 2 * (num_processes - 1)
