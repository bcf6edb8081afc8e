"""How tools that enlarge are to do it, where they leave a choice: their prior, and their steps."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.enlarging.priors import ConstantPrior, MapPrior, read_map
from restoration_toolchain.tools_zoo.enlarging.segformer import SegformerPrior, load_segformer
from restoration_toolchain.tools_zoo.networks.one_step import STEPS, OneStepNet
from restoration_toolchain.tools_zoo.networks.sft import SCENES, PriorError, SftNet
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox

OWN: Final = "own"
"""The prior that a network brings along."""

AnyPrior = ConstantPrior | MapPrior | SegformerPrior


class EnlargeError(ToolchainError, ValueError):
    """Tools that enlarge were asked for what they cannot do."""


@dataclass(frozen=True, slots=True)
class EnlargeOptions:
    """What is asked of tools that enlarge.

    Attributes:
        prior: Of tools with a categorical prior: ``own``; a category by its index, or a scene by
            its name; a map, a file ending in .npy of (8, H, W) of the enlarged photo; or a
            SegFormer model, by its folder or its name in the local cache.
        steps: Of the tool with a diffusion: 1 runs its student, 2 to 8 its teacher.

    Raises:
        EnlargeError: There are no such steps.
    """

    prior: str = OWN
    steps: int = 1

    def __post_init__(self) -> None:
        """Check the steps."""
        if not 1 <= self.steps <= STEPS:
            raise EnlargeError(
                f"steps are 1 (the student) or 2 to {STEPS} (its teacher), got {self.steps}"
            )

    @property
    def has_map(self) -> bool:
        """Whether the prior is a map, which fits one photo only."""
        return Path(self.prior).suffix.lower() == ".npy"

    def check_photos(self, count: int) -> None:
        """Raise EnlargeError if the prior is a map of one photo and there are others."""
        if self.has_map and count != 1:
            raise EnlargeError(f"{self.prior} is the map of one photo, and there are {count}")

    def recorded(self) -> dict[str, str | int]:
        """The same for whoever reads it elsewhere: files and folders by their whole path."""
        prior = self.prior
        is_file = not _is_by_name(prior) and Path(prior).exists()
        return {"prior": str(Path(prior).absolute()) if is_file else prior, "steps": self.steps}

    def apply_to(self, toolbox: Toolbox, scale: int) -> AnyPrior | None:
        """Tell the tools of a toolbox; those that nothing is asked of stay as they are.

        Args:
            toolbox: Its networks are changed.
            scale: By how much photos will be enlarged; 1 is not at all.

        Returns:
            The prior that was given; None leaves each tool its own.

        Raises:
            EnlargeError: Nothing is enlarged, or no tool has such a choice.
            PriorError: The prior does not fit, or a tool needs one that it does not bring along.
            ToolchainError: It is no prior, or cannot be read.
        """
        if scale == 1 and self != AS_TRAINED:
            raise EnlargeError("a prior and steps are for tools that enlarge; give a scale as well")
        if self.steps > 1:
            for tool in _with(OneStepNet, toolbox, "has steps to choose"):
                tool.network.steps = self.steps  # type: ignore[assignment]
        prior = None if self.prior == OWN else self._give_prior(toolbox)
        if scale > 1:
            _check_served(toolbox)
        return prior

    def unused(self, toolbox: Toolbox, ran: Collection[str]) -> tuple[str, ...]:
        """Say of what was asked for that no tool which knows it ran, a sentence each."""
        known = [toolbox[name].network for name in ran if name in toolbox.names]
        notes = []
        if self.prior != OWN and not any(isinstance(network, SftNet) for network in known):
            notes.append(f"the prior {self.prior} was not used: no tool that has a prior ran")
        if self.steps > 1 and not any(isinstance(network, OneStepNet) for network in known):
            notes.append(f"the {self.steps} steps were not used: no tool that has steps ran")
        return tuple(notes)

    def _give_prior(self, toolbox: Toolbox) -> AnyPrior:
        tools = _with(SftNet, toolbox, "has a categorical prior")
        prior = open_prior(self.prior)
        for tool in tools:
            assert isinstance(tool.network, SftNet)
            try:
                tool.network.use_prior(prior)
            except PriorError as error:
                raise PriorError(f"{tool.spec.name}: {error}") from error
        return prior


AS_TRAINED: Final = EnlargeOptions()
"""Nothing is asked for."""


def open_prior(name: str) -> AnyPrior:
    """The prior that a name, a number, a file or a folder stands for; see `EnlargeOptions`.

    Raises:
        PriorError: There is no such category, or the map or the model does not fit.
        UnknownNameError: It is none of these.
        ToolchainError: There is no such SegFormer model on this machine, or it cannot be read.
    """
    if name in SCENES:
        return ConstantPrior(name)
    if _is_number(name):
        return ConstantPrior(int(name))
    if EnlargeOptions(name).has_map:
        return read_map(Path(name))
    if "/" not in name and not Path(name).exists():  # a model's name in the cache has an owner
        raise UnknownNameError("prior", name, (OWN, *SCENES))
    return load_segformer(name)


def beside_tiles(
    tool: Tool, photo: Tensor, device: torch.device
) -> Callable[[slice, slice], Tensor] | None:
    """What a tool is to know of the tiles of a photo, for `toolchain.restoring.tiling.apply_tiled`.

    Args:
        tool: What will run.
        photo: (1, 3, H, W) in [0, 1], as the tool is to have it.
        device: Where tools run.

    Returns:
        None if nothing but the tile.

    Raises:
        PriorError: The photo has another size than the map of its categories.
    """
    network = tool.network
    if not isinstance(network, SftNet) or not network.has_given:
        return None
    return network.look(photo.to(device))


def _is_by_name(prior: str) -> bool:
    return prior == OWN or prior in SCENES or _is_number(prior)


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _with(kind: type, toolbox: Toolbox, what: str) -> list[Tool]:
    tools = [tool for tool in toolbox if isinstance(tool.network, kind)]
    if not tools:
        raise EnlargeError(f"no tool of the toolbox {toolbox.name} {what}")
    return tools


def _check_served(toolbox: Toolbox) -> None:
    for tool in toolbox:
        if isinstance(tool.network, SftNet) and tool.network.needs_prior:
            raise PriorError(
                f"{tool.spec.name} was trained with scenes as categories, which it does not find "
                "by itself: give it a prior, such as a SegFormer model or 'water'"
            )
