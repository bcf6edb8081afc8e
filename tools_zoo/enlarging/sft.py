"""The trainer of tools with a categorical prior."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.encoders import load_encoder
from restoration_toolchain.tools_zoo.enlarging.batches import SrBatch
from restoration_toolchain.tools_zoo.enlarging.build_terms import build_terms
from restoration_toolchain.tools_zoo.enlarging.clusters import (
    Clusters,
    find_clusters,
    train_segmenter,
)
from restoration_toolchain.tools_zoo.enlarging.config import SftTrainConfig
from restoration_toolchain.tools_zoo.enlarging.objective import SrObjective
from restoration_toolchain.tools_zoo.enlarging.segformer import load_segformer
from restoration_toolchain.tools_zoo.enlarging.stages import has_checkpoint, run_stage
from restoration_toolchain.tools_zoo.enlarging.start import encoder_for, load_start
from restoration_toolchain.tools_zoo.enlarging.terms import Made
from restoration_toolchain.tools_zoo.networks.sft import SftNet
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.training.loop import OnStep, make_fabric

PRIOR_RUN = "prior"
"""Below the run folder: the part in which the segmentation is learnt."""


class SftObjective(SrObjective):
    """`SrObjective` that also knows what category each image shows most of."""

    network: SftNet
    clusters: Clusters | None = None
    """Of the clean images, for the share of them whose prior they are."""
    _config: SftTrainConfig
    _late: tuple[nn.Parameter, ...] = ()

    def train_late(self, parameters: Iterable[nn.Parameter]) -> None:
        """Name the parameters that stay as they are in the first ``warm_steps``."""
        self._late = tuple(parameters)

    def loss(self, module: nn.Module, batch: SrBatch) -> Tensor:
        """As `SrObjective.loss`; decides first which parameters learn in this step."""
        for parameter in self._late:
            parameter.requires_grad_(batch.step >= self._config.warm_steps)
        return super().loss(module, batch)

    def make(self, module: nn.Module, batch: SrBatch) -> Made:
        """Let the module restore a batch."""
        prior = self._prior_of(batch)
        lq = batch.lq.contiguous(memory_format=torch.channels_last)
        made = self.made(batch, module(lq, prior).float())
        category = prior.mean(dim=(2, 3)).argmax(dim=1)
        # Background is no texture.
        made.category = category.where(category > 0, -1) if self.network.has_scenes else category
        return made

    @torch.no_grad()
    def _prior_of(self, batch: SrBatch) -> Tensor:
        """What the small images show and, of the first of them, what their clean partners do."""
        prior = self.network.prior_of(batch.lq)
        told = round(self._config.clean_prior * len(prior))
        if self.clusters is None or told == 0:
            return prior
        shares = self.clusters.shares(batch.gt[:told], prior.shape[-2:])
        return torch.cat([shares.to(prior), prior[told:]])


def train_sft_tool(
    spec: ToolSpec,
    config: SftTrainConfig,
    run_path: Path,
    *,
    init: nn.Module | None = None,
    resume: bool = False,
    on_step: OnStep = lambda step, total, metrics: None,
) -> Tool:
    """Train a tool with a categorical prior: its own segmentation first, if it is to have one.

    As `tools_zoo.enlarging.train.train_sr_tool`, which gives the arguments; ``init`` may be a
    network without a prior, or one whose own prior is then taken as it is. The clusters that it was
    taught are not known any more, so that no prior comes from clean images then. A tool that was
    trained with a SegFormer model does not carry it: it asks for a prior of scenes
    (`SftNet.use_prior`).
    """
    fabric = make_fabric(config)
    network = Tool(spec).network
    if not isinstance(network, SftNet):
        raise ToolchainError(f"{spec.name!r} has no categorical prior")
    # Without starting weights all layers are new, and none is newer than the others.
    fresh = load_start(network, init, spec.name) if init is not None else []
    encoder = encoder_for(config)
    objective = SftObjective(config, spec.scale, build_terms(config, encoder), encoder)
    objective.network = network
    # What the categories of the starting network are, its layers have learnt to rely on.
    has_prior = isinstance(init, SftNet) and init.kind == "clusters"
    network.has_scenes.fill_(config.prior != "own")
    if config.prior != "own":
        network.use_prior(load_segformer(config.prior))
    elif not has_prior:
        path = run_path / PRIOR_RUN
        looks = encoder or load_encoder(config.encoder)
        objective.clusters = find_clusters(looks, objective.batches, config.seed)
        own = train_segmenter(
            config,
            objective.clusters,
            objective,
            path,
            resume=resume and has_checkpoint(path),
            on_step=on_step,
        )
        network.prior.load_state_dict(own.state_dict())
    if fresh:  # a network whose layers are all known has none to wait for
        objective.train_late(
            parameter
            for name, parameter in network.named_parameters()
            if name not in fresh and not name.startswith("prior.")
        )
    averaged = run_stage(
        network,
        objective,
        config,
        run_path,
        fabric,
        resume=resume,
        learning_rate_factor=lambda name: config.new_layers_factor if name in fresh else 1.0,
        on_step=on_step,
    )
    return Tool(spec, averaged).eval()
