"""The trainer of tools with a categorical prior."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.encoders import load_encoder
from restoration_toolchain.tools_zoo.enlarging.build_terms import build_terms
from restoration_toolchain.tools_zoo.enlarging.clusters import Clustering, Clusters, find_clusters
from restoration_toolchain.tools_zoo.enlarging.config import SftTrainConfig
from restoration_toolchain.tools_zoo.enlarging.objective import SrObjective
from restoration_toolchain.tools_zoo.enlarging.segformer import load_segformer
from restoration_toolchain.tools_zoo.enlarging.stages import Stage
from restoration_toolchain.tools_zoo.enlarging.terms import Made
from restoration_toolchain.tools_zoo.networks.segmenter import Segmenter
from restoration_toolchain.tools_zoo.networks.sft import SftNet
from restoration_toolchain.tools_zoo.training.batches import Batch

PRIOR_RUN = "prior"
"""Below the run folder: the part in which the segmentation is learnt."""


class SftObjective(SrObjective):
    """`SrObjective` that also knows what category each image shows most of."""

    network: SftNet
    clusters: Clusters | None = None
    """Clusters of the clean images, for the share of them whose prior they are."""
    _config: SftTrainConfig
    late: Sequence[nn.Parameter] = ()
    """Parameters that stay as they are in the first ``warm_steps``."""

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Decide which parameters learn in this step; then the weighted sum of the terms."""
        for parameter in self.late:
            parameter.requires_grad_(batch.step >= self._config.warm_steps)
        return super().loss(module, batch)

    def make(self, module: nn.Module, batch: Batch) -> Made:
        """Let the module restore a batch."""
        prior = self._prior_of(batch)
        lq = batch.lq.contiguous(memory_format=torch.channels_last)
        made = self.made(batch, module(lq, prior).float())
        category = prior.mean(dim=(2, 3)).argmax(dim=1)
        # Background is no texture.
        made.category = category.where(category > 0, -1) if self.network.has_scenes else category
        return made

    @torch.no_grad()
    def _prior_of(self, batch: Batch) -> Tensor:
        """What the small images show and, of the first of them, what their clean partners do."""
        prior = self.network.prior_of(batch.lq)
        told = round(self._config.clean_prior * len(prior))
        if self.clusters is None or told == 0:
            return prior
        shares = self.clusters.shares(batch.gt[:told], prior.shape[-2:])
        return torch.cat([shares.to(prior), prior[told:]])


def train_sft(network: nn.Module, stage: Stage, init: nn.Module | None) -> nn.Module:
    """Train a network with a categorical prior: its own segmentation first, if it is to have one.

    A tool that was trained with a SegFormer model does not carry it: it asks for a prior of scenes
    (`SftNet.use_prior`).

    Args:
        network: Network with fresh weights; changed.
        stage: The training.
        init: Network without a prior, or one whose own prior is then taken as it is. The clusters
            that it was taught are not known any more, so that no prior comes from clean images.
    """
    config = stage.config
    assert isinstance(config, SftTrainConfig)
    if not isinstance(network, SftNet):
        raise ToolchainError(f"{stage.name!r} has no categorical prior")
    # Without starting weights all layers are new, and none is newer than the others.
    fresh = stage.load_start(network, init) if init is not None else []
    encoder = stage.load_encoder()
    objective = SftObjective(config, network.scale, build_terms(config, encoder), encoder)
    objective.network = network
    # What the categories of the starting network are, its layers have learnt to rely on.
    has_prior = isinstance(init, SftNet) and init.kind == "clusters"
    network.has_scenes.fill_(config.prior != "own")
    if config.prior != "own":
        network.use_prior(load_segformer(config.prior))
    elif not has_prior:
        looks = encoder or load_encoder(config.encoder)
        objective.clusters = find_clusters(looks, objective.batches, config.seed)
        part = stage.part(
            PRIOR_RUN,
            total_patches=max(config.prior_patches, config.batch_size),
            learning_rate=config.prior_learning_rate,
        )
        own = part.train(Segmenter(), Clustering(objective, objective.clusters))
        network.prior.load_state_dict(own.state_dict())
    if fresh:  # a network whose layers are all known has none to wait for
        objective.late = [
            parameter
            for name, parameter in network.named_parameters()
            if name not in fresh and not name.startswith("prior.")
        ]
    return stage.train(
        network, objective, lambda name: config.new_layers_factor if name in fresh else 1.0
    )
