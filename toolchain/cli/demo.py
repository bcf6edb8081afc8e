"""The command ``toolchain demo``."""


def demo() -> None:
    """The command."""
