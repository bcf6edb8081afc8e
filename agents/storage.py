"""Policies on disk: ``config.json`` and ``model.safetensors`` in one folder."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save

from agents.policy import LstmPolicy
from agents.q_net import RecurrentQNet
from data.atomic import write_atomically
from data.errors import ToolchainError, UnknownNameError
from tools_zoo.storage import load_weights, read_checked

FORMAT_VERSION: Final = 1
WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"
BUILTIN_AGENTS: Final = ("classic",)


class PolicyError(ToolchainError):
    """A policy on disk is missing, malformed or does not fit the toolbox."""


def save_policy(policy: LstmPolicy, folder: Path, notes: dict[str, Any] | None = None) -> None:
    """Write a policy; ``notes`` are facts to record with it, such as how it was trained."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in policy.q_net.state_dict().items()}
    content = save(state)
    write_atomically(folder / "model.safetensors", content)
    config = {
        "format_version": FORMAT_VERSION,
        "tools": list(policy.tool_names),
        "stop_margin": policy.stop_margin,
        "sha256": hashlib.sha256(content).hexdigest(),
        "notes": notes or {},
    }
    write_atomically(folder / "config.json", json.dumps(config, indent=2).encode())


def load_policy(name_or_path: str | Path = "classic") -> LstmPolicy:
    """Load a policy that ships, by name, or one on disk, by its folder; on the CPU, frozen.

    Raises:
        UnknownNameError: No policy of that name ships, and there is no such folder.
        PolicyError: The configuration is missing or malformed.
        ToolboxError: The weights are missing, malformed or of another shape.
        ChecksumError: The weights are not the ones that the configuration vouches for.
    """
    shipped = str(name_or_path) in BUILTIN_AGENTS
    folder = WEIGHTS_FOLDER / str(name_or_path) if shipped else Path(name_or_path)
    if not shipped and not folder.is_dir():
        raise UnknownNameError("agent", str(name_or_path), BUILTIN_AGENTS)
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
        if config["format_version"] != FORMAT_VERSION:
            raise PolicyError(f"{path} has format version {config['format_version']}, not 1")
        names, margin = tuple(config["tools"]), float(config["stop_margin"])
        sha256 = config["sha256"]
    except OSError as error:
        raise PolicyError(f"no agent in {folder}: it has no readable config.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise PolicyError(f"{path} is not an agent's configuration ({error})") from error
    q_net = RecurrentQNet(len(names))
    weights = folder / "model.safetensors"
    load_weights(q_net, read_checked(weights, sha256), weights)
    return LstmPolicy(q_net, names, stop_margin=margin)


def check_fits(policy: LstmPolicy, tool_names: tuple[str, ...]) -> None:
    """Refuse to play with another action space than the one trained on.

    Raises:
        PolicyError: The names or their order differ.
    """
    if policy.tool_names != tool_names:
        raise PolicyError(
            f"the agent was trained for the tools {', '.join(policy.tool_names)}; "
            f"this toolbox has {', '.join(tool_names)}"
        )
