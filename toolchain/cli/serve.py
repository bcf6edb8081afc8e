"""``toolchain serve``: the page to look at."""

import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from restoration_toolchain.toolchain.cli.errors import fail
from restoration_toolchain.toolchain.cli.options import DEFAULT_TOOLBOX, grouped, option_of
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings


@grouped(toolbox=option_of("toolbox", usual=DEFAULT_TOOLBOX))
def serve(
    *,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 7860,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
    max_megapixels: Annotated[
        float, typer.Option(help="Larger photos are refused.", min=0.01)
    ] = 24.0,
    settings: RestoreSettings,
) -> None:
    """Restore photos on a page in the browser, and look into every step.

    The page is for this computer alone (127.0.0.1), works without a network, and forgets
    everything when it ends.
    """
    from restoration_toolchain.toolchain.looking.web.examples import make_examples
    from restoration_toolchain.toolchain.looking.web.page import (
        build_page,
        launch,
        prepare_environment,
    )
    from restoration_toolchain.toolchain.restoring.load import load

    # Being told to end is like Ctrl-C: the folder with the photos goes too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="toolchain-") as name:
        folder = Path(name).resolve()
        prepare_environment(folder)
        try:
            import gradio  # noqa: F401
        except ImportError:
            fail('the page needs Gradio; get it with: pip install "restoration-toolchain[web]"')
        restorer = load(settings=settings)
        pixels = round(max_megapixels * 1e6)
        page = build_page(restorer, make_examples(folder / "examples"), folder, pixels)
        address = launch(page, port=port, max_pixels=pixels, open_browser=open_browser)
        console.print(f"{address}  (Ctrl-C ends it)", highlight=False)
        try:
            while True:
                time.sleep(1.0)
        except KeyboardInterrupt:
            page.close(verbose=False)
