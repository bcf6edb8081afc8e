"""The suite ``world``: what users get on every family of damage, and what would be possible."""

from restoration_toolchain.toolchain.measuring.suite.world.measure import Example, run_world
from restoration_toolchain.toolchain.measuring.suite.world.results import (
    FamilyResult,
    Spending,
    WorldResults,
)

__all__ = ["Example", "FamilyResult", "Spending", "WorldResults", "run_world"]
