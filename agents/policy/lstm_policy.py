"""What chooses tools: the protocol of every player, and the trained LSTM policy."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from restoration_toolchain.agents.policy.guard import Guard
from restoration_toolchain.agents.policy.pristine import Pristine
from restoration_toolchain.agents.policy.q_net import LstmState, RecurrentQNet
from restoration_toolchain.envs.reward import MAX_LOSS, PSNR, Reward
from restoration_toolchain.envs.task import Task
from restoration_toolchain.tools_zoo.precision import Precision

Actions = npt.NDArray[np.int64]


class Player(Protocol):
    """Anything that plays episodes: trained, random or all-knowing."""

    def predict(
        self,
        obs: Mapping[str, npt.NDArray[Any]],
        state: Any = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, Any]:
        """Choose an action for each episode of a batch.

        Args:
            obs: ``image`` (N, 3, P, P) float32 in [0, 1] and ``last_action`` (N,); where a tool
                enlarges, ``action_mask`` (N, n_tools + 1), 0 for actions that may not be chosen.
            state: What the previous call returned; None at the start.
            episode_start: (N,) bool; where True, the memory is cleared first.
            deterministic: Take the best action rather than draw one, where the player can draw.

        Returns:
            Actions (N,) and the state for the next call.
        """


class LstmPolicy:
    """Greedy play on the values of a `RecurrentQNet`.

    Attributes:
        precision: What the encoder computes in; all else is float32. A restorer sets its own.

    Args:
        q_net: The network; put in evaluation mode.
        tool_names: The toolbox's tools in action order that it was trained with.
        stop_margin: dB that the best tool's value must exceed that of *stop* by.
        tool_checksums: SHA-256 of the weights of the tools that it was trained with, as far as
            they are known: an agent knows what *these* weights do.
        task: For which it was trained.
        reward: In which its values count.
        guard: What is known of its judgement, if it was calibrated.
        default_chains: Each of names of tools to run one behind the other, then *stop*: the agent
            chooses among them, unless another action promises more by ``default_margin``
            (`agents.tuning.default_chains`). To stop at once takes no margin.
        default_margin: dB.
        pristine: Tells whether there is any damage, if values are those of damaged images only
            (`agents.policy.pristine`).
    """

    def __init__(
        self,
        q_net: RecurrentQNet,
        tool_names: tuple[str, ...],
        *,
        stop_margin: float = 0.0,
        tool_checksums: Mapping[str, str] | None = None,
        task: Task = "restore",
        reward: Reward = PSNR,
        guard: Guard | None = None,
        default_chains: tuple[tuple[str, ...], ...] = (),
        default_margin: float = 0.0,
        pristine: Pristine | None = None,
    ) -> None:
        if len(tool_names) != q_net.n_tools:
            raise ValueError(f"{q_net.n_tools} actions but {len(tool_names)} tool names")
        self.q_net = q_net.requires_grad_(False).eval()
        self.q_net.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision: Precision = "fp32"
        self.tool_names = tool_names
        self.stop_margin = stop_margin
        self.tool_checksums = dict(tool_checksums or {})
        self.task, self.reward, self.guard = task, reward, guard
        self.default_chains, self.default_margin = default_chains, default_margin
        self.pristine = None if pristine is None else pristine.requires_grad_(False).eval()
        self._bonus = self._make_bonus()

    @property
    def view_grid(self) -> int:
        """Views of a photo begin at multiples of so many pixels.

        JPEG works in blocks that are counted from the corner of a photo. Agents with the encoder of
        the paper learnt from patches that were compressed on their own, with a block at their
        corner; others from patches cut anywhere (`damage.degradation.degrade_crop`), and to them
        blocks that always begin at the corner are a sign of something.
        """
        if self.q_net.encoder_name != "rl_restore":
            return 1
        # What makes damage brings OpenCV along, which most restorations do without.
        from restoration_toolchain.data.damage.degradation import JPEG_BLOCK

        return JPEG_BLOCK

    def with_stop_margin(self, stop_margin: float) -> "LstmPolicy":
        """The same network with another margin; minus infinity never stops."""
        return self.changed(stop_margin=stop_margin)

    def changed(self, **facts: Any) -> "LstmPolicy":
        """The same network with other arguments of the constructor."""
        same = {
            "stop_margin": self.stop_margin,
            "tool_checksums": self.tool_checksums,
            "task": self.task,
            "reward": self.reward,
            "guard": self.guard,
            "default_chains": self.default_chains,
            "default_margin": self.default_margin,
            "pristine": self.pristine,
        }
        return LstmPolicy(self.q_net, self.tool_names, **{**same, **facts})

    def _make_bonus(self) -> Tensor:
        """What is added to values, by the last action and the next; (n_tools + 1, n_tools + 1)."""
        stop = len(self.tool_names)
        bonus = torch.zeros(stop + 1, stop + 1)
        bonus[:, stop] = self.stop_margin
        behind: dict[int, set[int]] = {}
        for names in self.default_chains:
            if set(names) - set(self.tool_names) or len(set(names)) < len(names):
                raise ValueError(f"no chain of different tools: {', '.join(names)}")
            chain = [stop, *(self.tool_names.index(name) for name in names), stop]
            for before, action in pairwise(chain):
                behind.setdefault(before, set()).add(action)
        for before, actions in behind.items():
            if actions != {stop}:
                # A handicap of all others: what the tool itself is worth stays as it is.
                bonus[before] -= self.default_margin
            bonus[before, list(actions)] += self.default_margin
        if behind:  # whether anything need be done at all is for the agent to say
            bonus[stop, stop] += self.default_margin
        return bonus

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
            together: They are views of one photo: what they say of whether it is clean adds up.

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
                values = _tempered(values, clean)
            values += self._bonus[last_action.cpu()].to(values)
        return values, state

    def clean_probability(self, images: Tensor) -> float | None:
        """With what probability a photo is not damaged at all; None of an agent that does not ask.

        Args:
            images: Views of it (N, 3, 63, 63) in [0, 1].
        """
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
        self,
        obs: Mapping[str, npt.NDArray[Any]],
        state: LstmState | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, LstmState]:
        """Choose the action of the highest value; see `Player.predict`."""
        values, state = self.evaluate(obs, state, episode_start)
        return values.argmax(dim=1).cpu().numpy(), state

    def evaluate(
        self,
        obs: Mapping[str, npt.NDArray[Any]],
        state: LstmState | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[Tensor, LstmState]:
        """`action_values` of observations: what `predict` chooses by.

        Args:
            obs: As `Player.predict` takes it.
            state: What the previous call returned; None at the start.
            episode_start: (N,) bool; where True, the memory is cleared first.

        Returns:
            Values (N, n_tools + 1), minus infinity where the mask forbids an action, and the state
            for the next call.
        """
        images = torch.as_tensor(obs["image"])
        if state is None:
            state = self.initial_state(len(images))
        if episode_start is not None:
            state = state.masked(torch.as_tensor(~episode_start))
        values, state = self.action_values(images, torch.as_tensor(obs["last_action"]), state)
        if "action_mask" in obs:
            forbidden = torch.as_tensor(obs["action_mask"]) == 0
            values = values.masked_fill(forbidden.to(values.device), -torch.inf)
        return values, state


def _tempered(values: Tensor, clean: Tensor) -> Tensor:
    """Values of images that may be clean (probability (N,)): a tool then loses `MAX_LOSS`."""
    stop = values[:, -1:]
    gains, clean = values[:, :-1] - stop, clean[:, None]
    return torch.cat([stop + (1.0 - clean) * gains - clean * MAX_LOSS, stop], dim=1)
