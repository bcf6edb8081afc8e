"""An agent and a toolbox, loaded by name or folder and ready to restore."""

import dataclasses
from pathlib import Path
from typing import Unpack

from restoration_toolchain.agents.policy.storage import BUILTIN_AGENTS, load_bundle, toolbox_for
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import (
    LoadOptions,
    RestoreSettings,
    check_keywords,
)
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import open_named
from restoration_toolchain.tools_zoo.own_tools import (
    default_home,
    load_own_tool,
    own_tool_names,
)
from restoration_toolchain.tools_zoo.storage import shipped_toolboxes


def load(
    agent: str | Path | None = None,
    toolbox: str | Path | None = None,
    *,
    settings: RestoreSettings | None = None,
    **options: Unpack[LoadOptions],
) -> Restorer:
    """Load an agent and a toolbox, ready to restore.

    Args:
        agent: Name of a shipped agent, or the folder of one; None is the toolbox's own.
        toolbox: Name of a shipped toolbox, or the folder of one; None is that of a
            shipped agent; without an agent, it is ``world`` or, where photos are to be enlarged,
            ``generative``, and by 2, ``generative-x2``.
        settings: Settings to start from; None are the defaults.
        **options: Any other field of `RestoreSettings`, such as ``max_steps=2``; None leaves it as
            it is in ``settings``.

    Raises:
        ToolchainError: A name is unknown, weights are missing or damaged, the agent was trained
            with other tools or for another scale, the machine lacks the device, a number is too
            small, no tool enlarges by this scale, or there is no such score, prior or steps.
        TypeError: There is no such option, or ``settings`` are not `RestoreSettings`.
    """
    check_keywords("load", options, LoadOptions.__annotations__)
    if isinstance(agent, RestoreSettings) or not isinstance(settings, RestoreSettings | None):
        raise TypeError("load() takes RestoreSettings as settings=..., and nothing else there")
    named = {"agent": agent, "toolbox": toolbox, **options}
    asked = (settings or RestoreSettings()).changed(named)
    box = asked.toolbox
    if box is None:
        box = toolbox_for(asked.agent, asked.scale)
    own_tools = [load_own_tool(name) for name in asked.add_tools]
    tools, policy = load_bundle(box, asked.agent, prefer=asked.prefer)
    names = {
        "agent": BUILTIN_AGENTS,
        "toolbox": shipped_toolboxes(),
        "iqa": shipped_toolboxes(),
        "iqa_encoder": (),
        "add_tools": own_tool_names(default_home()),
    }
    return Restorer(
        tools,
        policy,
        dataclasses.replace(asked, toolbox=box).recorded(names),
        agent_name=(box if asked.agent is None else asked.agent)
        + ("-texture" if asked.prefer == "texture" else ""),
        own_tools=own_tools,
        iqa=open_named(asked.iqa, asked.iqa_encoder),
    )
