"""The command ``toolchain restore``."""


def restore() -> None:
    """The command."""
