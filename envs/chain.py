"""The one loop body of the project: images on their way through a toolbox."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from restoration_toolchain.data.scaling import upsample_bicubic

MAX_STEPS: Final = 3
"""Tools per episode, as in RL-Restore."""

Apply = Callable[[Tensor, Tensor], Tensor]
"""(images (N, 3, H, W), actions (N,)) to new images in [0, 1]: `Toolbox.restore`, or in tiles."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Which episodes ended in a step, each (N,) bool.

    Attributes:
        terminated: The stop action was chosen.
        truncated: The last permitted tool ran.
    """

    terminated: Tensor
    truncated: Tensor

    @property
    def done(self) -> Tensor:
        """Either of the two."""
        return self.terminated | self.truncated


class Episodes(ABC):
    """A batch of episodes that advance together, each with its own actions.

    The environments, the evaluation and the restoration of photos all advance such an object;
    they differ in who chooses the actions and who looks at the result.

    Args:
        count: Number of episodes, N.
        stop: Index of the stop action.
        max_steps: Largest number of tools in one episode.

    Attributes:
        stop: Index of the stop action.
        last_action: (N,) int64; ``stop`` before the first step.
        num_steps: (N,) int64, tools run so far.
    """

    def __init__(self, count: int, *, stop: int, max_steps: int) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {max_steps}")
        self.stop = stop
        self.last_action = torch.full((count,), stop)
        self.num_steps = torch.zeros(count, dtype=torch.int64)
        self._max_steps = max_steps

    def advance(self, actions: Tensor) -> Ended:
        """Run the chosen tools; *stop* leaves what it is chosen for bit-identical.

        Args:
            actions: (N,) int64.

        Raises:
            ValueError: There is not one action for each episode, or one is neither tool nor stop.
        """
        if actions.shape != self.last_action.shape:
            count = len(self.last_action)
            raise ValueError(f"there must be {count} actions, got shape {tuple(actions.shape)}")
        if ((actions < 0) | (actions > self.stop)).any():
            raise ValueError(f"actions must lie in 0 to {self.stop}, got {actions.tolist()}")
        terminated = actions == self.stop
        if not terminated.all():
            self._run(actions)
        self.last_action = actions.clone()
        self.num_steps = self.num_steps + (~terminated).long()
        return Ended(terminated, ~terminated & (self.num_steps >= self._max_steps))

    @abstractmethod
    def _run(self, actions: Tensor) -> None:
        """Change the images; at least one action is a tool."""


class Chain(Episodes):
    """A batch of images, each with its own progress through a toolbox.

    What is scored and saved has the size of the result from the start: as long as no tool has
    enlarged an image, its bicubic enlargement stands in. What is observed keeps the size that it
    began with: the middle of an enlarged image. An action that is not `allowed` changes nothing.

    Args:
        images: (N, 3, H, W) in [0, 1].
        scales: Scale of each tool, in action order.
        scale: Side of the result over side of ``images``; 1 permits no tool that enlarges.
        max_steps: Largest number of tools on one image.
        apply: Runs the chosen tools on images of one size, by tools of one scale.
        differentiable: Let gradients flow through the tools, as joint training needs.

    Attributes:
        enlarged: (N,) bool, whether a tool has enlarged the image.
    """

    def __init__(
        self,
        images: Tensor,
        scales: Sequence[int],
        *,
        scale: int = 1,
        max_steps: int,
        apply: Apply,
        differentiable: bool = False,
    ) -> None:
        super().__init__(len(images), stop=len(scales), max_steps=max_steps)
        # Where no tool enlarges, all images keep one size and stay in one tensor.
        self._images: Tensor | list[Tensor] = images if max(scales) == 1 else list(images)
        self._size, self._scale = images.shape[-2:], scale
        self._scales = torch.tensor([*scales, 1])
        self._apply, self._differentiable = apply, differentiable
        self.enlarged = torch.zeros(len(images), dtype=torch.bool)

    def result(self) -> Tensor:
        """What would be saved and is scored: (N, 3, H * scale, W * scale) in [0, 1]."""
        if isinstance(self._images, Tensor):
            return self._images
        return torch.stack([self._at_full_size(image) for image in self._images])

    def view(self) -> Tensor:
        """What an agent observes, (N, 3, H, W) in [0, 1]: of an enlarged image the middle."""
        if isinstance(self._images, Tensor):
            return self._images
        return torch.stack([self._middle(image) for image in self._images])

    def current(self, row: int) -> Tensor:
        """One image as it is now, enlarged or not: (3, h, w) in [0, 1]."""
        return self._images[row]

    def allowed(self) -> Tensor:
        """Which actions make sense now, (N, n_tools + 1) bool: an image is enlarged once."""
        may_enlarge = (self._scales == self._scale) & ~self.enlarged.unsqueeze(1)
        return (self._scales == 1) | may_enlarge

    def after(self, actions: Tensor) -> "Chain":
        """The chain as it would be after the actions (N,); this one does not change."""
        later = copy.copy(self)
        later.advance(actions)
        return later

    def outcomes(self) -> Iterator["Chain"]:
        """The chain as it would be after each tool in action order, run on all images."""
        for action in range(self.stop):
            yield self.after(torch.full_like(self.last_action, action))

    def restart(self, rows: Tensor, images: Tensor) -> None:
        """Put new images in the given rows, with their progress reset."""
        # What was handed out before, or is shared with a look ahead, stays as it is.
        if isinstance(self._images, Tensor):
            self._images = self._images.clone()
            self._images[rows] = images
        else:
            self._images = list(self._images)
            for row, image in zip(rows.tolist(), images, strict=True):
                self._images[row] = image
        self.enlarged = self.enlarged.index_fill(0, rows, False)
        self.last_action = self.last_action.index_fill(0, rows, self.stop)
        self.num_steps = self.num_steps.index_fill(0, rows, 0)

    def _run(self, actions: Tensor) -> None:
        with torch.set_grad_enabled(self._differentiable):
            if isinstance(self._images, Tensor):
                self._images = self._apply(self._images, actions)
                return
            runs = (actions != self.stop) & self.allowed().gather(1, actions.unsqueeze(1))[:, 0]
            enlarges = runs & (self._scales[actions] > 1)
            images = list(self._images)
            # One call takes images of one size and tools of one scale.
            for group in (enlarges, runs & ~enlarges & ~self.enlarged, runs & self.enlarged):
                rows = torch.nonzero(group).flatten()
                if len(rows):
                    batch = torch.stack([images[row] for row in rows.tolist()])
                    restored = self._apply(batch, actions[rows])
                    for row, image in zip(rows.tolist(), restored, strict=True):
                        images[row] = image
            self._images, self.enlarged = images, self.enlarged | enlarges

    def _at_full_size(self, image: Tensor) -> Tensor:
        if self._scale == 1 or image.shape[-2:] != self._size:
            return image
        return upsample_bicubic(image[None], self._scale)[0].clamp(0.0, 1.0)

    def _middle(self, image: Tensor) -> Tensor:
        height, width = self._size
        top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
        return image[:, top : top + height, left : left + width]
