"""The trainer of one-step tools: a diffusion of several steps, and its distillation to one."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, load_encoder
from restoration_toolchain.tools_zoo.enlarging.build_terms import build_terms
from restoration_toolchain.tools_zoo.enlarging.config import OneStepTrainConfig, SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.draws import step_generator
from restoration_toolchain.tools_zoo.enlarging.objective import SrObjective
from restoration_toolchain.tools_zoo.enlarging.stages import Stage
from restoration_toolchain.tools_zoo.enlarging.terms import PLAIN_LOSSES, Made, Term
from restoration_toolchain.tools_zoo.losses.pixel import mse_loss
from restoration_toolchain.tools_zoo.networks.one_step import STEPS, OneStepNet, enlarged
from restoration_toolchain.tools_zoo.training.batches import Batch

TEACHER_RUN = "teacher"
"""Below the run folder: the part in which the teacher learns."""


def train_one_step(network: nn.Module, stage: Stage, init: nn.Module | None) -> nn.Module:
    """Train a teacher of several steps, then the student that does it in one.

    Args:
        network: One-step network with fresh weights; changed.
        stage: The training.
        init: Network without diffusion, as which the teacher begins, or another one-step network,
            whose teacher is taken as it is.

    Returns:
        The network, on the CPU, frozen.
    """
    config = stage.config
    assert isinstance(config, OneStepTrainConfig)
    if not isinstance(network, OneStepNet):
        raise ToolchainError(f"{stage.name!r} is no diffusion")
    encoder = stage.load_encoder()
    if isinstance(init, OneStepNet):
        stage.load_start(network, init)
    else:
        if init is not None:
            stage.load_start(network.teacher, init)
        teacher = _train_teacher(network, config, stage)
        network.teacher.load_state_dict(teacher.state_dict())
        network.student.load_state_dict(teacher.state_dict())
    objective = StudentObjective(config, network, build_terms(config, encoder), encoder)
    averaged = stage.train(copy.deepcopy(network.student), objective)
    network.student.load_state_dict(averaged.state_dict())
    return network.cpu().requires_grad_(False).eval()


def _train_teacher(network: OneStepNet, config: OneStepTrainConfig, stage: Stage) -> nn.Module:
    encoder = load_encoder(config.encoder) if config.teacher_perceptual > 0.0 else None
    teacher = copy.deepcopy(network.teacher).requires_grad_(True)
    part = stage.part(
        TEACHER_RUN,
        total_patches=config.teacher_patches,
        learning_rate=config.teacher_learning_rate,
    )
    return part.train(teacher, TeacherObjective(part.config, network, encoder=encoder))


class _ShiftingObjective(SrObjective):
    """`SrObjective` of a `ShiftNet` within the whole one-step network."""

    calls: int
    _config: OneStepTrainConfig

    def __init__(
        self,
        config: SrTrainConfig,
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
        weight = self._config.teacher_perceptual
        if weight > 0.0:
            losses["perceptual"] = weight, PLAIN_LOSSES["perceptual"](made)
        return losses


class StudentObjective(_ShiftingObjective):
    """The teacher's image in one step, and all terms of the configuration."""

    calls = 1

    def make(self, module: nn.Module, batch: Batch) -> Made:
        """Let the module take its one step."""
        y = enlarged(batch.lq, self._network.scale)
        shifting = self._network.shifting
        steps = torch.full((len(batch.lq),), STEPS, device=batch.lq.device)
        seen = shifting.seen(shifting.start(y, self._draw_noise(batch)), y, steps)
        return self.made(batch, module(batch.lq, seen, steps).float())

    def to(self, device: torch.device | str) -> None:
        """Move the teacher as well."""
        super().to(device)
        self._network.teacher.to(device)

    def more_losses(
        self, module: nn.Module, batch: Batch, made: Made
    ) -> dict[str, tuple[float, Tensor]]:
        """Distance to the teacher."""
        weight = self._config.distillation
        if weight == 0.0:
            return {}
        with torch.no_grad():
            taught = self._network.sample(batch.lq, self._draw_noise(batch), STEPS)
        return {"distillation": (weight, 4.0 * mse_loss(made.restored, taught))}
