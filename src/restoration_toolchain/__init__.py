"""Restore photos with a learned sequence of small tools, and see why each was chosen.

Example:
    >>> from restoration_toolchain import load
    >>> from restoration_toolchain.data.photos.sources import open_source
    >>> name, photo = next(iter(open_source("embedded")))
    >>> restoration = load(max_steps=2).restore(photo[:100, :150])
    >>> restoration.image.shape
    (100, 150, 3)
    >>> len(restoration.sequence) <= 2
    True
    >>> list(restoration.steps[0].action_values)[0]
    'denoise_weak'
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    __version__: str
    from restoration_toolchain.toolchain.restoring.load import load
    from restoration_toolchain.toolchain.restoring.restoration import Restoration
    from restoration_toolchain.toolchain.restoring.restorer import Restorer
    from restoration_toolchain.toolchain.restoring.settings import RestoreSettings

__all__ = ["Restoration", "RestoreSettings", "Restorer", "__version__", "load"]

_HOME: Final = {
    "Restoration": "restoration_toolchain.toolchain.restoring.restoration",
    "RestoreSettings": "restoration_toolchain.toolchain.restoring.settings",
    "Restorer": "restoration_toolchain.toolchain.restoring.restorer",
    "load": "restoration_toolchain.toolchain.restoring.load",
}

# The packages are folders of the checkout, linked to from here. Where links could not be made
# (Windows without developer mode), they are found in the checkout itself.
if not (Path(__file__).parent / "data").is_dir():
    __path__.append(str(Path(__file__).parents[2]))


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``--help`` needs no PyTorch."""
    if name == "__version__":
        return _version()
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """Name what is imported on first use, too."""
    return sorted({*globals(), *__all__})


def _version() -> str:
    import importlib.metadata  # slow, and rarely asked for

    try:
        return importlib.metadata.version("restoration-toolchain")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "not installed"
