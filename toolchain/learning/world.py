"""Train an agent for the world: record what its tools do, learn from it, and make it cautious.

One run folder holds it all: ``outcomes`` and ``held_out`` are shards, ``recognition``,
``learning-1`` and so on are runs of their own with checkpoints, and `BEST` is the agent. Each goes
on from where it was interrupted. The checkpoint of the whole keeps a folder from being taken for
other settings.
"""

import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import nn

from restoration_toolchain.agents.learning.fresh_crops import FreshBatches, Lessons
from restoration_toolchain.agents.learning.outcome_learning import (
    OutcomeLearningConfig,
    OutcomeObjective,
    Student,
)
from restoration_toolchain.agents.learning.recognition import (
    Observer,
    RecognitionConfig,
    RecognitionObjective,
)
from restoration_toolchain.agents.outcomes.batches import OutcomeBatches
from restoration_toolchain.agents.outcomes.record import (
    Outcomes,
    Recording,
    load,
    record_shard,
)
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.recognition import NOT_DAMAGED
from restoration_toolchain.agents.policy.storage import (
    agent_folder,
    checksum_of,
    load_policy,
    save_policy,
)
from restoration_toolchain.agents.tuning.caution import make_cautious
from restoration_toolchain.data.damage.world import FAMILIES
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.patches.world_crops import DRAWN_KINDS, WorldCrops
from restoration_toolchain.data.photos.sources import open_source, read_photos
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX
from restoration_toolchain.tools_zoo.device import choose_device, choose_precision
from restoration_toolchain.tools_zoo.storage import load_toolbox
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.config import LoopConfig, check_positive
from restoration_toolchain.tools_zoo.training.errors import RunMismatchError
from restoration_toolchain.tools_zoo.training.loop import make_fabric, train_module
from restoration_toolchain.tools_zoo.training.processes import in_processes
from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT, RunFolder

_Settings = TypeVar("_Settings", bound=LoopConfig)

OnPhaseStep = Callable[[str, int, int, dict[str, float]], None]
"""Called with (phase, step, total, newest metrics)."""

OUTCOMES: Final = "outcomes"
HELD_OUT: Final = "held_out"
"""Folders of the shards within a run: of what is learnt from, and of what caution is learnt on."""

RECOGNITION: Final = "recognition"
"""Folder of the run of what is learnt before any record is: to recognise damage."""

BEST: Final = "best"
"""Folder of the agent within a run."""

UNTOUCHED: Final = (NOT_DAMAGED, *DRAWN_KINDS)
"""Families whose images are to be left as they are."""

_CHECKSUMS: Final = "checksums"
"""Key of the tools' checksums in the checkpoint of the whole run."""

_INIT: Final = "init"
"""Key of the checksum of the agent that it goes on with, or whose encoder it begins with."""

_FINISHED: Final = "finished"
"""Key of the same that says that the agent is there."""

