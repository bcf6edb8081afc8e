"""The suite ``paper``: every comparison that the project claims, measured in one run."""

from restoration_toolchain.toolchain.measuring.suite.cast import Cast, load_cast
from restoration_toolchain.toolchain.measuring.suite.levels import (
    LevelSet,
    degraded_levels,
    folder_level,
)
from restoration_toolchain.toolchain.measuring.suite.measure import SuiteConfig, run_suite
from restoration_toolchain.toolchain.measuring.suite.results import SuiteResults

__all__ = [
    "Cast",
    "LevelSet",
    "SuiteConfig",
    "SuiteResults",
    "degraded_levels",
    "folder_level",
    "load_cast",
    "run_suite",
]
