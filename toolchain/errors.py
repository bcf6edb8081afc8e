"""Errors of the product layer that a user can cause: one line each, saying what to do."""

import unicodedata

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.errors import one_line as one_line


class PhotoError(ToolchainError):
    """A photo cannot be found, read or written."""


class PhotoTooLargeError(PhotoError):
    """A photo has more pixels than may be read."""


class TargetExistsError(PhotoError):
    """A file that is there would be replaced, and nobody has said that it may."""


def printable(text: object) -> str:
    r"""What can be shown of a file's name in one line of a terminal: ``\n`` for a line break.

    Names may also hold bytes that are no UTF-8, which a terminal would refuse.
    """
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        else char
        for char in str(text)
    )
