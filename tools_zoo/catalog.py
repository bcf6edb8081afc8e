"""What ships: the toolboxes and their tools, in action order."""

from typing import Final

from tools_zoo.tool import ToolSpec

_RL_RESTORE: Final = "RL-Restore, CVPR 2018"

CLASSIC: Final = (
    ToolSpec("deblur_1", "blur", (0.0, 1.25), "small", source=_RL_RESTORE),
    ToolSpec("deblur_2", "blur", (1.25, 2.5), "small", source=_RL_RESTORE),
    ToolSpec("deblur_3", "blur", (2.5, 3.75), "large", source=_RL_RESTORE),
    ToolSpec("deblur_4", "blur", (3.75, 5.0), "large", source=_RL_RESTORE),
    ToolSpec("denoise_1", "noise", (0.0, 12.5), "small", source=_RL_RESTORE),
    ToolSpec("denoise_2", "noise", (12.5, 25.0), "small", source=_RL_RESTORE),
    ToolSpec("denoise_3", "noise", (25.0, 37.5), "large", source=_RL_RESTORE),
    ToolSpec("denoise_4", "noise", (37.5, 50.0), "large", source=_RL_RESTORE),
    ToolSpec("deblock_1", "jpeg", (60.0, 100.0), "small", source=_RL_RESTORE),
    ToolSpec("deblock_2", "jpeg", (35.0, 60.0), "small", source=_RL_RESTORE),
    ToolSpec("deblock_3", "jpeg", (20.0, 35.0), "large", source=_RL_RESTORE),
    ToolSpec("deblock_4", "jpeg", (10.0, 20.0), "large", source=_RL_RESTORE),
)
"""The twelve tools of the paper: per distortion four strengths, weak to strong."""

BUILTIN_TOOLBOXES: Final[dict[str, tuple[ToolSpec, ...]]] = {"classic": CLASSIC}
"""Every toolbox that ships; its weights lie in ``tools_zoo/weights/<name>/``."""
