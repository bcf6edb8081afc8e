"""What tools make of images: tried once, and asked by everyone who knows the clean image."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from restoration_toolchain.agents.outcomes.record import PSNR_CAP
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.world_set import Pair
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox

_PIXELS: Final = 512 * 512
"""Pixels that are worked on together; bounds the memory."""

Chain = tuple[int, ...]
Values = npt.NDArray[np.float64]


class Outcomes:
    """The capped PSNR of images after chains of tools; each chain is tried once on an image.

    Args:
        toolbox: The tools; moved to the device.
        pairs: Degraded pictures and clean ones.
        device: Device that the tools run on.
        precision: Number format that they compute in.

    Attributes:
        inputs: (N,) dB of the images as they came.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        pairs: Sequence[Pair],
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> None:
        self._toolbox, self._device, self._precision = toolbox.to(device), device, precision
        self._gt = [to_tensor(pair.gt[None])[0] for pair in pairs]
        lq = [to_tensor(pair.lq[None])[0] for pair in pairs]
        self._images: dict[tuple[int, Chain], Tensor] = {(i, ()): lq[i] for i in range(len(lq))}
        self._tried: dict[tuple[int, Chain], Values] = {}
        self.inputs: Values = np.array([self._psnr([i], lq[i][None])[0] for i in range(len(lq))])

    def after(self, chains: Sequence[Chain]) -> Values:
        """What every tool would reach behind a chain of each image: (N, n_tools) dB."""
        wanted = [(i, chain) for i, chain in enumerate(chains) if (i, chain) not in self._tried]
        for rows in self._batches(wanted):
            self._try(rows)
        return np.stack([self._tried[i, chain] for i, chain in enumerate(chains)])

    def forget(self) -> None:
        """Free the memory of all images but those that came; they are made again when needed."""
        self._images = {key: image for key, image in self._images.items() if not key[1]}

    def alone(self, tool: Tool) -> Values:
        """What a tool of another toolbox reaches on every image: (N,) dB."""
        tool.to(self._device)
        reached = np.empty(len(self._gt))
        for rows in self._batches([(i, ()) for i in range(len(self._gt))]):
            places = [i for i, _ in rows]
            reached[places] = self._psnr(places, self._run(tool, self._stack(rows)))
        return reached

    def _try(self, rows: Sequence[tuple[int, Chain]]) -> None:
        images, places = self._stack(rows), [i for i, _ in rows]
        reached = np.empty((len(rows), len(self._toolbox)))
        best = images
        for action, tool in enumerate(self._toolbox):
            restored = self._run(tool, images)
            reached[:, action] = self._psnr(places, restored)
            is_best = reached[:, action] > reached[:, :action].max(axis=1, initial=-np.inf)
            best = torch.where(torch.from_numpy(is_best)[:, None, None, None], restored, best)
        for k, (i, chain) in enumerate(rows):
            self._tried[i, chain] = reached[k]
            # Where it goes on from here, if it does; everything else is made again when needed.
            self._images[i, (*chain, int(reached[k].argmax()))] = best[k].clone()

    def _stack(self, rows: Sequence[tuple[int, Chain]]) -> Tensor:
        return torch.stack([self._image(i, chain) for i, chain in rows])

    def _image(self, row: int, chain: Chain) -> Tensor:
        if (row, chain) not in self._images:
            before = self._image(row, chain[:-1])[None]
            self._images[row, chain] = self._run(self._toolbox[chain[-1]], before)[0]
        return self._images[row, chain]

    def _run(self, tool: Tool, images: Tensor) -> Tensor:
        lq = images.to(self._device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), computing(self._precision, self._device):
            restored: Tensor = tool(lq).float().cpu()
        return restored

    def _psnr(self, rows: Sequence[int], images: Tensor) -> Values:
        gt = torch.stack([self._gt[row] for row in rows])
        reached: Values = np.minimum(batch_psnr(images, gt).double().numpy(), PSNR_CAP)
        return reached

    def _batches(self, rows: Sequence[tuple[int, Chain]]) -> list[list[tuple[int, Chain]]]:
        """Neighbours of one size, together no larger than `_PIXELS` unless one alone is."""
        batches: list[list[tuple[int, Chain]]] = []
        shape = None
        for row in rows:
            found = self._gt[row[0]].shape
            fits = batches and (len(batches[-1]) + 1) * found[1] * found[2] <= _PIXELS
            if found == shape and fits:
                batches[-1].append(row)
            else:
                batches.append([row])
            shape = found
        return batches


def best_single(outcomes: Outcomes) -> tuple[Chain, Values]:
    """The tool, or none, that is best for all images together: it and what it reaches, (N,) dB."""
    return best_sequence(outcomes, max_steps=1)


def best_sequence(outcomes: Outcomes, *, max_steps: int) -> tuple[Chain, Values]:
    """The sequence that is best for all images together: it and what it reaches, (N,) dB."""
    chain, (reached,) = best_sequence_of_all([outcomes], max_steps=max_steps)
    return chain, reached


def best_sequence_of_all(
    groups: Sequence[Outcomes], *, max_steps: int
) -> tuple[Chain, list[Values]]:
    """The sequence that is best for several groups of images together, each group counting alike.

    Each tool is chosen for what those before it leave, as `agents.tuning.default_chains.best_chain`
    does; trying all sequences would take a hundred times as long. It ends where no tool gains by
    the mean of the capped PSNR.

    Args:
        groups: What the tools make of the images of each group; their inputs stay in memory only.
        max_steps: Largest number of tools.

    Returns:
        The sequence, and what it reaches in each group, (N,) dB.
    """
    chain: Chain = ()
    reached = [group.inputs for group in groups]
    while len(chain) < max_steps:
        tried = []
        for group in groups:
            tried.append(group.after([chain] * len(group.inputs)))
            if len(groups) > 1:
                group.forget()
        means = np.mean([values.mean(axis=0) for values in tried], axis=0)
        best = int(means.argmax())
        if means[best] <= np.mean([values.mean() for values in reached]):
            break
        chain, reached = (*chain, best), [values[:, best] for values in tried]
    return chain, reached


def greedy_oracle(outcomes: Outcomes, *, max_steps: int) -> tuple[list[Chain], Values]:
    """For each image, the best next tool by the clean image, until none gains.

    Args:
        outcomes: What the tools make of the images.
        max_steps: Largest number of tools.

    Returns:
        The chain of each image and what it reaches, (N,) dB.
    """
    chains: list[Chain] = [()] * len(outcomes.inputs)
    reached = outcomes.inputs.copy()
    for _ in range(max_steps):
        # One that ended asks again for what is known, and gains nothing again.
        tried = outcomes.after(chains)
        best = tried.argmax(axis=1)
        gains = tried[np.arange(len(best)), best] > reached
        if not gains.any():
            break
        reached = np.where(gains, tried.max(axis=1), reached)
        chains = [
            (*chain, int(action)) if goes_on else chain
            for chain, action, goes_on in zip(chains, best, gains, strict=True)
        ]
    return chains, reached
