"""What the agent decides by: views of a photo, each with its own memory."""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from restoration_toolchain.agents.policy.decision import Decision, Limits
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import VIEW_SIZE
from restoration_toolchain.envs.chain import Chain


class Views:
    """The agent's eyes on one photo: many views, each an episode of its own in memory.

    They are judged together (`LstmPolicy.judge`): what they say is averaged, or else their action
    values, and not put to a vote. A value is an expected gain in dB, and the gain on the whole
    photo is about the mean of the gains on its parts. A vote forgets by how much each view gains or
    loses: a wide sky that hardly cares would overrule the few views with the texture that a wrong
    tool ruins.

    Args:
        policy: Who decides.
        height: Height of the photo in pixels.
        width: Width of the photo in pixels.
        forced: The first actions, whatever the agent thinks of them.
        limits: How much risk is taken, and what arithmetic costs; None is as the agent has it.
        own_limits: The same if it were for the agent alone; where they are others, decisions tell
            what it would have held back.
    """

    def __init__(
        self,
        policy: LstmPolicy,
        height: int,
        width: int,
        *,
        forced: Sequence[int] = (),
        limits: Limits | None = None,
        own_limits: Limits | None = None,
    ) -> None:
        self._policy = policy
        self._height, self._forced = height, list(forced)
        self._positions = views(height, width, grid=policy.view_grid)
        looked_at = min(height * width, len(self._positions) * VIEW_SIZE**2)
        self._limits, self._own_limits = (
            (policy.limits if given is None else given).for_area(looked_at)
            for given in (limits, own_limits if own_limits is not None else limits)
        )
        self._state = policy.initial_state(len(self._positions), together=True)

    def __call__(self, chain: Chain) -> Decision:
        """Decide what to do next with a chain of one photo."""
        seen = self._policy.see(self._look(chain))
        last_action = chain.last_action.expand(len(seen))
        judged, self._state = self._policy.judge(seen, last_action, self._state, together=True)
        decide = partial(self._policy.decide_on, judged, allowed=chain.allowed())
        if self._forced:
            return decide(limits=self._limits, forced=self._forced.pop(0))
        decision = decide(limits=self._limits)
        if self._own_limits == self._limits:
            return decision
        alone = decide(limits=self._own_limits)
        return dataclasses.replace(decision, doubted=alone.held_back)

    def clean_probability(self, chain: Chain) -> float | None:
        """Probability that the photo is undamaged; None once a tool has run.

        It takes another look, so it is only for those who want to know.
        """
        if int(chain.num_steps[0]) > 0:
            return None
        return self._policy.clean_probability(self._policy.see(self._look(chain)))

    def _look(self, chain: Chain) -> Tensor:
        image, grid = chain.current(0), self._policy.view_grid
        height, width = image.shape[-2:]
        scale = height // self._height
        return extract_views(
            image, enlarged_views(self._positions, height, width, scale, grid=grid)
        )


def views(height: int, width: int, max_views: int = 64, grid: int = 1) -> list[tuple[int, int]]:
    """Choose where to look at a photo: views spread as evenly as possible.

    If ``max_views`` are enough, the views leave no gap (but for less than ``grid`` pixels at the
    lower and right border); otherwise the gaps between them, and to the border, are equal.

    Args:
        height: Height of the photo in pixels. A photo with a side shorter than a view has its
            views at offset 0 along it, and `extract_views` pads them.
        width: Width of the photo in pixels.
        max_views: Largest number of views, at least 1.
        grid: Offsets are multiples of this many pixels; see `agents.policy.q_net.Encoder`.

    Returns:
        Positions (top, left), row by row, at least one.

    Raises:
        ValueError: A number is below 1.
    """
    if min(height, width, max_views, grid) < 1:
        raise ValueError("height, width, max_views and grid must be at least 1")
    full_rows, full_columns = (
        1 + math.ceil(_last(length, grid) / max(1, VIEW_SIZE // grid)) for length in (height, width)
    )
    candidates = (
        (rows, min(full_columns, max_views // rows))
        for rows in range(1, min(full_rows, max_views) + 1)
    )
    n_rows, n_columns = min(
        candidates, key=lambda n: (max(height / n[0], width / n[1]), -n[0] * n[1])
    )
    return [
        (top, left)
        for top in _offsets(height, n_rows, grid)
        for left in _offsets(width, n_columns, grid)
    ]


def enlarged_views(
    positions: Sequence[tuple[int, int]], height: int, width: int, scale: int, grid: int = 1
) -> list[tuple[int, int]]:
    """Where views lie after a photo was enlarged: in the middle of what each of them saw.

    So each keeps its memory, and sees what the agent saw in training: the middle of its patch.

    Args:
        positions: Views of the photo as it was, from `views`.
        height: Height of the enlarged photo in pixels.
        width: Width of the enlarged photo in pixels.
        scale: Side of the enlarged photo over side of the photo as it was.
        grid: Offsets are multiples of this many pixels.
    """

    def moved(offset: int, length: int) -> int:
        middle = min(offset * scale + (scale - 1) * VIEW_SIZE // 2, max(0, length - VIEW_SIZE))
        return max(0, middle) // grid * grid

    return [(moved(top, height), moved(left, width)) for top, left in positions]


def extract_views(image: Tensor, positions: Sequence[tuple[int, int]]) -> Tensor:
    """Cut square views out of an image, which is continued by reflection below and to the right.

    The reflection repeats as often as needed, so a single pixel fills a whole view. Nothing is
    added above or to the left: the JPEG blocks keep their place.

    Args:
        image: Shape (3, H, W).
        positions: (top, left) of each view, in pixels, not negative.

    Returns:
        Shape (N, 3, `VIEW_SIZE`, `VIEW_SIZE`), a copy.
    """
    height, width, size = *image.shape[-2:], VIEW_SIZE
    cut = image.new_empty((len(positions), image.shape[0], size, size))
    for view, (top, left) in zip(cut, positions, strict=True):
        if top + size <= height and left + size <= width:
            view.copy_(image[..., top : top + size, left : left + size])
        else:
            rows = image[..., _reflected(top, height, image.device), :]
            view.copy_(rows[..., _reflected(left, width, image.device)])
    return cut


def _last(length: int, grid: int) -> int:
    """Offset of the last view along an axis, in steps of the grid."""
    return max(0, length - VIEW_SIZE) // grid


def _offsets(length: int, n_views: int, grid: int) -> list[int]:
    """Place ``n_views`` along one axis: end to end, or with equal gaps if they cannot touch."""
    last = _last(length, grid)
    if n_views > 1 and n_views * VIEW_SIZE >= length:
        return [grid * round(last * index / (n_views - 1)) for index in range(n_views)]
    gap = max(0, length - n_views * VIEW_SIZE) / (n_views + 1)
    exact = (gap + index * (VIEW_SIZE + gap) for index in range(n_views))
    return [grid * min(last, round(offset / grid)) for offset in exact]


def _reflected(start: int, length: int, device: torch.device) -> Tensor:
    """Indices of a view from ``start`` on, mirrored at both ends of 0 .. length - 1."""
    period = max(1, 2 * length - 2)
    index = torch.arange(start, start + VIEW_SIZE, device=device) % period
    return torch.minimum(index, period - index) if length > 1 else torch.zeros_like(index)