_OF_THE_RUN: Final = ("seed", "device", "precision")
"""Settings of the learning that the run gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """How an agent is trained for the world."""

    photos: tuple[str, ...] = ()
    """Clean photos to learn from: folders, or names of public sets."""
    held_out: str = ""
    """Other clean photos, on which the agent learns how cautious it has to be."""
    held_out_photos: int = 50
    """Photos of those that are used, in the order of their names."""
    toolbox: str = DEFAULT_TOOLBOX
    """Tools to choose from."""
    num_crops: int = 12_000
    """Crops to record; each is met by all tools, a few times."""
    held_out_crops: int = 1_280
    """Crops of the held-out photos."""
    chains: tuple[tuple[str, str], ...] = ()
    """Pairs of tools that are known to follow each other well."""
    default_margin: float = 0.05
    """dB that anything else must promise more than these pairs (`policy.decision.margins`)."""
    init_encoder: str | None = None
    """Agent, by name or folder, whose encoder the learning begins with: one that learnt to see."""
    init: str | None = None
    """Agent for the same tools, by name or folder, that the learning goes on with: what it knows is
    kept, though the tools may have changed since."""
    rounds: int = 2
    """Times that learning goes through its schedule, each from what the one before averaged; the
    agent has the mean weights of all rounds."""
    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    """Settings of what comes before: to recognise damage, on crops that no tool runs on."""
    learning: OutcomeLearningConfig = field(default_factory=OutcomeLearningConfig)
    """Settings of a round of learning."""
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    """Number format of the tools: the faster one, ``fp32`` or ``bf16``."""
    num_processes: int = 1
    """Processes that record, each with one thread; one records with all threads of its own."""

    def __post_init__(self) -> None:
        """Check the ranges; lists of a file become tuples, so that settings can be compared."""
        if not self.photos or not self.held_out:
            raise ToolchainError("photos to learn from must be named, and others that are held out")
        counts = ("num_crops", "held_out_crops", "held_out_photos", "rounds", "num_processes")
        check_positive(self, *counts)
        object.__setattr__(self, "chains", tuple(tuple(chain) for chain in self.chains))
        if any(len(set(chain)) != len(chain) or len(chain) != 2 for chain in self.chains):
            raise ToolchainError("chains are pairs of different tools")
        if len(set(self.chains)) < len(self.chains):
            raise ToolchainError("a chain is named twice")
        if self.init is not None and self.init_encoder is not None:
            raise ToolchainError("either a whole agent is gone on with, or its encoder alone")
        for name, plain in (
            ("learning", OutcomeLearningConfig()),
            ("recognition", RecognitionConfig()),
        ):
            for key in _OF_THE_RUN:
                if getattr(getattr(self, name), key) != getattr(plain, key):
                    raise ToolchainError(f"{name}.{key} is that of the whole run: set {key}")

    def batches(self, outcomes: Outcomes, names: Sequence[str], number: int = 0) -> OutcomeBatches:
        """What is learnt in a round from outcomes of the tools of these names."""
        firsts = [names.index(first) for first, _ in self.chains]
        return OutcomeBatches(
            outcomes,
            families_of_the_world(),
            firsts,
            batch_size=self.learning.batch_size,
            epochs=self.learning.epochs,
            seed=self.seed + number,
        )

    def round(self, number: int) -> OutcomeLearningConfig:
        """Settings of a round of learning; every round draws another order."""
        return self._on_this_machine(self.learning, self.seed + number)

    def recognising(self) -> RecognitionConfig:
        """Settings of learning to recognise damage."""
        return self._on_this_machine(self.recognition, self.seed)

    def _on_this_machine(self, settings: _Settings, seed: int) -> _Settings:
        device = choose_device(self.device)
        precision = choose_precision(self.precision, device)
        return dataclasses.replace(settings, seed=seed, device=str(device), precision=precision)


def families_of_the_world() -> tuple[str, ...]:
    """Names of everything that an agent of the world can recognise."""
    return (*FAMILIES, NOT_DAMAGED, *DRAWN_KINDS)


def train_world(
    config: WorldConfig,
    run_path: Path,
    *,
    resume: bool = False,
    on_step: OnPhaseStep = lambda phase, step, total, metrics: None,
) -> LstmPolicy:
    """Train an agent for the world; it is left in ``run_path/best``.

    Args:
        config: Settings of the training.
        run_path: Run folder.
        resume: Go on from what the folder holds.
        on_step: Progress.

    Raises:
        ToolchainError: The photos, the toolbox or the run folder are unusable.
    """
    run = RunFolder(run_path, config, resume=resume)
    try:
        toolbox = _open_toolbox(config)
        begun = _checksums_of(toolbox, config)
        _check_same_start(run, begun, resume=resume)
        if resume and run.load().get(_FINISHED, False):
            return load_policy(run_path / BEST)
        # What is wrong with any of it is said before the hours.
        student = begin(config, toolbox.names)
        crops = {name: WorldCrops(photos_of(config, name)) for name in (OUTCOMES, HELD_OUT)}
        if not resume:  # whatever is recorded from here on is of these tools and settings
            run.save(begun)
        outcomes, held_out = (
            _outcomes(config, toolbox, run, folder, begun, on_step) for folder in crops.items()
        )
        lessons = functools.partial(lessons_of, config, outcomes, toolbox.names, crops[OUTCOMES])
        measured = config.batches(held_out, toolbox.names)
        _learn_to_recognise(student, config, crops[OUTCOMES], measured, run_path, on_step)
        student = _learn(student, config, lessons, measured, run_path, on_step)
        policy = LstmPolicy(
            student.q_net,
            toolbox.names,
            tool_checksums=toolbox.checksums,
            recognition=student.recognition,
            default_chains=config.chains,
            default_margin=config.default_margin if config.chains else 0.0,
        )
        policy = make_cautious(policy, measured)
        notes = {"num_crops": config.num_crops, "epochs": config.learning.epochs}
        save_policy(policy, run_path / BEST, notes)
        run.save({**begun, _FINISHED: True})
    finally:
        run.close()
    return load_policy(run_path / BEST)


def _checksums_of(toolbox: Toolbox, config: WorldConfig) -> dict[str, Any]:
    """Checksums of the weights that a run hangs on: of its tools, and of what it begins with."""
    agent = config.init or config.init_encoder
    init = "" if agent is None else checksum_of(agent_folder(agent))
    return {_CHECKSUMS: dict(toolbox.checksums), _INIT: init}


def _check_same_start(run: RunFolder, begun: Mapping[str, Any], *, resume: bool) -> None:
    """Refuse to mix what came of other weights with what comes of those of now."""
    kept = run.load() if resume else begun
    what = {_CHECKSUMS: "the tools are others", _INIT: "the agent to begin with is another"}
    for key, says in what.items():
        if kept.get(key, begun[key]) != begun[key]:
            raise RunMismatchError(
                f"{says} than when {run.path} was begun; train in another folder"
            )


def _open_toolbox(config: WorldConfig) -> Toolbox:
    toolbox = load_toolbox(config.toolbox)
    if max(toolbox.scales) > 1:
        raise ToolchainError(f"{config.toolbox} has tools that enlarge; the world keeps the size")
    for name in itertools.chain(*config.chains):
        if name not in toolbox.names:
            raise UnknownNameError("tool", name, toolbox.names)
    return toolbox


def photos_of(config: WorldConfig, name: str) -> list[ByteImage]:
    """The clean photos that the crops of `OUTCOMES` or `HELD_OUT` are cut from."""
    if name == HELD_OUT:
        chosen = itertools.islice(open_source(config.held_out), config.held_out_photos)
        return [photo for _, photo in chosen]
    return read_photos(config.photos)


def _outcomes(
    config: WorldConfig,
    toolbox: Toolbox,
    run: RunFolder,
    folder: tuple[str, WorldCrops],
    begun: Mapping[str, Any],
    on_step: OnPhaseStep,
) -> Outcomes:
    """Record the shards of a folder that are missing, from its crops, and read all of them."""
    name, crops = folder
    num_crops = config.held_out_crops if name == HELD_OUT else config.num_crops
    recording = recording_of(config, toolbox.names)
    paths = recording.shards(run.path / name, num_crops)
    if config.num_processes == 1:
        toolbox.to(recording.device)
        work = functools.partial(_record_one, toolbox, crops, recording)
    else:  # another process has nothing at hand yet
        work = functools.partial(_record_one_of, config, name, recording)
    with in_processes(work, list(enumerate(paths)), config.num_processes) as finished:
        for number, _ in enumerate(finished, 1):
            run.save({name: number, **begun})
            on_step(f"recording {name}", number * num_crops // len(paths), num_crops, {})
    return load(paths)


def recording_of(config: WorldConfig, names: Sequence[str]) -> Recording:
    """How crops are played with tools of these names."""
    device = choose_device(config.device)
    return Recording(
        chains=_indices_of(config.chains, names),
        seed=config.seed,
        device=device,
        precision=choose_precision(config.precision, device),
    )


def _record_one(
    toolbox: Toolbox, crops: WorldCrops, recording: Recording, shard: tuple[int, Path]
) -> None:
    number, path = shard
    record_shard(toolbox, crops, recording, path, number)


def _record_one_of(
    config: WorldConfig, name: str, recording: Recording, shard: tuple[int, Path]
) -> None:
    _record_one(*_at_hand(config, name), recording, shard)


@functools.lru_cache(maxsize=1)
def _at_hand(config: WorldConfig, name: str) -> tuple[Toolbox, WorldCrops]:
    toolbox = load_toolbox(config.toolbox).to(choose_device(config.device))
    return toolbox, WorldCrops(photos_of(config, name))


def lessons_of(
    config: WorldConfig,
    outcomes: Outcomes,
    names: Sequence[str],
    crops: WorldCrops,
    number: int,
) -> Lessons:
    """What is learnt from in a round."""
    recorded = config.batches(outcomes, names, number)
    if not (size := config.learning.fresh):
        return Lessons(recorded)
    families, count = families_of_the_world(), len(recorded)
    fresh = FreshBatches(crops, families, size=size, count=count, seed=(config.seed, number))
    return Lessons(recorded, fresh)


def _learn_to_recognise(
    student: Student,
    config: WorldConfig,
    crops: WorldCrops,
    measured: OutcomeBatches,
    run_path: Path,
    on_step: OnPhaseStep,
) -> None:
    """Teach a student to recognise damage on crops that are drawn afresh; it is changed."""
    settings, observer = config.recognising(), student.observer
    if not (count := settings.total_crops // settings.batch_size):
        return
    families, size = families_of_the_world(), settings.batch_size
    fresh = FreshBatches(crops, families, size=size, count=count, seed=(settings.seed,))
    folder = run_path / RECOGNITION
    learnt = train_module(
        copy.deepcopy(observer),
        RecognitionObjective(fresh, measured),
        settings,
        folder,
        make_fabric(settings),
        num_steps=count,
        resume=(folder / CHECKPOINT).is_file(),
        on_step=functools.partial(on_step, "recognising"),
    )
    assert isinstance(learnt, Observer)
    observer.load_state_dict(learnt.state_dict())


def _learn(
    begun: Student,
    config: WorldConfig,
    lessons: Callable[[int], Lessons],
    measured: OutcomeBatches,
    run_path: Path,
    on_step: OnPhaseStep,
) -> Student:
    student: nn.Module = begun
    learnt: list[Student] = []
    for number in range(1, config.rounds + 1):
        batches, settings = lessons(number), config.round(number)
        folder = run_path / f"learning-{number}"
        fabric = make_fabric(settings)
        student = train_module(
            copy.deepcopy(student).requires_grad_(True),
            OutcomeObjective(batches, measured, settings),
            settings,
            folder,
            fabric,
            num_steps=len(batches),
            resume=(folder / CHECKPOINT).is_file(),
            on_step=functools.partial(on_step, f"learning, round {number}"),
        )
        assert isinstance(student, Student)
        learnt.append(student)
    return mean_of(learnt)


def _indices_of(chains: Sequence[tuple[str, str]], names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of tools by their places in a toolbox."""
    return [(names.index(first), names.index(second)) for first, second in chains]


