"""The suite ``paper``: every comparison that the project claims, measured in one run."""

from toolchain.suite.cast import Cast, load_cast
from toolchain.suite.levels import LevelSet, degraded_levels, folder_level
from toolchain.suite.measure import SuiteConfig, run_suite
from toolchain.suite.results import SuiteResults

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
