"""Frozen image encoders: what perceptual losses, critics of features and scores look with."""

from pathlib import Path

from restoration_toolchain.tools_zoo.encoders import efficientnet
from restoration_toolchain.tools_zoo.encoders.semantics import SemanticEncoder as SemanticEncoder
from restoration_toolchain.tools_zoo.encoders.semantics import Semantics as Semantics


def load_encoder(name: str = "auto") -> SemanticEncoder:
    """Load an encoder by name; nothing is ever downloaded.

    Args:
        name: ``efficientnet-lite0`` (the default, ``auto``), or a CLIP model of Hugging Face
            ``transformers``: its folder, or its name in the local cache, such as
            ``openai/clip-vit-base-patch32``.

    Raises:
        ToolchainError: A package or a checkpoint is missing, or the checkpoint is no CLIP model.
    """
    if name in {"auto", efficientnet.NAME}:
        return efficientnet.load_efficientnet()
    from restoration_toolchain.tools_zoo.encoders.clip import load_clip

    return load_clip(Path(name) if Path(name).is_dir() else name)
