"""Who can play: anything that chooses an action for each episode of a batch."""

from typing import Any, Protocol

from restoration_toolchain.agents.policy.lstm_policy import Actions, Obs, Starts


class Player(Protocol):
    """Anything that plays episodes: trained, random or all-knowing."""

    def predict(
        self, obs: Obs, state: Any = None, episode_start: Starts = None, deterministic: bool = True
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
