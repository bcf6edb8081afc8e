"""What tests of several rooms need: small photos, a small store, a small toolbox."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from data.images import ByteImage
from data.store import StoreConfig, prepare_store
from tools_zoo.catalog import CLASSIC
from tools_zoo.tool import Tool
from tools_zoo.toolbox import Toolbox

NamedPhotos = list[tuple[str, ByteImage]]

TINY_STORE = StoreConfig(stride=33, scales=(1.0,), holdout=0.3, seed=3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny images cost more to share between threads than to compute."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def make_photo(seed: int, height: int = 96, width: int = 130) -> ByteImage:
    """Smooth colours with a few hard edges: photo-like enough to be blurred and denoised."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    blocks = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.where(np.arange(width)[None, :, None] < width // 2, smooth, blocks).astype(np.uint8)


@pytest.fixture(scope="session")
def photos() -> NamedPhotos:
    """Eight photos of 96x130 pixels."""
    return [(f"photo_{seed}", make_photo(seed)) for seed in range(8)]


@pytest.fixture(scope="session")
def store_path(photos: NamedPhotos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of those photos, some of them held out; read it only."""
    path = tmp_path_factory.mktemp("store") / "tiny.h5"
    prepare_store(path, photos, TINY_STORE)
    return path


@pytest.fixture
def tiny_toolbox() -> Toolbox:
    """Three tools of the classic catalogue with random weights that change an image mildly."""
    torch.manual_seed(0)
    tools = [Tool(CLASSIC[i]) for i in (0, 4, 8)]
    for tool in tools:
        tool.network.conv3.weight.data.mul_(0.05)  # type: ignore[union-attr,operator]
    return Toolbox("tiny", tools).requires_grad_(False).eval()
