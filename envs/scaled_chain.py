"""Chains in which one tool may make the image larger, once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from restoration_toolchain.data.scaling import upsample_bicubic
from restoration_toolchain.envs.chain import Apply, BaseChain


class ScaledChain(BaseChain):
    """Images of two sizes on their way through a toolbox that can enlarge.

    What is scored and saved is large from the start: as long as no tool has enlarged an image, its
    bicubic enlargement stands in. What is observed keeps the size that it began with: the middle
    of a large image. A tool that an image does not permit (see `allowed`) leaves it as it is.

    Args:
        images: (N, 3, H, W) in [0, 1], small.
        stop: Index of the stop action.
        max_steps: Tools that may run on one image.
        apply: Runs the chosen tools on images of one size, by tools of one scale; its result is
            not used elsewhere.
        scales: Of each tool, in action order.
        scale: Of the result; 1 permits no tool that enlarges.

    Attributes:
        enlarged: (N,) bool, whether a tool has enlarged the image.
    """

    def __init__(
        self,
        images: Tensor,
        *,
        stop: int,
        max_steps: int,
        apply: Apply,
        scales: Sequence[int],
        scale: int,
    ) -> None:
        super().__init__(len(images), stop=stop, max_steps=max_steps)
        self._apply = apply
        self._now = list(images)
        self._size = images.shape[-2:]
        self._scale = scale
        self._scales = torch.tensor([*scales, 1])
        self._enlarging = (self._scales > 1) & (self._scales == scale)
        self.enlarged = torch.zeros(len(images), dtype=torch.bool)

    def result(self) -> Tensor:
        """What would be saved: (N, 3, H * scale, W * scale) in [0, 1]."""
        return self._result(self._now)

    def as_result(self, images: Tensor) -> Tensor:
        """Small images enlarged by bicubic interpolation, large ones themselves."""
        return self._result(list(images))

    def view(self) -> Tensor:
        """What is observed: (N, 3, H, W), of large images the middle."""
        return self._view(self._now)

    def current(self, row: int) -> Tensor:
        """One image as it is, small or large: (3, h, w)."""
        image: Tensor = self._now[row]
        return image

    def allowed(self) -> Tensor:
        """Which actions make sense now, (N, n_tools + 1) bool."""
        return self._allowed(self.enlarged)

    def ahead(self, action: int, tool: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Result and view after a tool, were it to run now; see `BaseChain.ahead`."""
        actions = torch.full((len(self._now),), action)
        images, _ = self._through(actions, lambda batch, _: tool(batch))
        return self._result(images), self._view(images)

    def allowed_after(self, action: int) -> Tensor:
        """`allowed` after a tool, (N, n_tools + 1) bool."""
        return self._allowed(self.enlarged | self._enlarging[action])

    def _run(self, actions: Tensor) -> None:
        with torch.no_grad():
            self._now, self.enlarged = self._through(actions, self._apply)

    def _replace(self, rows: Tensor, images: Tensor) -> None:
        for row, image in zip(rows.tolist(), images, strict=True):
            self._now[row] = image
        self.enlarged[rows] = False

    def _through(self, actions: Tensor, apply: Apply) -> tuple[list[Tensor], Tensor]:
        """Images and `enlarged` after the actions; the images themselves are not changed."""
        images = list(self._now)
        permitted = self._allowed(self.enlarged).gather(1, actions.unsqueeze(1)).squeeze(1)
        runs = permitted & (actions != self._stop)
        enlarges = runs & (self._scales[actions] > 1)
        # One call takes images of one size and tools of one scale.
        for group in (enlarges, runs & ~enlarges & ~self.enlarged, runs & self.enlarged):
            rows = torch.nonzero(group).flatten()
            if len(rows):
                batch = torch.stack([images[row] for row in rows.tolist()])
                restored = apply(batch, actions[rows]).clamp_(0.0, 1.0)
                for row, image in zip(rows.tolist(), restored, strict=True):
                    images[row] = image
        return images, self.enlarged | enlarges

    def _result(self, images: list[Tensor]) -> Tensor:
        if self._scale == 1:
            return torch.stack(images)
        return torch.stack([self._enlarged_to_size(image) for image in images])

    def _enlarged_to_size(self, image: Tensor) -> Tensor:
        if image.shape[-2:] != self._size:
            return image
        return upsample_bicubic(image[None], self._scale)[0].clamp(0.0, 1.0)

    def _view(self, images: list[Tensor]) -> Tensor:
        height, width = self._size
        cut = []
        for image in images:
            top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
            cut.append(image[:, top : top + height, left : left + width])
        return torch.stack(cut)

    def _allowed(self, enlarged: Tensor) -> Tensor:
        may_enlarge = self._enlarging & ~enlarged.unsqueeze(1)
        return (self._scales == 1) | may_enlarge
