"""The trained LSTM policy: it looks at images, remembers, and values every action."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from restoration_toolchain.agents.policy.decision import Decision, decide, margins, tempered
from restoration_toolchain.agents.policy.guard import Guard
from restoration_toolchain.agents.policy.pristine import Pristine
from restoration_toolchain.agents.policy.q_net import LstmState, RecurrentQNet
from restoration_toolchain.envs.reward import PSNR, Reward
from restoration_toolchain.envs.task import Task
from restoration_toolchain.tools_zoo.precision import Precision

Actions = npt.NDArray[np.int64]
Obs = Mapping[str, npt.NDArray[Any]]
Starts = npt.NDArray[np.bool_] | None


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
    precision: Precision = field(default="fp32", init=False)

    def __post_init__(self) -> None:
        """Freeze the networks."""
        if len(self.tool_names) != self.q_net.n_tools:
            raise ValueError(f"{self.q_net.n_tools} actions but {len(self.tool_names)} tool names")
        self.q_net.requires_grad_(False).eval()
        self.q_net.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.pristine is not None:
            self.pristine.requires_grad_(False).eval()
        self._margins = margins(
            self.tool_names, self.stop_margin, self.default_chains, self.default_margin
        )

    @property
    def view_grid(self) -> int:
        """Views of a photo begin at multiples of this many pixels; see `q_net.Encoder`."""
        return self.q_net.encoder.view_grid

    def with_stop_margin(self, stop_margin: float) -> "LstmPolicy":
        """The same network with another margin; minus infinity never stops."""
        return self.changed(stop_margin=stop_margin)

    def changed(self, **facts: Any) -> "LstmPolicy":
        """The same network with other arguments of the constructor."""
        same = {one.name: getattr(self, one.name) for one in fields(self) if one.init}
        return LstmPolicy(**{**same, **facts})

    def initial_state(self, n_envs: int) -> LstmState:
        """The memory at the start of episodes."""
        return LstmState.zeros(n_envs, next(self.q_net.parameters()).device)

    def action_values(
        self, images: Tensor, last_action: Tensor, state: LstmState, *, together: bool = False
    ) -> tuple[Tensor, LstmState]:
        """Expected gain of every action from here on, in dB of PSNR or what else is rewarded.

        Args:
            images: Views (N, 3, 63, 63) in [0, 1].
            last_action: (N,) int64; the index of *stop* at the start of an episode.
            state: Memory before the step.
            together: Whether they are views of one photo, so that what they say of whether it is
                clean adds up.

        Returns:
            Values (N, n_tools + 1), the last being *stop*, with the margins added, and the memory
            after the step.
        """
        with torch.inference_mode():
            seen = self._see(images)
            last = last_action.to(seen.device)
            values, state = self.q_net.remember(seen, last, state)
            if self.pristine is not None:
                clean = self.pristine.to(seen.device).probability(seen, together=together)
                # Once a tool has run, nothing is clean any more.
                clean = torch.where(last == len(self.tool_names), clean, 0.0)
                values = tempered(values, clean)
            values += self._margins[last_action.cpu()].to(values)
        return values, state

    def clean_probability(self, images: Tensor) -> float | None:
        """Probability that a photo, of which these are views, is not damaged; None if not known."""
        if self.pristine is None:
            return None
        with torch.inference_mode():
            seen = self._see(images)
            return float(self.pristine.to(seen.device).probability(seen, together=True)[0])

    def _see(self, images: Tensor) -> Tensor:
        """What the encoder says of views, on the agent's device."""
        device = next(self.q_net.parameters()).device
        views = images.to(device, memory_format=torch.channels_last)
        return self.q_net.see(views, self.precision)

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
        values, state = self.action_values(images, torch.as_tensor(obs["last_action"]), state)
        allowed = torch.as_tensor(obs["action_mask"]) != 0 if "action_mask" in obs else None
        decision = decide(
            values.cpu(), stop_margin=self.stop_margin, guard=self.guard, allowed=allowed
        )
        return decision, state
