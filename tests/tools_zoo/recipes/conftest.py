"""What the tests of tools that learn from crops have in common."""

from collections.abc import Mapping

import pytest

from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.tools_zoo.recipes.specialists import Specialist, SpecialistConfig


def small_config(tools: Mapping[str, Specialist]) -> SpecialistConfig:
    """Settings with which tools are trained in a moment."""
    return SpecialistConfig(
        photos=("embedded",),
        tools=tools,
        batch_size=2,
        side=32,
        eval_crops=2,
        eval_photos=1,
        eval_every=1,
        num_workers=0,
        device="cpu",
        precision="fp32",
    )


@pytest.fixture(scope="session")
def embedded_photos() -> list[ByteImage]:
    return [photo for _, photo in open_source("embedded")]
