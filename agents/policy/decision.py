"""How action values become an action, and for what reasons: the one place where it is decided.

What *stop* is worth is settled here, too. A policy adds `margins` to the values of its network: a
stop margin, and the preference for chains that it follows unless it is sure of something better.
If the image may be undamaged, the values are `tempered` before. Then `decide` picks an action,
which a mask, a limit on the risk, or the user may overrule. Arithmetic and risks have their price,
in dB, which a tool has to be worth (`priced`, `cautious`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from restoration_toolchain.envs.reward import MAX_LOSS
from restoration_toolchain.tools_zoo.toolbox import Toolbox

PRICED_MACS: Final = 100_000
"""Multiply-accumulates per pixel that a price of arithmetic is for."""


PRICED_SIDE: Final = 128
"""Side in pixels of the crops that prices of risks are learnt on (`agents.tuning.caution`)."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What is to be done with each of N images, and why.

    Attributes:
        actions: (N,) int64, tool indices or *stop*.
        values: (N, n_tools + 1) action values, minus infinity where an action was not allowed; None
            of a player that has none.
        expected: (N,) gain expected of the action, in dB or what else is rewarded, margins left
            out; of *stop*, that of the best tool. None without values.
        risk: (N,) probability that the action makes the image worse; of *stop*, that the best tool
            would. None of an agent that was not calibrated.
        held_back: (N,) bool, whether a tool promised more than *stop* and its arithmetic, was too
            risky, and no other ran in its place. None of a player that has no values.
        doubted: (N,) bool, what ``held_back`` is within the player's own limits, where it was told
            to take more risk; None where it was not.
    """

    actions: Tensor
    values: Tensor | None = None
    expected: Tensor | None = None
    risk: Tensor | None = None
    held_back: Tensor | None = None
    doubted: Tensor | None = None

    @property
    def is_held_back(self) -> bool:
        """Whether nothing runs on any image, and on one at least only because of the risk."""
        if self.values is None or self.held_back is None:
            return False
        nothing_runs = self.actions == self.values.shape[1] - 1
        return bool(nothing_runs.all() and self.held_back.any())

    def stopping(self, where: Tensor, stop: int) -> "Decision":
        """The same decision with the action *stop* for some images, (N,) bool."""
        return replace(self, actions=self.actions.masked_fill(where, stop))


class Limits(NamedTuple):
    """How much risk a decision takes, and how much arithmetic a gain is worth.

    Attributes:
        max_risk: Largest risk with which a tool may still run; below 1, risks must be known.
        caution: Price of a risk (`cautious`), as long as no tool has run.
        later_caution: The same, once one has: what it left is less of a riddle.
        tool_prices: dB that the arithmetic of each tool costs (`tool_prices`), in action order;
            none where it costs nothing.
    """

    max_risk: float = 1.0
    caution: float = 0.0
    later_caution: float = 0.0
    tool_prices: tuple[float, ...] = ()

    def prices(self, is_first: Tensor) -> Tensor:
        """Price of a risk for each of N images, (N, 1), by whether no tool has run, (N,)."""
        prices = torch.where(is_first, self.caution, self.later_caution)
        return prices.unsqueeze(1)

    def for_area(self, pixels: int) -> "Limits":
        """The same limits for an image of so many pixels that are looked at.

        Prices are learnt on crops of `PRICED_SIDE` pixels. What an agent says of a larger image is
        the mean over more views, and errs less: at equal harm, the price falls with the square root
        of the area (docs/control.md). It does not rise for smaller images.
        """
        factor = min(1.0, PRICED_SIDE / math.sqrt(pixels))
        return self._replace(
            caution=factor * self.caution, later_caution=factor * self.later_caution
        )


DARING: Final = Limits()
"""Whatever the risk, and the arithmetic."""


def decide(
    values: Tensor,
    *,
    stop_margin: float = 0.0,
    risks: Tensor | None = None,
    allowed: Tensor | None = None,
    limits: Limits = DARING,
    is_first: Tensor | None = None,
    proposed: Tensor | None = None,
    forced: int | None = None,
) -> Decision:
    """Choose an action for each of N images.

    Args:
        values: Action values (N, n_tools + 1), the last being *stop*.
        stop_margin: Part of the value of *stop* that is a margin.
        risks: (N, n_tools) probability that each tool makes the image worse, if that is known.
        allowed: (N, n_tools + 1) bool, actions that may be chosen; None allows all.
        limits: How much risk is taken, and what arithmetic costs.
        is_first: (N,) bool, whether no tool has run; None is for all of them.
        proposed: (N,) actions that were settled in another way, with all prices paid; None
            proposes those of the largest value.
        forced: Action that is taken whatever the values, the risk and the arithmetic; None leaves
            the choice.
    """
    if allowed is not None:
        values = permitted(values, allowed)
    stop = values.shape[1] - 1
    if is_first is None:
        is_first = torch.ones(len(values), dtype=torch.bool)
    worth = priced(values, limits.tool_prices)
    safe = worth if risks is None else cautious(worth, risks, limits.prices(is_first))
    if limits.max_risk < 1.0:
        assert risks is not None
        safe = permitted(safe, functional.pad(risks <= limits.max_risk, (0, 1), value=True))
    wanted = worth.argmax(dim=1) if proposed is None else proposed
    if forced is not None:
        actions = wanted = torch.full((len(values),), forced)
    elif proposed is not None:
        too_risky = safe.gather(1, proposed[:, None])[:, 0] == -torch.inf
        actions = proposed.masked_fill(too_risky, stop)
    else:
        actions = safe.argmax(dim=1)
    held_back = (actions == stop) & (wanted != stop)
    meant = torch.where(actions == stop, values[:, :stop].argmax(dim=1), actions)[:, None]
    expected = expected_gain(values, stop_margin).gather(1, meant)[:, 0]
    risk = None if risks is None else risks.gather(1, meant)[:, 0]
    return Decision(actions, values, expected, risk, held_back)


def cautious(values: Tensor, risks: Tensor, caution: Tensor) -> Tensor:
    """Values (N, n_tools + 1) of tools less the price of their risks (N, n_tools).

    Args:
        values: Action values, the last being *stop*, which risks nothing.
        risks: Probability that a tool makes the image worse.
        caution: (N, 1) dB that certain harm would have to bring. Where few images may be harmed, no
            other rule gains more: a risk is taken where much is to be gained (Neyman and Pearson,
            1933).
    """
    return values - caution * functional.pad(risks, (0, 1)).to(values)


def tool_prices(toolbox: Toolbox, price: float) -> tuple[float, ...]:
    """What the arithmetic of each tool costs, in dB; none at a price of 0.

    Args:
        toolbox: The tools, in action order.
        price: dB that `PRICED_MACS` multiply-accumulates per pixel have to be worth.
    """
    if price == 0.0:
        return ()
    return tuple(price * tool.spec.macs_per_pixel / PRICED_MACS for tool in toolbox)


def priced(values: Tensor, tool_prices: Sequence[float]) -> Tensor:
    """Values (N, n_tools + 1) of tools less the price of their arithmetic; *stop* takes none.

    Only the next tool is paid for, although its value holds what may follow it: which tools those
    are is not known yet, and each is paid for when its turn comes. So a chain may begin whose
    second tool then turns out to be too dear.

    Args:
        values: Action values, the last being *stop*.
        tool_prices: dB for each tool; none changes nothing.
    """
    if not tool_prices:
        return values
    return values - values.new_tensor([*tool_prices, 0.0])


def permitted(values: Tensor, allowed: Tensor) -> Tensor:
    """Values with minus infinity where an action is not allowed; the same shape."""
    return values.masked_fill(~allowed.to(values.device), -torch.inf)


def expected_gain(values: Tensor, stop_margin: float) -> Tensor:
    """What actions (..., n_tools + 1) are worth more than stopping, whose margin is left out."""
    return values - (values[..., -1:] - stop_margin)


def tempered(values: Tensor, clean: Tensor) -> Tensor:
    """Values of images that may be clean (probability (N,)): a tool then loses `MAX_LOSS`."""
    stop = values[:, -1:]
    gains, clean = values[:, :-1] - stop, clean[:, None]
    return torch.cat([stop + (1.0 - clean) * gains - clean * MAX_LOSS, stop], dim=1)


def margins(
    tool_names: Sequence[str],
    stop_margin: float,
    default_chains: Sequence[Sequence[str]],
    default_margin: float,
) -> Tensor:
    """What is added to action values, by the last action and the next.

    Args:
        tool_names: Names of the tools in action order.
        stop_margin: dB that the best tool's value must exceed that of *stop* by.
        default_chains: Names of tools to run one behind the other, then *stop*, for each chain. The
            agent chooses among them, unless another action promises more by ``default_margin``. To
            stop at once takes no margin.
        default_margin: dB.

    Returns:
        (n_tools + 1, n_tools + 1).

    Raises:
        ValueError: A chain has an unknown tool, or one tool twice.
    """
    stop = len(tool_names)
    bonus = torch.zeros(stop + 1, stop + 1)
    bonus[:, stop] = stop_margin
    behind: dict[int, set[int]] = {}
    for names in default_chains:
        if set(names) - set(tool_names) or len(set(names)) < len(names):
            raise ValueError(f"no chain of different tools: {', '.join(names)}")
        chain = [stop, *(tool_names.index(name) for name in names), stop]
        for before, action in pairwise(chain):
            behind.setdefault(before, set()).add(action)
    for before, actions in behind.items():
        if actions != {stop}:
            # A handicap of all others: what the tool itself is worth stays as it is.
            bonus[before] -= default_margin
        bonus[before, list(actions)] += default_margin
    if behind:  # whether anything need be done at all is for the agent to say
        bonus[stop, stop] += default_margin
    return bonus
