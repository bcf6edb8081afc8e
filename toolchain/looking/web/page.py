"""The page itself: Gradio's components, what they call, and what may reach the server."""

import dataclasses
import html
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final, cast

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.toolchain.looking.html_report import part, style
from restoration_toolchain.toolchain.looking.web.examples import Example
from restoration_toolchain.toolchain.looking.web.session import Request, StepView, View, show
from restoration_toolchain.toolchain.photos.paths import READABLE_SUFFIXES
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import SETTINGS, CallOptions

HOST: Final = "127.0.0.1"
_BYTES_PER_PIXEL: Final = 8  # of the largest files: 16 bits, four channels, not compressed
_WAITING: Final = 8  # requests; one runs, further ones are told to come back
_FORGET_AFTER: Final = 3600  # seconds
_FONTS: Final = ("Inter", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO_FONTS: Final = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

# The browser itself refuses what is not of this server: a photo cannot leave the machine.
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "worker-src 'self' blob:; frame-ancestors 'none'"
)

# On a phone the result lies below the controls.
_SCROLL: Final = (
    "() => { if (innerWidth < 740) document.querySelector('#summary')"
    ".scrollIntoView({behavior: 'smooth'}); }"
)

_CONTROLLED: Final = tuple(name for name, setting in SETTINGS.items() if setting.control)
"""Settings that have a control on the page."""

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]


class PortError(ToolchainError):
    """The page cannot listen on the port that was asked for."""


