"""Recurrent Q-learning on whole episodes, on Stable-Baselines3's DQN.

Source:
    Yu et al., "Crafting a Toolchain for Image Restoration by Deep Reinforcement Learning",
    CVPR 2018 (recurrent Q-learning); van Hasselt et al., "Deep Reinforcement Learning with Double
    Q-learning", AAAI 2016 (the double estimate).
"""

import copy
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from restoration_toolchain.agents.learning.buffer import EpisodeBatch, EpisodeReplayBuffer
from restoration_toolchain.agents.learning.errors import (
    MAX_GAIN,
    quantile_errors,
    ranking_errors,
    value_errors,
)
from restoration_toolchain.agents.players.reference import draw_permitted
from restoration_toolchain.agents.policy.decision import permitted
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import (
    DEFAULT_ENCODER,
    EncoderName,
    LstmState,
    OptimizerName,
    RecurrentQNet,
    make_optimizer,
)
from restoration_toolchain.envs.chain import Chain
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.envs.reward import MAX_LOSS
from restoration_toolchain.envs.task import task_at
from restoration_toolchain.tools_zoo.precision import Precision
from restoration_toolchain.tools_zoo.training.loop import average_into

DISTRIBUTION: Final = 4.0
"""Weight of the errors of distributions beside those of values."""


class RecurrentQPolicy(BasePolicy):
    """The value network, its slowly following copy and the optimiser, as DQN expects them."""

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        lr_schedule: Schedule,
        encoder: EncoderName,
        train_encoder: bool = True,
        optimizer: OptimizerName = "muon",
        quantiles: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space, normalize_images=False)
        self._train_encoder = train_encoder
        self.q_net = RecurrentQNet(int(action_space.n) - 1, encoder, quantiles=quantiles)
        self.q_net.encoder.requires_grad_(train_encoder)
        self.q_net_target = copy.deepcopy(self.q_net).eval()
        self.q_net_target.requires_grad_(False)
        self.q_net_averaged = copy.deepcopy(self.q_net_target)
        encoder_net = self.q_net.encoder
        others = [part for part in self.q_net.children() if part is not encoder_net]
        self.optimizer = make_optimizer(optimizer, encoder_net, others, lr_schedule(1.0))

    def set_training_mode(self, mode: bool) -> None:
        """Switch the online network only: the target's normalisation follows by copying."""
        self.training = mode
        self.q_net.train(mode)
        self.q_net.encoder.train(mode and self._train_encoder)

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        """Play a first step: the base class's door, which knows no memory."""
        images = observation["image"]
        state = LstmState.zeros(len(images), images.device)
        values, _ = self.q_net(images, observation["last_action"].long().flatten(), state)
        best: Tensor = values.argmax(dim=1)
        return best


