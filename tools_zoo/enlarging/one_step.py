"""The trainer of one-step tools: a diffusion of several steps, and its distillation to one."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.scaling import upsample_bicubic
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, load_encoder
from restoration_toolchain.tools_zoo.enlarging.build_terms import build_terms
from restoration_toolchain.tools_zoo.enlarging.config import OneStepTrainConfig
from restoration_toolchain.tools_zoo.enlarging.draws import step_generator
from restoration_toolchain.tools_zoo.enlarging.objective import SrObjective
from restoration_toolchain.tools_zoo.enlarging.stages import run_stage
from restoration_toolchain.tools_zoo.enlarging.start import encoder_for, load_start
from restoration_toolchain.tools_zoo.enlarging.terms import Made, PerceptualTerm, Term
from restoration_toolchain.tools_zoo.losses.pixel import mse_loss
from restoration_toolchain.tools_zoo.networks.one_step import STEPS, OneStepNet
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.training.batches import Batch
from restoration_toolchain.tools_zoo.training.loop import OnStep, make_fabric

TEACHER_RUN = "teacher"
"""Below the run folder: the part in which the teacher learns."""


def train_one_step_tool(
    spec: ToolSpec,
    config: OneStepTrainConfig,
    run_path: Path,
    *,
    init: nn.Module | None = None,
    resume: bool = False,
    on_step: OnStep = lambda step, total, metrics: None,
) -> Tool:
    """Train a teacher of several steps, then the student that does it in one.

    As `tools_zoo.enlarging.train.train_sr_tool`, which gives the arguments; ``init`` may be a
    network without diffusion, as which the teacher then begins, or another one-step network, whose
    teacher is then taken as it is.
    """
    if config.classification > 0.0:
        raise ToolchainError(f"{spec.name!r} knows no categories; set classification to 0")
    fabric = make_fabric(config)
    tool = Tool(spec)
    network = tool.network
    if not isinstance(network, OneStepNet):
        raise ToolchainError(f"{spec.name!r} is no diffusion")
    encoder = encoder_for(config)
    if isinstance(init, OneStepNet):
        load_start(network, init, spec.name)
    else:
        if init is not None:
            load_start(network.teacher, init, spec.name)
        teacher = _train_teacher(network, config, run_path / TEACHER_RUN, resume, on_step)
        network.teacher.load_state_dict(teacher.state_dict())
        network.student.load_state_dict(teacher.state_dict())
    objective = StudentObjective(config, network, build_terms(config, encoder), encoder)
    student = copy.deepcopy(network.student)
    averaged = run_stage(
        student, objective, config, run_path, fabric, resume=resume, on_step=on_step
    )
    network.student.load_state_dict(averaged.state_dict())
    return tool.cpu().requires_grad_(False).eval()


def _train_teacher(
    network: OneStepNet,
    config: OneStepTrainConfig,
    run_path: Path,
    resume: bool,
    on_step: OnStep,
) -> nn.Module:
    own = dataclasses.replace(
        config, total_patches=config.teacher_patches, learning_rate=config.teacher_learning_rate
    )
    encoder = load_encoder(own.encoder) if own.teacher_perceptual > 0.0 else None
    teacher = copy.deepcopy(network.teacher).requires_grad_(True)
    return run_stage(
        teacher,
        TeacherObjective(own, network, encoder=encoder),
        own,
        run_path,
        make_fabric(own),
        resume=resume,
        on_step=on_step,
    )


class _ShiftingObjective(SrObjective):
    """`SrObjective` of a `ShiftNet` within a one-step network.

    Args:
        config: How to train.
        network: The whole; its teacher is not trained here.
        terms: As for `SrObjective`.
        encoder: Of the terms.
    """

    calls: int

    def __init__(
        self,
        config: OneStepTrainConfig,
        network: OneStepNet,
        terms: Sequence[Term] = (),
        encoder: SemanticEncoder | None = None,
    ) -> None:
        super().__init__(config, network.scale, terms, encoder)
        self._network = network

    def restore(self, module: nn.Module, lq: Tensor) -> Tensor:
        """Sample with the noise that photos are restored with."""
        whole = copy.copy(self._network)
        # Not the module itself: as a submodule it would be moved and saved with the whole.
        whole._modules = {**whole._modules, "student": module, "teacher": module}
        noise = whole.noise(lq.shape[-2], lq.shape[-1]).to(lq)
        return whole.sample(lq, noise, self.calls)

    def _draw_noise(self, batch: Batch) -> Tensor:
        generator = step_generator(self._config.seed, batch.step, 1)
        return torch.randn(batch.gt.shape, generator=generator).to(batch.gt)


class TeacherObjective(_ShiftingObjective):
    """The clean image, from any state of the diffusion."""

    calls = STEPS
    _config: OneStepTrainConfig

    def make(self, module: nn.Module, batch: Batch) -> Made:
        """Let the module undo a random number of steps."""
        y = enlarged(batch.lq, self._network.scale)
        made = self.made(batch, batch.gt)
        count = len(batch.gt)
        steps = torch.randint(1, STEPS + 1, (count,), generator=made.generator("steps"))
        clean = 2.0 * batch.gt - 1.0
        state = self._network.shifting.noisy(clean, y, steps, self._draw_noise(batch))
        seen = self._network.shifting.seen(state, y, steps)
        made.restored = module(batch.lq, seen, steps.to(batch.lq.device)).float()
        return made

    def more_losses(
        self, module: nn.Module, batch: Batch, made: Made
    ) -> dict[str, tuple[float, Tensor]]:
        """Squared error, for images in [-1, 1], and what the encoder sees."""
        losses = {"mse": (1.0, 4.0 * mse_loss(made.restored, made.gt))}
        if self._config.teacher_perceptual > 0.0:
            losses["perceptual"] = (self._config.teacher_perceptual, PerceptualTerm().loss(made))
        return losses


class StudentObjective(_ShiftingObjective):
    """The teacher's image in one step, and all terms of the configuration."""

    calls = 1
    _config: OneStepTrainConfig

    def make(self, module: nn.Module, batch: Batch) -> Made:
        """Let the module take its one step."""
        y = enlarged(batch.lq, self._network.scale)
        shifting, steps = self._network.shifting, _steps(batch, STEPS)
        seen = shifting.seen(shifting.start(y, self._draw_noise(batch)), y, steps)
        return self.made(batch, module(batch.lq, seen, steps).float())

    def to(self, device: torch.device | str) -> None:
        """Move the teacher as well."""
        super().to(device)
        self._network.teacher.to(device)

    def more_losses(
        self, module: nn.Module, batch: Batch, made: Made
    ) -> dict[str, tuple[float, Tensor]]:
        """Distance to the teacher, and from clean images to their noise and back (SinSR)."""
        config, network = self._config, self._network
        losses: dict[str, tuple[float, Tensor]] = {}
        if config.distillation == 0.0 and config.consistency == 0.0:
            return losses
        noise = self._draw_noise(batch)
        with torch.no_grad():
            taught = network.sample(batch.lq, noise, STEPS)
        if config.distillation > 0.0:
            losses["distillation"] = (config.distillation, 4.0 * mse_loss(made.restored, taught))
        if config.consistency > 0.0:
            y = enlarged(batch.lq, network.scale)

            def call(image: Tensor, step: int) -> Tensor:
                seen = network.shifting.seen(image, y, _steps(batch, STEPS))
                predicted: Tensor = module(batch.lq, seen, _steps(batch, step)).float()
                return 2.0 * predicted - 1.0

            back = call(2.0 * taught - 1.0, 0)
            losses["inverse"] = (
                config.consistency,
                mse_loss(back, network.shifting.start(y, noise)),
            )
            clean = 2.0 * batch.gt - 1.0
            again = call(call(clean, 0).detach(), STEPS)
            losses["consistency"] = (config.consistency, mse_loss(again, clean))
        return losses


def enlarged(lq: Tensor, scale: int) -> Tensor:
    """The bicubic enlargement of images in [0, 1], in [-1, 1]."""
    return 2.0 * upsample_bicubic(lq, scale) - 1.0


def _steps(batch: Batch, step: int) -> Tensor:
    return torch.full((len(batch.lq),), step, device=batch.lq.device)
