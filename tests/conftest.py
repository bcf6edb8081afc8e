"""What tests of several rooms need: small photos, a small store, a small toolbox."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.patches.store import StoreConfig, prepare_store
from restoration_toolchain.tools_zoo.catalog import CLASSIC
from restoration_toolchain.tools_zoo.encoders import load_encoder
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import SfdIqa, save_iqa
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox

NamedPhotos = list[tuple[str, ByteImage]]

TINY_STORE = StoreConfig(stride=33, scales=(1.0,), holdout=0.3, seed=3)


CLIP_TEXT = {
    "vocab_size": 99,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 24,
    "eos_token_id": 98,
    "bos_token_id": 97,
    "projection_dim": 12,
}
CLIP_VISION = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "projection_dim": 12,
}


def save_tiny_clip(path: Path, seed: int = 0) -> Path:
    """Write a small CLIP model of random weights, as Hugging Face saves it."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.CLIPConfig(
        text_config=CLIP_TEXT, vision_config=CLIP_VISION, projection_dim=12
    )
    transformers.CLIPModel(config).save_pretrained(path)
    return path


def save_clip_score(path: Path, clip: Path) -> Path:
    """Write a score of random critics that look with a CLIP model."""
    torch.manual_seed(0)
    iqa = SfdIqa(load_encoder(str(clip)))
    torch.nn.init.normal_(iqa.prompts.offset)
    save_iqa(iqa, path)
    return path


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a small CLIP model lies."""
    return save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny-clip")


@pytest.fixture(scope="session")
def clip_score(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a score lies whose critics look with that model."""
    return save_clip_score(tmp_path_factory.mktemp("score") / "score", tiny_clip)


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
