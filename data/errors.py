"""Errors a user can cause: each message is one line that says what to do."""

import difflib
from collections.abc import Iterable


def one_line(error: BaseException) -> str:
    """What ``error`` says, for the end of a message of ours: one line, never empty."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split()) or type(error).__name__


class ToolchainError(Exception):
    """Base of every error that a user can cause; the command line prints it as one line."""


class ImageFormatError(ToolchainError, ValueError):
    """An array is not an image in the layout, dtype or range that the function documents."""


class SourceError(ToolchainError):
    """A source of clean photos has nothing usable in it."""


class ScaleError(ToolchainError):
    """Something is known of images that are made smaller only, and this one keeps its size."""


class StoreError(ToolchainError):
    """A patch store is missing, damaged or was made with another layout."""


class PatchSizeError(StoreError):
    """The patches of a store have a side that does not suit what is done with them.

    Args:
        message: One line.
        patch_size: A side in pixels that does.
    """

    def __init__(self, message: str, patch_size: int) -> None:
        super().__init__(message)
        self.patch_size = patch_size


class WorldSetError(ToolchainError):
    """A validation set of the world of damage is missing, damaged or of another version."""


class DownloadError(ToolchainError):
    """A public data set could not be fetched."""


class OfflineError(DownloadError):
    """A public data set is not there, and the network must not be touched."""


class ChecksumError(ToolchainError):
    """A file does not have the content that its checksum promises."""


class UnknownNameError(ToolchainError, ValueError):
    """A name is not among the known ones; the message offers the nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"no {kind} {name!r}; {hint}")
