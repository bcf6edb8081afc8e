"""Progress bars of the long commands, on standard error so that results can be piped."""

from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class _Bar:
    """One bar that appears with its first update and stays when it is complete."""

    def __init__(self, title: str, *columns: ProgressColumn) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *columns,
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._title = title
        self._task = None if not title else self._progress.add_task(title, note="", visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the bar as it stands; what is printed from now on comes below it."""
        self._progress.stop()

    def update(self, done: int, total: int | None, note: str = "", title: str = "") -> None:
        """Show how far things are; another title starts another bar below."""
        if self._task is None or (title and title != self._title):
            self._title = title
            self._task = self._progress.add_task(title, note=note)
        self._progress.update(
            self._task, completed=done, total=total, note=note, visible=True, refresh=done == total
        )


class Steps(_Bar):
    """Counts steps, photos or images.

    Args:
        title: Name of what is going on.
        unit: Name of what is counted; shown behind the count.
    """

    def __init__(self, title: str, *, unit: str = "") -> None:
        super().__init__(title, MofNCompleteColumn(), TextColumn(unit))


class Download(_Bar):
    """Counts bytes."""

    def __init__(self, title: str) -> None:
        super().__init__(title, DownloadColumn(), TransferSpeedColumn())
