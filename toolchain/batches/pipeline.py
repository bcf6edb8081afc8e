"""Load, work and save in three threads, so that computing never waits for the disk."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Made = TypeVar("Made")
Result = TypeVar("Result")

THREAD_NAME: Final = "pipeline"

PATIENCE: Final = 2.0
"""Seconds that a pipeline which is abandoned waits for what its threads are in the middle of."""


class Pipeline(Generic[Item, Loaded, Made, Result]):
    """Three stages that overlap: one item is loaded ahead, one worked on, one saved behind.

    No further item is in memory. Results come in the order of the items.

    Args:
        load: First stage.
        work: Second stage, the slow one.
        save: Third stage.
        recover: What becomes of an item when a stage raises; nothing but `Exception` is recovered.
        stop: When set, no further item is begun; what was worked on is still saved.
    """

    def __init__(
        self,
        *,
        load: Callable[[Item], Loaded],
        work: Callable[[Loaded], Made],
        save: Callable[[Made], Result],
        recover: Callable[[Item, Exception], Result],
        stop: threading.Event,
    ) -> None:
        self._load, self._work, self._save, self._recover = load, work, save, recover
        self._stop, self._is_abandoned = stop, threading.Event()
        # An item on its way, with what the last stage made of it, or the error that it raised.
        self._loaded: queue.SimpleQueue[tuple[Item, Loaded | Exception] | None]
        self._made: queue.SimpleQueue[tuple[Item, Made | Exception] | None]
        self._loaded, self._made = queue.SimpleQueue(), queue.SimpleQueue()
        self._results: queue.SimpleQueue[Result | BaseException | None] = queue.SimpleQueue()
        # The queues are bounded here: an item takes its place before it takes memory.
        self._ahead, self._behind = threading.Semaphore(1), threading.Semaphore(1)

    def run(self, items: Iterable[Item]) -> Iterator[Result]:
        """Send the items through.

        Abandoned half-way (by Ctrl-C, say), it waits `PATIENCE` seconds for a file that is being
        written. The other threads go on to the end of what they do, and begin nothing.

        Yields:
            The result of each item as soon as it is there.
        """
        stages = (lambda: self._loading(items), self._working, self._saving)
        threads = [
            threading.Thread(target=self._watched(stage), name=THREAD_NAME, daemon=True)
            for stage in stages
        ]
        for thread in threads:
            thread.start()
        try:
            while (result := self._results.get()) is not None:
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            self._is_abandoned.set()
            for semaphore in (self._ahead, self._behind):
                semaphore.release()
            self._loaded.put(None)
            self._made.put(None)
            threads[-1].join(PATIENCE)

    def _watched(self, stage: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                stage()
            except BaseException as error:  # is raised again where somebody sees it
                self._results.put(error)

        return run

    def _loading(self, items: Iterable[Item]) -> None:
        for item in items:
            self._ahead.acquire()
            if self._ends:
                break
            self._loaded.put((item, _after(self._load, item)))
        self._loaded.put(None)

    def _working(self) -> None:
        while (parcel := self._loaded.get()) is not None and not self._ends:
            self._ahead.release()
            made = (parcel[0], _after(self._work, parcel[1]))
            del parcel  # or it would stay in memory while the next one is awaited
            self._behind.acquire()
            self._made.put(made)
            del made
        self._made.put(None)

    def _saving(self) -> None:
        while (parcel := self._made.get()) is not None and not self._is_abandoned.is_set():
            item, result = parcel[0], _after(self._save, parcel[1])
            del parcel
            self._behind.release()
            if isinstance(result, Exception):
                result = self._recover(item, result)
            self._results.put(result)
        self._results.put(None)

    @property
    def _ends(self) -> bool:
        return self._stop.is_set() or self._is_abandoned.is_set()


def _after(stage: Callable[[Loaded], Made], content: Loaded | Exception) -> Made | Exception:
    """What a stage makes of what the one before did, or the error that either raised."""
    if isinstance(content, Exception):
        return content
    try:
        return stage(content)
    except Exception as error:
        return error.with_traceback(None)  # its frames would hold the images
