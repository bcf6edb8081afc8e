"""What can go wrong with the folder of a run, or within the run; each kind has its remedy."""

from restoration_toolchain.data.errors import ToolchainError


class RunTakenError(ToolchainError):
    """A run folder holds a run already."""


class NothingToResumeError(ToolchainError):
    """A run folder holds no run that could be resumed."""


class RunMismatchError(ToolchainError):
    """A run cannot be resumed with settings other than it had."""


class DamagedRunError(ToolchainError):
    """The files of a run are damaged."""


class NotANumberError(ToolchainError):
    """A loss, or its gradient, stopped being a number."""
