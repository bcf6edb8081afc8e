"""The one evaluation loop: any player, any pairs."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from restoration_toolchain.agents.policy.lstm_policy import Player
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.restoration_vec_env import MAX_STEPS, RestorationVecEnv
from restoration_toolchain.envs.reward import MAX_LOSS, PSNR, Reward
from restoration_toolchain.envs.task import Task
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
    restored: (N, 3, P, P) in [0, 1].
        seconds: Time spent on choosing and running tools.
    """

    psnr: npt.NDArray[np.float64]
    value: npt.NDArray[np.float64]
    actions: npt.NDArray[np.int64]
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
    task: Task = "restore",
    reward: Reward = PSNR,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
) -> EpisodeResults:
    """Let a player restore every pair once, greedily.

    Args:
        player: Who chooses; its ``watch(env)`` is called first if it has one (the oracles do).
        toolbox: The action space.
        pairs: What to restore.
        max_steps: Tools per episode.
        task: Whether images keep their size or are enlarged.
        reward: What counts.
        device: Where the tools run.
        precision: What they compute in.
    """
    chunks = [
        _play_chunk(
            player,
            RestorationVecEnv(
                toolbox,
                ArrayPairs(pairs.lq[start : start + CHUNK], pairs.gt[start : start + CHUNK]),
                n_envs=len(pairs.lq[start : start + CHUNK]),
                task=task,
                reward=reward,
                max_steps=max_steps,
                auto_reset=False,
                device=device,
                precision=precision,
            ),
        )
        for start in range(0, len(pairs), CHUNK)
    ]
    return EpisodeResults(
        psnr=np.concatenate([chunk.psnr for chunk in chunks]),
        value=np.concatenate([chunk.value for chunk in chunks]),
        actions=np.concatenate([chunk.actions for chunk in chunks]),
        restored=np.concatenate([chunk.restored for chunk in chunks]),
        seconds=sum(chunk.seconds for chunk in chunks),
    )


def _play_chunk(player: Player, env: RestorationVecEnv) -> EpisodeResults:
    count, stop = env.num_envs, env.toolbox.stop
    env.set_options([{"index": index} for index in range(count)])
    obs = env.reset()
    psnr = np.repeat(env.psnr.double().numpy()[:, None], env.max_steps + 1, axis=1)
    value = np.repeat(env.value.double().numpy()[:, None], env.max_steps + 1, axis=1)
    if hasattr(player, "watch"):
        player.watch(env)
    state = None
    done = np.zeros(count, np.bool_)
    start = np.ones(count, np.bool_)
    actions = np.full((count, env.max_steps), stop)
    began = time.perf_counter()
    for step in range(env.max_steps):
        chosen, state = player.predict(obs, state, start, deterministic=True)
        actions[:, step] = np.where(done, stop, chosen)
        obs, _, ended, _ = env.step(actions[:, step])  # type: ignore[assignment]
        psnr[:, step + 1 :] = env.psnr.double().numpy()[:, None]
        value[:, step + 1 :] = env.value.double().numpy()[:, None]
        done |= ended
        start = np.zeros(count, np.bool_)
        if done.all():
            break
    seconds = time.perf_counter() - began
    return EpisodeResults(psnr, value, actions, env.images.cpu().numpy(), seconds)
