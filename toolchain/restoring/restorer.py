"""The product's heart: an agent and a toolbox that restore photos of any size."""

import dataclasses
import hashlib
import importlib.metadata
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from restoration_toolchain.agents.policy.guard import expected_gain, features
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.storage import (
    BUILTIN_AGENTS,
    PolicyError,
    check_fits,
    load_bundle,
)
from restoration_toolchain.data.errors import ImageFormatError, ToolchainError, UnknownNameError
from restoration_toolchain.data.images import (
    ByteImage,
    FloatImage,
    check_float_image,
    to_float,
    to_numpy,
    to_tensor,
)
from restoration_toolchain.envs.chain import BaseChain, Chain
from restoration_toolchain.envs.scaled_chain import ScaledChain
from restoration_toolchain.toolchain.photos.arrays import IN_MEMORY, Arrays
from restoration_toolchain.toolchain.restoring.colour_drift import bound_drift
from restoration_toolchain.toolchain.restoring.enlarge_options import (
    AS_TRAINED,
    EnlargeOptions,
    beside_tiles,
)
from restoration_toolchain.toolchain.restoring.photo_quality import AS_TILE_PIXELS, PhotoJudge
from restoration_toolchain.toolchain.restoring.recorder import OnStep, Record, Scorer
from restoration_toolchain.toolchain.restoring.regions import restore_regions
from restoration_toolchain.toolchain.restoring.restoration import (
    Provenance,
    Restoration,
    Step,
    treatment,
)
from restoration_toolchain.toolchain.restoring.tiling import (
    apply_tiled,
    enlarged_views,
    extract_views,
    views,
)
from restoration_toolchain.tools_zoo.catalog import default_toolbox
from restoration_toolchain.tools_zoo.device import AUTO, choose_device, choose_precision
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import SfdIqa, open_named
from restoration_toolchain.tools_zoo.own_tools import (
    OwnTool,
    default_home,
    load_own_tool,
    own_tool_names,
)
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.storage import shipped_toolboxes
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import DuplicateToolError, Toolbox

DEFAULT_MAX_TILE_PIXELS: Final = 1024 * 1024
"""Widest activations of a tile this size take 64 MiB, and its halo adds 7 % of work."""

_MEASURED: Final = 2048  # pixels
_JUDGED: Final = 16  # views, whose median distance says how familiar a photo is

UNFAMILIAR: Final = (
    "the damage is unlike anything that the agent was trained on: nothing can be promised"
)


class SettingError(ToolchainError, ValueError):
    """A restorer was asked for with a number that cannot work."""


