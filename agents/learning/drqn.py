"""Train the LSTM policy by recurrent Q-learning."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from restoration_toolchain.agents.learning.pretraining import pretrain_encoder
from restoration_toolchain.agents.learning.recurrent_dqn import RecurrentDqn
from restoration_toolchain.agents.learning.run import (
    MAX_GRAD_NORM,
    AgentTrainConfig,
    Learner,
    OnStep,
    check_view,
    train_agent,
)
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.pristine import Pristine
from restoration_toolchain.agents.policy.q_net import (
    DEFAULT_ENCODER,
    EncoderName,
    OptimizerName,
    find_encoder,
)
from restoration_toolchain.agents.policy.storage import check_same_actions, load_policy
from restoration_toolchain.agents.tuning.pristine import (
    PRISTINE_LEVELS,
    PRISTINE_PATCHES,
    learn_pristine,
)
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.patches.pairs import SMALL_SIDE, open_pairs
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.config import check_not_negative

TARGET_UPDATE_INTERVAL: Final = 2_000
"""Environment steps between copies of the network to its target."""

EXPLORATION_FRACTION: Final = 0.6
"""Share of a run in which the share of random actions falls, to `FINAL_EPSILON`."""

FINAL_EPSILON: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class DrqnConfig(AgentTrainConfig):
    """How recurrent Q-learning is run."""

    gamma: float = 0.0
    """0 values the next step alone, which is nearly as good as a plan; 0.99 in the paper."""
    full_backup: bool = True
    """Learn from what every tool would have done; off: from the tool taken, as in the paper."""
    rollout_chains: tuple[Sequence[str], ...] = ()
    """Chains, each of names of tools that run one behind the other. ``full_backup`` needs them with
    a ``gamma`` above 0: what follows a tool is measured then, by running the rest of its chain (of
    the first, if it is in none). A tool that enlarges comes last."""
    ranking: float = 0.0
    """With ``full_backup``, weight of a loss on which tool is best, beside that on values: tells
    tools apart that gain nearly the same (`agents.learning.errors.ranking_errors`)."""
    double_q: bool = True
    encoder: EncoderName = DEFAULT_ENCODER
    """How the agent looks at images; ``rl_restore`` is the paper's."""
    init: str | None = None
    """Agent to start from: one that ships, or a folder."""
    init_encoder: str | None = None
    """Agent, of any toolbox, whose encoder to start from: what damage looks like is the same."""
    train_encoder: bool = True
    """Off: how images are looked at stays as in ``init``, and only what follows is trained."""
    pretrain_patches: int = 0
    """Degraded patches on which the encoder first learns to tell what was done to them
    (`agents.learning.pretraining`); a run that starts from another agent needs none."""
    pristine_patches: int = 0
    """Patches, half of them clean, from which the agent learns at the end whether there is any
    damage (`policy.pristine`); leave *clean* out of ``levels`` then. A run that starts from an
    agent that has learnt it learns it again, from `PRISTINE_PATCHES` if none are given, unless its
    encoder stays as it is."""
    optimizer: OptimizerName = "muon"
    buffer_size: int = 40_000
    """Episodes kept; each takes 36 kB."""
    batch_size: int = 32
    """Episodes per optimiser step."""
    learning_starts: int = 512
    """Environment steps before the first optimiser step."""
    gradient_steps: int = 30
    """Optimiser steps per step of all environments."""
    exploration_initial_eps: float = 0.5
    """Share of random actions at the start."""
    ema_decay: float = 0.998
    """Decay of the averaged weights, which are validated and kept."""

    @property
    def known_chains(self) -> tuple[tuple[str, ...], ...]:
        """The chains of the rollouts."""
        return tuple(tuple(chain) for chain in self.rollout_chains)

    @property
    def small_side(self) -> int:
        """The encoder of the paper looks at 63 pixels, the others at any number."""
        return find_encoder(self.encoder).only_side or SMALL_SIDE

    def __post_init__(self) -> None:
        """Check the ranges."""
        AgentTrainConfig.__post_init__(self)
        if self.init is not None and self.init_encoder is not None:
            raise ToolchainError("init brings an encoder; leave init_encoder out")
        check_not_negative(self, "pretrain_patches", "pristine_patches")
        for name in ("pretrain_patches", "pristine_patches"):
            if getattr(self, name) and (self.task != "restore" or not self.levels):
                raise ToolchainError(f"{name} needs the task 'restore', and levels")
        if self.rollout_chains and not (self.full_backup and self.gamma > 0.0):
            raise ToolchainError("rollout_chains needs full_backup and a gamma above 0")
        if self.full_backup and self.gamma > 0.0 and not self.rollout_chains:
            raise ToolchainError("a gamma above 0 needs rollout_chains, or full_backup off")
        if self.ranking < 0.0 or (self.ranking and not self.full_backup):
            raise ToolchainError("ranking must not be negative, and needs full_backup")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 episodes, got {self.batch_size}")
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")


