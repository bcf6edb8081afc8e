"""The one loop body of the project: images on their way through a toolbox."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Apply = Callable[[Tensor, Tensor], Tensor]
"""(images (N, 3, H, W), actions (N,)) to new images: `Toolbox.restore`, or a tiled form."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Which chains ended in a step, each (N,) bool.

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


class Chain:
    """A batch of images, each with its own progress through the toolbox.

    The environments, the evaluation and the restoration of photos all advance this object;
    they differ in who chooses the actions and who looks at the result.

    Args:
        images: (N, 3, H, W) in [0, 1].
        stop: Index of the stop action.
        max_steps: Tools that may run on one image.
        apply: Runs the chosen tools.
        differentiable: Let gradients flow through the tools, as joint training needs.

    Attributes:
        images: Current images, clipped to [0, 1] after every tool, so that what is observed and
            scored is what would be saved.
        last_action: (N,) int64; ``stop`` before the first step.
        num_steps: (N,) int64, tools run so far.
    """

    def __init__(
        self,
        images: Tensor,
        *,
        stop: int,
        max_steps: int,
        apply: Apply,
        differentiable: bool = False,
    ) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {max_steps}")
        self.images = images
        self.last_action = torch.full((len(images),), stop)
        self.num_steps = torch.zeros(len(images), dtype=torch.int64)
        self._stop, self._max_steps, self._apply = stop, max_steps, apply
        self._differentiable = differentiable

    def advance(self, actions: Tensor) -> Ended:
        """Run the chosen tool on each image; *stop* leaves its image bit-identical.

        Args:
            actions: (N,) int64.

        Raises:
            ValueError: An action is neither a tool nor stop.
        """
        if actions.min() < 0 or actions.max() > self._stop:
            raise ValueError(f"actions must lie in 0 to {self._stop}, got {actions.tolist()}")
        terminated = actions == self._stop
        with torch.set_grad_enabled(self._differentiable):
            self.images = self._apply(self.images, actions).clamp_(0.0, 1.0)
        self.last_action = actions.clone()
        self.num_steps = self.num_steps + (~terminated).long()
        return Ended(terminated, ~terminated & (self.num_steps >= self._max_steps))

    def restart(self, rows: Tensor, images: Tensor) -> None:
        """Put new images in the given rows, with their progress reset."""
        self.images[rows] = images
        self.last_action[rows] = self._stop
        self.num_steps[rows] = 0