class Restorer:
    """Restores photos: an agent looks, picks a tool, the tool runs, until the agent stops.

    Args:
        toolbox: The tools; moved to ``device``.
        policy: What chooses them; moved to ``device``.
        max_steps: Most tools on one photo.
        max_tile_pixels: Most pixels that a tool works on at once.
        device: Where tools and agent run. The photo itself stays in main memory.
        precision: What the tools and the agent's encoder compute in; the rest of the agent always
            uses float32.
        agent_name: How the agent is called in traces.
        own_tools: Fitted tools that the agent does not know. The one that a photo's noise suits
            best, if there is one, runs first and counts as a step; then the agent looks.
        scale: By how much photos are enlarged; 1 permits no tool that enlarges.
        strength: How far to go from the photo towards the restored one, 0 to 1, unless a call of
            `restore` says otherwise.
        regions: Whether to decide per region (`restoring.regions`), unless a call says otherwise.
        options: For the record: see `Provenance`.
        max_risk: Largest probability of making the photo worse with which a tool may still run
            (`agents.policy.guard`); 1 asks nothing of it.
        iqa: SFD-IQA, by which photos are judged before and after every step; moved to ``device``.
            It changes no decision and no pixel.
        enlarge: What is asked of the tools that enlarge.

    Raises:
        PolicyError: The policy was trained with other tools, or not to enlarge and is to, or its
            risk is to be limited and it was not calibrated.
        DuplicateToolError: The toolbox has a tool of the name of an own one, or two have one name.
        SettingError: A number is too small, no tool enlarges by this scale, or the policy learnt
            to enlarge and is not to.
        EnlargeError: No tool can do what is asked of those that enlarge.
        PriorError: The prior does not fit a tool.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        policy: LstmPolicy,
        *,
        max_steps: int = 3,
        max_tile_pixels: int = DEFAULT_MAX_TILE_PIXELS,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
        agent_name: str = "unnamed",
        own_tools: Sequence[OwnTool] = (),
        scale: int = 1,
        strength: float = 1.0,
        regions: bool = False,
        options: Mapping[str, Any] | None = None,
        max_risk: float = 1.0,
        iqa: SfdIqa | None = None,
        enlarge: EnlargeOptions = AS_TRAINED,
    ) -> None:
        check_fits(policy, toolbox)
        self._enlarge, self._prior = enlarge, enlarge.apply_to(toolbox, scale)
        _check_scale(scale, toolbox, policy)
        _check_names(toolbox, own_tools)
        if max_steps < 1:
            raise SettingError(f"max_steps must be at least 1, got {max_steps}")
        self._own_tools = tuple(own_tools)
        tools = (*toolbox, *(own.tool for own in own_tools))
        smallest = max(_smallest_tile(tool) for tool in tools)
        if max_tile_pixels < smallest:
            raise SettingError(
                f"max_tile_pixels must be at least {smallest}, got {max_tile_pixels}"
            )
        self._device = torch.device(device)
        for tool in tools:
            tool.to(self._device)
        self._toolbox = toolbox
        self._policy = policy
        self._policy.q_net.to(self._device)
        self._policy.precision = precision
        self._max_steps, self._max_tile_pixels = max_steps, max_tile_pixels
        self._precision = precision
        self._iqa = None if iqa is None else iqa.to(self._device)
        self._provenance = Provenance(
            version=_package_version(),
            toolbox=toolbox.name,
            tool_checksums={
                **toolbox.checksums,
                **{own.name: own.sha256 for own in own_tools if own.sha256},
            },
            agent=agent_name,
            agent_checksum=_checksum(policy),
            device=str(self._device),
            precision=precision,
            max_steps=max_steps,
            scale=scale,
            reward=policy.reward.name,
            strength=strength,
            regions=regions,
            options=options or {},
            max_risk=max_risk,
            enlarging={
                **enlarge.recorded(),
                "prior_sha256": "" if self._prior is None else self._prior.checksum,
            },
        )
        _check_settings(self._provenance)
        if max_risk < 1.0 and policy.guard is None:
            raise PolicyError(
                "this agent was not calibrated, so its risk is not known; leave max_risk out, or "
                "calibrate it (toolchain calibrate)"
            )

    @property
    def scale(self) -> int:
        """Side of a restored photo over side of the photo as it came."""
        return self._provenance.scale

    @property
    def provenance(self) -> Provenance:
        """What a restoration records of the restorer, unless a call says otherwise."""
        return self._provenance

    @property
    def working_pixels(self) -> int:
        """Pixels of the tile whose memory nothing exceeds that a tool or the score works on."""
        judging = 0 if self._iqa is None else AS_TILE_PIXELS
        looking = 0 if self._prior is None else self._prior.as_tile_pixels
        return max(self._max_tile_pixels, judging, looking)

    @property
    def toolbox(self) -> Toolbox:
        """The tools in action order."""
        return self._toolbox

    def restore(
        self,
        image: FloatImage | ByteImage,
        *,
        gt: FloatImage | ByteImage | None = None,
        keep_frames: bool = False,
        on_step: OnStep | None = None,
        strength: float | None = None,
        regions: bool | None = None,
        forced: Sequence[str] = (),
        arrays: Arrays = IN_MEMORY,
    ) -> Restoration:
        """Restore one photo of any size; the photo itself is not changed.

        A photo with three equal channels stays so.

        Args:
            image: RGB, shape (H, W, 3), float32 in [0, 1] or uint8.
            gt: The clean photo, as large as the result; every step is then scored against it.
            keep_frames: Keep the input and the image after every tool.
            on_step: Called after every decision.
            strength: How far to go from the photo towards the restored one: 0 returns its pixels
                as they are, 1 all that the tools did. Steps, scores and frames are of such blends;
                the agent decides by what the tools did. None is the restorer's own.
            regions: Whether to decide per region. None is the restorer's own.
            forced: Names of the first actions, ``stop`` included, in place of the agent's choices;
                it goes on from there.
            arrays: Makes the arrays of the photo's size that are needed on the way, where decisions
                are for the whole photo and it keeps its size.

        Raises:
            ImageFormatError: ``image`` or ``gt`` is no such image, or their shapes do not go
                together.
            SettingError: The strength lies outside [0, 1], regions do not go with the rest, or a
                forced action enlarges where nothing may (any more).
            UnknownNameError: A forced action is no tool of the toolbox.
        """
        made_by = dataclasses.replace(
            self._provenance,
            strength=self._provenance.strength if strength is None else strength,
            regions=self._provenance.regions if regions is None else regions,
            forced=tuple(forced),
        )
        _check_settings(made_by)
        _check_forced(forced, self._toolbox, self.scale)
        lq, clean = _as_float(image, arrays), None if gt is None else _as_float(gt)
        scorer, judge = Scorer(clean, self.scale), PhotoJudge(self._iqa, lq, self.scale)
        record = Record(lq, scorer, judge, made_by, on_step, arrays, keep_frames=keep_frames)
        own, notes = self._choose_own(lq)
        restored = lq
        if own is not None:
            start = time.perf_counter()
            tiles = self._apply(own.tool, to_tensor(lq[None]), arrays, is_gray=_is_gray(lq, arrays))
            restored = to_numpy(tiles)[0]
            record.add(self._own_step(own, time.perf_counter() - start), restored)
        max_steps = self._max_steps - len(record.steps)
        if max_steps:
            play = self._play_regions if made_by.regions else self._play
            for step, image_after in play(lq, restored, max_steps, forced, arrays):
                restored = image_after
                record.add(step, restored)
        notes += self._enlarge.unused(self._toolbox, [step.tool for step in record.steps])
        unfamiliarity = self._unfamiliarity(lq)
        if unfamiliarity is not None and unfamiliarity > 1.0:
            notes = (*notes, UNFAMILIAR)
        return record.finish(restored, (*notes, *judge.notes), unfamiliarity)

    def _play(
        self,
        lq: FloatImage,
        restored: FloatImage,
        max_steps: int,
        forced: Sequence[str],
        arrays: Arrays,
    ) -> Iterator[tuple[Step, FloatImage]]:
        """One chain for the whole photo: every decision, and the image after it."""
        chain = self._chain(restored, max_steps, arrays)
        votes = _Views(self._policy, *lq.shape[:2])
        prescribed = [self._action(name) for name in forced]
        done = False
        while not done:
            start = time.perf_counter()
            values = votes.action_values(chain).masked_fill(~chain.allowed()[0], -torch.inf)
            best = int(values.argmax())
            action = prescribed.pop(0) if prescribed else self._dared(best, values)
            # Stopping changes nothing, so that no copy need be made.
            is_stop = action == self._toolbox.stop
            done = is_stop or bool(chain.advance(torch.tensor([action])).done)
            seconds = time.perf_counter() - start
            step = dataclasses.replace(
                self._step(action, values, seconds),
                risk=self._risk(values, action),
                # Of interest where nothing is done; it takes another look.
                clean=votes.clean_probability(chain) if is_stop and best == action else None,
            )
            yield step, to_numpy(chain.current(0)[None])[0]

    def _play_regions(
        self,
        lq: FloatImage,
        restored: FloatImage,
        max_steps: int,
        forced: Sequence[str],
        arrays: Arrays,
    ) -> Iterator[tuple[Step, FloatImage]]:
        """A chain per region: every round of decisions, and the image after it."""
        is_gray = _is_gray(lq)

        def run_tool(action: int, part: Tensor) -> Tensor:
            return self._apply(self._toolbox[action], part, IN_MEMORY, is_gray=is_gray)

        start = time.perf_counter()
        for made in restore_regions(
            to_tensor(restored[None]),
            self._policy,
            run_tool,
            max_steps=max_steps,
            halo=max(tool.halo for tool in self._toolbox),
            grid=math.lcm(*(tool.grid for tool in self._toolbox)),
            max_risk=self._provenance.max_risk,
        ):
            # The step is named after what most of the cells that went on got.
            counts = torch.bincount(made.actions.flatten(), minlength=self._toolbox.stop + 1)
            ran = counts[: self._toolbox.stop]
            action = int(ran.argmax()) if ran.any() else self._toolbox.stop
            seconds, start = time.perf_counter() - start, time.perf_counter()
            step = self._step(action, made.values, seconds)
            actions = made.actions.numpy()
            yield dataclasses.replace(step, region_actions=actions), to_numpy(made.image)[0]

    def _risk(self, values: Tensor, action: int) -> float | None:
        """Probability that an action makes the photo worse; of *stop*, that the best tool would."""
        guard = self._policy.guard
        if guard is None:
            return None
        if action == self._toolbox.stop:
            action = int(values[:action].argmax())
        expected = expected_gain(values, self._policy.stop_margin)[action]
        return float(guard.risk(expected))

    def _dared(self, action: int, values: Tensor) -> int:
        """The action, or *stop* if it is riskier than permitted."""
        limit = self._provenance.max_risk
        if limit == 1.0 or action == self._toolbox.stop:
            return action
        risk = self._risk(values, action)
        assert risk is not None  # the constructor has seen to that
        return self._toolbox.stop if risk > limit else action

    def _unfamiliarity(self, lq: FloatImage) -> float | None:
        """Median distance of the photo's views from what the agent was calibrated on."""
        guard = self._policy.guard
        if guard is None:
            return None
        height, width = lq.shape[:2]
        positions = views(height, width, max_views=_JUDGED, grid=self._policy.view_grid)
        images = extract_views(to_tensor(lq[None])[0], positions)
        return float(guard.distance(features(self._policy.q_net, images)).median())

    def _action(self, name: str) -> int:
        if name not in self._toolbox.action_names:
            raise UnknownNameError("action", name, self._toolbox.action_names)
        return self._toolbox.action_names.index(name)

    def _choose_own(self, lq: FloatImage) -> tuple[OwnTool | None, tuple[str, ...]]:
        """The own tool that the photo's noise suits best, and why each of the others does not."""
        if not self._own_tools:
            return None, ()
        # Brings OpenCV along, which takes as long as many a restoration.
        from restoration_toolchain.data.damage.noise_model import estimate_noise

        try:
            noise = estimate_noise([_middle(lq)])
        except ToolchainError as error:
            return None, tuple(f"{own.name} was not used: {error}" for own in self._own_tools)
        reasons = {own.name: own.unfitting(noise) for own in self._own_tools}
        notes = tuple(f"{name} was not used: {why}" for name, why in reasons.items() if why)
        fitting = [own for own in self._own_tools if not reasons[own.name]]
        strengths = [abs(math.log(noise.strength_beside(own.noise))) for own in fitting]
        return (fitting[int(np.argmin(strengths))] if fitting else None), notes

    def _own_step(self, own: OwnTool, seconds: float) -> Step:
        return Step(
            tool=own.name,
            treats=treatment(own.tool.spec),
            action=self._toolbox.stop + 1 + self._own_tools.index(own),
            action_values={own.name: own.gain},
            seconds=seconds,
        )

    def _chain(self, lq: FloatImage, max_steps: int, arrays: Arrays) -> BaseChain:
        is_gray = _is_gray(lq, arrays)

        def apply(images: Tensor, actions: Tensor) -> Tensor:
            return self._apply(self._toolbox[int(actions[0])], images, arrays, is_gray=is_gray)

        images, stop, scales = to_tensor(lq[None]), self._toolbox.stop, self._toolbox.scales
        if max(scales) == 1:
            return Chain(images, stop=stop, max_steps=max_steps, apply=apply, is_clipped=True)
        return ScaledChain(
            images, stop=stop, max_steps=max_steps, apply=apply, scales=scales, scale=self.scale
        )

    def _apply(self, tool: Tool, images: Tensor, arrays: Arrays, *, is_gray: bool) -> Tensor:
        spec = tool.spec
        # A tool that enlarges holds more per pixel; but mostly halo would be mostly wasted work.
        pixels = max(self._max_tile_pixels // spec.scale, 4 * _smallest_tile(tool))
        restored = apply_tiled(
            lambda tile, *beside: self._run(tool, tile, *beside, is_gray=is_gray),
            images,
            halo=tool.halo,
            grid=tool.grid,
            max_tile_pixels=min(pixels, self._max_tile_pixels),
            scale=spec.scale,
            arrays=arrays,
            beside=beside_tiles(tool, images, self._device),
        )
        if spec.scale == 1:
            restored = bound_drift(images, restored, arrays=arrays)
        for rows in arrays.bands(restored.shape[-2]):
            restored[..., rows, :].clamp_(0.0, 1.0)
        return restored

    def _run(self, tool: Tool, tile: Tensor, *beside: Tensor, is_gray: bool) -> Tensor:
        lq = tile.to(self._device).contiguous(memory_format=torch.channels_last)
        with computing(self._precision, self._device):
            # Not clipped before gray is made gray and the drift of colours bounded.
            restored = tool.unclipped(lq, *beside)
        if is_gray:  # the nearest gray image: what colour a tool adds to gray can only be wrong
            restored = restored.float().mean(dim=1, keepdim=True).expand_as(restored)
        return restored

    def _step(self, action: int, values: Tensor, seconds: float) -> Step:
        names = self._toolbox.action_names
        is_stop = action == self._toolbox.stop
        return Step(
            tool=names[action],
            treats="" if is_stop else treatment(self._toolbox[action].spec),
            action=action,
            action_values={
                name: value
                for name, value in zip(names, values.tolist(), strict=True)
                if value > -math.inf
            },
            seconds=seconds,
            scale=1 if is_stop else self._toolbox.scales[action],
        )


def load(
    agent: str | Path | None = None,
    toolbox: str | Path | None = None,
    *,
    device: str = AUTO,
    precision: str = AUTO,
    max_steps: int = 3,
    max_tile_pixels: int = DEFAULT_MAX_TILE_PIXELS,
    add_tools: Sequence[str | Path] = (),
    scale: int = 1,
    prefer: str | None = None,
    strength: float = 1.0,
    regions: bool = False,
    max_risk: float = 1.0,
    iqa: str | Path | None = None,
    iqa_encoder: str | Path | None = None,
    prior: str | Path = AS_TRAINED.prior,
    steps: int = AS_TRAINED.steps,
) -> Restorer:
    """Load an agent and a toolbox, ready to restore.

    Args:
        agent: A shipped agent's name, or the folder of one; None is the toolbox's own.
        toolbox: A shipped toolbox's name, or the folder of one; None is ``efficient`` or, where
            photos are to be enlarged, ``generative``, and by 2, ``generative-x2``.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        precision: ``auto``, ``fp32`` or ``bf16``; ``auto`` times both for a moment.
        max_steps: Most tools on one photo.
        max_tile_pixels: Most pixels that a tool works on at once; fewer need less memory.
        add_tools: Fitted tools (``toolchain fit``) by name or folder; see `Restorer` for when they
            run.
        scale: By how much photos are enlarged; 1 permits no tool that enlarges.
        prefer: ``fidelity`` or ``texture``, where the toolbox has an agent for each.
        strength: How far to go from the photo towards the restored one, 0 to 1.
        regions: Whether to decide per region.
        max_risk: Largest probability of making the photo worse with which a tool may still run.
        iqa: SFD-IQA to judge photos by: its folder, or a toolbox that has one, by name or folder.
        iqa_encoder: CLIP model that this score was trained with: its folder, or its name in the
            local cache; None is the offline default.
        prior: Of tools with a categorical prior, see `restoring.enlarge_options.EnlargeOptions`.
        steps: Of the tool with a diffusion, 1 to 8: likewise.

    Raises:
        ToolchainError: A name is unknown, weights are missing or damaged, the agent was trained
            with other tools or for another scale, the machine lacks the device, a number is too
            small, no tool enlarges by this scale, or there is no such score, prior or steps.
    """
    toolbox = default_toolbox(scale) if toolbox is None else toolbox
    options = dict(locals())  # this signature is the one list of what a restorer depends on
    place = choose_device(device)
    number_format = choose_precision(precision, place)
    enlarge = EnlargeOptions(str(prior), steps)
    own_tools = [load_own_tool(name) for name in add_tools]
    tools, policy = load_bundle(toolbox, agent, prefer=prefer)
    return Restorer(
        tools,
        policy,
        max_steps=max_steps,
        max_tile_pixels=max_tile_pixels,
        device=place,
        precision=number_format,
        agent_name=str(agent if agent is not None else toolbox)
        + ("-texture" if prefer == "texture" else ""),
        own_tools=own_tools,
        scale=scale,
        strength=strength,
        regions=regions,
        options={
            **options,
            "agent": agent and _as_recorded(agent, BUILTIN_AGENTS),
            "toolbox": _as_recorded(toolbox, shipped_toolboxes()),
            "iqa": iqa and _as_recorded(iqa, shipped_toolboxes()),
            "iqa_encoder": iqa_encoder and _as_recorded(iqa_encoder, ()),
            "add_tools": [_as_recorded(n, own_tool_names(default_home())) for n in add_tools],
            "device": str(place),
            "precision": number_format,
            **enlarge.recorded(),
        },
        max_risk=max_risk,
        iqa=open_named(iqa, iqa_encoder),
        enlarge=enlarge,
    )


class _Views:
    """The agent's eyes on one photo: many views, each an episode of its own in memory.

    Whether the photo is clean, they say together (`policy.pristine`). Their action values are
    averaged, not put to a vote. A value is an expected gain in dB, and the
    gain on the whole photo is about the mean of the gains on its parts. A vote forgets by how much
    each view gains or loses: a wide sky that hardly cares would overrule the few views with the
    texture that a wrong tool ruins.
    """

    def __init__(self, policy: LstmPolicy, height: int, width: int) -> None:
        self._policy = policy
        self._height = height
        self._positions = views(height, width, grid=policy.view_grid)
        self._state = policy.initial_state(len(self._positions))

    def action_values(self, chain: BaseChain) -> Tensor:
        """Values (n_tools + 1,) of what to do next with a chain of one image."""
        images = self._images(chain)
        last_action = chain.last_action.expand(len(images))
        values, self._state = self._policy.action_values(
            images, last_action, self._state, together=True
        )
        return values.mean(dim=0).cpu()

    def clean_probability(self, chain: BaseChain) -> float | None:
        """With what probability the photo is undamaged; None once a tool has run."""
        if int(chain.last_action[0]) != len(self._policy.tool_names):
            return None
        return self._policy.clean_probability(self._images(chain))

    def _images(self, chain: BaseChain) -> Tensor:
        image = chain.current(0)
        height, width = image.shape[-2:]
        scale = height // self._height
        grid = self._policy.view_grid
        positions = enlarged_views(self._positions, height, width, scale, grid=grid)
        return extract_views(image, positions)


def _smallest_tile(tool: Tool) -> int:
    """Pixels of a tile that has one of its own within the halo."""
    side: int = 2 * (tool.halo + tool.grid - 1) + 1
    return side**2


def _check_scale(scale: int, toolbox: Toolbox, policy: LstmPolicy) -> None:
    if scale == 1:
        check_keeps_size(policy, toolbox)
        return
    if scale < 1 or scale not in toolbox.scales:
        known = sorted({str(known) for known in toolbox.scales if known > 1})
        has = f"its tools enlarge by {' or '.join(known)}" if known else "none of its tools does"
        hint = "" if known else "; take one that has such tools, such as --toolbox generative"
        raise SettingError(f"the toolbox {toolbox.name} cannot enlarge by {scale}: {has}{hint}")
    if policy.task != "real-sr":
        raise PolicyError(
            "the agent was not trained to enlarge; train one with: toolchain train agent "
            "--set task=real-sr"
        )


def check_keeps_size(policy: LstmPolicy, toolbox: Toolbox) -> None:
    """Refuse an agent that learnt to enlarge, where photos are to keep their size.

    Raises:
        SettingError: It did: what it learnt to do before an enlargement harms a photo without one.
    """
    if policy.task == "real-sr":
        raise SettingError(
            f"the agent of {toolbox.name!r} learnt to enlarge: add --scale {max(toolbox.scales)} "
            f"(restore, inspect, evaluate), or leave out --toolbox {toolbox.name} to keep the size"
        )


def _check_forced(forced: Sequence[str], toolbox: Toolbox, scale: int) -> None:
    """Refuse forced actions that would be masked: run all the same, they would do nothing."""
    scales = dict(zip(toolbox.names, toolbox.scales, strict=True))
    enlarged_by = ""
    for name in forced:
        if name == toolbox.action_names[toolbox.stop]:
            return
        factor = scales.get(name, 1)
        if factor == 1:
            continue
        if factor != scale:
            raise SettingError(f"{name} enlarges: it needs scale {factor}, got {scale}")
        if enlarged_by:
            raise SettingError(f"{name} cannot enlarge again: {enlarged_by} has done it before")
        enlarged_by = name


def _check_settings(made_by: Provenance) -> None:
    if not 0.0 <= made_by.strength <= 1.0:
        raise SettingError(f"strength must lie in [0, 1], got {made_by.strength}")
    if not 0.0 <= made_by.max_risk <= 1.0:
        raise SettingError(f"max_risk must lie in [0, 1], got {made_by.max_risk}")
    if made_by.regions and made_by.scale > 1:
        raise SettingError("regions keep the size of a photo: leave them out, or the scale")
    if made_by.regions and made_by.forced:
        raise SettingError("forced actions are for the whole photo: leave them out, or regions")


def _as_float(image: FloatImage | ByteImage, arrays: Arrays = IN_MEMORY) -> FloatImage:
    is_bytes = image.dtype == np.uint8
    lq = to_float(cast(ByteImage, image)) if is_bytes else cast(FloatImage, image)
    check_float_image(lq)
    for rows in arrays.bands(len(lq)):
        low, high = lq[rows].min(), lq[rows].max()
        if not (low >= 0.0 and high <= 1.0):  # this way round it also catches NaN
            raise ImageFormatError(f"expected values in [0, 1], got {low} to {high}")
    return lq if lq.flags.writeable else lq.copy()  # PyTorch warns of arrays it may not write to


def _is_gray(image: FloatImage, arrays: Arrays = IN_MEMORY) -> bool:
    return all(
        np.array_equal(part[..., 0], part[..., channel])
        for part in (image[rows] for rows in arrays.bands(len(image)))
        for channel in (1, 2)
    )


def _middle(image: FloatImage) -> FloatImage:
    """At most 2048 x 2048 pixels from the middle: enough to measure noise on."""
    top, left = (max(0, (length - _MEASURED) // 2) for length in image.shape[:2])
    return image[top : top + _MEASURED, left : left + _MEASURED]


def _check_names(toolbox: Toolbox, own_tools: Sequence[OwnTool]) -> None:
    names = list(toolbox.names)
    for own in own_tools:
        if own.name in names:
            raise DuplicateToolError(
                f"the toolbox {toolbox.name} has a tool {own.name!r} already; leave --add-tool out"
            )
        names.append(own.name)


def _as_recorded(name_or_path: str | Path, names: Collection[str]) -> str:
    """A known name as it is; a folder by the path that it has from anywhere."""
    is_name = str(name_or_path) in names or not Path(name_or_path).is_dir()
    return str(name_or_path) if is_name else str(Path(name_or_path).absolute())


def _checksum(policy: LstmPolicy) -> str:
    state = policy.q_net.state_dict().items()
    content = save({name: value.cpu().contiguous() for name, value in state})
    return hashlib.sha256(content).hexdigest()


def _package_version() -> str:
    try:
        return importlib.metadata.version("restoration-toolchain")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "not installed"
