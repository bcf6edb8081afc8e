"""A small random toolbox, and agents that play a sequence known beforehand."""

import io
import itertools
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import HIDDEN_SIZE, RecurrentQNet
from restoration_toolchain.agents.policy.storage import save_policy
from restoration_toolchain.toolchain.cli import app
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings
from restoration_toolchain.tools_zoo.catalog import CLASSIC
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import SfdIqa
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox

NAMES = tuple(spec.name for spec in CLASSIC)
SEQUENCE = ("denoise_3", "deblur_1")


def told(**options: Any) -> RestoreSettings:
    """Settings of a restorer that gives the same pixels on every machine."""
    return RestoreSettings(**{"device": "cpu", "precision": "fp32", **options})


MakePhoto = Callable[..., Path]
MakeRestorer = Callable[..., Restorer]


def scripted_policy(
    *tools: str, margin: float = 1.0, names: tuple[str, ...] = NAMES, **facts: Any
) -> LstmPolicy:
    """Plays the given tools, all different, then stops; chosen actions are valued at ``margin``.

    The LSTM remembers nothing but the last action: hidden unit ``k`` is on when it was tool ``k``.
    """
    actions = [names.index(tool) for tool in tools] + [len(names)]
    q_net = RecurrentQNet(len(names), "rl_restore")
    input_gate, forget_gate, cell_gate, output_gate = range(0, 4 * HIDDEN_SIZE, HIDDEN_SIZE)
    with torch.no_grad():
        for parameter in (*q_net.lstm.parameters(), *q_net.head.parameters()):
            parameter.zero_()
        for gate, bias in ((input_gate, 20.0), (forget_gate, -20.0), (output_gate, 20.0)):
            q_net.lstm.bias_ih[gate : gate + HIDDEN_SIZE] = bias
        for tool in range(len(names)):
            q_net.lstm.weight_ih[cell_gate + tool, 32 + tool] = 20.0
        is_on = float(torch.tanh(torch.tensor(1.0)))
        q_net.head.bias[:] = torch.linspace(-0.2, -0.1, len(names) + 1)
        q_net.head.bias[actions[0]] = margin
        for before, action in itertools.pairwise(actions):
            q_net.head.weight[actions[0], before] = -2 * margin / is_on
            q_net.head.weight[action, before] = 2 * margin / is_on
    return LstmPolicy(q_net, names, **facts)


@pytest.fixture(scope="session")
def toolbox_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved toolbox of the classic specifications whose random tools change pixels a little."""
    torch.manual_seed(0)
    toolbox = Toolbox("random", [Tool(spec) for spec in CLASSIC])
    with torch.no_grad():
        for tool in toolbox:
            *_, last = (m for m in tool.network.modules() if isinstance(m, torch.nn.Conv2d))
            last.weight *= 0.1
            assert last.bias is not None
            last.bias *= 0.1
    folder = tmp_path_factory.mktemp("weights") / "toolbox"
    save_toolbox(toolbox, folder)
    return folder


@pytest.fixture(scope="session")
def make_restorer(toolbox_folder: Path) -> MakeRestorer:
    """Builds a restorer that plays the given tools."""

    def make(*tools: str, iqa: SfdIqa | None = None, **options: object) -> Restorer:
        toolbox, policy = load_toolbox(toolbox_folder), scripted_policy(*tools)
        return Restorer(toolbox, policy, told(**options), iqa=iqa)

    return make


@pytest.fixture(scope="session")
def agent_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved agent that plays `SEQUENCE`."""
    folder = tmp_path_factory.mktemp("agents") / "scripted"
    save_policy(scripted_policy(*SEQUENCE), folder)
    return folder


@pytest.fixture(scope="session")
def idle_agent_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved agent that stops at once."""
    folder = tmp_path_factory.mktemp("agents") / "idle"
    save_policy(scripted_policy(), folder)
    return folder


def random_samples(
    height: int, width: int, channels: int = 3, dtype: npt.DTypeLike = np.uint8
) -> npt.NDArray[np.uint8]:
    """Reproducible noise over the middle of the range."""
    rng = np.random.default_rng(0)
    peak = np.iinfo(np.dtype(dtype)).max
    return rng.integers(peak // 4, 3 * peak // 4, (height, width, channels)).astype(dtype)


@pytest.fixture
def make_photo(tmp_path: Path) -> MakePhoto:
    """Writes a small 8-bit photo below the test's folder and returns its path."""

    def make(name: str, height: int = 40, width: int = 48, channels: int = 3) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = random_samples(height, width, channels)
        Image.fromarray(samples[:, :, 0] if channels == 1 else samples).save(path)
        return path

    return make


RunCli = Callable[..., Result]


@pytest.fixture
def run_cli(toolbox_folder: Path, agent_folder: Path) -> RunCli:
    """Runs a command with the random toolbox and, unless another is named, the scripted agent."""

    def run(command: str, *arguments: object) -> Result:
        words = [command, *map(str, arguments)]
        defaults = {"--agent": agent_folder, "--toolbox": toolbox_folder, "--device": "cpu"}
        if command in ("restore", "inspect"):
            defaults["--precision"] = "fp32"
        if command == "tools":
            del defaults["--agent"], defaults["--device"]
        if command == "replay":  # the sidecar knows
            defaults = {}
        for option, value in defaults.items():
            if option not in words:
                words += [option, str(value)]
        return CliRunner().invoke(app, words)

    return run


def assert_one_line(result: Result, status: int, says: str) -> None:
    """A command ended with a status and a single line on standard error, and no traceback."""
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def write_bad_photo(path: Path, kind: str) -> Path:
    """Write a file that is named like a photo and is none, or a damaged one."""
    stream = io.BytesIO()
    Image.fromarray(random_samples(64, 64)).save(stream, "JPEG")
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    content = {
        "text": b"these are words\n",
        "empty": b"",
        "truncated": stream.getvalue()[:900],
        "bomb": png,
    }[kind]
    path.write_bytes(content)
    return path


BAD_PHOTOS = {
    "text": ("photo.png", "not an image"),
    "empty": ("photo.png", "the file is empty"),
    "truncated": ("photo.jpg", "damaged or truncated"),
    "bomb": ("photo.png", "more than the limit of 200 megapixels"),
}
"""By kind, the name of the file and what the message says."""
