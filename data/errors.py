"""Errors a user can cause: each message is one line that says what to do."""

import difflib
from collections.abc import Iterable


class ToolchainError(Exception):
    """Base of every error that a user can cause; the command line prints it as one line."""


class ImageFormatError(ToolchainError, ValueError):
    """An array is not an image in the layout, dtype or range that the function documents."""


class SourceError(ToolchainError):
    """A source of clean photos has nothing usable in it."""


class ScaleError(ToolchainError):
    """Something is known of images that are made smaller only, and this one keeps its size."""


class StoreError(ToolchainError):
    """A patch store is missing, damaged, or was made with another layout or patch size.

    Args:
        message: One line.
        patch_size: Side in pixels of patches that would do; 0 if the size is not what is wrong.
    """

    def __init__(self, message: str, *, patch_size: int = 0) -> None:
        super().__init__(message)
        self.patch_size = patch_size


class DownloadError(ToolchainError):
    """A public data set could not be fetched."""


class ChecksumError(ToolchainError):
    """A file does not have the content that its checksum promises."""


class UnknownNameError(ToolchainError, ValueError):
    """A name is not among the known ones; the message offers the nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"no {kind} {name!r}; {hint}")
