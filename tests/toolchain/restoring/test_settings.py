"""Properties of the settings of a restoration, and of what follows from them."""

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.settings import (
    DEFAULT_TOOLBOX,
    DEFAULTS,
    EFFORTS,
    GENERATIVE_TOOLBOX,
    MAX_STEPS_OF_DIFFUSION,
    SETTINGS,
    X2_TOOLBOX,
    CallOptions,
    LoadOptions,
    RestoreSettings,
    SettingError,
    effort_name,
)
from restoration_toolchain.tools_zoo.catalog import default_toolbox
from restoration_toolchain.tools_zoo.networks.one_step import STEPS


def test_the_numbers_and_names_that_are_repeated_are_those_of_the_tools() -> None:
    assert default_toolbox(1) == DEFAULT_TOOLBOX
    assert default_toolbox(2) == X2_TOOLBOX
    assert default_toolbox(4) == GENERATIVE_TOOLBOX
    assert MAX_STEPS_OF_DIFFUSION == STEPS


def test_each_field_has_a_help_text_and_its_place_in_load_or_a_call() -> None:
    positional = {"agent", "toolbox"}
    assert positional <= inspect.signature(load).parameters.keys()
    of_load = RestoreSettings().to_dict().keys()
    assert of_load == positional | get_type_hints(LoadOptions).keys()
    of_call = {name for name, setting in SETTINGS.items() if setting.of_call}
    assert of_call == get_type_hints(CallOptions).keys()
    assert of_load | of_call == SETTINGS.keys()
    assert all(setting.help.endswith(".") for setting in SETTINGS.values())


def test_settings_come_back_from_json_as_they_were() -> None:
    settings = RestoreSettings(
        agent="mine", add_tools=("a", "b"), max_steps=2, strength=0.25, regions=True, max_risk=0.5
    )
    assert RestoreSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert RestoreSettings.from_dict({}) == RestoreSettings()


def test_a_record_of_before_a_setting_existed_means_its_default() -> None:
    for name in RestoreSettings().to_dict():
        entry = RestoreSettings(max_steps=2).to_dict()
        del entry[name]
        expected = dataclasses.replace(RestoreSettings(max_steps=2), **{name: DEFAULTS[name]})
        assert RestoreSettings.from_dict(entry) == expected


@pytest.mark.parametrize("name", ["sharpness", "forced"])
def test_a_name_that_load_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=f"does not know {name}"):
        RestoreSettings.from_dict({name: 3})


@pytest.mark.parametrize(
    "name", [name for name, default in DEFAULTS.items() if default is not None]
)
def test_none_is_no_value_of_a_field_that_always_has_one(name: str) -> None:
    options: Any = {name: None}
    with pytest.raises(SettingError, match=f"^{name} must be .*, got NoneType$"):
        RestoreSettings(**options)


