"""Properties of the page of ``toolchain serve`` that need no browser."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from restoration_toolchain.toolchain.errors import PhotoError
from restoration_toolchain.toolchain.looking.web.examples import make_examples
from restoration_toolchain.toolchain.looking.web.session import Request, View, show
from restoration_toolchain.toolchain.photos.read import read_photo
from restoration_toolchain.toolchain.restoring.load import load
from tests.toolchain.conftest import (
    BAD_PHOTOS,
    NAMES,
    SEQUENCE,
    MakePhoto,
    MakeRestorer,
    RunCli,
    assert_one_line,
    free_port,
    random_samples,
    write_bad_photo,
)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A JPEG with EXIF data and a colour profile, taken with the camera on its side."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "A camera"
    exif[ExifTags.Base.Orientation] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "my <i>photo.jpg"
    Image.fromarray(random_samples(50, 70)).save(
        path, quality=95, exif=exif.tobytes(), icc_profile=profile
    )
    return path


def test_the_result_is_the_one_of_the_command_line_with_all_metadata(
    photo: Path, run_cli: RunCli, toolbox_folder: Path, agent_folder: Path, tmp_path: Path
) -> None:
    restorer = load(agent_folder, toolbox_folder, device="cpu", precision="fp32")
    view = show(restorer, Request(photo), tmp_path / "results")
    target = tmp_path / "by-command.jpg"
    assert run_cli("restore", photo, "-o", target).exit_code == 0
    assert view.result.name == "my <i>photo-restored.jpg"
    assert view.result.read_bytes() == target.read_bytes()
    with Image.open(view.result) as image:
        assert image.size == (50, 70)
        assert image.getexif()[ExifTags.Base.Make] == "A camera"
        assert image.info["icc_profile"] == read_photo(photo).icc


def test_a_photo_beyond_the_limit_says_how_to_raise_it(
    photo: Path, make_restorer: MakeRestorer, tmp_path: Path
) -> None:
    says = r"^my <i>photo.jpg: .* cut it into parts, or raise the limit .*--max-megapixels"
    with pytest.raises(PhotoError, match=says):
        show(make_restorer(), Request(photo), tmp_path, max_pixels=3_000)


def test_names_are_escaped_and_every_value_is_shown(
    photo: Path, make_restorer: MakeRestorer, tmp_path: Path
) -> None:
    view = show(make_restorer(*SEQUENCE), Request(photo), tmp_path)
    assert "my &lt;i&gt;photo.jpg" in view.summary
    assert "<i>" not in view.summary
    assert [step.title for step in view.steps] == ["Input", "1. denoise_3", "2. deblur_1"]
    assert [step.chosen for step in view.steps] == [*SEQUENCE, "stop"]
    for step in view.steps:
        assert [name for _, name in step.actions] == [*NAMES, "stop"]
        assert all(name in step.html for name in NAMES)
    assert ("denoise_3 (+1.00 dB)", "denoise_3") in view.steps[0].actions
    assert 'type="range"' in view.comparison
    assert "Stopped: the agent expects no tool to help" in view.ending


def test_an_overridden_step_is_taken_and_the_agent_goes_on(
    photo: Path, make_restorer: MakeRestorer, tmp_path: Path
) -> None:
    restorer = make_restorer(*SEQUENCE)
    first = show(restorer, Request(photo, chosen={"strength": 0.5}), tmp_path)
    request = first.overridden(1, "deblock_2")
    forced = (SEQUENCE[0], "deblock_2")
    assert request.chosen == {"strength": 0.5, "regions": False, "forced": forced}
    second = show(restorer, request, tmp_path)
    assert [step.chosen for step in second.steps][:2] == [SEQUENCE[0], "deblock_2"]
    assert second.result != first.result
    stopped = show(restorer, second.overridden(1, "stop"), tmp_path)
    assert [step.chosen for step in stopped.steps] == [SEQUENCE[0], "stop"]
    assert "Stopped by hand." in stopped.ending


def test_strength_zero_gives_the_photo_back(
    make_photo: MakePhoto, make_restorer: MakeRestorer, tmp_path: Path
) -> None:
    source = make_photo("photo.png")
    view = show(make_restorer(*SEQUENCE), Request(source, chosen={"strength": 0.0}), tmp_path)
    np.testing.assert_array_equal(np.asarray(Image.open(view.result)), random_samples(40, 48))


def test_regions_have_a_map_and_no_choice_by_hand(
    make_photo: MakePhoto, make_restorer: MakeRestorer, tmp_path: Path
) -> None:
    source = make_photo("photo.png", 100, 130)
    view = show(make_restorer(*SEQUENCE), Request(source, chosen={"regions": True}), tmp_path)
    assert f'alt="Decision map: {SEQUENCE[0]} 100%"' in view.steps[0].html
    assert all(step.actions == () for step in view.steps)


def test_a_view_holds_no_pixels(
    make_photo: MakePhoto, make_restorer: MakeRestorer, tmp_path: Path
) -> None:
    view = show(make_restorer(*SEQUENCE), Request(make_photo("photo.png")), tmp_path)

    def values(item: object) -> Iterator[object]:
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            item = tuple(getattr(item, field.name) for field in dataclasses.fields(item))
        if isinstance(item, dict):
            item = tuple(item.values())
        if isinstance(item, tuple):
            for part in item:
                yield from values(part)
        else:
            yield item

    kinds = {type(value) for value in values(view)}
    assert kinds <= {str, float, bool, type(None), type(view.result)}
    assert isinstance(view, View)


@pytest.mark.parametrize("kind", BAD_PHOTOS)
def test_a_bad_photo_is_refused_without_naming_the_server_s_folders(
    kind: str, make_restorer: MakeRestorer, tmp_path: Path
) -> None:
    name, says = BAD_PHOTOS[kind]
    source = write_bad_photo(tmp_path / name, kind)
    says = says.replace("200", "24")
    with pytest.raises(PhotoError, match=says) as caught:
        show(make_restorer(), Request(source), tmp_path)
    assert str(caught.value).startswith(name)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: 9 bytes")])
def test_a_photo_for_which_memory_does_not_suffice_is_refused_in_words(
    error: Exception,
    make_restorer: MakeRestorer,
    make_photo: MakePhoto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    restorer = make_restorer()
    monkeypatch.setattr(restorer, "restore", fail)
    with pytest.raises(PhotoError, match="photo.png: not enough memory; scale it down"):
        show(restorer, Request(make_photo("photo.png")), tmp_path)


def test_the_examples_are_damaged_and_the_same_every_time(tmp_path: Path) -> None:
    first, second = (make_examples(tmp_path / name) for name in ("a", "b"))
    assert len(first) == 5
    for one, other in zip(first, second, strict=True):
        assert one.lq.read_bytes() == other.lq.read_bytes()
        lq, gt = read_photo(one.lq), read_photo(one.gt)
        assert lq.rgb.shape == gt.rgb.shape
        assert np.abs(lq.rgb - gt.rgb).mean() > 0.005


def test_without_gradio_there_is_a_line_on_how_to_get_it(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # set back after the test
    result = run_cli("serve", "--no-open")
    assert_one_line(result, 2, 'pip install "restoration-toolchain[web]"')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, make_restorer: MakeRestorer) -> Iterator[str]:
    """The page's address, with a limit of a tenth of a megapixel."""
    pytest.importorskip("gradio")
    from restoration_toolchain.toolchain.looking.web.page import (
        build_page,
        launch,
        prepare_environment,
    )

    folder = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE"):
            patch.setenv(name, "")
        prepare_environment(folder)
        page = build_page(make_restorer(*SEQUENCE), [], folder, max_pixels=100_000)
        yield launch(page, port=free_port(), max_pixels=100_000).rstrip("/")
        page.close(verbose=False)


