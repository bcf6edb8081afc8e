"""The toolbox: an ordered, named set of tools, which is the agent's action space."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.profile import ToolProfile
from restoration_toolchain.tools_zoo.tool import Tool


class DuplicateToolError(ToolchainError):
    """A tool's name is already taken in the toolbox."""


class Toolbox(nn.Module):
    """Tools in action order; the action after the last one is *stop*.

    Args:
        name: Name of the toolbox.
        tools: The tools; their order is the action order.
        checksums: SHA-256 of the weight file of each tool that was loaded from one.
        folder: Directory the toolbox was loaded from; its other files are found beside it.
        profile: What each tool was measured to do to each family of damage, if it was.

    Raises:
        DuplicateToolError: Two tools have one name.
        ToolchainError: There is no tool.
    """

    def __init__(
        self,
        name: str,
        tools: Iterable[Tool],
        checksums: Mapping[str, str] | None = None,
        folder: Path | None = None,
        profile: ToolProfile | None = None,
    ) -> None:
        super().__init__()
        tools = list(tools)
        if not tools:
            raise ToolchainError(f"the toolbox {name!r} holds no tool")
        names = [tool.spec.name for tool in tools]
        for taken in (n for i, n in enumerate(names) if n in names[:i]):
            raise DuplicateToolError(f"two tools are named {taken!r} in the toolbox {name!r}")
        self.name = name
        self.names = tuple(names)
        self.checksums = dict(checksums or {})
        self.folder = folder
        self.profile = profile
        self._tools = nn.ModuleList(tools)

    def __len__(self) -> int:
        """Number of tools, *stop* not counted."""
        return len(self.names)

    def __iter__(self) -> Iterator[Tool]:
        """The tools in action order."""
        return iter(self._tools)  # type: ignore[arg-type]

    def __getitem__(self, key: int | str) -> Tool:
        """A tool by action index or by name.

        Raises:
            UnknownNameError: There is no tool of that name.
        """
        if isinstance(key, str):
            if key not in self.names:
                raise UnknownNameError("tool", key, self.names)
            key = self.names.index(key)
        return self._tools[key]  # type: ignore[return-value]

    @property
    def networks(self) -> list[Tool]:
        """What `training.muon` sorts the parameters by: each tool has a first and a last layer."""
        return list(self)

    @property
    def stop(self) -> int:
        """The action that ends a chain."""
        return len(self)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The tools' names, then ``stop``."""
        return (*self.names, "stop")

    @property
    def scales(self) -> tuple[int, ...]:
        """Factor by which each tool enlarges an image, in action order; 1 keeps its size."""
        return tuple(tool.spec.scale for tool in self)

    def restore(self, images: Tensor, actions: Tensor) -> Tensor:
        """Run on each image the tool that its action names: one forward pass per distinct tool.

        Args:
            images: (N, 3, H, W) in [0, 1].
            actions: (N,) int64, tool indices or `stop`; tools of one scale.

        Returns:
            (N, 3, H * scale, W * scale) in [0, 1]; images whose action is `stop` come back
            unchanged.

        Raises:
            ValueError: The tools enlarge by different factors.
        """
        chosen = torch.unique(actions).tolist()
        (scale, *others) = {1 if action == self.stop else self.scales[action] for action in chosen}
        if others:
            raise ValueError(f"tools of one scale at a time, got actions {chosen}")
        restored = images.clone()
        if scale > 1:
            count, channels, height, width = images.shape
            restored = images.new_empty(count, channels, height * scale, width * scale)
        for action in chosen:
            if action != self.stop:
                rows = torch.nonzero(actions == action).flatten()
                lq = images[rows].contiguous(memory_format=torch.channels_last)
                restored[rows] = self[action](lq)
        return restored
