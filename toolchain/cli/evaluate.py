"""The command ``toolchain evaluate``."""


def evaluate() -> None:
    """Measure restored photos against clean ones."""
