"""The product's heart: an agent and a toolbox that restore photos of any size."""

import dataclasses
import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from typing import Final, Unpack, cast

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

import restoration_toolchain
from restoration_toolchain.agents.players.rollout import rollout
from restoration_toolchain.agents.policy.decision import Decision, Limits, tool_prices
from restoration_toolchain.agents.policy.guard import features
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.storage import PolicyError, check_fits
from restoration_toolchain.data.errors import ImageFormatError, ToolchainError, UnknownNameError
from restoration_toolchain.data.images import (
    ByteImage,
    FloatImage,
    check_float_image,
    to_float,
    to_numpy,
    to_tensor,
)
from restoration_toolchain.envs.chain import Chain
from restoration_toolchain.toolchain.photos.arrays import IN_MEMORY, Arrays
from restoration_toolchain.toolchain.restoring.colour_drift import bound_drift
from restoration_toolchain.toolchain.restoring.enlarge_options import (
    PRIOR_NAMES,
    beside_tiles,
    instruct,
    unused,
)
from restoration_toolchain.toolchain.restoring.photo_quality import AS_TILE_PIXELS, PhotoJudge
from restoration_toolchain.toolchain.restoring.recorder import OnStep, Record
from restoration_toolchain.toolchain.restoring.regions import Cells, RegionChain
from restoration_toolchain.toolchain.restoring.restoration import (
    Provenance,
    Restoration,
    Step,
)
from restoration_toolchain.toolchain.restoring.settings import (
    CallOptions,
    RestoreSettings,
    SettingError,
    check_keywords,
)
from restoration_toolchain.toolchain.restoring.tiling import apply_tiled
from restoration_toolchain.toolchain.restoring.views import Views, extract_views, views
from restoration_toolchain.tools_zoo.device import choose_device, choose_precision
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import SfdIqa
from restoration_toolchain.tools_zoo.own_tools import OwnTool
from restoration_toolchain.tools_zoo.precision import computing
from restoration_toolchain.tools_zoo.profile import treatment
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import DuplicateToolError, Toolbox

_MEASURED: Final = 2048  # pixels
_JUDGED: Final = 16  # views, whose median distance says how familiar a photo is

UNFAMILIAR: Final = (
    "the damage is unlike anything that the agent was trained on: nothing can be promised"
)
LEFT: Final = "left as it is: what might help may as well do harm"
LEFT_UNFAMILIAR: Final = (
    "left as it is: unlike anything that the agent was trained on, and no tool is sure to help"
)

GONE_ON: Final = (
    "gone on although the agent was not sure: {tool} may well have done harm (risk {risk:.0%})"
)

AS_BUILT: Final = RestoreSettings(device="cpu", precision="fp32")
"""Settings of a restorer that was told nothing."""


class NoEnlargerError(SettingError):
    """Photos are to be enlarged with a toolbox that has no tool for it."""


class SmallAgentError(PolicyError):
    """Photos are to be enlarged by an agent that did not learn to."""


class LearntToEnlargeError(SettingError):
    """Photos are to keep their size with an agent that learnt to enlarge.

    Args:
        toolbox: Name of the agent's toolbox.
        scale: Factor by which the agent learnt to enlarge.
    """

    def __init__(self, toolbox: str, scale: int) -> None:
        super().__init__(f"the agent of {toolbox!r} learnt to enlarge, by {scale}")
        self.toolbox, self.scale = toolbox, scale


class NotCalibratedError(PolicyError):
    """The risk of an agent is to be limited, and nobody has measured it."""


class OwnToolNameError(DuplicateToolError):
    """A fitted tool has the name of another tool."""


