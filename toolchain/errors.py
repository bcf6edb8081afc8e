"""Errors of the product layer that a user can cause: one line each, saying what to do."""

from data.errors import ToolchainError


class PhotoError(ToolchainError):
    """A photo cannot be found, read or written."""


def one_line(error: BaseException) -> str:
    """What ``error`` says, for the end of a message of ours: one line, never empty."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split()) or type(error).__name__
