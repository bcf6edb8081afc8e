"""How agents are trained: the run around Stable-Baselines3's algorithms, common to all of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from restoration_toolchain.agents.players.play import play_as_trained
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import EncoderName, find_encoder
from restoration_toolchain.agents.policy.storage import load_policy, save_policy
from restoration_toolchain.agents.tuning.default_chains import tune_default_chains
from restoration_toolchain.agents.tuning.stop_margin import tune_stop_margin
from restoration_toolchain.data.damage.levels import TRAINING_LEVELS
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.patches.pairs import (
    SMALL_SIDE,
    ArrayPairs,
    PairSource,
    open_pairs,
)
from restoration_toolchain.envs.chain import MAX_STEPS
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.envs.reward import Reward, make_reward
from restoration_toolchain.envs.task import Task, check_task, default_task_toolbox, task_scale
from restoration_toolchain.tools_zoo.device import choose_device, choose_precision
from restoration_toolchain.tools_zoo.own_tools import load_own_tool
from restoration_toolchain.tools_zoo.storage import load_toolbox
from restoration_toolchain.tools_zoo.training.run_folder import RunFolder

OnStep = Callable[[int, int, dict[str, float]], None]
"""Called with (environment steps so far, total, newest metrics)."""

MAX_GRAD_NORM: Final = 5.0
"""Norm that the gradient of an agent is bounded to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTrainConfig:
    """What every agent's training has in common."""

    store: str
    """Path of the patch store, or ``embedded``."""
    toolbox: str = ""
    """A shipped one's name, or a folder; left out, it is the task's default toolbox."""
    task: Task = "restore"
    """``real-sr`` starts from images made smaller, and lets a tool of the toolbox enlarge them."""
    reward: str = "psnr"
    """What an agent is after: ``psnr``, ``perceptual`` or ``mixed``."""
    reward_weights: tuple[float, ...] = ()
    """Weights of PSNR, of the perceptual gain and, if there is a third, of SFD-IQA, in place of
    those of ``reward``."""
    iqa: str = ""
    """SFD-IQA of the third weight: its folder, or a toolbox that has one; empty for the toolbox's
    own."""
    iqa_encoder: str = ""
    """CLIP model that this score was trained with: its folder, or its name in the local cache;
    empty for the offline default, which the perceptual gain is always seen by."""
    levels: tuple[str, ...] = (*TRAINING_LEVELS, "camera", "clean")
    """Where episodes start: clean patches are degraded anew at one of these levels; none takes the
    pairs of the store as they were prepared. Without *clean*, an agent never learns to leave a
    photo alone; without *camera* it leaves the noise of real photos alone, and without *light*
    and *double* their blur. ``real-sr`` knows *slight* and *real* too, and needs one at least."""
    own_tools: tuple[str, ...] = ()
    """Folders of fitted tools: the noise that each was fitted to is drawn as often as a level."""
    total_timesteps: int = 100_000
    """Environment steps, summed over all environments."""
    n_envs: int = 64
    learning_rate: float = 1e-3
    """At the start; falls linearly to a twentieth."""
    gamma: float = 0.99
    eval_every: int = 5_000
    """Environment steps between validations."""
    eval_pairs: int = 256
    eval_levels: tuple[str, ...] = ()
    """Levels of the validation pairs, if not ``levels``. They also set the caution: where clean
    images are among them, the stop margin rises until those are left alone, at the cost of all
    others."""
    default_chain: bool = False
    """Let the agent fall back on its `known_chains`, or on the best fixed chain, where it is not
    sure of something better (`agents.tuning.default_chains`)."""
    max_worse: float = 0.02
    """Share of validation images that may end worse; sets how sure the agent must be to act."""
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    """Number format of the tools: the faster one, ``fp32`` or ``bf16``."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"gamma must lie in [0, 1], got {self.gamma}")
        if min(self.total_timesteps, self.n_envs, self.eval_every, self.eval_pairs) < 1:
            raise ValueError("total_timesteps, n_envs, eval_every and eval_pairs must be positive")
        check_task(self.task)
        if not self.toolbox:
            object.__setattr__(self, "toolbox", default_task_toolbox(self.task))
        plain = self.task == "restore" and self.reward == "psnr"
        if self.default_chain and not (plain or self.known_chains):
            raise ToolchainError(
                "default_chain needs rollout_chains, unless images keep their size and PSNR counts"
            )
        make_reward(self.reward, self.reward_weights, self.iqa, self.iqa_encoder)
        if self.task == "real-sr" and not self.levels:
            raise ToolchainError("the task real-sr makes its pairs anew; give levels")

    @property
    def made_reward(self) -> Reward:
        """The reward that an agent is after."""
        return make_reward(self.reward, self.reward_weights, self.iqa, self.iqa_encoder)

    @property
    def known_chains(self) -> tuple[tuple[str, ...], ...]:
        """Names of tools that were trained one behind the other, as far as the user says so."""
        return ()

    @property
    def small_side(self) -> int:
        """Side of images that are to be enlarged, from ``embedded``, in pixels."""
        return SMALL_SIDE

    def learning_rate_at(self, remaining: float) -> float:
        """Learning rate when this share of the run (1 at its start) is left."""
        return self.learning_rate * max(remaining, 0.05)

    def open_pairs(self, *, held_out: bool = False) -> PairSource:
        """Where episodes start; if held out, those of the validation."""
        levels = (self.eval_levels if held_out else ()) or self.levels
        if self.task == "real-sr":
            return open_pairs(
                self.store,
                scale=task_scale(self.task, load_toolbox(self.toolbox)),
                levels=levels,
                held_out=held_out,
                small_side=self.small_side,
            )
        noises = [load_own_tool(folder).noise for folder in self.own_tools]
        return open_pairs(self.store, held_out=held_out, levels=levels, noises=noises)

    def make_env(self) -> RestorationVecEnv:
        """The training environment."""
        device, toolbox = choose_device(self.device), load_toolbox(self.toolbox)
        return RestorationVecEnv(
            toolbox,
            self.open_pairs(),
            self.n_envs,
            scale=task_scale(self.task, toolbox),
            reward=self.made_reward,
            max_steps=MAX_STEPS,
            stop_when_worse=True,  # as in RL-Restore
            seed=self.seed,
            device=device,
            precision=choose_precision(self.precision, device),
        )

    def make_eval_pairs(self) -> ArrayPairs:
        """Fixed pairs from photos that are not trained on."""
        pairs = self.open_pairs(held_out=True)
        rng = np.random.default_rng(self.seed)
        if len(pairs) == 0:
            pairs = self.open_pairs()
        chosen = rng.choice(len(pairs), min(self.eval_pairs, len(pairs)), replace=False)
        return ArrayPairs(*pairs.pairs(chosen, rng))


class Learner(ABC):
    """An SB3 algorithm and what the run needs of it."""

    algorithm: Any

    @abstractmethod
    def player(self) -> LstmPolicy:
        """The policy as it stands."""

    def pretrain(self, on_step: OnStep) -> None:  # noqa: B027 - most learn nothing before
        """Learn what can be learnt before the first episode."""

    def finished(self, policy: LstmPolicy) -> LstmPolicy:
        """The best policy, with what it learns last."""
        return policy

    def state(self) -> dict[str, Any]:
        """Networks and optimiser: tensors and numbers that `load_state` goes on from."""
        policy = self.algorithm.policy
        return {"policy": policy.state_dict(), "optimizer": policy.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self.algorithm.policy.load_state_dict(state["policy"])
        self.algorithm.policy.optimizer.load_state_dict(state["optimizer"])


class TrainingRun(BaseCallback):
    """Validates, logs, keeps the best policy and checkpoints while an algorithm learns."""

    def __init__(
        self, learner: Learner, config: AgentTrainConfig, run: RunFolder, on_step: OnStep
    ) -> None:
        super().__init__()
        self._learner, self._config, self._run, self._progress = learner, config, run, on_step
        self._toolbox = load_toolbox(config.toolbox)
        self._pairs = config.make_eval_pairs()
        device = choose_device(config.device)
        precision = choose_precision(config.precision, device)
        self._how: dict[str, Any] = {"device": device, "precision": precision}
        self._next_eval = config.eval_every
        self._metrics: dict[str, float] = {}
        self._validated_at = -1
        self.best_gain = -np.inf

    def learn(self, *, resume: bool) -> None:
        """Run the algorithm to the end, or go on from the checkpoint.

        KeyboardInterrupt leaves a checkpoint. A replay buffer is not checkpointed: a resumed run
        fills it anew.
        """
        algorithm = self._learner.algorithm
        if resume:
            state = self._run.load()
            self._learner.load_state(state["learner"])
            algorithm.num_timesteps = state["num_timesteps"]
            self.best_gain = state["best_gain"]
            self._next_eval = algorithm.num_timesteps + self._config.eval_every
        algorithm.set_logger(configure(str(self._run.path / "tensorboard"), ["tensorboard"]))
        left = self._config.total_timesteps - algorithm.num_timesteps
        try:
            if left > 0:
                algorithm.learn(left, callback=self, reset_num_timesteps=not resume)
            if self._validated_at != algorithm.num_timesteps:
                self.validate()
            self._settle()
        except KeyboardInterrupt:
            self._save()
            raise

    def validate(self) -> None:
        """Play the held-out pairs, log, checkpoint, and keep the policy if it is the best yet."""
        self._validated_at = self._learner.algorithm.num_timesteps
        player = self._learner.player()
        self._metrics = self._measure(player)
        self._run.log(self._validated_at, **self._metrics)
        if self._metrics["gain"] > self.best_gain:
            self.best_gain = self._metrics["gain"]
            save_policy(player, self._run.path / "best", {"validation": self._metrics})
        self._save()

    def _settle(self) -> None:
        """Give the best policy its stop margin and record what it reaches with it."""
        best = self._run.path / "best"
        policy = self._learner.finished(load_policy(best))
        config, where = self._config, (self._toolbox, self._pairs)
        if config.default_chain:
            chains = config.known_chains
            policy = tune_default_chains(policy, *where, chains=chains, **self._how)
        policy = tune_stop_margin(policy, *where, max_worse=config.max_worse, **self._how)
        save_policy(policy, best, {"validation": self._measure(policy)})

    def _measure(self, policy: LstmPolicy) -> dict[str, float]:
        """What a policy gains on the validation pairs, and how many it harms."""
        results = play_as_trained(policy, self._toolbox, self._pairs, **self._how)
        return {"gain": results.bounded_gain, "share_worse": results.share_worse}

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next_eval:
            self._next_eval += self._config.eval_every
            self.validate()
        self._progress(self.num_timesteps, self._config.total_timesteps, self._metrics)
        return True

    def _save(self) -> None:
        state = {"learner": self._learner.state(), "best_gain": float(self.best_gain)}
        self._run.save({**state, "num_timesteps": self._learner.algorithm.num_timesteps})


def check_view(env: RestorationVecEnv, encoder: EncoderName) -> None:
    """Refuse images that are not of the one size that an encoder knows, if there is one."""
    side = int(env.observation_space["image"].shape[1])  # type: ignore[index]
    needed = find_encoder(encoder).only_side
    if needed not in {None, side}:
        raise ToolchainError(
            f"the encoder {encoder} looks at images of {needed} pixels a side, got {side}; "
            f"it needs a store of patches of {needed * env.scale} pixels"
        )


def train_agent(
    make_learner: Callable[[Any], Learner],
    config: AgentTrainConfig,
    run_path: Path,
    *,
    resume: bool = False,
    on_step: OnStep = lambda step, total, metrics: None,
) -> LstmPolicy:
    """Train an agent; returns the policy of the best validation, left in ``run_path/best``.

    Args:
        make_learner: Class of the algorithm, made from the settings.
        config: Settings of the training.
        run_path: Run folder.
        resume: Go on from the checkpoint in the folder; a replay buffer is filled anew.
        on_step: Called with (environment steps, total, newest metrics).

    Raises:
        ToolchainError: The store, the toolbox or the run folder is unusable.
    """
    run = RunFolder(run_path, config, resume=resume)
    try:
        learner = make_learner(config)
        if not resume:
            learner.pretrain(on_step)
        TrainingRun(learner, config, run, on_step).learn(resume=resume)
    finally:
        run.close()
    return load_policy(run_path / "best")
