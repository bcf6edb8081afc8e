"""Properties of the self-similarity loss."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.tools_zoo.losses.self_similarity import (
    Similarity,
    artefact_distance,
    edge_pixels,
    self_similarity_loss,
    similarity_graph,
)

SMALL = Similarity(search=9, window=3)


@pytest.fixture(scope="module")
def photo() -> Tensor:
    _, pixels = next(iter(open_source("embedded")))
    return to_tensor(pixels[None, 100:164, 160:224])


def unfolded(image: Tensor, pixels: Tensor, kind: Similarity) -> Tensor:
    """The equations one by one, for every pixel and every place."""
    p, k = kind.search // 2, kind.window // 2
    padded = functional.pad(image, (p,) * 4, mode="reflect")[0]
    rows = []
    for _, row, column in pixels.tolist():
        area = padded[:, row : row + 2 * p + 1, column : column + 2 * p + 1]
        area = functional.pad(area, (k,) * 4)
        own = area[:, p : p + kind.window, p : p + kind.window]
        similar = [
            torch.exp(
                -(area[:, y : y + kind.window, x : x + kind.window] - own).square().mean()
                / kind.bandwidth
            )
            for y in range(kind.search)
            for x in range(kind.search)
        ]
        rows.append(torch.stack(similar))
    graph = torch.stack(rows)
    return graph / (graph.sum(dim=1, keepdim=True) + 1e-10)


def some_pixels(photo: Tensor, count: int = 12) -> Tensor:
    return edge_pixels(photo, most=count, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [SMALL, Similarity()])
def test_the_graph_is_that_of_the_equations(photo: Tensor, kind: Similarity) -> None:
    pixels = some_pixels(photo)
    graph = similarity_graph(photo, pixels, kind)
    torch.testing.assert_close(graph, unfolded(photo, pixels, kind), atol=1e-4, rtol=0)
    torch.testing.assert_close(graph.sum(dim=1), torch.ones(len(pixels)))
    assert (graph.argmax(dim=1) == kind.search**2 // 2).float().mean() > 0.9


def test_the_mask_is_the_laplacian_of_opencv_above_the_threshold(photo: Tensor) -> None:
    rgb = (255 * photo[0].permute(1, 2, 0)).round().numpy().astype(np.int64)
    grey = (rgb @ np.array([19595, 38470, 7471]) + 32768) >> 16
    laplacian = cv2.Laplacian(grey.astype(np.uint8), cv2.CV_8U, borderType=cv2.BORDER_REFLECT_101)
    expected = np.argwhere(laplacian > 20)
    assert edge_pixels(photo)[:, 1:].tolist() == expected.tolist()
    thinned = edge_pixels(photo, stride=3)
    assert 0.2 < len(thinned) / len(expected) < 0.5
    assert bool((thinned[:, 1] % 3 == thinned[:, 2] % 3).all())


def test_an_image_is_at_no_distance_from_itself_and_at_some_from_its_blur(photo: Tensor) -> None:
    pixels = edge_pixels(photo, stride=3)
    absolute, divergence = self_similarity_loss(photo, photo, pixels, SMALL)
    assert absolute == 0.0
    assert abs(float(divergence)) < 1e-9
    blurred = functional.avg_pool2d(photo, 3, 1, 1)
    absolute, divergence = self_similarity_loss(blurred, photo, pixels, SMALL)
    assert absolute > 1e-4
    assert divergence > 1e-4


def test_chunks_change_neither_the_loss_nor_its_gradient(photo: Tensor) -> None:
    pixels = edge_pixels(photo, most=40)
    noisy = photo + 0.05 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    results = []
    for chunk in (7, 1000):
        restored = noisy.clone().requires_grad_()
        loss = torch.stack(self_similarity_loss(restored, photo, pixels, SMALL, chunk=chunk)).sum()
        (grad,) = torch.autograd.grad(loss, restored)
        results.append((loss.detach(), grad))
    torch.testing.assert_close(results[0], results[1])


def test_a_pixel_sends_gradients_into_its_area_only(photo: Tensor) -> None:
    restored = functional.avg_pool2d(photo, 3, 1, 1).requires_grad_()
    pixels = torch.tensor([[0, 30, 34]])
    sum(self_similarity_loss(restored, photo, pixels, SMALL)).backward()  # type: ignore[union-attr]
    assert restored.grad is not None
    reached = torch.nonzero(restored.grad.abs().sum(dim=(0, 1)))
    assert reached.min(dim=0).values.tolist() == [26, 30]
    assert reached.max(dim=0).values.tolist() == [34, 38]


def test_an_image_without_edges_has_a_loss_of_zero_that_still_has_a_gradient() -> None:
    flat = torch.full((1, 3, 32, 32), 0.5)
    restored = flat.clone().requires_grad_()
    absolute, _ = self_similarity_loss(restored, flat, edge_pixels(flat), SMALL)
    absolute.backward()
    assert absolute == 0.0
    assert restored.grad is not None
    assert not restored.grad.any()


def test_flipping_an_image_flips_its_graphs(photo: Tensor) -> None:
    pixels = some_pixels(photo)
    graph = similarity_graph(photo.double(), pixels, SMALL).unflatten(1, (9, 9))
    mirrored = pixels.clone()
    mirrored[:, 2] = photo.shape[-1] - 1 - mirrored[:, 2]
    flipped = similarity_graph(photo.double().flip(-1), mirrored, SMALL).unflatten(1, (9, 9))
    torch.testing.assert_close(flipped.flip(-1), graph)


def test_the_artefact_distance_grows_with_noise(photo: Tensor) -> None:
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    distances = [float(artefact_distance(photo + s * noise, photo)) for s in (0.0, 0.02, 0.05)]
    assert distances[0] == 0.0
    assert distances == sorted(distances)
    assert distances[2] < 2.0