def mean_of(students: Sequence[Student]) -> Student:
    """A student with the mean weights of several that learnt one from the other.

    Source:
        Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI
        2018.
    """
    states = [student.state_dict() for student in students]
    mean = copy.deepcopy(students[-1])
    mean.load_state_dict({
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        if value.is_floating_point()
        else value
        for name, value in states[-1].items()
    })  # fmt: skip
    return mean


def begin(config: WorldConfig, names: Sequence[str]) -> Student:
    """The network that the learning begins with, for tools of these names."""
    torch.manual_seed(config.seed)
    student = Student(len(names), families_of_the_world(), UNTOUCHED, config.learning.encoder)
    if config.init is not None:
        _go_on_with(student, config.init, names)
    if config.init_encoder is not None:
        _begin_with(student, config.init_encoder)
    return student


def _go_on_with(student: Student, agent: str, names: Sequence[str]) -> None:
    """Start from all that an agent knows of the same tools and families."""
    policy = load_policy(agent)
    if policy.tool_names != tuple(names):
        raise ToolchainError(f"the agent {agent} knows other tools")
    named = policy.recognition
    if named is None or named.families != student.recognition.families:
        raise ToolchainError(f"the agent {agent} recognises other families")
    try:
        student.q_net.load_state_dict(policy.q_net.state_dict())
    except RuntimeError as error:
        raise ToolchainError(f"the agent {agent} has another network") from error
    student.recognition.load_state_dict(named.state_dict())


def _begin_with(student: Student, agent: str) -> None:
    """Start from the encoder of an agent, as far as the layers are the same."""
    encoder = student.q_net.encoder
    known = load_policy(agent).q_net.encoder.state_dict()
    try:
        missing, unknown = encoder.load_state_dict(known, strict=False)
    except RuntimeError:
        missing, unknown = [], list(known)
    if unknown or len(missing) == len(encoder.state_dict()):
        raise ToolchainError(f"the agent {agent} sees with other layers; name another one")
