"""Who takes part in a suite: the agent with its toolbox, and what it is compared with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.storage import (
    check_fits,
    load_bundle,
    load_policy,
    toolbox_for,
)
from restoration_toolchain.toolchain.restoring.restorer import check_keeps_size
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings
from restoration_toolchain.tools_zoo.storage import MANIFEST, load_toolbox, shipped_toolboxes
from restoration_toolchain.tools_zoo.toolbox import Toolbox

BASELINES: Final = "baselines"


class Bundle(NamedTuple):
    """A toolbox and the agent that chooses from it."""

    toolbox: Toolbox
    policy: LstmPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who takes part.

    Attributes:
        ours: The agent that everything is about.
        rivals: Other agents by the label of their row; each may have a toolbox of its own.
        before: The agent and tools before joint training.
        baselines: Single networks; each tool is a row.
        remarks: A sentence for each comparison that is left out.
    """

    ours: Bundle
    rivals: Mapping[str, Bundle] = field(default_factory=dict)
    before: Bundle | None = None
    baselines: Toolbox | None = None
    remarks: tuple[str, ...] = ()


def load_cast(
    settings: RestoreSettings,
    *,
    drqn: Path | None = None,
    ppo: Path | None = None,
    before: Path | None = None,
    baselines: str | Path | None = None,
) -> Cast:
    """Load who takes part; what is not given is left out, with a remark.

    Args:
        settings: Toolbox and agent that everything is about.
        drqn: Agent of recurrent Q-learning the paper's way: the folder of an agent that plays
            with the same toolbox, or a toolbox folder with its agent in it.
        ppo: Agent of recurrent PPO, as ``drqn`` is given.
        before: Toolbox folder with its agent in it, from before joint training.
        baselines: Toolbox of single networks; None is the one that ships, if it does.

    Raises:
        ToolchainError: Something named is missing or damaged, or agent and tools do not belong
            together.
    """
    ours = Bundle(*load_bundle(settings.toolbox or toolbox_for(settings.agent), settings.agent))
    check_keeps_size(ours.policy, ours.toolbox)
    remarks, rivals = [], {}
    agents = (("DRQN, the paper's way", drqn, "--drqn"), ("recurrent PPO", ppo, "--ppo"))
    for label, folder, option in agents:
        if folder is None:
            remarks.append(f"{label}: left out; {option} names such an agent.")
        else:
            rivals[label] = _load_rival(folder, ours.toolbox)
    if before is None:
        remarks.append("Before joint training: left out; --before names such a toolbox folder.")
    networks = None
    if baselines is None and BASELINES not in shipped_toolboxes():
        remarks.append(
            "Single networks: left out, since no weights of them ship; train them with "
            "`toolchain train tools --config baselines`, and name their toolbox with --baselines."
        )
    else:
        networks = load_toolbox(BASELINES if baselines is None else baselines)
    return Cast(
        ours=ours,
        rivals=rivals,
        before=None if before is None else Bundle(*load_bundle(before)),
        baselines=networks,
        remarks=tuple(remarks),
    )


def _load_rival(folder: Path, toolbox: Toolbox) -> Bundle:
    if (folder / MANIFEST).is_file():
        return Bundle(*load_bundle(folder))
    policy = load_policy(folder)
    check_fits(policy, toolbox)
    return Bundle(toolbox, policy)
