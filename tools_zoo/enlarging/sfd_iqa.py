"""SFD-IQA: how clean a photo looks, without a clean partner, by the critics of a training."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.catalog import NAMED_TOOLBOXES
from restoration_toolchain.tools_zoo.critics.features import FeatureCritic
from restoration_toolchain.tools_zoo.critics.prompts import PromptPair
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, Semantics, load_encoder
from restoration_toolchain.tools_zoo.encoders.digest import encoder_digest
from restoration_toolchain.tools_zoo.encoders.efficientnet import NAME as OFFLINE
from restoration_toolchain.tools_zoo.storage import (
    WEIGHTS_FOLDER,
    load_weights,
    read_checked,
    shipped_toolboxes,
    toolbox_folder,
    write_weights,
)

IQA_FOLDER: Final = "sfd_iqa"
"""Below a run folder or a toolbox folder: the score that SFD's critics give."""

FACTS: Final = "sfd_iqa.json"
WEIGHTS: Final = "sfd_iqa.safetensors"
FORMAT_VERSION: Final = 1
MAX_SIDE: Final = 1024
"""Pixels; of larger photos the middle is judged, since shrinking one would hide its blur."""


class IqaEncoderError(ToolchainError):
    """A score was named without its encoder, or an encoder without a score."""


@dataclass(frozen=True, slots=True)
class Quality:
    """A score without a reference.

    Attributes:
        score: Mean of the other two; 0 to 1, higher is cleaner.
        features: Verdict of the critic of middle features, the mean over positions and maps.
        prompts: Probability of the good prompt.
        encoder: Which one looked: scores of different encoders do not compare.
        prompt_kind: ``text``, or ``vectors`` where the encoder has no text.
    """

    score: float
    features: float
    prompts: float
    encoder: str
    prompt_kind: str


