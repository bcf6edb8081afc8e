"""The product: restore photos with a learned sequence of small tools, and see why.

Example:
    >>> from data.sources import open_source
    >>> from toolchain import load
    >>> name, photo = next(iter(open_source("embedded")))
    >>> restoration = load(max_steps=2).restore(photo[:100, :150])
    >>> restoration.image.shape
    (100, 150, 3)
    >>> len(restoration.sequence) <= 2
    True
    >>> list(restoration.steps[0].action_values)[0]
    'deblur_e1'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolchain.restoration import Restoration
    from toolchain.restorer import Restorer, load

__all__ = ["Restoration", "Restorer", "load"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line passes here, and its ``--help`` needs no PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from toolchain import restoration, restorer

    return getattr(restoration if name == "Restoration" else restorer, name)
