"""The trained LSTM policy: it looks at images, remembers, and values every action."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from restoration_toolchain.agents.policy.decision import (
    DARING,
    Decision,
    Limits,
    decide,
    expected_gain,
    margins,
    tempered,
)
from restoration_toolchain.agents.policy.guard import Guard, claimed_risk
from restoration_toolchain.agents.policy.pristine import Pristine
from restoration_toolchain.agents.policy.q_net import LstmState, RecurrentQNet
from restoration_toolchain.agents.policy.recognition import Recognition
from restoration_toolchain.envs.reward import PSNR, Reward
from restoration_toolchain.envs.task import Task
from restoration_toolchain.tools_zoo.precision import Precision

Actions = npt.NDArray[np.int64]
Obs = Mapping[str, npt.NDArray[Any]]
Starts = npt.NDArray[np.bool_] | None


MAX_PRICE: Final = 1000.0
"""dB; nothing gains as much."""


class Judgement(NamedTuple):
    """What every action promises for N images.

    Attributes:
        values: (N, n_tools + 1) dB, the last being *stop*.
        risks: (N, n_tools) probability that the next step of each tool does harm; None if that is
            not known.
        is_first: (N,) bool, whether no tool has run; None is for all of them.
    """

    values: Tensor
    risks: Tensor | None
    is_first: Tensor | None = None

    def cpu(self) -> "Judgement":
        """The same in main memory."""
        return Judgement(*(None if part is None else part.cpu() for part in self))  # type: ignore[arg-type]


@dataclass(eq=False)
class LstmPolicy:
    """Greedy play on the values of a `RecurrentQNet`.

    Attributes:
        precision: Number format that the encoder computes in; all else is float32. A restorer
            sets its own.

    Args:
        q_net: The network; put in evaluation mode.
        tool_names: Names of the tools that it was trained with, in action order.
        stop_margin: dB that the best tool's value must exceed that of *stop* by.
        tool_checksums: SHA-256 of the weights of the tools that it was trained with, as far as
            they are known: an agent knows what *these* weights do.
        task: Task that it was trained for.
        reward: Reward that its values count in.
        guard: What is known of its judgement, if it was calibrated.
        default_chains: Chains that it falls back on, each of names of tools (`decision.margins`).
        default_margin: dB that another action must promise more than these chains.
        pristine: Tells whether there is any damage, if values are those of damaged images only
            (`agents.policy.pristine`).
        recognition: Names the damage, if the network was taught to (`agents.policy.recognition`).
        max_risk: Largest risk of harm with which it runs a tool, 0 to 1.
        unfamiliar_risk: The same, on photos that are unlike all that it learnt from.
        caution: Price of a risk, in dB (`decision.cautious`), as long as no tool has run.
        later_caution: The same, once one has.
        tool_prices: dB that the arithmetic of each tool costs (`decision.tool_prices`); none where
            it costs nothing. It is the user's choice, and not saved.

    Raises:
        ValueError: The network has another number of tools, or there is another number of prices;
            risks count and are not known; or a risk or a price lies outside its range.
    """

    q_net: RecurrentQNet
    tool_names: tuple[str, ...]
    _: KW_ONLY
    stop_margin: float = 0.0
    tool_checksums: Mapping[str, str] = field(default_factory=dict)
    task: Task = "restore"
    reward: Reward = PSNR
    guard: Guard | None = None
    default_chains: tuple[tuple[str, ...], ...] = ()
    default_margin: float = 0.0
    pristine: Pristine | None = None
    recognition: Recognition | None = None
    max_risk: float = 1.0
    unfamiliar_risk: float = 1.0
    caution: float = 0.0
    later_caution: float = 0.0
    tool_prices: tuple[float, ...] = ()
    precision: Precision = field(default="fp32", init=False)

    def __post_init__(self) -> None:
        """Freeze the networks."""
        if len(self.tool_names) != self.q_net.n_tools:
            raise ValueError(f"{self.q_net.n_tools} actions but {len(self.tool_names)} tool names")
        risks, prices = (self.max_risk, self.unfamiliar_risk), (self.caution, self.later_caution)
        if not all(0.0 <= risk <= 1.0 for risk in risks):  # this way round it also catches NaN
            raise ValueError(f"risks must lie in 0 to 1, got {risks}")
        if not all(0.0 <= price <= MAX_PRICE for price in prices):
            raise ValueError(f"prices of a risk must lie in 0 to {MAX_PRICE:g} dB, got {prices}")
        if len(self.tool_prices) not in (0, len(self.tool_names)):
            raise ValueError(f"{len(self.tool_names)} tools but {len(self.tool_prices)} prices")
        fears = self.unfamiliar_risk < 1.0 or self.limits._replace(tool_prices=()) != DARING
        if fears and not self.knows_risk:
            raise ValueError("the risk is limited or has a price, and no risk is known")
        self.q_net.requires_grad_(False).eval()
        self.q_net.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for part in (self.pristine, self.recognition):
            if part is not None:
                part.requires_grad_(False).eval()
        self._margins = margins(
            self.tool_names, self.stop_margin, self.default_chains, self.default_margin
        )

    @property
    def limits(self) -> Limits:
        """How much risk it takes itself, and what arithmetic costs."""
        return Limits(self.max_risk, self.caution, self.later_caution, self.tool_prices)

    @property
    def knows_risk(self) -> bool:
        """Whether it tells how likely a tool is to do harm."""
        return self.guard is not None or self.q_net.spread is not None

    @property
    def view_grid(self) -> int:
        """Views of a photo begin at multiples of this many pixels; see `q_net.Encoder`."""
        return self.q_net.encoder.view_grid

    def with_stop_margin(self, stop_margin: float) -> "LstmPolicy":
        """The same network with another margin; minus infinity never stops."""
        return self.changed(stop_margin=stop_margin)

    def daring(self) -> "LstmPolicy":
        """The same network, which takes any risk."""
        return self.changed(max_risk=1.0, unfamiliar_risk=1.0, caution=0.0, later_caution=0.0)

    def changed(self, **facts: Any) -> "LstmPolicy":
        """The same network with other arguments of the constructor."""
        return replace(self, **facts)

    def initial_state(self, n_envs: int, *, together: bool = False) -> LstmState:
        """The memory at the start of episodes.

        Args:
            n_envs: Number of images.
            together: Whether they are views of one photo.
        """
        count = 1 if together and self.q_net.encoder.is_pooled else n_envs
        return LstmState.zeros(count, next(self.q_net.parameters()).device)

    def action_values(
        self, images: Tensor, last_action: Tensor, state: LstmState
    ) -> tuple[Tensor, LstmState]:
        """Expected gain of every action from here on, in dB of PSNR or what else is rewarded.

        Args:
            images: Views (N, 3, 63, 63) in [0, 1].
            last_action: (N,) int64; the index of *stop* at the start of an episode.
            state: Memory before the step.

        Returns:
            Values (N, n_tools + 1), the last being *stop*, with the margins added, and the memory
            after the step.
        """
        judged, state = self.judge(self.see(images), last_action, state)
        return judged.values, state

    def see(self, images: Tensor) -> Tensor:
        """What the encoder says of views (N, 3, 63, 63) in [0, 1], on the agent's device."""
        device = next(self.q_net.parameters()).device
        views = images.to(device, memory_format=torch.channels_last)
        with torch.inference_mode():
            return self.q_net.see(views, self.precision)

    def judge(
        self, seen: Tensor, last_action: Tensor, state: LstmState, *, together: bool = False
    ) -> tuple[Judgement, LstmState]:
        """What every action promises, and how likely it is to do harm.

        Args:
            seen: What was seen (`see`) of N views.
            last_action: (N,) int64; the index of *stop* at the start of an episode.
            state: Memory before the step.
            together: Whether they are views of one photo, which get one judgement.

        Returns:
            The judgement of each view, or the one of the photo, and the memory after the step.
        """
        if together and self.q_net.encoder.is_pooled:
            seen, last_action, together = seen.mean(dim=0, keepdim=True), last_action[:1], False
        with torch.inference_mode():
            last = last_action.to(seen.device)
            values, quantiles, state = self.q_net.judge(seen, last, state)
            if self.pristine is not None:
                read = self.q_net.encoder.read(seen)
                clean = self.pristine.to(seen.device).probability(read, together=together)
                # Once a tool has run, nothing is clean any more.
                clean = torch.where(last == len(self.tool_names), clean, 0.0)
                values = tempered(values, clean)
            values += self._margins[last_action.cpu()].to(values)
            if together:
                values = values.mean(dim=0, keepdim=True)
                quantiles = None if quantiles is None else quantiles.mean(dim=0, keepdim=True)
            is_first = (last_action == len(self.tool_names))[: len(values)]
            return Judgement(values, self._risks(values, quantiles), is_first), state

    def _risks(self, values: Tensor, quantiles: Tensor | None) -> Tensor | None:
        if quantiles is not None:
            claimed = claimed_risk(quantiles)
            return claimed if self.guard is None else self.guard.risk(torch.logit(claimed))
        if self.guard is None:
            return None
        return self.guard.risk(expected_gain(values, self.stop_margin)[:, :-1])

    def clean_probability(self, seen: Tensor) -> float | None:
        """Probability that a photo, of which this was seen, is not damaged; None if not known."""
        with torch.inference_mode():
            if self.recognition is not None:
                read = self.q_net.encoder.read(seen.mean(dim=0, keepdim=True))
                return self.recognition.to(seen.device).untouched_probability(read)
            if self.pristine is None:
                return None
            if self.q_net.encoder.is_pooled:
                seen = seen.mean(dim=0, keepdim=True)
            read = self.q_net.encoder.read(seen)
            return float(self.pristine.to(seen.device).probability(read, together=True)[0])

    def predict(
        self, obs: Obs, state: Any = None, episode_start: Starts = None, deterministic: bool = True
    ) -> tuple[Actions, LstmState]:
        """Choose the action of the highest value; see `agents.players.player.Player`."""
        decision, state = self.decide(obs, state, episode_start)
        return decision.actions.numpy(), state

    def decide(
        self, obs: Obs, state: LstmState | None = None, episode_start: Starts = None
    ) -> tuple[Decision, LstmState]:
        """What `predict` chooses, with its reasons, on the CPU; the arguments are the same."""
        images = torch.as_tensor(obs["image"])
        if state is None:
            state = self.initial_state(len(images))
        if episode_start is not None:
            state = state.masked(torch.as_tensor(~episode_start))
        last_action = torch.as_tensor(obs["last_action"])
        judged, state = self.judge(self.see(images), last_action, state)
        allowed = torch.as_tensor(obs["action_mask"]) != 0 if "action_mask" in obs else None
        return self.decide_on(judged, allowed=allowed), state

    def decide_on(
        self,
        judged: Judgement,
        *,
        limits: Limits | None = None,
        **how: Any,
    ) -> Decision:
        """Decide by a judgement.

        Args:
            judged: What every action promises.
            limits: How much risk is taken, and what arithmetic costs; None is as the policy has it.
            **how: Further arguments of `policy.decision.decide`.
        """
        judged = judged.cpu()
        return decide(
            judged.values,
            stop_margin=self.stop_margin,
            risks=judged.risks,
            limits=self.limits if limits is None else limits,
            is_first=judged.is_first,
            **how,
        )