def prepare_environment(folder: Path) -> None:
    """Tell Gradio, which reads it from the environment on import, to stay at home.

    Args:
        folder: Where uploads and results go; nothing else can be read through the page.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"


_OUTPUTS: Final = 11
"""Components that a restoration changes, in the order in which `_Answers.shown` fills them."""


@dataclasses.dataclass(frozen=True)
class _Answers:
    """What the page does when it is asked for something; its fields are those of `build_page`.

    Gradio hands a bar of progress to functions that have one for a default; `build_page` passes it
    on as the first argument. What the controls say comes last.
    """

    restorer: Restorer
    examples: list[Example]
    folder: Path
    max_pixels: int

    def upload(self, progress: Any, path: str | None, *controls: Any) -> tuple[Any, ...]:
        if path is None:
            return self._refused("there is no photo yet")
        return self._restored(Request(Path(path), None, _chosen(controls)), progress)

    def example(self, progress: Any, index: int, *controls: Any) -> tuple[Any, ...]:
        example = self.examples[index]
        return self._restored(Request(example.lq, example.gt, _chosen(controls)), progress)

    def setting(self, progress: Any, view: View | None, *controls: Any) -> tuple[Any, ...]:
        if view is None:
            return _unchanged(_OUTPUTS)
        chosen = _chosen(controls)
        if not chosen.get("regions"):  # which leave nothing to choose by hand
            chosen["forced"] = view.request.chosen.get("forced", ())
        return self._restored(dataclasses.replace(view.request, chosen=chosen), progress)

    def override(
        self, progress: Any, view: View | None, index: int, action: str | None
    ) -> tuple[Any, ...]:
        if view is None or action is None:
            return self._refused("choose an action first")
        return self._restored(view.overridden(index, action), progress)

    def step(self, view: View | None, index: int) -> tuple[Any, ...]:
        return _unchanged(3) if view is None else self._step_shown(view.steps[index])

    def _restored(self, request: Request, progress: Any) -> tuple[Any, ...]:
        progress(0.0, desc="reading the photo")
        done: list[str] = []

        def on_progress(tool: str) -> None:
            done.append(tool)
            progress(min(0.9, len(done) / 4), desc=" → ".join(done))

        try:
            view = show(self.restorer, request, self.folder, self.max_pixels, on_progress)
        except ToolchainError as error:
            return self._refused(str(error))
        return self._shown(view)

    def _shown(self, view: View) -> tuple[Any, ...]:
        import gradio as gr

        titles = [(step.title, index) for index, step in enumerate(view.steps)]
        return (
            view,
            gr.HTML(visible=False),
            gr.Column(visible=True),
            _story(view.summary),
            _story(view.comparison),
            gr.DownloadButton(value=str(view.result)),
            gr.Radio(choices=titles, value=0),
            *self._step_shown(view.steps[0]),
            _story(view.ending),
        )

    def _step_shown(self, step: StepView) -> tuple[Any, ...]:
        import gradio as gr

        chosen = step.chosen if step.actions else None
        return (
            _story(step.html),
            gr.Row(visible=bool(step.actions)),
            gr.Dropdown(choices=list(step.actions), value=chosen),
        )

    def _refused(self, why: str) -> tuple[Any, ...]:
        """Say so until it is dismissed, and leave what is shown as it is."""
        import gradio as gr

        gr.Warning(html.escape(why, quote=False), duration=None, title="Not done")
        return _unchanged(_OUTPUTS)


def _unchanged(count: int) -> tuple[Any, ...]:
    import gradio as gr

    return tuple(gr.skip() for _ in range(count))


def _chosen(controls: tuple[Any, ...]) -> CallOptions:
    return cast(CallOptions, dict(zip(_CONTROLLED, controls, strict=True)))


def build_page(restorer: Restorer, examples: list[Example], folder: Path, max_pixels: int) -> Any:
    """Put the page together: a ``gradio.Blocks`` to hand to `launch`.

    Args:
        restorer: What restores, without enlarging.
        examples: Photos to try it with.
        folder: Folder of results; inside the one given to `prepare_environment`.
        max_pixels: Most pixels of a photo.
    """
    import gradio as gr

    answers, bar = _Answers(restorer, examples, folder, max_pixels), gr.Progress()

    def with_bar(answer: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        return lambda progress=bar, *inputs: answer(progress, *inputs)

    def on_example(event: gr.SelectData, progress: Any = bar, *controls: Any) -> tuple[Any, ...]:
        return answers.example(progress, event.index, *controls)

    plain: dict[str, Any] = {"apply_default_css": False, "padding": False}
    with gr.Blocks(
        title="Restoration toolchain",
        analytics_enabled=False,
        delete_cache=(_FORGET_AFTER, _FORGET_AFTER),
    ) as page:
        view = gr.State(None, time_to_live=_FORGET_AFTER)
        gr.HTML(_story(part("masthead")), **plain)
        with gr.Row():
            with gr.Column(scale=1, min_width=270):
                upload = gr.File(
                    label="A photo of yours",
                    file_types=list(READABLE_SUFFIXES),
                    type="filepath",
                    height=150,
                    elem_id="upload",
                )
                gr.HTML(_story(part("or_example")), **plain)
                gallery = gr.Gallery(
                    value=[(str(example.lq), example.label) for example in examples],
                    label="Examples",
                    show_label=False,
                    columns=2,
                    height="auto",
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="examples",
                )
                told = restorer.provenance.settings
                controls = [_control(name, getattr(told, name)) for name in _CONTROLLED]
            with gr.Column(scale=3, min_width=320):
                empty = gr.HTML(_story(part("empty")), **plain)
                with gr.Column(visible=False) as result:
                    summary = gr.HTML(elem_id="summary", **plain)
                    comparison = gr.HTML(elem_id="comparison", **plain)
                    download = gr.DownloadButton(
                        "Download the restored photo",
                        variant="primary",
                        size="md",
                        elem_id="download",
                    )
                    index = gr.Radio(label="Step through the images", type="value", elem_id="steps")
                    step = gr.HTML(elem_id="step", **plain)
                    with gr.Row(equal_height=True) as override:
                        action = gr.Dropdown(
                            label="Take another action on this image",
                            filterable=False,
                            scale=3,
                            min_width=260,
                            elem_id="action",
                        )
                        go = gr.Button("Continue from here", scale=1, min_width=160, elem_id="go")
                    ending = gr.HTML(elem_id="ending", **plain)

        outputs = [view, empty, result, summary, comparison, download, index]
        outputs += [step, override, action, ending]
        busy: dict[str, Any] = {
            "outputs": outputs,
            "concurrency_id": "restore",
            "concurrency_limit": 1,
            "show_progress_on": [empty, comparison],
            "api_visibility": "private",
        }
        for started in (
            upload.upload(with_bar(answers.upload), [upload, *controls], **busy),
            gallery.select(on_example, controls, **busy),
        ):
            started.success(js=_SCROLL, api_visibility="private")
        for control in controls:
            changed = control.release if isinstance(control, gr.Slider) else control.input
            changed(with_bar(answers.setting), [view, *controls], **busy)
        go.click(with_bar(answers.override), [view, index, action], **busy)
        index.input(
            answers.step,
            [view, index],
            [step, override, action],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
    page.queue(max_size=_WAITING, api_open=False)
    return page


def _control(name: str, value: Any) -> Any:
    """Slider, switch or choice of a setting that each call may choose, as the page begins."""
    import gradio as gr

    setting = SETTINGS[name]
    assert setting.control is not None
    label, info = setting.control
    words = {"label": label, "info": info, "elem_id": name}
    if isinstance(value, bool):
        return gr.Checkbox(value, **words)
    if setting.words:
        choices = [*setting.words.items()]
        if value not in setting.words.values():
            choices.append((f"{value:g}", value))
        return gr.Dropdown(choices=choices, value=value, filterable=False, **words)
    return gr.Slider(setting.low, setting.high, value=value, step=0.05, **words)


def launch(page: Any, *, port: int, max_pixels: int, open_browser: bool = False) -> str:
    """Start the server in the background, for this machine alone.

    Args:
        page: From `build_page`.
        port: Port to listen on.
        max_pixels: Most pixels of a photo, as given to `build_page`.
        open_browser: Whether to open the page in the user's browser.

    Returns:
        The page's address; ``page.close()`` ends the server.

    Raises:
        PortError: The port is taken.
    """
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    guards = [
        # A foreign page whose name was made to lead here must not be served.
        Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
        Middleware(_AtHome),
    ]
    theme = gr.themes.Base(
        primary_hue="blue", neutral_hue="neutral", font=_FONTS, font_mono=_MONO_FONTS
    ).set(  # Gradio's own are too pale to be read by everybody
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )
    try:
        page.launch(
            server_name=HOST,
            server_port=port,
            inbrowser=open_browser,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            max_file_size=max_pixels * _BYTES_PER_PIXEL + 65_536,  # room for what describes them
            allowed_paths=[],
            app_kwargs={"middleware": guards, "docs_url": None, "redoc_url": None},
            theme=theme,
            head=f"<style>{style()}{style('page')}</style>",
        )
    except OSError as error:
        raise PortError(f"port {port} is taken; choose another one with --port") from error
    return f"http://{HOST}:{page.server_port}/"


class _AtHome:
    """Adds to every response that the browser may load nothing from elsewhere."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: Any, send: _Send) -> None:
        async def send_with_policy(message: _Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _POLICY.encode())
                message["headers"] = [*message.get("headers", []), policy]
            await send(message)

        await self._app(scope, receive, send_with_policy)


def _story(content: str) -> str:
    return f'<div class="story">{content}</div>'
