"""Decisions per region: a photo whose damage varies gets its tools where they are needed.

The photo is divided into cells, and for each the agent looks at a view around it, with a memory of
its own. What is smoothed is the *decision*, before any tool runs: neighbours share their action
values, and a label energy keeps small islands from forming. The tools' results are then blended
over the width of a cell, so that no seam shows. Yu et al. (CVPR 2018) tried to let patches choose
for themselves and to blend what came of it, and found the result unpleasant.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from restoration_toolchain.agents.policy.decision import Decision, Limits, cautious, priced
from restoration_toolchain.agents.policy.lstm_policy import Judgement, LstmPolicy
from restoration_toolchain.agents.policy.q_net import VIEW_SIZE
from restoration_toolchain.envs.chain import Episodes
from restoration_toolchain.toolchain.restoring.views import extract_views

CELL: Final = 32
"""Side of a cell in pixels. Its view of 63 reaches half a cell into its neighbours."""

_CHUNK: Final = 64  # views in one call of the agent, as many as of a photo as a whole

RunTool = Callable[[int, Tensor], Tensor]
"""(action, image (1, 3, H, W)) to what the tool makes of it, clipped to [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothing:
    """How much cells listen to each other, in the order of what happens.

    Attributes:
        share: Share of the mean over the photo in every cell's values, and in what is seen of it:
            what most of the photo suffers from is likely here too.
        sigma: Standard deviation of the Gaussian that blurs the rest of the values between cells,
            in cells.
        coupling: dB that a cell gains by the same action as all its neighbours.
        temperature: dB by which an action must be better to be clearly so.
        iterations: Number of mean-field updates that settle the actions.
    """

    share: float = 0.25
    sigma: float = 1.0
    coupling: float = 0.4
    temperature: float = 0.1
    iterations: int = 10


class RegionChain(Episodes):
    """A photo on its way through a toolbox, each of its cells by its own actions.

    Pixels of a cell that stopped, and whose neighbours did, keep every bit.

    Args:
        image: (1, 3, H, W) in [0, 1]; not changed.
        stop: Index of the stop action.
        run_tool: Runs a tool on a part of the image that holds ``halo`` pixels of context.
        max_steps: Largest number of tools on one cell.
        halo: Largest receptive-field radius of the tools, in pixels.
        grid: Parts start at multiples of this many pixels.

    Attributes:
        image: (1, 3, H, W) in [0, 1] as it is now.
        shape: Rows and columns of cells; actions go row by row.
    """

    def __init__(
        self,
        image: Tensor,
        *,
        stop: int,
        run_tool: RunTool,
        max_steps: int,
        halo: int,
        grid: int,
    ) -> None:
        height, width = image.shape[-2:]
        self.image, self.shape = image, (math.ceil(height / CELL), math.ceil(width / CELL))
        super().__init__(math.prod(self.shape), stop=stop, max_steps=max_steps)
        self._run_tool, self._halo, self._grid = run_tool, halo, grid

    def _run(self, actions: Tensor) -> None:
        """Run on every cell the tool of its action; between cells, one fades into the other."""
        image, halo, grid = self.image, self._halo, self._grid
        blended = image.clone()
        for action in torch.unique(actions[actions != self.stop]).tolist():
            # Bilinear weights: they sum to one over the actions, and reach one cell at most.
            mask = (actions == action).reshape(self.shape).to(image)[None, None]
            (top, bottom), (left, right) = (
                _needed(mask.amax(dim=axis).flatten() > 0.0, length)
                for axis, length in zip((3, 2), image.shape[-2:], strict=True)
            )
            weights = functional.interpolate(mask, scale_factor=CELL, mode="bilinear")
            weights = weights[..., top:bottom, left:right]
            above, before = (max(0, start - halo) // grid * grid for start in (top, left))
            part = image[..., above : bottom + halo, before : right + halo]
            restored = self._run_tool(action, part)[
                ..., top - above : bottom - above, left - before : right - before
            ]
            now = image[..., top:bottom, left:right]
            blended[..., top:bottom, left:right] += weights * (restored - now)
        self.image = blended.clamp_(0.0, 1.0)


def settle(values: Tensor, active: Tensor, smoothing: Smoothing) -> Tensor:
    """Decide for all cells together: (rows, columns) int64.

    Args:
        values: (rows, columns, n_actions) in dB.
        active: (rows, columns) bool; the others take no part and get the last action, *stop*.
        smoothing: How much cells listen to each other.
    """
    stop = values.shape[-1] - 1
    if not active.any():
        return torch.full(active.shape, stop)
    weight = active.to(values)[None, None]
    planes = values.permute(2, 0, 1)[:, None] * weight
    kernel = _gaussian(smoothing.sigma, values)
    smooth = _blur(planes, kernel) / _blur(weight, kernel).clamp(min=1e-6)
    mean = values[active].mean(dim=0)[:, None, None, None]
    unary = (1.0 - smoothing.share) * smooth + smoothing.share * mean
    neighbours = values.new_ones(1, 1, 3, 3)
    neighbours[0, 0, 1, 1] = 0.0
    n_neighbours = functional.conv2d(weight, neighbours, padding=1).clamp(min=1.0)
    likely = torch.softmax(unary / smoothing.temperature, dim=0)
    for _ in range(smoothing.iterations):
        agreement = functional.conv2d(likely * weight, neighbours, padding=1) / n_neighbours
        score = unary + smoothing.coupling * agreement
        likely = torch.softmax(score / smoothing.temperature, dim=0)
    actions = likely[:, 0].argmax(dim=0)
    return actions.masked_fill(~active, stop)


class Cells:
    """The agent's eyes on one photo, with a memory of every cell.

    Args:
        policy: Who decides.
        chain: The photo.
        limits: How much risk is taken, and what arithmetic costs; None is as the agent has it.
        own_limits: The same if it were for the agent alone; where they are others, decisions tell
            what it would have held back.

    Attributes:
        values: (n_tools + 1,) mean action values of the cells that could still choose.
    """

    def __init__(
        self,
        policy: LstmPolicy,
        chain: RegionChain,
        *,
        limits: Limits | None = None,
        own_limits: Limits | None = None,
    ) -> None:
        self._policy = policy
        self._limits = policy.limits if limits is None else limits
        self._own_limits = self._limits if own_limits is None else own_limits
        tops, lefts = (
            [_view_start(cell, length, policy.view_grid) for cell in range(count)]
            for count, length in zip(chain.shape, chain.image.shape[-2:], strict=True)
        )
        self._positions = [(top, left) for top in tops for left in lefts]
        self._state = policy.initial_state(len(self._positions))
        self._active = torch.ones(chain.shape, dtype=torch.bool)
        self.values = torch.zeros(chain.stop + 1)

    def __call__(self, chain: RegionChain) -> Decision:
        """Decide for all cells together; one that has stopped stays so."""
        judged = self._judge(chain)
        self.values = judged.values[self._active.flatten()].mean(dim=0)
        decision = self._decide(chain, judged, self._limits)
        if self._own_limits != self._limits:
            alone = self._decide(chain, judged, self._own_limits)
            decision = dataclasses.replace(decision, doubted=alone.held_back)
        self._active = (decision.actions != chain.stop).reshape(chain.shape)
        return decision

    def _decide(self, chain: RegionChain, judged: Judgement, limits: Limits) -> Decision:
        worth = priced(judged.values, limits.tool_prices)
        settled = wanted = self._settled(chain, worth)
        if judged.risks is not None:
            prices = limits.prices(chain.last_action == chain.stop)
            settled = self._settled(chain, cautious(worth, judged.risks, prices))
        decision = self._policy.decide_on(judged, limits=limits, proposed=settled)
        is_held_back = (decision.actions == chain.stop) & (wanted != chain.stop)
        return dataclasses.replace(decision, held_back=is_held_back)

    def _settled(self, chain: RegionChain, values: Tensor) -> Tensor:
        return settle(values.reshape(*chain.shape, -1), self._active, Smoothing()).flatten()

    def _judge(self, chain: RegionChain) -> Judgement:
        starts = range(0, len(self._positions), _CHUNK)
        parts = [self._positions[start : start + _CHUNK] for start in starts]
        seen = torch.cat([self._policy.see(extract_views(chain.image[0], p)) for p in parts])
        if self._policy.q_net.encoder.is_pooled:
            seen = torch.lerp(seen, seen.mean(dim=0, keepdim=True), Smoothing().share)
        judged, self._state = self._policy.judge(seen, chain.last_action, self._state)
        return judged.cpu()


def _view_start(cell: int, length: int, grid: int) -> int:
    """Where the view of a cell begins: the cell in its middle, but inside the photo."""
    last = max(0, length - VIEW_SIZE) // grid * grid
    return min(max(0, cell * CELL - (VIEW_SIZE - CELL) // 2 // grid * grid), last)


def _needed(rows: Tensor, length: int) -> tuple[int, int]:
    """Start and stop, in pixels, of the cells that the weights of marked ones reach."""
    marked = torch.nonzero(rows).flatten()
    return max(0, int(marked[0]) - 1) * CELL, min((int(marked[-1]) + 2) * CELL, length)


def _gaussian(sigma: float, like: Tensor) -> Tensor:
    radius = math.ceil(2.0 * sigma)
    distance = torch.arange(-radius, radius + 1).to(like)
    return torch.exp(-0.5 * (distance / max(sigma, 1e-6)) ** 2)


def _blur(planes: Tensor, kernel: Tensor) -> Tensor:
    radius = len(kernel) // 2
    planes = functional.conv2d(planes, kernel[None, None, :, None], padding=(radius, 0))
    return functional.conv2d(planes, kernel[None, None, None, :], padding=(0, radius))