class RecurrentDqn(DQN):
    """DQN whose value network remembers the episode.

    Everything of `stable_baselines3.DQN` (callbacks, logger, schedules) holds; the replay buffer
    keeps whole episodes, and the loss unrolls the network over each of them from an empty memory.

    Args:
        env: The environment.
        full_backup: Learn from what *every* tool would have done, which the simulator can tell,
            rather than from the tool taken alone.
        rollout_chains: Chains of indices of tools that run one behind the other. With
            ``full_backup``, what follows a tool is measured by running the rest of the chain that
            it is in, or else of the first; without chains, it does not count.
        ranking: With ``full_backup``, weight of `ranking_errors` beside the errors of values.
        double_q: Let the online network choose the action that the target network values.
        encoder: Name of the encoder that the value network looks at images with.
        train_encoder: Whether the encoder is learnt too, its normalisation included.
        optimizer: Optimiser of the value network (`agents.policy.q_net.make_optimizer`).
        start: Agent of the same tools whose network is trained on. What else it knows stays with
            what is trained, except its guard, which was learnt from other weights. Distributions
            that it knows are trained, too, where ``full_backup`` tells what every tool gains.
        ema_decay: Decay of the averaged weights that `lstm_policy` plays with.
        **kwargs: Arguments of `stable_baselines3.DQN`; ``buffer_size`` and ``batch_size`` count
            episodes.
    """

    replay_buffer: EpisodeReplayBuffer  # type: ignore[assignment]
    policy: RecurrentQPolicy  # type: ignore[assignment]
    q_net: RecurrentQNet  # type: ignore[assignment]
    q_net_target: RecurrentQNet  # type: ignore[assignment]

    def __init__(
        self,
        env: RestorationVecEnv,
        *,
        full_backup: bool = False,
        rollout_chains: Sequence[Sequence[int]] = (),
        ranking: float = 0.0,
        double_q: bool = True,
        encoder: EncoderName = DEFAULT_ENCODER,
        train_encoder: bool = True,
        optimizer: OptimizerName = "muon",
        start: LstmPolicy | None = None,
        ema_decay: float = 0.998,
        **kwargs: Any,
    ) -> None:
        self.full_backup, self.rollout_chains = full_backup, tuple(rollout_chains)
        self.ema_decay, self.ranking, self.double_q = ema_decay, ranking, double_q
        self._simulator, self._start = env, start
        self._enlarges = torch.tensor([*(scale > 1 for scale in env.toolbox.scales), False])
        self._lstm_state = LstmState.zeros(env.num_envs)
        self._look_ahead: tuple[Any, Any] = (None, None)
        super().__init__(
            RecurrentQPolicy,  # type: ignore[arg-type]
            env,
            replay_buffer_class=EpisodeReplayBuffer,  # type: ignore[arg-type]
            # The stop action is a step of its own, but never follows the last permitted tool.
            policy_kwargs={
                "encoder": encoder,
                "train_encoder": train_encoder,
                "optimizer": optimizer,
                "quantiles": start is not None and start.q_net.spread is not None,
            },
            replay_buffer_kwargs={"max_steps": env.max_steps, "seed": kwargs.get("seed")},
            **kwargs,
        )
        self._explorer = np.random.default_rng(self.seed)
        if start is not None:
            self.q_net.load_state_dict(start.q_net.state_dict())
            self.follow()

    # Gathering experience ----------------------------------------------------------------------

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Act epsilon-greedily, each environment on its own, and remember."""
        obs = self._last_obs
        assert isinstance(obs, dict)
        stop = int(self.action_space.n) - 1  # type: ignore[attr-defined]
        images = torch.from_numpy(obs["image"]).to(self.device)
        last_action = torch.from_numpy(obs["last_action"]).to(self.device)
        with torch.no_grad():
            # A previous action of stop marks the first step of an episode.
            state = self._lstm_state.masked(last_action != stop)
            values, self._lstm_state = self.q_net(images, last_action, state)
            values = permitted(values, self._simulator.chain.allowed())
            if self.full_backup:
                self._look_ahead = self._simulate()
        actions = values.argmax(dim=1).cpu().numpy()
        epsilon = 1.0 if self.num_timesteps < learning_starts else self.exploration_rate
        explore = self._explorer.random(n_envs) < epsilon
        if "action_mask" in obs:
            actions[explore] = draw_permitted(obs["action_mask"][explore], self._explorer)
        else:
            actions[explore] = self._explorer.integers(stop + 1, size=int(explore.sum()))
        return actions, actions

    def _simulate(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Gain of every tool, and what is to be had after it; both (n_envs, n_tools)."""
        gains, following = [], []
        for tool, (after, gain) in enumerate(self._simulator.outcomes()):
            gains.append(gain)
            following.append(self._roll_out(tool, after, gain))
        return torch.stack(gains, dim=1).numpy(), torch.stack(following, dim=1).numpy()

    def _roll_out(self, tool: int, after: Chain, gains: Tensor) -> Tensor:
        """What the rest of its chain adds to what a tool made, stopped where that is most."""
        chains, simulator = self.rollout_chains or ((),), self._simulator
        chain = next((chain for chain in chains if tool in chain), chains[0])
        steps, before = simulator.chain.num_steps, simulator.value + gains
        added = torch.zeros_like(gains)
        for position, action in enumerate(chain[1:], start=1):
            enlarges = bool(self._enlarges[action])
            # An image that is to be large is made so as long as there is a step left.
            is_due = steps + 1 < simulator.max_steps if enlarges else steps < position
            rows = torch.nonzero(is_due & ~after.enlarged).flatten()
            if len(rows):
                actions = torch.full_like(steps, simulator.stop).index_fill(0, rows, action)
                after = after.after(actions)
                gained = simulator.value_of(after, rows) - before[rows]
                added[rows] = torch.maximum(added[rows], gained)
                if enlarges:
                    break  # by the last of its chain
        return added

    def _store_transition(
        self,
        replay_buffer: Any,
        buffer_action: npt.NDArray[np.int64],
        new_obs: Any,
        reward: npt.NDArray[np.float32],
        dones: npt.NDArray[np.bool_],
        infos: list[dict[str, Any]],
    ) -> None:
        gains, next_values = self._look_ahead
        replay_buffer.add(self._last_obs, buffer_action, reward, dones, gains, next_values)
        self._last_obs = new_obs

    def follow(self) -> None:
        """Set the network's followers, the target and the average, to what it is now."""
        for follower in (self.q_net_target, self.policy.q_net_averaged):
            follower.load_state_dict(self.q_net.state_dict())

    # Learning ----------------------------------------------------------------------------------

    def train(self, gradient_steps: int, batch_size: int = 32) -> None:
        """Take optimiser steps, each on ``batch_size`` whole episodes."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        losses = []
        for _ in range(gradient_steps):
            if self.replay_buffer.size() == 0:
                return  # no episode has ended yet
            batch = augment(self.replay_buffer.sample(batch_size), self._explorer)
            loss = self.loss(batch)
            self.policy.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.q_net.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()
            losses.append(float(loss.detach()))
            average_into(self.policy.q_net_averaged, self.q_net, self.ema_decay, self._n_updates)
            self._n_updates += 1
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", float(np.mean(losses)))

    def loss(self, batch: EpisodeBatch) -> Tensor:
        """`value_errors`, averaged over the actions and the steps of all episodes.

        Of an agent that knows distributions, `quantile_errors` are added.
        """
        values, quantiles = judge_all(self.q_net, batch, self._simulator.precision)
        if self.full_backup:
            stop = torch.zeros_like(batch.gains[..., :1])
            gains = batch.gains.clamp(min=-MAX_LOSS)
            targets = torch.cat([gains + self.gamma * batch.next_values, stop], dim=2)
            # What is never chosen need not be learnt.
            targets = torch.where(self.allowed(batch), targets, values.detach())
            errors = value_errors(values, targets).mean(dim=2)
            if self.ranking:
                errors = errors + self.ranking * ranking_errors(values, targets)
            if quantiles is not None:
                known = quantile_errors(quantiles, gains.clamp(max=MAX_GAIN))
                known = torch.where(self.allowed(batch)[..., :-1], known, 0.0)
                errors = errors + DISTRIBUTION * known.mean(dim=2)
        else:
            targets = self.targets(batch, values.detach())
            taken = values.gather(2, batch.actions.unsqueeze(2)).squeeze(2)
            errors = value_errors(taken, targets)
        return errors[batch.mask].mean()

    def targets(self, batch: EpisodeBatch, values: Tensor) -> Tensor:
        """``r + gamma * value of the next step``, and ``r`` alone at the last step; (E, T).

        ``values`` are the online network's, (E, T, n_actions).
        """
        with torch.no_grad():
            following = unroll(self.q_net_target, batch, self._simulator.precision)
        choosing = values if self.double_q else following
        best = permitted(choosing, self.allowed(batch)).argmax(dim=2, keepdim=True)
        value = following.gather(2, best).squeeze(2)
        next_value = torch.zeros_like(value)
        next_value[:, :-1] = value[:, 1:] * batch.mask[:, 1:]
        return batch.rewards + self.gamma * next_value

    def allowed(self, batch: EpisodeBatch) -> Tensor:
        """Which actions made sense at each step, (E, T, n_actions) bool.

        A tool that enlarges does so once an episode, and never in a task that keeps the size.
        """
        enlarges = self._enlarges.to(batch.actions.device)
        if self._simulator.scale == 1:
            return (~enlarges).expand(*batch.actions.shape, -1)
        before = enlarges[batch.last_action].long().cumsum(dim=1) > 0
        return ~(before.unsqueeze(2) & enlarges)

    # What comes of it --------------------------------------------------------------------------

    def lstm_policy(self) -> LstmPolicy:
        """A frozen copy of the greedy policy, with averaged weights."""
        toolbox, start = self._simulator.toolbox, self._start
        kept: dict[str, Any] = {}
        if start is not None and start.q_net.spread is not None:  # whose risks need no guard
            kept = {
                "recognition": start.recognition,
                "max_risk": start.max_risk,
                "unfamiliar_risk": start.unfamiliar_risk,
                "caution": start.caution,
                "later_caution": start.later_caution,
            }
        return LstmPolicy(
            copy.deepcopy(self.policy.q_net_averaged).cpu(),
            toolbox.names,
            tool_checksums=toolbox.checksums,
            task=task_at(self._simulator.scale),
            reward=self._simulator.reward,
            **kept,
        )


def unroll(q_net: RecurrentQNet, batch: EpisodeBatch, precision: Precision = "fp32") -> Tensor:
    """Values of every step of every episode, from an empty memory: (E, T, n_actions).

    The encoder computes in ``precision``, all else in float32.
    """
    return judge_all(q_net, batch, precision)[0]


def judge_all(
    q_net: RecurrentQNet, batch: EpisodeBatch, precision: Precision = "fp32"
) -> tuple[Tensor, Tensor | None]:
    """`unroll`, and quantiles of gains, (E, T, n_tools, len(LEVELS)), if the network knows them."""
    episodes, steps = batch.actions.shape
    # The convolutions see only the steps that count; padding costs nothing.
    seen = q_net.see(batch.images[batch.mask], precision)
    embedding = seen.new_zeros(episodes, steps, seen.shape[1])
    embedding[batch.mask] = seen
    state = LstmState.zeros(episodes, batch.images.device)
    values, quantiles = [], []
    for step in range(steps):
        value, spread, state = q_net.judge(embedding[:, step], batch.last_action[:, step], state)
        values.append(value)
        if spread is not None:
            quantiles.append(spread)
    return torch.stack(values, dim=1), torch.stack(quantiles, dim=1) if quantiles else None


def augment(batch: EpisodeBatch, rng: np.random.Generator) -> EpisodeBatch:
    """Flip and transpose all images of a batch alike: no outcome depends on the orientation."""
    across, down, turned = rng.integers(2, size=3).tolist()
    axes = [-1] * across + [-2] * down
    images = batch.images.flip(axes) if axes else batch.images
    return batch._replace(images=images.transpose(-1, -2) if turned else images)
