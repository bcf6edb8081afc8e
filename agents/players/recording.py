"""Listening to an agent while it plays: the values it gave to its actions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from restoration_toolchain.agents.policy.guard import expected_gain
from restoration_toolchain.agents.policy.lstm_policy import Actions, LstmPolicy
from restoration_toolchain.agents.policy.q_net import LstmState
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv


class ValueRecorder:
    """Plays as a policy does, and keeps the values that it chose by.

    Args:
        policy: Who plays.
        over_stopping: Keep what actions are worth more than stopping (`guard.expected_gain`)
            in place of the values themselves.
    """

    def __init__(self, policy: LstmPolicy, *, over_stopping: bool = False) -> None:
        self._policy, self._over_stopping = policy, over_stopping
        self._chunks: list[list[npt.NDArray[np.float64]]] = []

    def watch(self, env: RestorationVecEnv) -> None:
        """Begin another batch of episodes."""
        self._chunks.append([])

    def predict(
        self,
        obs: Mapping[str, npt.NDArray[Any]],
        state: LstmState | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, LstmState]:
        """Choose as the policy does; see `agents.policy.lstm_policy.Player`.

        Raises:
            RuntimeError: `watch` was not called before.
        """
        if not self._chunks:
            raise RuntimeError("a recorder must watch an environment before it plays")
        values, state = self._policy.evaluate(obs, state, episode_start)
        kept = values
        if self._over_stopping:
            kept = expected_gain(values, self._policy.stop_margin)
        self._chunks[-1].append(kept.double().cpu().numpy())
        return values.argmax(dim=1).cpu().numpy(), state

    def values_of(self, actions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Values of actions taken, such as `agents.players.play.EpisodeResults.actions`.

        Args:
            actions: (N, max_steps) int64, of all episodes played, in their order.

        Returns:
            (N, max_steps); NaN from where an episode ended.
        """
        values = np.full(actions.shape, np.nan)
        first = 0
        for steps in self._chunks:
            rows = np.arange(first, first + len(steps[0]))
            playing = np.ones(len(rows), np.bool_)
            for step, of_all in enumerate(steps):
                taken = actions[rows, step]
                chosen = of_all[np.arange(len(rows)), taken]
                values[rows, step] = np.where(playing, chosen, np.nan)
                playing &= taken != of_all.shape[1] - 1
            first += len(rows)
        return values
