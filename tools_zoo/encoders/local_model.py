"""Models of Hugging Face ``transformers`` that are on this machine; nothing is downloaded."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from restoration_toolchain.data.errors import ToolchainError


def load_local_model(
    source: str | Path, class_name: str, model_type: str, label: str, *, user: str, absent: str
) -> Any:
    """Load a model with all its weights.

    Args:
        source: Folder of the model, or its name in the local cache of Hugging Face.
        class_name: Class of ``transformers``, such as ``CLIPModel``.
        model_type: Type named in its configuration, such as ``clip``.
        label: Name of such models in messages.
        user: Part that needs ``transformers``, the first words of a sentence.
        absent: Advice where there is no such model, the rest of a sentence.

    Raises:
        ToolchainError: ``transformers`` is missing, there is no such model here, it is another
            model, or it cannot be read or lacks weights.
    """
    try:
        import transformers
    except ImportError as error:
        raise ToolchainError(
            f'{user} needs Hugging Face transformers: pip install "restoration-toolchain[clip]"'
        ) from error
    known: Any = transformers  # a lazy module, which has few hints
    try:
        config = known.AutoConfig.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError) as error:
        if Path(source).exists():
            raise ToolchainError(f"{source} holds no model: {_line(error)}") from error
        raise ToolchainError(f"no {label} model {str(source)!r} on this machine{absent}") from error
    if config.model_type != model_type:
        raise ToolchainError(f"{source} holds a model of type {config.model_type!r}, not {label}")
    try:
        with _without_progress_bars():
            model, info = getattr(known, class_name).from_pretrained(
                source, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ToolchainError(
            f"the {label} model {source} cannot be read: {_line(error)}"
        ) from error
    if missing := info["missing_keys"]:  # they would be random numbers
        raise ToolchainError(f"the {label} model {source} lacks weights, {min(missing)} for one")
    return model


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing on the terminal, where only our commands do."""
    from transformers.utils import logging

    bars: Any = logging  # its functions have no hints
    was_enabled = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            bars.enable_progress_bar()


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
