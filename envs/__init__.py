"""The restoration environment; importing it registers ``Restoration-v0`` with Gymnasium."""

import gymnasium

from restoration_toolchain.envs.restoration_env import RestorationEnv
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv

__all__ = ["RestorationEnv", "RestorationVecEnv"]

if "Restoration-v0" not in gymnasium.registry:
    gymnasium.register(
        "Restoration-v0", entry_point="restoration_toolchain.envs.restoration_env:RestorationEnv"
    )
