"""Any player on any pairs, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from restoration_toolchain.agents.players.player import Player
from restoration_toolchain.agents.players.rollout import rollout
from restoration_toolchain.agents.policy.decision import Decision
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.chain import MAX_STEPS
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.envs.reward import MAX_LOSS, PSNR, Reward
from restoration_toolchain.envs.task import task_scale
from restoration_toolchain.tools_zoo.precision import Precision
from restoration_toolchain.tools_zoo.toolbox import Toolbox

CHUNK = 128
"""Episodes played side by side; bounds the memory."""


@dataclass(frozen=True, slots=True)
class EpisodeResults:
    """What a player reached on N pairs.

    Attributes:
        psnr: (N, max_steps + 1) dB of the inputs and after each step; the last value stays from
            where an episode ended.
        value: The same of what was rewarded; equal to ``psnr``, if that was PSNR.
        actions: (N, max_steps) int64; *stop* from where an episode ended.
        values: (N, max_steps) value of each action; NaN from where an episode ended, and of players
            that have no values.
        expected: (N, max_steps) gain expected of each action (`Decision.expected`); likewise NaN.
        risk: (N, max_steps) probability of harm (`Decision.risk`); NaN where it is not known, too.
        restored: (N, 3, P, P) in [0, 1].
        seconds: Time spent on choosing and running tools.
    """

    psnr: npt.NDArray[np.float64]
    value: npt.NDArray[np.float64]
    actions: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    expected: npt.NDArray[np.float64]
    risk: npt.NDArray[np.float64]
    restored: npt.NDArray[np.float32]
    seconds: float

    @property
    def psnr_before(self) -> npt.NDArray[np.float64]:
        """(N,) dB of the inputs."""
        return self.psnr[:, 0]

    @property
    def psnr_after(self) -> npt.NDArray[np.float64]:
        """(N,) dB where the episodes ended."""
        return self.psnr[:, -1]

    @property
    def gain(self) -> float:
        """Mean PSNR gain in dB."""
        return float(np.mean(self.psnr_after - self.psnr_before))

    @property
    def bounded_gain(self) -> float:
        """Mean gain in what was rewarded, where no image loses more than `MAX_LOSS`."""
        return float(np.mean(np.maximum(self.value[:, -1] - self.value[:, 0], -MAX_LOSS)))

    @property
    def share_worse(self) -> float:
        """Share of images that ended worse than they began, by what was rewarded."""
        return float(np.mean(self.value[:, -1] < self.value[:, 0] - 1e-6))


def play(
    player: Player,
    toolbox: Toolbox,
    pairs: ArrayPairs,
    *,
    max_steps: int = MAX_STEPS,
    scale: int = 1,
    reward: Reward = PSNR,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
) -> EpisodeResults:
    """Let a player restore every pair once, greedily.

    Args:
        player: Who chooses; its ``watch(env)`` is called first if it has one (the oracles do).
        toolbox: The action space.
        pairs: What to restore.
        max_steps: Largest number of tools in one episode.
        scale: Side of a result over side of an image; 1 keeps the size.
        reward: What counts.
        device: Device that the tools run on.
        precision: Number format that they compute in.
    """
    chunks = []
    for start in range(0, len(pairs), CHUNK):
        part = ArrayPairs(pairs.lq[start : start + CHUNK], pairs.gt[start : start + CHUNK])
        env = RestorationVecEnv(
            toolbox,
            part,
            n_envs=len(part),
            scale=scale,
            reward=reward,
            max_steps=max_steps,
            device=device,
            precision=precision,
        )
        chunks.append(_play_chunk(player, env))
    columns = [name for name in EpisodeResults.__slots__ if name != "seconds"]
    return EpisodeResults(
        **{name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in columns},
        seconds=sum(chunk.seconds for chunk in chunks),
    )


def play_as_trained(
    policy: LstmPolicy,
    toolbox: Toolbox,
    pairs: ArrayPairs,
    *,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
) -> EpisodeResults:
    """`play` the task that a policy was trained for, by its own reward."""
    return play(
        policy,
        toolbox,
        pairs,
        scale=task_scale(policy.task, toolbox),
        reward=policy.reward,
        device=device,
        precision=precision,
    )


def _remembering(player: Player) -> Callable[[RestorationVecEnv], Decision]:
    """A player's choices, with its memory of the episodes of one environment."""
    state: Any = None

    def choose(env: RestorationVecEnv) -> Decision:
        nonlocal state
        obs, start = env.observe(), np.full(env.num_envs, state is None)
        if isinstance(player, LstmPolicy):
            decision, state = player.decide(obs, state, start)
            return decision
        actions, state = player.predict(obs, state, start, deterministic=True)
        return Decision(torch.from_numpy(actions))

    return choose


def _play_chunk(player: Player, env: RestorationVecEnv) -> EpisodeResults:
    count = env.num_envs
    env.set_options([{"index": index} for index in range(count)])
    env.reset()
    psnr, value = (
        np.repeat(start.double().numpy()[:, None], env.max_steps + 1, axis=1)
        for start in (env.psnr, env.value)
    )
    actions = np.full((count, env.max_steps), env.stop)
    values, expected, risk = np.full((3, count, env.max_steps), np.nan)
    seconds = 0.0
    if hasattr(player, "watch"):
        player.watch(env)
    for step, move in enumerate(rollout(env, _remembering(player))):
        decision = move.decision
        actions[:, step] = decision.actions
        psnr[:, step + 1 :] = env.psnr.double().numpy()[:, None]
        value[:, step + 1 :] = env.value.double().numpy()[:, None]
        if decision.values is not None and decision.expected is not None:
            taken = decision.values.gather(1, decision.actions[:, None])[:, 0]
            values[:, step] = np.where(move.playing, taken.double(), np.nan)
            expected[:, step] = np.where(move.playing, decision.expected.double(), np.nan)
            if decision.risk is not None:
                risk[:, step] = np.where(move.playing, decision.risk.double(), np.nan)
        seconds += move.seconds
    restored = env.images.cpu().numpy()
    return EpisodeResults(psnr, value, actions, values, expected, risk, restored, seconds)
