"""Joint fine-tuning: tools learn in the agent's chains, then the agent learns the new tools."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from restoration_toolchain.agents.learning.drqn import DrqnConfig, train_drqn
from restoration_toolchain.agents.players.play import play
from restoration_toolchain.agents.policy import storage as policies
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.data.damage.levels import SEVERITY, TRAINING_LEVELS, sampler
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.patches.pairs import ArrayPairs, degrade_windows
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.envs.chain import MAX_STEPS
from restoration_toolchain.toolchain.learning.tool_phase import ToolPhaseConfig, tune_tools
from restoration_toolchain.tools_zoo import storage
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX
from restoration_toolchain.tools_zoo.device import choose_device, choose_precision
from restoration_toolchain.tools_zoo.origin import Origin, joined, origin_of_store
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.averaging import average_toolboxes
from restoration_toolchain.tools_zoo.training.config import NOT_NOTED
from restoration_toolchain.tools_zoo.training.loop import OnStep
from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT, RunFolder

Gains = dict[str, float]
"""Mean PSNR gain in dB by level."""

OnPhaseStep = Callable[[str, int, int, dict[str, float]], None]
"""Called with (phase, step, total, newest metrics)."""

_OF_THE_RUN: Final = ("store", "toolbox", "init", "seed", "device", "devices", "precision")
"""Settings of a phase that the run gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPhaseConfig(DrqnConfig):
    """How an agent phase is run, best with the options that the agent was trained with before."""

    store: str = ""
    levels: tuple[str, ...] = TRAINING_LEVELS
    total_timesteps: int = 12_000
    learning_rate: float = 5e-4
    eval_every: int = 0
    """Environment steps between validations; 0 makes four in a phase."""

    def __post_init__(self) -> None:
        """Set what follows from other options, and check the ranges."""
        if not self.eval_every:
            object.__setattr__(self, "eval_every", max(self.total_timesteps // 4, 1))
        DrqnConfig.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class JointConfig:
    """How agent and tools are improved together."""

    store: str
    """Path of the patch store."""
    toolbox: str = DEFAULT_TOOLBOX
    """Bundle to start from: one that ships, or a toolbox folder with its agent in it."""
    rounds: int = 3
    """Tool phase and agent phase, at most this many times."""
    tools: ToolPhaseConfig = field(default_factory=ToolPhaseConfig)
    """Settings of the tool phases."""
    agent: AgentPhaseConfig = field(default_factory=AgentPhaseConfig)
    """Settings of the agent phases."""
    tools_only: bool = False
    """Leave out the agent phases: the agent stays as it is."""
    eval_pairs: int = 192
    """Validation pairs of each level."""
    tolerance: float = 0.02
    """dB that one level may fall in a phase that is accepted for the mean of all."""
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    """Number format of the tools: the faster one, ``fp32`` or ``bf16``."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if min(self.rounds, self.eval_pairs) < 1:
            raise ValueError("rounds and eval_pairs must be positive")
        if self.agent.task != "restore":
            raise ToolchainError(f"agent.task must be 'restore' here, got {self.agent.task!r}")
        for name, phase in (("tools", self.tools), ("agent", self.agent)):
            plain = type(phase)()
            for key in _OF_THE_RUN:
                if getattr(phase, key, None) != getattr(plain, key, None):
                    raise ToolchainError(f"{name}.{key} is that of the whole run: set {key}")

    def tool_phase(self, number: int) -> ToolPhaseConfig:
        """Settings of the tool phase of a round; every round draws other batches."""
        device = choose_device(self.device)
        return dataclasses.replace(
            self.tools,
            store=self.store,
            seed=self.seed + number,
            device=str(device),
            precision=choose_precision(self.precision, device),
        )

    def agent_phase(self, number: int, bundle: Path) -> AgentPhaseConfig:
        """Settings of the agent phase of a round; the agent keeps its kind of encoder."""
        agent = bundle / policies.AGENT_FOLDER
        return dataclasses.replace(
            self.agent,
            store=self.store,
            toolbox=str(bundle),
            init=str(agent),
            encoder=policies.load_policy(agent).q_net.encoder_name,
            seed=self.seed + number,
            device=self.device,
            precision=self.precision,
        )


def train_joint(
    config: JointConfig,
    run_path: Path,
    *,
    resume: bool = False,
    on_step: OnPhaseStep = lambda phase, step, total, metrics: None,
) -> Path:
    """Alternate tool and agent phases while validation on all levels gets better.

    Each phase leaves a bundle in a folder of its own; it becomes the start of the next one only
    if the mean gain over the levels rises and none falls by more than ``config.tolerance``. The
    run ends after ``config.rounds``, or with the first round in which nothing was accepted.

    Args:
        config: Settings of the run.
        run_path: Run folder.
        resume: Go on: finished phases are kept, the interrupted one continues.
        on_step: Progress.

    Returns:
        The best bundle: a toolbox folder with its agent in it.

    Raises:
        ToolchainError: The bundle, the store or the run folder is unusable, or a loss stops being
            a number.
    """
    run = RunFolder(run_path, config, resume=resume)
    try:
        return _Alternation(config, run, resume=resume).run(on_step)
    finally:
        run.close()


class _Alternation:
    """State of a joint run: the best bundle so far and the number of finished phases."""

    def __init__(self, config: JointConfig, run: RunFolder, *, resume: bool) -> None:
        self._config, self._run = config, run
        self._eval_sets = {
            level: held_out_pairs(config.store, level, config.eval_pairs, config.seed)
            for level in SEVERITY
        }
        self.best = run.path / "best"
        if resume:
            state = run.load()
            self._finished, self._accepted = state["finished"], state["accepted"]
            self._gains: Gains = state["gains"]
            return
        toolbox, policy = policies.load_bundle(config.toolbox)
        if max(toolbox.scales) > 1:
            raise ToolchainError(
                f"joint training keeps the size of images, and {toolbox.name} has tools that do not"
            )
        self._finished, self._accepted = 0, []
        self._gains = self._validate(toolbox, policy)
        start = storage.toolbox_folder(config.toolbox)
        origin = storage.read_origin(start)
        save_bundle(toolbox, policy, self.best, storage.read_notes(start), origin=origin)
        self._save()

    def run(self, on_step: OnPhaseStep) -> Path:
        phases = (self._tool_phase, self._agent_phase)
        while self._finished < 2 * self._config.rounds:
            if self._finished % 2 == 0 and self._finished and not any(self._accepted[-2:]):
                break
            number, phase = self._finished // 2 + 1, phases[self._finished % 2]
            toolbox, policy = phase(number, on_step)
            gains = self._validate(toolbox, policy)
            accepted = self._is_better(gains)
            metrics = {f"gain_{level}": gain for level, gain in gains.items()}
            self._run.log(self._finished + 1, accepted=float(accepted), **metrics)
            if accepted:
                self._gains = gains
                notes = storage.read_notes(self.best)
                if phase == self._tool_phase:
                    tuned = [name for name in notes if name not in self._config.tools.frozen]
                    notes |= {name: self._noted(number, notes[name]) for name in tuned}
                origin = storage.read_origin(self.best)
                if phase == self._tool_phase:
                    origin = self._tuned_origin()
                save_bundle(toolbox, policy, self.best, notes, origin=origin)
            self._accepted.append(accepted)
            self._finished += 1
            self._save()
        return self.best

    def _tool_phase(self, number: int, on_step: OnPhaseStep) -> tuple[Toolbox, LstmPolicy]:
        toolbox, policy = policies.load_bundle(self.best)
        path = self._run.path / f"round-{number}-tools"
        tuned = tune_tools(
            toolbox,
            policy,
            self._config.tool_phase(number),
            path,
            resume=(path / CHECKPOINT).is_file(),
            on_step=self._reporter(f"tools, round {number}", on_step),
        )
        save_bundle(tuned, policy, path / "bundle", origin=self._tuned_origin())
        return policies.load_bundle(path / "bundle")

    def _agent_phase(self, number: int, on_step: OnPhaseStep) -> tuple[Toolbox, LstmPolicy]:
        if self._config.tools_only:
            return policies.load_bundle(self.best)
        path = self._run.path / f"round-{number}-agent"
        train_drqn(
            self._config.agent_phase(number, self.best),
            path,
            resume=(path / CHECKPOINT).is_file(),
            on_step=self._reporter(f"agent, round {number}", on_step),
        )
        return storage.load_toolbox(self.best), policies.load_policy(path / "best")

    def _reporter(self, phase: str, on_step: OnPhaseStep) -> OnStep:
        """Tell of the steps of a phase with the mean gain that was reached before it."""
        reached = {"gain": float(np.mean(list(self._gains.values())))}
        return lambda step, total, metrics: on_step(phase, step, total, metrics | reached)

    def _tuned_origin(self) -> Origin:
        return joined([storage.read_origin(self.best), origin_of_store(self._config.store)])

    def _noted(self, number: int, notes: dict[str, Any]) -> dict[str, Any]:
        settings = dataclasses.asdict(self._config.tool_phase(number))
        facts = {key: settings[key] for key in settings if key not in NOT_NOTED}
        return {**notes, "joint": [*notes.get("joint", []), facts]}

    def _validate(self, toolbox: Toolbox, policy: LstmPolicy) -> Gains:
        return {
            level: play(policy, toolbox, pairs, max_steps=MAX_STEPS).gain
            for level, pairs in self._eval_sets.items()
        }

    def _is_better(self, gains: Gains) -> bool:
        changes = np.array([gains[level] - self._gains[level] for level in gains])
        return bool(changes.mean() > 0.0 and changes.min() >= -self._config.tolerance)

    def _save(self) -> None:
        finished, accepted = self._finished, self._accepted
        self._run.save({"finished": finished, "accepted": accepted, "gains": self._gains})


def save_bundle(
    toolbox: Toolbox,
    policy: LstmPolicy,
    folder: Path,
    notes: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    origin: Origin = storage.UNKNOWN_ORIGIN,
) -> None:
    """Save a toolbox with the agent that goes with it: the agent then vouches for these weights.

    Args:
        toolbox: The tools.
        policy: Agent with the same actions.
        folder: Toolbox folder; the agent goes into ``agent`` below it.
        notes: Per tool, facts to record with it, such as how it was trained.
        origin: Licence of the tools' weights, and data that they were learnt from.
    """
    storage.save_toolbox(toolbox, folder, notes, origin=origin)
    bound = policy.changed(tool_checksums=storage.load_toolbox(folder).checksums)
    policies.save_policy(bound, folder / policies.AGENT_FOLDER)


def average_bundles(folders: Sequence[str | Path], out: Path) -> None:
    """Save the mean of toolboxes that come from one training, with the agent of the first, if any.

    The agent is bound to the new weights as `save_bundle` does it; it has yet to learn them.

    Args:
        folders: Shipped toolboxes by name, or folders; see `average_toolboxes`.
        out: Toolbox folder to write.

    Raises:
        ToolchainError: A toolbox cannot be read, or they do not have the same tools.
    """
    toolboxes = [storage.load_toolbox(folder) for folder in folders]
    average = average_toolboxes(toolboxes)
    notes: dict[str, Mapping[str, Any]] = {}
    for folder in reversed(folders):  # the first that has some; those of a phase alone have none
        known = storage.read_notes(storage.toolbox_folder(folder))
        notes |= {name: facts for name, facts in known.items() if facts}
    for name in average.names:
        files = [toolbox.checksums[name] for toolbox in toolboxes]
        if len(set(files)) > 1:
            notes[name] = {**notes.get(name, {}), "mean_of": files}
    origin = joined(storage.read_origin(storage.toolbox_folder(folder)) for folder in folders)
    try:
        agent = policies.own_agent(folders[0])
    except policies.PolicyError:
        storage.save_toolbox(average, out, notes, origin=origin)
    else:
        save_bundle(average, policies.load_policy(agent), out, notes, origin=origin)


def held_out_pairs(store: str, level: str, count: int, seed: int) -> ArrayPairs:
    """Fixed pairs of one level from the photos that are not trained on.

    Raises:
        StoreError: The store cannot be read.
    """
    rng = np.random.default_rng((seed, 2))
    with PatchStore(Path(store)) as patches:
        indices = patches.val_indices if len(patches.val_indices) else patches.train_indices
        chosen = np.sort(rng.choice(indices, min(count, len(indices)), replace=False))
        windows = patches.read_windows(chosen)
    return ArrayPairs(*degrade_windows(windows, sampler(level), rng))
