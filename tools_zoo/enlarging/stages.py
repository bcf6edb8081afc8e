"""One stage of a training of tools that make images larger: the loop, and what it leaves behind."""

from collections.abc import Callable
from pathlib import Path

from lightning_fabric import Fabric
from torch import nn

from restoration_toolchain.tools_zoo.critics.features import FeatureCritic
from restoration_toolchain.tools_zoo.critics.prompts import PromptPair
from restoration_toolchain.tools_zoo.enlarging.config import SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.objective import SrObjective
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import IQA_FOLDER, SfdIqa, save_iqa
from restoration_toolchain.tools_zoo.training.loop import OnStep, train_module
from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT


def has_checkpoint(run_path: Path) -> bool:
    """Whether a run, or a part of one, can be resumed."""
    return (run_path / CHECKPOINT).is_file()


def run_stage(
    module: nn.Module,
    objective: SrObjective,
    config: SrTrainConfig,
    run_path: Path,
    fabric: Fabric,
    *,
    resume: bool,
    learning_rate_factor: Callable[[str], float] = lambda name: 1.0,
    on_step: OnStep = lambda step, total, metrics: None,
) -> nn.Module:
    """Train a module towards an objective, and keep the critics if they make a score.

    As `tools_zoo.training.loop.train_module`. A run that was interrupted before this stage has no
    checkpoint of it, and begins it.
    """
    objective.to(fabric.device)
    averaged = train_module(
        module,
        objective,
        config,
        run_path,
        fabric,
        num_steps=config.num_batches,
        resume=resume and has_checkpoint(run_path),
        adversary=objective if len(objective.critics) else None,
        learning_rate_factor=learning_rate_factor,
        on_step=on_step,
    )
    _save_score(objective, run_path)
    return averaged


def _save_score(objective: SrObjective, run_path: Path) -> None:
    """Keep the critics of features as a score without a reference, if there are both."""
    critics = dict(objective.critics.items())
    features, prompts = critics.get("feature_discrimination"), critics.get("text_guided")
    if isinstance(features, FeatureCritic) and isinstance(prompts, PromptPair):
        assert objective.encoder is not None
        save_iqa(SfdIqa(objective.encoder, features, prompts), run_path / IQA_FOLDER)
