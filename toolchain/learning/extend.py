"""Extend a toolbox by a fitted tool, and teach its agent when to use it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from restoration_toolchain.agents.learning.drqn import DrqnConfig, train_drqn
from restoration_toolchain.agents.learning.run import OnStep
from restoration_toolchain.agents.players.play import play
from restoration_toolchain.agents.players.reference import search_sequences
from restoration_toolchain.agents.policy.extension import extend_policy
from restoration_toolchain.agents.policy.storage import AGENT_FOLDER, load_bundle, load_policy
from restoration_toolchain.data.atomic import folder_written_atomically
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.toolchain.learning.joint import save_bundle
from restoration_toolchain.tools_zoo import storage
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX
from restoration_toolchain.tools_zoo.origin import joined
from restoration_toolchain.tools_zoo.own_tools import OwnTool, save_own_tool
from restoration_toolchain.tools_zoo.toolbox import DuplicateToolError, Toolbox

STANDARD: Final = "standard damage"
OWN: Final = "noise of your photos"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendConfig:
    """How an agent learns when to use a new tool."""

    store: str = "embedded"
    """Clean patches: the path of a patch store, or ``embedded``."""
    toolbox: str = DEFAULT_TOOLBOX
    """Bundle to extend: one that ships, or a toolbox folder with its agent in it."""
    total_timesteps: int = 6_000
    """Tools run in training."""
    learning_rate: float = 1e-3
    eval_pairs: int = 192
    seed: int = 0
    device: str = "auto"

    def own_noise(self, own_tool: Path) -> DrqnConfig:
        """Where patches have the noise that the tool was fitted to, and nothing else."""
        return DrqnConfig(
            store=self.store,
            levels=(),
            own_tools=(str(own_tool),),
            eval_pairs=self.eval_pairs,
            seed=self.seed + 1,
        )

    def standard(self, agent: DrqnConfig) -> DrqnConfig:
        """Where patches have the standard damages: other pairs than the agent was chosen on."""
        return dataclasses.replace(agent, own_tools=(), seed=self.seed + 1)

    def agent(self, bundle: Path, own_tool: Path) -> DrqnConfig:
        """Settings of the agent's training; values go on to mean what they meant."""
        policy = load_policy(bundle / AGENT_FOLDER)
        chains = policy.default_chains
        return DrqnConfig(
            gamma=1.0 if chains else 0.0,
            rollout_chains=chains,
            default_chain=bool(chains),
            store=self.store,
            toolbox=str(bundle),
            init=str(bundle / AGENT_FOLDER),
            own_tools=(str(own_tool),),
            encoder=policy.q_net.encoder_name,
            train_encoder=False,
            total_timesteps=self.total_timesteps,
            exploration_initial_eps=0.3,
            learning_starts=min(512, self.total_timesteps // 8),
            learning_rate=self.learning_rate,
            eval_every=max(self.total_timesteps // 4, 1),
            eval_pairs=self.eval_pairs,
            seed=self.seed,
            device=self.device,
        )


@dataclass(frozen=True, slots=True)
class Usefulness:
    """What an agent does with held-out patches of one kind.

    Attributes:
        kind: `STANDARD` or `OWN`.
        before: Mean PSNR gain in dB of the agent that was extended.
        after: Mean PSNR gain in dB of the extended one.
        share: Share of patches on which the new tool runs.
    """

    kind: str
    before: float
    after: float
    share: float


def extend_toolbox(
    own: OwnTool,
    config: ExtendConfig,
    folder: Path,
    run_path: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_step: OnStep = lambda step, total, metrics: None,
) -> tuple[Usefulness, ...]:
    """Append a fitted tool to a toolbox and fine-tune the agent until it uses it.

    The agent begins with all its old values, learns on clean patches with the standard damages and
    with the noise that the tool was fitted to, and keeps its eyes: only what follows the encoder is
    trained.

    Args:
        own: Tool to append.
        config: Settings.
        folder: The new bundle, made completely or not at all.
        run_path: Run folder; Ctrl-C leaves a checkpoint there that ``resume`` goes on from.
        resume: Go on with the run.
        overwrite: Replace ``folder``.
        on_step: Progress.

    Returns:
        What it brings, on patches that were not trained on where the store holds some out.

    Raises:
        DuplicateToolError: The toolbox has a tool of that name.
        ToolchainError: ``folder`` exists or holds something else than a toolbox; the bundle, the
            store or the run folder is unusable.
    """
    storage.check_replaceable(folder, overwrite=overwrite)
    tools, policy = load_bundle(config.toolbox)
    if own.name in tools.names:
        raise DuplicateToolError(f"the toolbox {config.toolbox} has a tool {own.name!r} already")
    start, kept = run_path / "start", run_path / "own"
    bigger = Toolbox(tools.name, [*tools, own.tool])
    home = storage.toolbox_folder(config.toolbox)
    notes: dict[str, Any] = dict(storage.read_notes(home))
    origin = joined([storage.read_origin(home), storage.UNKNOWN_ORIGIN])  # of the user's photos
    notes[own.name] = {**own.notes, "noise": own.noise.to_dict(), "gain": own.gain}
    if not resume:
        save_own_tool(own.tool, own.noise, own.gain, kept, notes=own.notes, overwrite=True)
        like = _best_tool(tools, config.own_noise(kept).make_eval_pairs())
        save_bundle(bigger, extend_policy(policy, own.name, like=like), start, notes, origin=origin)
    agent = config.agent(start, kept)
    train_drqn(agent, run_path / "agent", resume=resume, on_step=on_step)
    learnt, saved = load_policy(run_path / "agent" / "best"), storage.load_toolbox(start)
    brings = []
    for kind, drawn in ((STANDARD, config.standard(agent)), (OWN, config.own_noise(kept))):
        pairs = drawn.make_eval_pairs()
        before, after = play(policy, tools, pairs), play(learnt, saved, pairs)
        share = float((after.actions == len(tools)).any(axis=1).mean())  # of the last tool
        brings.append(Usefulness(kind, before.bounded_gain, after.bounded_gain, share))
    with folder_written_atomically(folder) as part:
        save_bundle(bigger, learnt, part, notes, origin=origin)
    return tuple(brings)


def _best_tool(toolbox: Toolbox, pairs: ArrayPairs) -> str:
    """The tool that alone raises the mean PSNR of the pairs most."""
    alone = search_sequences(toolbox, pairs, max_steps=1).psnr[1:]  # the first is to do nothing
    return toolbox.names[int(alone.mean(axis=1).argmax())]