class Restorer:
    """Restores photos: an agent looks, picks a tool, the tool runs, until the agent stops.

    Args:
        toolbox: Tools that the agent knows; moved to the device of the settings.
        policy: Agent that chooses them; moved there, too. The tools and its encoder compute in the
            precision of the settings, the rest of it always in float32.
        settings: Everything else that can be told. The photo itself stays in main memory.
        agent_name: Name of the agent in traces.
        own_tools: Fitted tools that the agent does not know. The one that a photo's noise suits
            best, if there is one, runs first and counts as a step; then the agent looks.
        iqa: SFD-IQA, by which photos are judged before and after every step; moved to the device.
            It changes no decision and no pixel.

    Attributes:
        toolbox: The tools in action order.
        provenance: What a restoration records of the restorer, unless a call says otherwise.
        scale: Side of a restored photo over side of the photo as it came.

    Raises:
        PolicyError: The policy was trained with other tools, or not to enlarge and is to, or its
            risk is to be limited and it was not calibrated.
        DuplicateToolError: The toolbox has a tool of the name of an own one, or two have one name.
        SettingError: Tiles are too small, no tool enlarges by this scale or has what is asked of
            those that enlarge, or the policy learnt to enlarge and is not to.
        PriorError: The prior does not fit a tool.
        ToolchainError: This machine lacks the device.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        policy: LstmPolicy,
        settings: RestoreSettings = AS_BUILT,
        *,
        agent_name: str = "unnamed",
        own_tools: Sequence[OwnTool] = (),
        iqa: SfdIqa | None = None,
    ) -> None:
        check_fits(policy, toolbox)
        self._prior = instruct(toolbox, settings)
        _check_scale(settings.scale, toolbox, policy)
        _check_names(toolbox, own_tools)
        self._own_tools = tuple(own_tools)
        tools = (*toolbox, *(own.tool for own in own_tools))
        smallest = max(_smallest_tile(tool) for tool in tools)
        if settings.max_tile_pixels < smallest:
            raise SettingError(
                f"max_tile_pixels must be at least {smallest}, got {settings.max_tile_pixels}"
            )
        if settings.max_risk < 1.0 and not policy.knows_risk:
            raise NotCalibratedError("this agent was not calibrated, so its risk is not known")
        self._device = choose_device(settings.device)
        self._precision = choose_precision(settings.precision, self._device)
        for tool in tools:
            tool.to(self._device)
        self.toolbox, self._policy, self.scale = toolbox, policy, settings.scale
        self._policy.q_net.to(self._device)
        self._policy.precision = self._precision
        self._max_tile_pixels = settings.max_tile_pixels
        self._iqa = None if iqa is None else iqa.to(self._device)
        settings = dataclasses.replace(
            settings, device=str(self._device), precision=self._precision
        ).recorded({"prior": PRIOR_NAMES})
        self.provenance = Provenance(
            version=restoration_toolchain.__version__,
            toolbox=toolbox.name,
            tool_checksums={
                **toolbox.checksums,
                **{own.name: own.sha256 for own in own_tools if own.sha256},
            },
            agent=agent_name,
            agent_checksum=_checksum(policy),
            prior_checksum="" if self._prior is None else self._prior.checksum,
            reward=policy.reward.name,
            settings=settings,
            loaded=None if settings.toolbox is None else settings,
        )

    @property
    def policy(self) -> LstmPolicy:
        """The agent, on the device, in the precision of the settings."""
        return self._policy

    @property
    def working_pixels(self) -> int:
        """Pixels of the tile whose memory nothing exceeds that a tool or the score works on."""
        judging = 0 if self._iqa is None else AS_TILE_PIXELS
        looking = 0 if self._prior is None else self._prior.as_tile_pixels
        return max(self._max_tile_pixels, judging, looking)

    def restore(
        self,
        image: FloatImage | ByteImage,
        *,
        gt: FloatImage | ByteImage | None = None,
        keep_frames: bool = False,
        on_step: OnStep | None = None,
        arrays: Arrays = IN_MEMORY,
        **chosen: Unpack[CallOptions],
    ) -> Restoration:
        """Restore one photo of any size; the photo itself is not changed.

        A photo with three equal channels stays so.

        Args:
            image: RGB, shape (H, W, 3), float32 in [0, 1] or uint8.
            gt: The clean photo, as large as the result; every step is then scored against it.
            keep_frames: Keep the input and the image after every tool.
            on_step: Called after every decision.
            arrays: Makes the arrays of the photo's size that are needed on the way, where decisions
                are for the whole photo and it keeps its size.
            **chosen: Settings of this call in place of the restorer's own; None leaves one as it
                is. ``strength`` 0 returns the photo's pixels, 1 all that the tools did; steps,
                scores and frames are of such blends, but the agent decides by what the tools did.
                After the ``forced`` actions, ``stop`` included, which run whatever their risk and
                arithmetic, the agent goes on.

        Raises:
            ImageFormatError: ``image`` or ``gt`` is no such image, or their shapes do not go
                together.
            SettingError: The strength lies outside [0, 1], regions do not go with the rest, or a
                forced action enlarges where nothing may (any more).
            UnknownNameError: A forced action is no tool of the toolbox, or there is no such effort.
            TypeError: A setting cannot be chosen by a call.
        """
        check_keywords("restore", chosen, CallOptions.__annotations__)
        settings = self.provenance.settings.changed(chosen)
        made_by = dataclasses.replace(self.provenance, settings=settings)
        _check_forced(settings.forced, self.toolbox, self.scale)
        lq, clean = _as_float(image, arrays), None if gt is None else _as_float(gt)
        judge = PhotoJudge(self._iqa, lq, self.scale)
        record = Record(lq, clean, judge, made_by, on_step, arrays, keep_frames=keep_frames)
        unfamiliarity = self._unfamiliarity(lq)
        limits = own_limits = self._own_limits(settings, unfamiliarity)
        if settings.even_if_unsure:
            limits = Limits(settings.max_risk, tool_prices=own_limits.tool_prices)
        own, notes = self._choose_own(lq)
        restored = lq
        if own is not None:
            step, restored = self._play_own(own, lq, arrays)
            record.add(step, restored)
        max_steps = settings.max_steps - len(record.steps)
        if max_steps:
            play = self._play_regions if settings.regions else self._play
            within = limits, own_limits  # what counts, and what the agent alone would take
            for step, image_after in play(restored, max_steps, settings.forced, within, arrays):
                restored = image_after
                record.add(step, restored)
        notes += unused(self.toolbox, settings, [step.tool for step in record.steps])
        notes += _cautions(record.steps, unfamiliarity)
        return record.finish(restored, (*notes, *judge.notes), unfamiliarity, limits.max_risk)

    def _play(
        self,
        lq: FloatImage,
        max_steps: int,
        forced: Sequence[str],
        within: tuple[Limits, Limits],
        arrays: Arrays,
    ) -> Iterator[tuple[Step, FloatImage]]:
        """One chain for the whole photo: every decision, and the image after it."""
        is_gray = _is_gray(lq, arrays)

        def apply(images: Tensor, actions: Tensor) -> Tensor:
            return self._apply(self.toolbox[int(actions[0])], images, arrays, is_gray=is_gray)

        chain = Chain(
            to_tensor(lq[None]),
            self.toolbox.scales,
            scale=self.scale,
            max_steps=max_steps,
            apply=apply,
        )
        actions = [self._action(name) for name in forced]
        limits, own = within
        look = Views(self._policy, *lq.shape[:2], forced=actions, limits=limits, own_limits=own)
        for decision, _, seconds in rollout(chain, look):
            assert decision.values is not None
            action = int(decision.actions[0])
            is_left = action == self.toolbox.stop == int(decision.values.argmax())
            step = dataclasses.replace(
                self._step(action, decision.values[0], seconds),
                risk=None if decision.risk is None else float(decision.risk[0]),
                is_held_back=decision.is_held_back,
                clean=look.clean_probability(chain) if is_left else None,
                dared=self._dared(decision),
            )
            yield step, to_numpy(chain.current(0)[None])[0]

    def _play_regions(
        self,
        lq: FloatImage,
        max_steps: int,
        forced: Sequence[str],
        within: tuple[Limits, Limits],
        arrays: Arrays,
    ) -> Iterator[tuple[Step, FloatImage]]:
        """A chain per region: every round of decisions, and the image after it."""
        is_gray = _is_gray(lq)

        def run_tool(action: int, part: Tensor) -> Tensor:
            return self._apply(self.toolbox[action], part, IN_MEMORY, is_gray=is_gray)

        chain = RegionChain(
            to_tensor(lq[None]),
            stop=self.toolbox.stop,
            run_tool=run_tool,
            max_steps=max_steps,
            halo=max(tool.halo for tool in self.toolbox),
            grid=math.lcm(*(tool.grid for tool in self.toolbox)),
        )
        limits, own = within
        look = Cells(self._policy, chain, limits=limits, own_limits=own)
        for decision, _, seconds in rollout(chain, look):
            # The step is named after what most of the cells that went on got.
            counts = torch.bincount(decision.actions, minlength=chain.stop + 1)
            ran = counts[: chain.stop]
            action = int(ran.argmax()) if ran.any() else chain.stop
            step = self._step(action, look.values, seconds)
            actions = decision.actions.reshape(chain.shape).numpy()
            step = dataclasses.replace(
                step,
                region_actions=actions,
                is_held_back=decision.is_held_back,
                dared=self._dared(decision),
            )
            yield step, to_numpy(chain.image)[0]

    def _own_limits(self, settings: RestoreSettings, unfamiliarity: float | None) -> Limits:
        """The agent's limits for a photo; the largest risk is the user's if that is less."""
        is_strange = unfamiliarity is not None and unfamiliarity > 1.0
        own = self._policy.unfamiliar_risk if is_strange else self._policy.max_risk
        return self._policy.limits._replace(
            max_risk=min(settings.max_risk, own),
            tool_prices=tool_prices(self.toolbox, settings.effort),
        )

    def _dared(self, decision: Decision) -> tuple[str, float] | None:
        """The riskiest of the tools that ran although the agent would have held them back."""
        if decision.doubted is None or decision.risk is None:
            return None
        dared = decision.doubted & (decision.actions != self.toolbox.stop)
        if not dared.any():
            return None
        riskiest = int(decision.risk.masked_fill(~dared, -1.0).argmax())
        name = self.toolbox.names[int(decision.actions[riskiest])]
        return name, float(decision.risk[riskiest])

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
        names = self.toolbox.action_names
        if name not in names:
            raise UnknownNameError("action", name, names)
        return names.index(name)

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

    def _play_own(self, own: OwnTool, lq: FloatImage, arrays: Arrays) -> tuple[Step, FloatImage]:
        """Run an own tool on the photo."""
        start = time.perf_counter()
        restored = self._apply(own.tool, to_tensor(lq[None]), arrays, is_gray=_is_gray(lq, arrays))
        step = Step(
            tool=own.name,
            treats=treatment(own.tool.spec),
            action=self.toolbox.stop + 1 + self._own_tools.index(own),
            action_values={own.name: own.gain},
            seconds=time.perf_counter() - start,
        )
        return step, to_numpy(restored)[0]

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
        names, is_stop = self.toolbox.action_names, action == self.toolbox.stop
        treats = "" if is_stop else treatment(self.toolbox[action].spec, self.toolbox.profile)
        known = zip(names, values.tolist(), strict=True)
        return Step(
            tool=names[action],
            treats=treats,
            action=action,
            action_values={name: value for name, value in known if value > -math.inf},
            seconds=seconds,
            scale=1 if is_stop else self.toolbox.scales[action],
        )


def _cautions(steps: Sequence[Step], unfamiliarity: float | None) -> tuple[str, ...]:
    """What is to be known of a photo that is strange, or of which the agent was not certain."""
    is_strange = unfamiliarity is not None and unfamiliarity > 1.0
    if len(steps) == 1 and steps[0].is_held_back:
        return (LEFT_UNFAMILIAR if is_strange else LEFT,)
    strange = (UNFAMILIAR,) if is_strange and not all(step.is_stop for step in steps) else ()
    dared = [step.dared for step in steps if step.dared is not None]
    if not dared:
        return strange
    tool, risk = max(dared, key=lambda one: one[1])
    return (*strange, GONE_ON.format(tool=tool, risk=risk))


def _smallest_tile(tool: Tool) -> int:
    """Pixels of a tile that has one of its own within the halo."""
    side: int = 2 * (tool.halo + tool.grid - 1) + 1
    return side**2


def _check_scale(scale: int, toolbox: Toolbox, policy: LstmPolicy) -> None:
    if scale == 1:
        check_keeps_size(policy, toolbox)
        return
    if scale not in toolbox.scales:
        says = f"the toolbox {toolbox.name} cannot enlarge by {scale}: "
        known = sorted({str(known) for known in toolbox.scales if known > 1})
        if not known:
            raise NoEnlargerError(f"{says}none of its tools does")
        raise SettingError(f"{says}its tools enlarge by {' or '.join(known)}")
    if policy.task != "real-sr":
        raise SmallAgentError("the agent was not trained to enlarge")


def check_keeps_size(policy: LstmPolicy, toolbox: Toolbox) -> None:
    """Refuse an agent that learnt to enlarge, where photos are to keep their size.

    Raises:
        LearntToEnlargeError: It did: what it learnt to do before an enlargement harms a photo
            without one.
    """
    if policy.task == "real-sr":
        raise LearntToEnlargeError(toolbox.name, max(toolbox.scales))


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
    names = [*toolbox.names, *(own.name for own in own_tools)]
    for own in own_tools:
        if names.count(own.name) > 1:
            raise OwnToolNameError(f"the toolbox {toolbox.name} has a tool {own.name!r} already")


def _checksum(policy: LstmPolicy) -> str:
    state = policy.q_net.state_dict()
    limits = (policy.max_risk, policy.caution, policy.later_caution, policy.unfamiliar_risk)
    if limits != (1.0, 0.0, 0.0, 1.0):  # then what is known of risks decides, too
        state["limits"] = torch.tensor(limits)
        guard = policy.guard
        if guard is not None:
            state["guard"] = torch.tensor([guard.intercept, guard.slope, guard.limit])
            state |= {"guard.mean": guard.mean, "guard.whitening": guard.whitening}
    content = save({name: value.cpu().contiguous() for name, value in state.items()})
    return hashlib.sha256(content).hexdigest()
