"""Train the LSTM policy by recurrent proximal policy optimisation (sb3-contrib)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from torch import Tensor

from restoration_toolchain.agents.learning.run import (
    MAX_GRAD_NORM,
    AgentTrainConfig,
    Learner,
    check_view,
    train_agent,
)
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import (
    HIDDEN_SIZE,
    VIEW_SIZE,
    RecurrentQNet,
    RlRestoreEncoder,
)
from restoration_toolchain.envs.reward import MAX_LOSS

ENTROPY_WEIGHT: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoConfig(AgentTrainConfig):
    """How recurrent PPO is run."""

    n_steps: int = 12
    """Steps per environment and rollout."""
    batch_size: int = 256
    n_epochs: int = 4

    @property
    def small_side(self) -> int:
        """The encoder of the paper looks at 63 pixels."""
        return VIEW_SIZE


class BoundedLosses(VecEnvWrapper):
    """Rewards of at least minus `envs.reward.MAX_LOSS` dB, as Q-learning counts them.

    A clean image can lose 60 dB to a tool whose work nobody sees. With a few of those among the
    episodes of a rollout, no other reward moves the policy, which then stops at once on everything.
    """

    def reset(self) -> VecEnvObs:
        """Begin new episodes."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Take the step, with bounded rewards."""
        obs, rewards, dones, infos = self.venv.step_wait()
        return obs, np.maximum(rewards, np.float32(-MAX_LOSS)), dones, infos


class QNetFeatures(BaseFeaturesExtractor):
    """An encoder of `agents.policy.q_net` and the previous action, as features for an LSTM."""

    def __init__(self, observation_space: spaces.Dict) -> None:
        n_tools = int(observation_space["last_action"].n) - 1  # type: ignore[attr-defined]
        super().__init__(observation_space, RlRestoreEncoder.out_features + n_tools)
        self.encoder = RlRestoreEncoder()
        self._n_tools = n_tools

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Describe observations, ``last_action`` being one-hot already, by (N, 32 + n_tools)."""
        # The rollout buffer keeps discrete observations with an axis of one in between.
        last_action = observations["last_action"].flatten(1)[:, : self._n_tools]
        return torch.cat([self.encoder(observations["image"]), last_action], dim=1)


class PpoLearner(Learner):
    """Recurrent PPO as an `agents.learning.run.Learner`.

    Recurrent PPO knows no masks: in training, enlarging twice is a wasted step, and the policy that
    comes of it plays with the mask.
    """

    def __init__(self, config: PpoConfig) -> None:
        env = config.make_env()
        check_view(env, "rl_restore")
        self._toolbox, self._config = env.toolbox, config
        self.algorithm = RecurrentPPO(
            "MultiInputLstmPolicy",
            BoundedLosses(env),
            learning_rate=config.learning_rate_at,
            n_steps=config.n_steps,
            batch_size=config.batch_size,
            n_epochs=config.n_epochs,
            gamma=config.gamma,
            ent_coef=ENTROPY_WEIGHT,
            max_grad_norm=MAX_GRAD_NORM,
            seed=config.seed,
            device=config.device,
            policy_kwargs={
                "features_extractor_class": QNetFeatures,
                "normalize_images": False,  # images are float already
                "lstm_hidden_size": HIDDEN_SIZE,
                "net_arch": [],
            },
        )

    def player(self) -> LstmPolicy:
        """The greedy policy: the same network as Q-learning's, its values being logits."""
        policy = cast(RecurrentActorCriticPolicy, self.algorithm.policy)
        n_tools = len(self._toolbox)
        net = RecurrentQNet(n_tools, "rl_restore")
        features = cast(QNetFeatures, policy.pi_features_extractor)
        state = {f"encoder.{k}": v for k, v in features.encoder.state_dict().items()}
        for name, value in policy.lstm_actor.state_dict().items():
            state[f"lstm.{name.removesuffix('_l0')}"] = value
        for name, value in policy.action_net.state_dict().items():
            state[f"head.{name}"] = value
        net.load_state_dict({name: value.cpu().clone() for name, value in state.items()})
        return LstmPolicy(
            net,
            self._toolbox.names,
            tool_checksums=self._toolbox.checksums,
            task=self._config.task,
            reward=self._config.made_reward,
        )


def train_ppo(config: PpoConfig, run_path: Path, **options: Any) -> LstmPolicy:
    """Train an agent by recurrent PPO; see `agents.learning.run.train_agent`.

    The action values of its policy are logits of the action probabilities, not dB.
    """
    return train_agent(PpoLearner, config, run_path, **options)
