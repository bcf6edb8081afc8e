"""The command ``toolchain tools``."""


def tools() -> None:
    """The command."""
