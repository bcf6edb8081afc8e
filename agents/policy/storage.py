"""Policies on disk: ``config.json``, ``model.safetensors`` and maybe a guard in one folder."""

import json
from pathlib import Path
from typing import Any, Final

from torch import nn

from restoration_toolchain.agents.policy.guard import GUARD_FILE, Guard, load_guard, save_guard
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.pristine import Pristine
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.policy.recognition import Recognition
from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.envs.reward import PSNR, Reward
from restoration_toolchain.envs.task import check_task
from restoration_toolchain.tools_zoo.catalog import (
    DEFAULT_TOOLBOX,
    GENERATIVE_TOOLBOX,
    default_toolbox,
)
from restoration_toolchain.tools_zoo.origin import Origin
from restoration_toolchain.tools_zoo.storage import (
    MANIFEST,
    load_toolbox,
    load_weights,
    read_checked,
    read_origin,
    shipped_toolboxes,
    toolbox_folder,
    write_weights,
)
from restoration_toolchain.tools_zoo.toolbox import Toolbox

FORMAT_VERSION: Final = 1
WEIGHTS_FOLDER: Final = Path(__file__).parents[1] / "weights"
BUILTIN_AGENTS: Final = (
    "classic",
    "efficient",
    "efficient-paper",
    "generative",
    "generative-texture",
    "generative-x2",
    "world",
)
_PRISTINE: Final = "pristine."  # begins the names of its weights
_RECOGNITION: Final = "recognition."
AGENT_FOLDER: Final = "agent"
"""Where a toolbox folder keeps the agent that belongs to it."""

PREFERENCES: Final = ("fidelity", "texture")
"""What an agent may be after: the pixels as they were, or a likely look."""


class PolicyError(ToolchainError):
    """A policy on disk is missing, malformed or does not fit the toolbox."""


class NoAgentError(PolicyError):
    """A toolbox has no agent of its own."""


class NoTextureAgentError(NoAgentError):
    """A toolbox has no agent that prefers texture."""


class PreferenceError(PolicyError):
    """A preference between a toolbox's own agents, where another agent is named."""


class OtherWeightsError(PolicyError):
    """An agent was trained with other weights of the tools."""


def save_policy(policy: LstmPolicy, folder: Path, notes: dict[str, Any] | None = None) -> None:
    """Write a policy and its guard; ``notes`` are facts to record, such as how it was trained."""
    folder.mkdir(parents=True, exist_ok=True)
    state = policy.q_net.state_dict()
    if policy.pristine is not None:
        state |= policy.pristine.state_dict(prefix=_PRISTINE)
    named = policy.recognition
    if named is not None:
        state |= named.state_dict(prefix=_RECOGNITION)
    sha256 = write_weights(folder / "model.safetensors", state)
    config = {
        "format_version": FORMAT_VERSION,
        "encoder": policy.q_net.encoder_name,
        "tools": {name: policy.tool_checksums.get(name, "") for name in policy.tool_names},
        "stop_margin": policy.stop_margin,
        "default_chains": [list(chain) for chain in policy.default_chains],
        "default_margin": policy.default_margin,
        "knows_clean": policy.pristine is not None,
        "knows_distributions": policy.q_net.spread is not None,
        "max_risk": policy.max_risk,
        "unfamiliar_risk": policy.unfamiliar_risk,
        "caution": policy.caution,
        "later_caution": policy.later_caution,
        "families": [] if named is None else list(named.families),
        "untouched": [] if named is None else list(named.untouched),
        "task": policy.task,
        "reward": policy.reward.to_dict(),
        "sha256": sha256,
        "notes": notes or {},
    }
    write_atomically(folder / "config.json", json.dumps(config, indent=2).encode())
    if policy.guard is None:
        (folder / GUARD_FILE).unlink(missing_ok=True)  # of an agent that was here before
    else:
        save_guard(policy.guard, folder, sha256)


