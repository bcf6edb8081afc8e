"""One stage of a training of tools that make images larger: the loop, and what it leaves behind."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.critics.features import FeatureCritic
from restoration_toolchain.tools_zoo.critics.prompts import PromptPair
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, load_encoder
from restoration_toolchain.tools_zoo.enlarging.config import SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.objective import SrObjective
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import IQA_FOLDER, SfdIqa, save_iqa
from restoration_toolchain.tools_zoo.training.loop import OnStep, make_fabric, train_module
from restoration_toolchain.tools_zoo.training.objective import Objective
from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT


class StageObjective(Objective, Protocol):
    """An objective that looks at images with networks of its own."""

    def to(self, device: torch.device | str) -> None:
        """Move those networks; the loop moves the module and the critics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A training, or a part of it that is done first, with a run folder of its own.

    Attributes:
        name: Name of the tool, for messages.
        config: Settings.
        run_path: Run folder.
        fabric: Device, number format and processes.
        resume: Go on from the checkpoint in ``run_path``. A run that was interrupted before this
            stage has none, and begins it.
        on_step: Progress.
    """

    name: str
    config: SrTrainConfig
    run_path: Path
    fabric: Fabric
    resume: bool
    on_step: OnStep

    def part(self, folder: str, **changes: Any) -> "Stage":
        """A part in a folder below this one, with other settings; random draws begin anew."""
        config = dataclasses.replace(self.config, **changes)
        path, fabric = self.run_path / folder, make_fabric(config)
        return dataclasses.replace(self, config=config, run_path=path, fabric=fabric)

    def train(
        self,
        module: nn.Module,
        objective: StageObjective,
        learning_rate_factor: Callable[[str], float] = lambda name: 1.0,
    ) -> nn.Module:
        """Train a module by `training.loop.train_module`; keep the critics if they make a score."""
        objective.to(self.fabric.device)
        averaged = train_module(
            module,
            objective,
            self.config,
            self.run_path,
            self.fabric,
            num_steps=self.config.num_batches,
            resume=self.resume and (self.run_path / CHECKPOINT).is_file(),
            learning_rate_factor=learning_rate_factor,
            on_step=self.on_step,
        )
        if isinstance(objective, SrObjective):
            _save_score(objective, self.run_path)
        return averaged

    def load_start(self, network: nn.Module, init: nn.Module) -> list[str]:
        """Copy the weights of a network into one that has all its layers, and maybe more.

        Returns:
            Names of the parameters that ``init`` lacks.

        Raises:
            ToolchainError: ``init`` has layers that the network lacks, or of another shape.
        """
        try:
            missing, unexpected = network.load_state_dict(init.state_dict(), strict=False)
        except RuntimeError as error:
            raise ToolchainError(f"the starting weights do not fit {self.name!r}") from error
        if unexpected or len(missing) == len(network.state_dict()):
            raise ToolchainError(f"the starting weights do not fit {self.name!r}")
        return [str(key) for key in missing]

    def load_encoder(self) -> SemanticEncoder | None:
        """The encoder that the settings need; None if they look at pixels only."""
        config = self.config
        of_features = ("perceptual", "semantic", "feature_discrimination", "text_guided")
        looks = any(getattr(config, name) > 0.0 for name in of_features)
        return load_encoder(config.encoder) if looks else None


def _save_score(objective: SrObjective, run_path: Path) -> None:
    """Keep the critics of features as a score without a reference, if there are both."""
    critics = dict(objective.critics.items())
    features, prompts = critics.get("feature_discrimination"), critics.get("text_guided")
    if isinstance(features, FeatureCritic) and isinstance(prompts, PromptPair):
        assert objective.encoder is not None
        save_iqa(SfdIqa(objective.encoder, features, prompts), run_path / IQA_FOLDER)