class SfdIqa(nn.Module):
    """The two critics of features, put to use after a training.

    Args:
        encoder: Encoder that they were trained with.
        features: The critic of middle features; fresh if left out.
        prompts: The pair of prompts; fresh if left out.

    Source:
        Dong et al., "Exploring Semantic Feature Discrimination", CVPR 2025 (SFD-IQA); how the two
        are put together is this project's: the mean.
    """

    def __init__(
        self,
        encoder: SemanticEncoder,
        features: FeatureCritic | None = None,
        prompts: PromptPair | None = None,
    ) -> None:
        super().__init__()
        self._encoder = (encoder,)  # a tuple keeps it out of the weights
        self.encoder_name = encoder.name
        self.features = FeatureCritic(encoder.map_channels) if features is None else features
        self.prompts = PromptPair(encoder) if prompts is None else prompts
        self.eval()

    def to(self, *args: Any, **kwargs: Any) -> "SfdIqa":
        """Move the critics, and the encoder along with them, though it is none of their weights."""
        if isinstance(self.encoder, nn.Module):
            self.encoder.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    @property
    def encoder(self) -> SemanticEncoder:
        """What the critics were trained with."""
        return self._encoder[0]

    def score(self, image: Tensor) -> Quality:
        """Judge one photo at its own size.

        Args:
            image: RGB (3, H, W) in [0, 1], on any device.

        Raises:
            ToolchainError: It is too small to be judged.
        """
        height, width = image.shape[-2:]
        if min(height, width) < self.encoder.min_side:
            raise ToolchainError(
                f"a photo of {width}x{height} pixels is too small to be judged; "
                f"sides of at least {self.encoder.min_side} are needed"
            )
        top, left = (max(0, (side - MAX_SIDE) // 2) for side in (height, width))
        part = image[None, :, top : top + MAX_SIDE, left : left + MAX_SIDE]
        device = next(self.parameters()).device
        features, prompts = (float(values[0]) for values in self(part.to(device)))
        return Quality(
            0.5 * (features + prompts), features, prompts, self.encoder_name, self.prompts.kind
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Both verdicts on RGB (N, 3, H, W) in [0, 1]: twice (N,), 0 to 1."""
        with torch.no_grad():
            return self.verdicts(self.encoder(images))

    @torch.no_grad()
    def verdicts(self, seen: Semantics) -> tuple[Tensor, Tensor]:
        """The same of what the encoder has seen already."""
        with torch.autocast(seen.embedding.device.type, enabled=False):
            verdicts = [
                torch.sigmoid(logits).mean(dim=(1, 2, 3)) for logits in self.features(seen.maps)
            ]
            return torch.stack(verdicts).mean(dim=0), self.prompts(seen.embedding)[:, 0].exp()


def save_iqa(iqa: SfdIqa, folder: Path) -> None:
    """Write the critics' weights, and beside them which encoder they were trained with.

    The name of an encoder is not all that tells it from others, so the digest of its weights goes
    with it; the checksum is that of the critics.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "format_version": FORMAT_VERSION,
        "sha256": write_weights(folder / WEIGHTS, iqa.state_dict()),
        "encoder": iqa.encoder_name,
        "encoder_digest": encoder_digest(iqa.encoder),
        "text_encoder": "none" if iqa.prompts.kind == "vectors" else iqa.encoder_name,
    }
    write_atomically(folder / FACTS, json.dumps(facts, indent=2).encode())


def load_iqa(folder: Path, encoder: SemanticEncoder | None = None) -> SfdIqa:
    """Load what `save_iqa` wrote.

    Args:
        folder: Folder of the score.
        encoder: Encoder that the critics were trained with. Left out, it is the offline default,
            if that is the one.

    Raises:
        ToolchainError: There is no score in the folder, it is damaged, or it was trained with
            another encoder, or one of other weights.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text())
        name, version = facts["encoder"], facts["format_version"]
        sha256, digest = facts.get("sha256") or None, facts.get("encoder_digest")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolchainError(f"no readable SFD-IQA score in {folder}") from error
    if version != FORMAT_VERSION:
        raise ToolchainError(f"{folder / FACTS} has format version {version}, this program reads 1")
    content = read_checked(folder / WEIGHTS, sha256)
    iqa = SfdIqa(_fitting(encoder, name, digest, folder))
    load_weights(iqa, content, folder / WEIGHTS)
    return iqa


def open_iqa(name_or_path: str | Path, encoder: SemanticEncoder | None = None) -> SfdIqa:
    """Load a score by the folder that it lies in, or by the toolbox that has it.

    Args:
        name_or_path: Folder of a score or of a toolbox, or a shipped toolbox's name.
        encoder: Encoder that the critics were trained with, or None, for `load_iqa`.

    Raises:
        ToolchainError: There is no such toolbox or folder, or no score in it; or see `load_iqa`.
    """
    if not (Path(name_or_path).is_dir() or str(name_or_path) in NAMED_TOOLBOXES):
        places = {name: WEIGHTS_FOLDER / name / IQA_FOLDER / FACTS for name in shipped_toolboxes()}
        known = [name for name, place in places.items() if place.is_file()]
        raise UnknownNameError("toolbox or folder with a score", str(name_or_path), known)
    folder = toolbox_folder(name_or_path)
    for place in (folder, folder / IQA_FOLDER):
        if (place / FACTS).is_file():
            return load_iqa(place, encoder)
    raise ToolchainError(
        f"there is no SFD-IQA score in {name_or_path}: name the folder of one, or a toolbox whose "
        "tools were trained with both critics of features (as sr-sfd is)"
    )


def open_named(iqa: str | Path | None, encoder: str | Path | None = None) -> SfdIqa | None:
    """Load a score and the encoder that it needs, both by what a user calls them.

    Args:
        iqa: See `open_iqa`; None is no score.
        encoder: A CLIP model (`tools_zoo.encoders.load_encoder`); None is the offline default.

    Raises:
        ToolchainError: There is no such score or encoder, they do not belong together, or an
            encoder is named and no score.
    """
    if iqa is None:
        if encoder is not None:
            raise IqaEncoderError(f"the encoder {encoder} looks for a score, and none was named")
        return None
    return open_iqa(iqa, None if encoder is None else load_encoder(str(encoder)))


def _fitting(
    encoder: SemanticEncoder | None, name: str, digest: str | None, folder: Path
) -> SemanticEncoder:
    """The encoder that a score was trained with, or a line that says how to give it."""
    if encoder is None and name == OFFLINE:
        encoder = load_encoder(OFFLINE)
    if encoder is None:
        raise IqaEncoderError(f"the score in {folder} needs the encoder {name}, and none was given")
    if encoder.name != name:
        raise ToolchainError(
            f"the score in {folder} needs the encoder {name}; {encoder.name} was given"
        )
    if digest and encoder_digest(encoder) != digest:
        raise ToolchainError(
            f"the score in {folder} needs another encoder of the name {name}: the weights of the "
            "one that was given are not those that it was trained with"
        )
    return encoder
