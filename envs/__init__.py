"""The restoration environment; importing it registers ``Restoration-v0`` with Gymnasium."""

import gymnasium

from envs.restoration_env import RestorationEnv
from envs.restoration_vec_env import RestorationVecEnv

__all__ = ["RestorationEnv", "RestorationVecEnv"]

if "Restoration-v0" not in gymnasium.registry:
    gymnasium.register("Restoration-v0", entry_point="envs.restoration_env:RestorationEnv")
