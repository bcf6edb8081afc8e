"""Properties of what an agent is said to give its tools."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from restoration_toolchain.agents.tuning.caution import Choices
from restoration_toolchain.toolchain.learning import encounters
from restoration_toolchain.toolchain.learning.encounters import (
    encounters_of,
    read_encounters,
    write_encounters,
)
from restoration_toolchain.tools_zoo.recipes.joint_tools import Encounters, JointToolsConfig
from restoration_toolchain.tools_zoo.training.errors import DamagedRunError, RunMismatchError

JOINT = JointToolsConfig()


def choices(values: list[list[float]], last: list[int], is_whole: list[bool]) -> Choices:
    count = len(values)
    return Choices(
        values=np.array(values),
        claimed=np.full((count, 2), 0.9),
        gains=np.zeros((count, 2)),
        is_first=np.array(last) == 2,
        is_whole=np.array(is_whole),
        last_action=np.array(last),
        family=np.array(["noise", "jpeg", "blur", "noise"][:count]),
    )


def knowing(*untouched: str) -> Any:
    return SimpleNamespace(recognition=SimpleNamespace(untouched=untouched))


def test_a_tool_meets_what_promises_nearly_as_much_as_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = choices(
        [[2.0, 0.0], [0.1, 0.1], [-3.0, -3.0], [9.0, 0.0]], [2, 2, 2, 0], [True, True, True, False]
    )
    monkeypatch.setattr(encounters, "choices_on", lambda policy, batches: told)
    met = encounters_of(knowing(), None, ["a", "b"], JOINT)  # type: ignore[arg-type]
    # Surely the first of two, two that are as good, to stop, and a view that does not count.
    assert met["a"][("noise", "")] == pytest.approx(1.0, abs=1e-3)
    assert met["a"][("jpeg", "")] == met["b"][("jpeg", "")] == pytest.approx(0.383, abs=1e-3)
    assert set(met["a"]) == {("noise", ""), ("jpeg", "")}
    assert set(met["b"]) == {("jpeg", "")}


def test_what_ran_before_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    told = choices([[2.0, 0.0], [2.0, 0.0]], [2, 1], [True, True])
    monkeypatch.setattr(encounters, "choices_on", lambda policy, batches: told)
    met = encounters_of(knowing(), None, ["a", "b"], JOINT)  # type: ignore[arg-type]
    assert set(met["a"]) == {("noise", ""), ("jpeg", "b")}
    assert met["b"] == {}


def test_images_to_be_left_alone_come_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    told = choices([[2.0, 0.0], [2.0, 0.0]], [2, 2], [True, True])
    monkeypatch.setattr(encounters, "choices_on", lambda policy, batches: told)
    met = encounters_of(knowing("jpeg"), None, ["a", "b"], JOINT)  # type: ignore[arg-type]
    noise, jpeg = met["a"][("noise", "")], met["a"][("jpeg", "")]
    assert jpeg == pytest.approx(JOINT.untouched * noise)


def test_what_weighs_nothing_is_no_encounter(monkeypatch: pytest.MonkeyPatch) -> None:
    told = choices([[2.0, 0.0], [2.0, 0.0]], [2, 2], [True, True])
    monkeypatch.setattr(encounters, "choices_on", lambda policy, batches: told)
    none = JointToolsConfig(untouched=0.0)
    met = encounters_of(knowing("jpeg"), None, ["a", "b"], none)  # type: ignore[arg-type]
    assert set(met["a"]) == {("noise", "")}


def test_what_is_kept_of_encounters_is_of_one_agent_and_of_one_way_to_count(tmp_path: Path) -> None:
    met: dict[str, Encounters] = {"a": {("noise", ""): 1.5, ("noise", "b"): 0.1}, "b": {}}
    path = tmp_path / "joint" / "encounters.json"
    write_encounters(met, "abc", JOINT, path)
    assert read_encounters(path, "abc", JOINT) == met
    other = JointToolsConfig(untouched=1.0)
    for agent, joint in (("abd", JOINT), ("abc", other)):
        with pytest.raises(RunMismatchError, match="another agent, or of other settings"):
            read_encounters(path, agent, joint)
    for damaged in ("", "[]", path.read_text().replace("1.5", '"x"')):
        path.write_text(damaged)
        with pytest.raises(DamagedRunError, match="delete it"):
            read_encounters(path, "abc", JOINT)