def test_numbers_of_numpy_become_those_of_python() -> None:
    given: Any = {"max_steps": np.int64(2), "strength": np.float32(0.5), "regions": np.bool_(True)}
    settings = RestoreSettings(**given, prior=3)  # type: ignore[arg-type]
    assert json.loads(json.dumps(settings.to_dict()))["strength"] == 0.5
    assert [type(getattr(settings, name)) for name in given] == [int, float, bool]
    assert (settings.max_steps, settings.regions, settings.prior) == (2, True, "3")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"typo": 1}, r"^load\(\) got an unexpected keyword argument 'typo'$"),
        ({"forced": ["stop"]}, r"^load\(\) got an unexpected keyword argument 'forced'$"),
        ({"settings": {"max_steps": 1}}, r"^load\(\) takes RestoreSettings as settings="),
        ({"agent": RestoreSettings()}, r"^load\(\) takes RestoreSettings as settings="),
    ],
)
def test_load_refuses_what_it_does_not_take(options: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        load(**options)


def test_paths_and_sequences_are_brought_into_one_form() -> None:
    given: Any = {"agent": Path("a") / "b", "add_tools": [Path("c")], "forced": ["stop"]}
    settings = RestoreSettings(**given)
    assert (settings.agent, settings.add_tools, settings.forced) == ("a/b", ("c",), ("stop",))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_steps": "3"}, "^max_steps must be a whole number, got str$"),
        ({"max_steps": 2.5}, "^max_steps must be a whole number, got float$"),
        ({"strength": "x"}, "^strength must be a number, got str$"),
        ({"strength": np.float32(5)}, r"strength must lie in \[0, 1\], got 5.0"),
        ({"max_steps": np.int64(0)}, "max_steps must be at least 1, got 0"),
        ({"max_steps": np.float32("nan")}, "^max_steps must be a whole number"),
        ({"regions": "no"}, "^regions must be True or False, got str$"),
        ({"agent": b"mine"}, "^agent must be a name or a path, got bytes$"),
        ({"prior": 0.5}, "^prior must be a name or a path, got float$"),
        ({"add_tools": "mine"}, "^add_tools must be a list of names, got str$"),
        ({"forced": [3]}, "^each of forced must be a name or a path, got int$"),
        ({"max_steps": 0}, "max_steps must be at least 1, got 0"),
        ({"scale": 0}, "scale must be at least 1, got 0"),
        ({"max_tile_pixels": 0}, "max_tile_pixels must be at least 1, got 0"),
        ({"strength": 1.5}, r"strength must lie in \[0, 1\], got 1.5"),
        ({"strength": float("nan")}, "strength"),
        ({"max_risk": -0.5}, r"max_risk must lie in \[0, 1\], got -0.5"),
        ({"effort": -0.1}, r"effort must lie in \[0, 100\], got -0.1"),
        ({"effort": "101"}, r"effort must lie in \[0, 100\], got 101"),
        ({"effort": "nan"}, "effort must lie in"),
        ({"effort": b"low"}, "^effort must be a number, got bytes$"),
        ({"effort": "low", "scale": 2}, "an effort is for photos that keep their size"),
        ({"regions": True, "scale": 2}, "regions keep the size"),
        ({"regions": True, "forced": ("stop",)}, "forced actions are for the whole photo"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        RestoreSettings(**options)
    with pytest.raises(SettingError, match=says):
        RestoreSettings().changed(options)


def test_an_effort_has_a_name_or_is_a_price() -> None:
    assert RestoreSettings().effort == EFFORTS["high"] == 0.0
    assert EFFORTS["low"] > EFFORTS["medium"] > 0.0
    for name, price in EFFORTS.items():
        told = RestoreSettings().changed({"effort": name})
        assert told == RestoreSettings(effort=price) == RestoreSettings().changed({"effort": price})
        # A record says what it cost, and holds when a name means another price.
        assert json.loads(json.dumps(told.to_dict()))["effort"] == price
        assert effort_name(price) == name
    assert RestoreSettings().changed({"effort": "0.25"}).rows() == [("Effort", "0.25")]
    assert RestoreSettings(effort=EFFORTS["low"]).rows() == [("Effort", "low")]
    with pytest.raises(UnknownNameError, match="no effort 'hihg'; did you mean 'high'"):
        RestoreSettings().changed({"effort": "hihg"})


def test_none_leaves_a_field_as_it_is() -> None:
    settings = RestoreSettings(strength=0.5)
    assert settings.changed({"strength": None, "regions": True}) == RestoreSettings(
        strength=0.5, regions=True
    )


def test_paths_are_recorded_from_the_root_and_names_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "classic"):
        (tmp_path / name).mkdir()
    asked = RestoreSettings(agent="mine", toolbox="classic", add_tools=("mine", "none"), iqa="mine")
    recorded = asked.recorded({"agent": (), "toolbox": ("classic",), "add_tools": ("classic",)})
    assert recorded.agent == str(tmp_path / "mine")
    assert recorded.toolbox == "classic"
    assert recorded.add_tools == (str(tmp_path / "mine"), "none")
    assert recorded.iqa == "mine"


def test_a_report_tells_what_is_unusual() -> None:
    assert RestoreSettings().rows() == []
    settings = RestoreSettings(max_steps=1, scale=4, strength=0.5, forced=("stop",), max_risk=0.25)
    assert settings.rows() == [
        ("Enlarged by", "4"),
        ("Strength", "50%"),
        ("Chosen by hand", "stop"),
        ("Largest risk", "25%"),
    ]
    assert ("Decided", "per region") in RestoreSettings(regions=True).rows()