class DrqnLearner(Learner):
    """Recurrent Q-learning as an `agents.learning.run.Learner`."""

    algorithm: RecurrentDqn

    def __init__(self, config: DrqnConfig) -> None:
        env = config.make_env()
        check_view(env, config.encoder)
        self._config, self._toolbox, self._precision = config, env.toolbox, env.precision
        start = None if config.init is None else load_policy(config.init)
        if start is not None:
            check_same_actions(start, self._toolbox)
            _check_encoder(start.q_net.encoder_name, config.encoder)
        self._pristine: Pristine | None = None if start is None else start.pristine
        self.algorithm = RecurrentDqn(
            env,
            full_backup=config.full_backup,
            rollout_chains=_rollout_chains(config, env.toolbox),
            ranking=config.ranking,
            double_q=config.double_q,
            encoder=config.encoder,
            train_encoder=config.train_encoder,
            optimizer=config.optimizer,
            learning_rate=config.learning_rate_at,
            buffer_size=config.buffer_size,
            learning_starts=config.learning_starts,
            batch_size=config.batch_size,
            gamma=config.gamma,
            train_freq=1,
            gradient_steps=config.gradient_steps,
            target_update_interval=TARGET_UPDATE_INTERVAL,
            exploration_fraction=EXPLORATION_FRACTION,
            exploration_initial_eps=config.exploration_initial_eps,
            exploration_final_eps=FINAL_EPSILON,
            max_grad_norm=MAX_GRAD_NORM,
            start=start,
            ema_decay=config.ema_decay,
            seed=config.seed,
            device=config.device,
        )
        if config.init_encoder is not None:
            seen_with = load_policy(config.init_encoder).q_net
            _check_encoder(seen_with.encoder_name, config.encoder)
            self.algorithm.q_net.encoder.load_state_dict(seen_with.encoder.state_dict())
            self.algorithm.follow()

    def pretrain(self, on_step: OnStep) -> None:
        """Teach the encoder what damage looks like, if the configuration asks for it."""
        config = self._config
        if not config.pretrain_patches:
            return
        with PatchStore(Path(config.store)) as store:
            pretrain_encoder(
                self.algorithm.q_net.encoder,
                store,
                config.levels,
                config.pretrain_patches,
                seed=config.seed,
                precision=self._precision,
                on_step=on_step,
            )
        self.algorithm.follow()

    def player(self) -> LstmPolicy:
        """The greedy policy as it stands."""
        return self.algorithm.lstm_policy()

    def finished(self, policy: LstmPolicy) -> LstmPolicy:
        """The best policy, which knows clean images if that was asked for."""
        config = self._config
        if self._pristine is not None and not config.train_encoder:
            return policy.changed(pristine=self._pristine)
        if self._pristine is None and not config.pristine_patches:
            return policy
        clean = ["clean"] * len(PRISTINE_LEVELS)
        pristine = learn_pristine(
            policy.q_net,
            open_pairs(config.store, levels=[*PRISTINE_LEVELS, *clean]),
            config.pristine_patches or PRISTINE_PATCHES,
            seed=config.seed,
            precision=self._precision,
        )
        return policy.changed(pristine=pristine)


def _check_encoder(name: EncoderName, wanted: EncoderName) -> None:
    if name != wanted:
        raise ToolchainError(f"the agent to start from has another encoder: {name}, not {wanted}")


def _rollout_chains(config: DrqnConfig, toolbox: Toolbox) -> list[list[int]]:
    for chain in config.rollout_chains:
        for name in chain:
            if name not in toolbox.names:
                raise UnknownNameError("tool", name, toolbox.names)
        if any(toolbox[name].spec.scale > 1 for name in chain[:-1]):
            raise ToolchainError(f"a tool that enlarges comes last in a chain: {', '.join(chain)}")
    return [[toolbox.names.index(name) for name in chain] for chain in config.rollout_chains]


def train_drqn(config: DrqnConfig, run_path: Path, **options: Any) -> LstmPolicy:
    """Train an agent by recurrent Q-learning; see `agents.learning.run.train_agent`."""
    return train_agent(DrqnLearner, config, run_path, **options)
