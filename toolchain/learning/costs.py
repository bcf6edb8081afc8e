"""What the stages of a recipe cost on this machine, by trying a few crops of each."""

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from restoration_toolchain.agents.learning.fresh_crops import FreshBatches
from restoration_toolchain.agents.learning.outcome_learning import OutcomeObjective
from restoration_toolchain.agents.learning.recognition import RecognitionObjective
from restoration_toolchain.agents.outcomes.record import Outcomes, load, record_shard
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.patches.world_crops import WorldCrops
from restoration_toolchain.data.photos.sources import read_photos
from restoration_toolchain.toolchain.learning.recipe import Recipe
from restoration_toolchain.toolchain.learning.world import (
    WorldConfig,
    begin,
    families_of_the_world,
    lessons_of,
    recording_of,
)
from restoration_toolchain.toolchain.measuring.tool_profile import PROFILED
from restoration_toolchain.tools_zoo.recipes.specialists import CropObjective, SpecialistConfig
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.config import LoopConfig
from restoration_toolchain.tools_zoo.training.loop import count_steps_within, make_fabric
from restoration_toolchain.tools_zoo.training.objective import Objective

_TRIAL_CROPS: Final = 8
_TRIAL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stage takes on this machine.

    Attributes:
        stage: Name of the stage: a tool, *recording*, *recognising*, *learning*, these of the joint
            phase, or *measuring*.
        crops: Crops that it works on.
        minutes: Time, as a trial of a few crops says.
    """

    stage: str
    crops: int
    minutes: float


def estimate(recipe: Recipe) -> list[Cost]:
    """Say what the stages cost on this machine, by trying a few crops of each.

    Where several processes work, each has one thread, and its time is divided by their number; a
    team of tools is never divided.

    Raises:
        ToolchainError: The photos are unusable.
    """
    specialists, joint = recipe.specialists, recipe.joint
    photos = read_photos(specialists.photos)
    costs = []
    speeds = _speeds(specialists, photos)
    for name, plan in specialists.tools.items():
        costs.append(_cost(name, plan.total_crops, speeds[plan.network]))
    pace = _pace_of(recipe, WorldCrops(photos))
    costs += pace.of_agent(recipe.agent)
    if joint is not None:
        # Before a tool sees a crop, another one may have run on it.
        before = pace.measuring / len(specialists.tools)
        processes, teams, crops = recipe.agent.num_processes, [0.0], 0
        if processes > 1:
            with _threads(processes):
                speeds = _speeds(specialists, photos)
        for team in joint.tools.teams(list(specialists.tools), joint.agent.chains):
            plan = next(iter(joint.tools.settings(specialists, team).tools.values()))
            networks = [specialists.tools[name].network for name in team]
            # All of its tools run on its own crops, and one on those that it is given.
            passes = (1.0 - joint.tools.met) * len(team) + joint.tools.met
            seconds = passes * max(speeds[network] for network in networks)
            teams.append(plan.total_crops * (seconds + before))
            crops += plan.total_crops
        minutes = max(sum(teams) / processes, *teams) / 60.0
        costs += [Cost("joint: tools", crops, minutes), *pace.of_agent(joint.agent, "joint: ")]
    measured = recipe.profile_crops * (len(PROFILED) + len(specialists.tools))
    return [*costs, _cost("measuring", measured, pace.measuring)]


def _speeds(specialists: SpecialistConfig, photos: Sequence[ByteImage]) -> dict[str, float]:
    """Seconds in which a tool learns from a crop, by the name of its network."""
    speeds: dict[str, float] = {}
    tried = dataclasses.replace(specialists, eval_crops=_TRIAL_CROPS)
    for name, plan in specialists.tools.items():
        if plan.network not in speeds:
            objective = CropObjective(tried, plan, photos)
            seconds = _step(Tool(plan.spec(name)).network, objective, tried)
            speeds[plan.network] = seconds / specialists.batch_size
    return speeds


def _cost(stage: str, crops: int, seconds: float) -> Cost:
    """The cost of a stage, from the seconds for one crop."""
    return Cost(stage, crops, crops * seconds / 60.0)


@dataclass(frozen=True, slots=True)
class _Pace:
    """How long a crop takes in the stages behind the tools.

    Attributes:
        recording: Seconds in which it is recorded, by one process.
        measuring: Seconds in which all tools run on it once.
        crops: Crops of the world.
        outcomes: What was recorded on trial.
        names: Names of the tools.
    """

    recording: float
    measuring: float
    crops: WorldCrops
    outcomes: Outcomes
    names: tuple[str, ...]

    def of_agent(self, agent: WorldConfig, phase: str = "") -> list[Cost]:
        """What the stages of an agent cost."""
        recorded = agent.num_crops + agent.held_out_crops
        costs = [_cost(f"{phase}recording", recorded, self.recording / agent.num_processes)]
        student = begin(dataclasses.replace(agent, init=None), self.names)
        batches = agent.batches(self.outcomes, self.names)
        recognising, learning = agent.recognising(), agent.round(0)
        if recognising.total_crops:
            size, families = recognising.batch_size, families_of_the_world()
            fresh = FreshBatches(self.crops, families, size=size, count=1)
            objective = RecognitionObjective(fresh, batches)
            seconds = _step(student.observer, objective, recognising) / size
            costs.append(_cost(f"{phase}recognising", recognising.total_crops, seconds))
        lessons = lessons_of(agent, self.outcomes, self.names, self.crops, 0)
        seconds = _step(student, OutcomeObjective(lessons, batches, learning), learning)
        learnt = agent.num_crops * agent.learning.epochs * agent.rounds
        count = min(len(batches.episodes), learning.batch_size)
        return [*costs, _cost(f"{phase}learning", learnt, seconds / count)]


def _pace_of(recipe: Recipe, crops: WorldCrops) -> _Pace:
    """Try to record a shard."""
    agent = recipe.agent
    tools = [Tool(plan.spec(name)) for name, plan in recipe.specialists.tools.items()]
    toolbox = Toolbox(recipe.name, tools).requires_grad_(False).eval()
    recording = recording_of(agent, toolbox.names)
    toolbox.to(recording.device)
    with tempfile.TemporaryDirectory() as folder, _threads(agent.num_processes):
        (shard,) = recording.shards(Path(folder), 1)
        seconds = _seconds(partial(record_shard, toolbox, crops, recording, shard, 0))
        outcomes = load([shard])
    return _Pace(
        recording=seconds / len(np.unique(outcomes.episode)),
        # All tools run on these once, as on a state of the record.
        measuring=seconds / len(outcomes.images),
        crops=crops,
        outcomes=outcomes,
        names=toolbox.names,
    )


def _step(module: nn.Module, objective: Objective, config: LoopConfig) -> float:
    """Seconds of a step of training, with the drawing of its batch."""
    steps = count_steps_within(_TRIAL_SECONDS, module, objective, 10**6, make_fabric(config))
    return _TRIAL_SECONDS / steps + _seconds(partial(objective.batches.__getitem__, 0))


@contextlib.contextmanager
def _threads(num_processes: int) -> Iterator[None]:
    """Let this process compute as one of several does."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if num_processes == 1 else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
