"""The one loop body of the project: images on their way through a toolbox."""

from abc import ABC, abstractmethod
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


class BaseChain(ABC):
    """A batch of images, each with its own progress through the toolbox.

    The environments, the evaluation and the restoration of photos all advance such an object;
    they differ in who chooses the actions and who looks at the result. In a `Chain`, images keep
    their size; in an `envs.scaled_chain.ScaledChain`, a tool may enlarge them.

    Args:
        count: Number of images, N.
        stop: Index of the stop action.
        max_steps: Tools that may run on one image.

    Attributes:
        last_action: (N,) int64; ``stop`` before the first step.
        num_steps: (N,) int64, tools run so far.
    """

    def __init__(self, count: int, *, stop: int, max_steps: int) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {max_steps}")
        self.last_action = torch.full((count,), stop)
        self.num_steps = torch.zeros(count, dtype=torch.int64)
        self._stop, self._max_steps = stop, max_steps

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
        self._run(actions)
        self.last_action = actions.clone()
        self.num_steps = self.num_steps + (~terminated).long()
        return Ended(terminated, ~terminated & (self.num_steps >= self._max_steps))

    def restart(self, rows: Tensor, images: Tensor) -> None:
        """Put new images in the given rows, with their progress reset."""
        self._replace(rows, images)
        self.last_action[rows] = self._stop
        self.num_steps[rows] = 0

    @abstractmethod
    def result(self) -> Tensor:
        """What would be saved and is scored, (N, 3, ...) in [0, 1]."""

    @abstractmethod
    def as_result(self, images: Tensor) -> Tensor:
        """What `result` would be, were these the images; all of one size, (N, 3, h, w)."""

    @abstractmethod
    def view(self) -> Tensor:
        """What an agent observes, (N, 3, H, W) in [0, 1]; its size never changes."""

    @abstractmethod
    def current(self, row: int) -> Tensor:
        """One image as it is now, (3, H, W) in [0, 1]."""

    @abstractmethod
    def allowed(self) -> Tensor:
        """Which actions make sense now, (N, n_tools + 1) bool."""

    @abstractmethod
    def ahead(self, action: int, tool: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Look what a tool would do, without doing it.

        Args:
            action: Its index.
            tool: Maps a batch of images to restored ones.

        Returns:
            What `result` and `view` would be after it.
        """

    @abstractmethod
    def allowed_after(self, action: int) -> Tensor:
        """What `allowed` would be after a tool, (N, n_tools + 1) bool."""

    @abstractmethod
    def _run(self, actions: Tensor) -> None:
        """Change the images."""

    @abstractmethod
    def _replace(self, rows: Tensor, images: Tensor) -> None:
        """Put other images in the given rows."""


class Chain(BaseChain):
    """Images that keep their size.

    Args:
        images: (N, 3, H, W) in [0, 1].
        stop: Index of the stop action.
        max_steps: Tools that may run on one image.
        apply: Runs the chosen tools.
        differentiable: Let gradients flow through the tools, as joint training needs.
        is_clipped: ``apply`` has brought its images to [0, 1] itself.

    Attributes:
        images: Current images, clipped to [0, 1] after every tool, so that what is observed and
            scored is what would be saved.
    """

    def __init__(
        self,
        images: Tensor,
        *,
        stop: int,
        max_steps: int,
        apply: Apply,
        differentiable: bool = False,
        is_clipped: bool = False,
    ) -> None:
        super().__init__(len(images), stop=stop, max_steps=max_steps)
        self.images = images
        self._apply, self._differentiable, self._is_clipped = apply, differentiable, is_clipped

    def result(self) -> Tensor:
        """The current images."""
        return self.images

    def as_result(self, images: Tensor) -> Tensor:
        """The images themselves."""
        return images

    def view(self) -> Tensor:
        """The current images."""
        return self.images

    def current(self, row: int) -> Tensor:
        """One of the current images."""
        return self.images[row]

    def allowed(self) -> Tensor:
        """All actions."""
        return torch.ones(len(self.images), self._stop + 1, dtype=torch.bool)

    def ahead(self, action: int, tool: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """The images that the tool would make, twice."""
        restored = tool(self.images).clamp_(0.0, 1.0)
        return restored, restored

    def allowed_after(self, action: int) -> Tensor:
        """All actions."""
        return self.allowed()

    def _run(self, actions: Tensor) -> None:
        with torch.set_grad_enabled(self._differentiable):
            restored = self._apply(self.images, actions)
            self.images = restored if self._is_clipped else restored.clamp_(0.0, 1.0)

    def _replace(self, rows: Tensor, images: Tensor) -> None:
        self.images[rows] = images