def answer(request: str | urllib.request.Request) -> tuple[int, str]:
    """Status and text of a response."""
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def upload(server: str, content: bytes, name: str = "photo.png") -> tuple[int, str]:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="'
        + name.encode()
        + b'"\r\nContent-Type: image/png\r\n\r\n'
        + content
        + b"\r\n--x--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    address = f"{server}/gradio_api/upload"
    return answer(urllib.request.Request(address, body, headers))


def call(server: str, path: str) -> str:
    """Hand a path on the server's machine to the page as if it had been uploaded."""
    _, text = answer(f"{server}/config")
    config = json.loads(text)
    on_upload = next(
        dependency
        for dependency in config["dependencies"]
        if any(event == "upload" for _, event in dependency["targets"])
    )
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, 1.0, False, False, 0.0]
    body = {"data": data, "fn_index": on_upload["id"], "session_hash": "a-session"}
    request = urllib.request.Request(
        f"{server}/gradio_api/queue/join",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    status, text = answer(request)
    if status != 200:
        return text
    _, text = answer(f"{server}/gradio_api/queue/data?session_hash=a-session")
    return text


@pytest.mark.parametrize(
    "address",
    [
        "/gradio_api/file={secret}",
        "/gradio_api/file=../../../..{secret}",
        "/gradio_api/file=file://{secret}",
        "/file={secret}",
        "/static/../../../../../..{secret}",
        "/gradio_api/file=" + __file__,
    ],
)
def test_no_file_outside_its_folder_can_be_read(server: str, tmp_path: Path, address: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    status, text = answer(server + address.format(secret=secret))
    assert status in (403, 404)
    assert "a secret" not in text


def test_a_path_that_was_not_uploaded_is_not_restored(server: str, make_photo: MakePhoto) -> None:
    secret = make_photo("secret.png")
    outcome = call(server, str(secret))
    assert '"success":true' not in outcome.replace(" ", "")
    assert "base64" not in outcome


def test_what_was_uploaded_is_restored(server: str, make_photo: MakePhoto) -> None:
    status, text = upload(server, make_photo("photo.png").read_bytes())
    assert status == 200
    outcome = call(server, json.loads(text)[0])
    assert '"success":true' in outcome.replace(" ", "")
    assert SEQUENCE[0] in outcome


def test_the_controls_begin_as_the_restorer_was_told(
    make_restorer: MakeRestorer, tmp_path: Path
) -> None:
    pytest.importorskip("gradio")
    from restoration_toolchain.toolchain.looking.web.page import build_page

    restorer = make_restorer(effort=0.25, even_if_unsure=True)
    page = build_page(restorer, [], tmp_path, max_pixels=100_000)
    shown = {block.elem_id: block for block in page.blocks.values() if hasattr(block, "elem_id")}
    assert shown["even_if_unsure"].value is True
    assert shown["effort"].value == 0.25
    assert {"low", "medium", "high", "0.25"} == {name for name, _ in shown["effort"].choices}


def test_a_file_that_is_too_large_is_refused_and_the_server_goes_on(server: str) -> None:
    status, text = upload(server, bytes(1_000_000))
    assert status == 413
    assert "maximum allowed size" in text
    assert answer(server)[0] == 200


def test_the_page_is_for_this_machine_and_loads_nothing_from_elsewhere(server: str) -> None:
    foreign = urllib.request.Request(server, headers={"Host": "evil.example"})
    assert answer(foreign)[0] == 400
    with urllib.request.urlopen(server, timeout=30) as response:
        assert response.headers["content-security-policy"].startswith("default-src 'self';")
    port = int(server.rsplit(":", 1)[1])
    with pytest.raises(ConnectionRefusedError):  # on another address of this machine
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_a_taken_port_is_one_line(run_cli: RunCli, server: str) -> None:
    port = server.rsplit(":", 1)[1]
    result = run_cli("serve", "--no-open", "--port", port, "--precision", "fp32")
    assert_one_line(result, 2, f"port {port} is taken; choose another one with --port")


@pytest.mark.slow
def test_the_command_serves_until_told_to_end_and_leaves_nothing(
    tmp_path: Path, toolbox_folder: Path, agent_folder: Path
) -> None:
    pytest.importorskip("gradio")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "restoration_toolchain",
        "serve",
    ]
    command += ["--no-open", "--port", str(port), "--precision", "fp32"]
    command += ["--toolbox", str(toolbox_folder), "--agent", str(agent_folder)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        assert f"http://127.0.0.1:{port}/" in server.stdout.readline()
        assert answer(f"http://127.0.0.1:{port}")[0] == 200
        assert list(tmp_path.glob("toolchain-*"))
        server.send_signal(signal.SIGTERM)  # Ctrl-C takes the same way
        _, errors = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 0
    assert errors == ""
    deadline = time.monotonic() + 5
    while list(tmp_path.glob("toolchain-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(tmp_path.glob("toolchain-*"))
