"""The command ``toolchain inspect``."""


def inspect() -> None:
    """The command."""
