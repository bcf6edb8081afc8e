"""Loss on what an image means."""

from torch import Tensor
from torch.nn import functional

from restoration_toolchain.tools_zoo.encoders.semantics import Semantics


def semantic_loss(restored: Semantics, gt: Semantics) -> Tensor:
    """Explicit semantic supervision (ESS): ``1 - cos(E(x), E(y))``, half as much per position.

    The cosine of the embeddings, plus 0.5 times the mean over positions of the coarsest map.

    Args:
        restored: Semantics of the restored images.
        gt: Semantics of the clean images.

    Source:
        The idea is that of VPD-SR, Wu et al., arXiv 2506.02605; layer and similarity are this
        project's, since the paper's were not to be had.
    """
    whole = functional.cosine_similarity(restored.embedding, gt.embedding, dim=1)
    local = functional.cosine_similarity(restored.maps[-1], gt.maps[-1], dim=1)
    return (1.0 - whole).mean() + 0.5 * (1.0 - local).mean()
