"""The benchmark of tools that make images larger runs on any toolbox and any photos."""

from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from PIL import Image

from benchmarks import generative
from benchmarks.crops import HEADING
from restoration_toolchain.data.images import to_float
from restoration_toolchain.tools_zoo.catalog import ENLARGERS
from restoration_toolchain.tools_zoo.encoders.efficientnet import (
    EfficientNetEncoder,
    EfficientNetLite0,
)
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import SfdIqa, save_iqa
from restoration_toolchain.tools_zoo.storage import save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox


def test_the_tables_name_every_tool_and_its_steps(
    photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = EfficientNetEncoder(EfficientNetLite0())
    monkeypatch.setattr(generative, "load_encoder", lambda: encoder)
    monkeypatch.setattr(
        "restoration_toolchain.tools_zoo.enlarging.sfd_iqa.load_encoder", lambda name: encoder
    )
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "photos").mkdir()
    for name, photo in photos[:2]:
        cv2.imwrite(str(tmp_path / "photos" / f"{name}.png"), photo[:66, :71, ::-1])
    torch.manual_seed(0)
    tools = [Tool(ENLARGERS[0]), Tool(ENLARGERS[-1])]
    save_toolbox(Toolbox("trial", tools), tmp_path / "toolbox")
    save_iqa(SfdIqa(encoder), tmp_path / "toolbox" / "sfd_iqa")
    sheet = tmp_path / "sheet.jpg"
    where = [str(tmp_path / "photos"), "--toolbox", str(tmp_path / "toolbox")]
    generative.main([*where, "--sheet", str(sheet)])
    with Image.open(sheet) as drawn:  # input, bicubic, two tools, clean; two photos of 68x64
        assert drawn.size == (5 * 68, HEADING + 2 * 64)
    printed = capsys.readouterr().out
    for word in ("bicubic", "sr-psnr", "sr-vpd", "student", "teacher", "all three", "correlation"):
        assert word in printed


def test_priors_are_compared_and_drawn(photos: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tool = Tool(next(spec for spec in ENLARGERS if spec.name == "sr-sft"))
    for name, parameter in tool.named_parameters():
        if name.endswith("beta.2.weight"):  # which is zero, and no prior would matter
            torch.nn.init.normal_(parameter, std=0.3)
    save_toolbox(Toolbox("trial", [tool]), tmp_path)
    images = [to_float(photo[:64, :68]) for _, photo in photos[:2]]
    (network,) = generative.conditioned([str(tmp_path)]).values()
    generative.draw_priors(tmp_path / "priors.jpg", network, images)
    with Image.open(tmp_path / "priors.jpg") as drawn:
        assert drawn.size == (9 * 68, HEADING + 2 * 64)
    own, *others = generative.compare_priors("sr-sft", network, images).rows
    assert (own["prior"], own["moves pixels by"]) == ("its own", 0.0)
    assert [row["prior"] for row in others] == [str(place) for place in range(8)]
    assert all(row["moves pixels by"] > 0.0 for row in others)
