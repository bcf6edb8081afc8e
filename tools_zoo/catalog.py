"""The toolboxes that the project knows, and their tools in action order."""

from typing import Final

from restoration_toolchain.tools_zoo.tool import Task, ToolSpec

_STRENGTHS: Final[dict[Task, tuple[str, tuple[tuple[float, float], ...]]]] = {
    "blur": ("deblur", ((0.0, 1.25), (1.25, 2.5), (2.5, 3.75), (3.75, 5.0))),
    "noise": ("denoise", ((0.0, 12.5), (12.5, 25.0), (25.0, 37.5), (37.5, 50.0))),
    "jpeg": ("deblock", ((60.0, 100.0), (35.0, 60.0), (20.0, 35.0), (10.0, 20.0))),
}
"""Per distortion, what its tools are called and the four strengths of the paper, weak to strong."""


def _twelve(mark: str, weak: str, strong: str, source: str) -> tuple[ToolSpec, ...]:
    """A tool for each of `_STRENGTHS`, the lower two of four with the network ``weak``."""
    return tuple(
        ToolSpec(
            f"{verb}_{mark}{number}", task, strength, weak if number < 3 else strong, 1, source
        )
        for task, (verb, strengths) in _STRENGTHS.items()
        for number, strength in enumerate(strengths, 1)
    )


CLASSIC: Final = _twelve("", "small", "large", "RL-Restore, CVPR 2018")
"""The twelve tools of the paper: ``deblur_1`` to ``deblock_4``."""

EFFICIENT: Final = _twelve("e", "unshuffled_small", "unshuffled_unet", "this project")
"""The same twelve tasks at no more arithmetic, on pixel-unshuffled images with a wider view:
``deblur_e1`` to ``deblock_e4``."""

GENERALISTS: Final = (
    ToolSpec("generalist_s", "mixed", (9.0, 20.0), "unshuffled_small", source="this project"),
)
"""The small network of `EFFICIENT` trained on everything: where its small tools start from."""

BASELINES: Final = (
    ToolSpec("vdsr_s", "mixed", (9.0, 20.0), "vdsr_s", source="after VDSR, CVPR 2016"),
    ToolSpec("vdsr", "mixed", (9.0, 20.0), "vdsr", source="VDSR, CVPR 2016"),
    ToolSpec("dncnn", "mixed", (9.0, 20.0), "dncnn", source="DnCNN, TIP 2017"),
)
"""Single networks for the whole mixture, mild to severe: no actions, but what agents must beat."""

_X4: Final = (4.0, 4.0)

ENLARGERS: Final = (
    ToolSpec("sr-psnr", "sr", _X4, "sr_x4", 4, "after EDSR, CVPR Workshops 2017"),
    ToolSpec("sr-sft", "sr", _X4, "sft_x4", 4, "after SFTGAN, CVPR 2018"),
    ToolSpec("sr-ssl", "sr", _X4, "sr_x4", 4, "after SSL, ACM MM 2024"),
    ToolSpec("sr-sfd", "sr", _X4, "sr_x4", 4, "after SFD, CVPR 2025"),
    ToolSpec("sr-vpd", "sr", _X4, "one_step_x4", 4, "after VPD-SR, arXiv 2506.02605"),
)
"""Tools that make an image four times as wide: one towards PSNR, the others towards likeness."""

ENLARGERS_X2: Final = (
    ToolSpec("sr-psnr-x2", "sr", (2.0, 2.0), "sr_x2", 2, "after EDSR, CVPR Workshops 2017"),
)
"""The first of them at twice the width."""

ENLARGER_CONTROLS: Final = (
    ToolSpec("sr-gan", "sr", _X4, "sr_x4", 4, "after ESRGAN, ECCV Workshops 2018"),
    ToolSpec("sr-film", "sr", _X4, "film_x4", 4, "after SFTGAN, CVPR 2018, with FiLM"),
    ToolSpec("sr-concat", "sr", _X4, "concat_x4", 4, "after SFTGAN, CVPR 2018, with concatenation"),
)
"""No actions: what `ENLARGERS` are compared with."""

WORLD_TOOLBOX: Final = "world"
"""Toolbox whose tools a recipe plans (`recipes.specialists`): each knows one kind of damage."""

DEFAULT_TOOLBOX: Final = WORLD_TOOLBOX
"""Toolbox that is used where none is named."""

GENERATIVE_TOOLBOX: Final = "generative"
"""Toolbox that is used where an image is to be enlarged and none is named."""

X2_TOOLBOX: Final = "generative-x2"
"""Toolbox that is used where an image is to become twice as wide and none is named."""

TOOLBOXES: Final[dict[str, tuple[ToolSpec, ...]]] = {
    "classic": CLASSIC,
    "efficient": EFFICIENT,
    "generalists": GENERALISTS,
    "baselines": BASELINES,
    GENERATIVE_TOOLBOX: (*EFFICIENT, *ENLARGERS),
    X2_TOOLBOX: (*EFFICIENT, *ENLARGERS_X2),
    "enlarger_controls": ENLARGER_CONTROLS,
}
"""Every toolbox whose tools can be trained by name."""

NAMED_TOOLBOXES: Final = (WORLD_TOOLBOX, *TOOLBOXES)
"""Every name of a toolbox; `storage.shipped_toolboxes` says which ship."""


def default_toolbox(scale: int) -> str:
    """Name of the toolbox that is used where none is named, and images become so much larger."""
    return {1: DEFAULT_TOOLBOX, 2: X2_TOOLBOX}.get(scale, GENERATIVE_TOOLBOX)
