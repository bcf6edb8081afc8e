"""The restoration environment, registered with Gymnasium as ``Restoration-v0``.

What a restoration needs of this package, such as `envs.chain`, loads neither Gymnasium nor
Stable-Baselines3: the environments are imported when they are first asked for, and registered as
soon as Gymnasium is there.
"""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restoration_toolchain.envs.restoration_env import RestorationEnv
    from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv

__all__ = ["RestorationEnv", "RestorationVecEnv"]

_HOME = {"RestorationEnv": "restoration_env", "RestorationVecEnv": "restoration_vec_env"}
_REGISTRATION = "gymnasium.envs.registration"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def _register(registration: ModuleType) -> None:
    if "Restoration-v0" not in registration.registry:
        registration.register("Restoration-v0", f"{__name__}.restoration_env:RestorationEnv")


class _GymnasiumWatcher:
    """An import hook that registers the environment behind the first import of Gymnasium.

    It waits for the module that holds the registry, which every import of Gymnasium runs.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == _REGISTRATION else None
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module: ModuleType) -> None:
                load(module)
                _register(module)
                sys.meta_path.remove(self)

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


if hasattr(sys.modules.get(_REGISTRATION), "registry"):  # it may be half imported
    _register(sys.modules[_REGISTRATION])
elif not any(type(finder).__name__ == _GymnasiumWatcher.__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, _GymnasiumWatcher())  # once, also where this module is reloaded