def checksum_of(folder: Path) -> str:
    """SHA-256 of the weights of a policy on disk.

    Raises:
        PolicyError: There is no policy in the folder.
    """
    try:
        return str(json.loads((folder / "config.json").read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PolicyError(f"no agent in {folder}: it has no readable config.json") from error


def put_guard(guard: Guard, folder: Path) -> None:
    """Write a guard beside the agent in a folder, in place of the one that it may have."""
    save_guard(guard, folder, checksum_of(folder))


def load_policy(name_or_path: str | Path = DEFAULT_TOOLBOX) -> LstmPolicy:
    """Load a policy that ships, by name, or one on disk, by its folder; on the CPU, frozen.

    Raises:
        PolicyError: The configuration is missing or malformed.
        ToolchainError: There is no such agent, or its weights are missing, damaged or others.
    """
    folder = agent_folder(name_or_path)
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
        if config["format_version"] != FORMAT_VERSION:
            raise PolicyError(f"{path} has format version {config['format_version']}, not 1")
        q_net = RecurrentQNet(
            len(config["tools"]),
            config["encoder"],
            quantiles=bool(config.get("knows_distributions", False)),
        )
        in_features = q_net.encoder.out_features
        parts: dict[str, nn.Module] = {}
        if config.get("knows_clean"):
            parts[_PRISTINE] = Pristine(in_features)
        if config.get("families"):
            names, untouched = (tuple(map(str, config[key])) for key in ("families", "untouched"))
            parts[_RECOGNITION] = Recognition(in_features, names, untouched)
        weighed = dict(config.get("reward", PSNR.to_dict()))
        weighed.pop("name", None)  # follows from the weights
        facts: dict[str, Any] = {
            "stop_margin": float(config["stop_margin"]),
            "tool_checksums": {name: known for name, known in config["tools"].items() if known},
            "task": config.get("task", "restore"),
            "reward": Reward(**weighed),
            "default_chains": tuple(tuple(map(str, c)) for c in config.get("default_chains", ())),
            "default_margin": float(config.get("default_margin", 0.0)),
            "max_risk": float(config.get("max_risk", 1.0)),
            "unfamiliar_risk": float(config.get("unfamiliar_risk", 1.0)),
            "caution": float(config.get("caution", 0.0)),
            "later_caution": float(config.get("later_caution", 0.0)),
        }
        check_task(facts["task"])
        sha256 = config["sha256"]
    except OSError as error:
        raise PolicyError(f"no agent in {folder}: it has no readable config.json") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PolicyError(f"{path} is not an agent's configuration ({error})") from error
    weights = folder / "model.safetensors"
    load_weights(q_net, read_checked(weights, sha256), weights, apart=parts)
    facts |= {prefix.removesuffix("."): part for prefix, part in parts.items()}
    guard = load_guard(folder, sha256)
    try:
        return LstmPolicy(q_net, tuple(config["tools"]), **facts, guard=guard)
    except ValueError as error:
        raise PolicyError(f"the agent in {folder} cannot be used: {error}") from error


def agent_folder(name_or_path: str | Path) -> Path:
    """Where an agent lies: a shipped one by name, any other by its folder, which must be there."""
    if str(name_or_path) in BUILTIN_AGENTS:
        return WEIGHTS_FOLDER / str(name_or_path)
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise UnknownNameError("agent", str(name_or_path), BUILTIN_AGENTS)
    return folder


def origin_of_agent(name_or_path: str | Path) -> Origin:
    """What an agent was learnt from, as the toolbox says that it lies in; unknown without one."""
    if str(name_or_path) in BUILTIN_AGENTS:
        return read_origin(toolbox_folder(toolbox_for(name_or_path)))
    home = agent_folder(name_or_path).parent
    return read_origin(home) if (home / MANIFEST).is_file() else Origin()


def toolbox_for(agent: str | Path | None, scale: int = 1) -> str:
    """The toolbox that is used where none is named: that of a shipped agent, or the usual one.

    Args:
        agent: Agent that was named, if one was.
        scale: Factor by which images become larger.
    """
    homes = [name for name in shipped_toolboxes() if f"{agent}-".startswith(f"{name}-")]
    if str(agent) in BUILTIN_AGENTS and homes:
        return max(homes, key=len)
    return default_toolbox(scale)


def own_agent(toolbox: str | Path, suffix: str = "") -> str | Path:
    """Name or folder of the agent that belongs to a toolbox; a NoAgentError if it has none."""
    if str(toolbox) in shipped_toolboxes():
        name = f"{toolbox}{suffix}"
        if name in BUILTIN_AGENTS:
            return name
    elif (Path(toolbox) / f"{AGENT_FOLDER}{suffix}").is_dir():
        return Path(toolbox) / f"{AGENT_FOLDER}{suffix}"
    if suffix:
        raise NoTextureAgentError(
            f"the toolbox {toolbox} has no agent that prefers texture in it; the toolbox "
            f"{GENERATIVE_TOOLBOX}, which enlarges by 4, has one"
        )
    raise NoAgentError(f"the toolbox {toolbox} has no agent in it")


def load_bundle(
    toolbox: str | Path = DEFAULT_TOOLBOX,
    agent: str | Path | None = None,
    *,
    prefer: str | None = None,
) -> tuple[Toolbox, LstmPolicy]:
    """Load a toolbox and the agent that goes with it.

    Args:
        toolbox: A shipped toolbox by name, or the folder of one.
        agent: A shipped agent by name, or the folder of one; None is the toolbox's own: the one
            that ships under its name, or the one in its folder.
        prefer: One of `PREFERENCES`, where the toolbox has two agents; None is *fidelity*.

    Raises:
        PolicyError: The toolbox has no agent of its own, or the two do not belong together.
        ToolchainError: A name is unknown, or weights are missing or damaged.
    """
    if prefer is not None and prefer not in PREFERENCES:
        raise UnknownNameError("preference", prefer, PREFERENCES)
    if prefer is not None and agent is not None:
        raise PreferenceError("a preference is between a toolbox's own agents; another was named")
    tools = load_toolbox(toolbox, draws=False)
    if agent is None:
        agent = own_agent(toolbox, "-texture" if prefer == "texture" else "")
    policy = load_policy(agent)
    check_fits(policy, tools)
    return tools, policy


def check_fits(policy: LstmPolicy, toolbox: Toolbox) -> None:
    """Raise PolicyError if tools are not those trained with, by name, order and known weights."""
    check_same_actions(policy, toolbox)
    known = policy.tool_checksums
    other = [n for n, sha in toolbox.checksums.items() if known.get(n, sha) != sha]
    if other:
        raise OtherWeightsError(
            f"the agent was trained with other weights of {', '.join(other)}; take the agent that "
            "belongs to this toolbox, or train one"
        )


def check_same_actions(policy: LstmPolicy, toolbox: Toolbox) -> None:
    """Raise PolicyError if the actions of an agent mean something else in this toolbox."""
    if policy.tool_names != toolbox.names:
        raise PolicyError(
            f"the agent was trained for the tools {', '.join(policy.tool_names)}; "
            f"this toolbox has {', '.join(toolbox.names)}: take the toolbox that the agent was "
            "trained with, or the agent that belongs to this one"
        )
