"""The page: sliders over one's own images, and the lines of code to paste. It listens on this machine alone."""

import os
from typing import Any

from .pictures import pictures_as_html
from .settings import ALL_CLASSES, Settings
from .subject import Subject

HOST, USUAL_PORT = "127.0.0.1", 7860
VARIATIONS, NEW = "variations of each image", "new images of its class"
LARGEST_SHOWN = 3.0  # of strength; beyond, images of small VAEs are hardly images
LARGEST_SEED = 99
LOCAL = "Your images stay on this machine: this page is read from it and sends nothing elsewhere."
SPACE = (
    "These are images that come with the package. To see your own, which then stay on your machine: "
    "`pip install 'vae-augment[app]'` and `vae-augment preview FOLDER --serve`."
)
# browsers then load from this page's own address alone, whatever Gradio's pages name
ONLY_HERE = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'self'"
)


def build_page(subject: Subject, *, is_local: bool = True) -> Any:
    """The page as `gradio.Blocks`: `.launch()` shows it, `serve` does so on this machine alone.

    Args:
        is_local: whether it runs where the images are, as it tells its readers; False: on a Space of the Hugging Face Hub.

    Raises:
        ImportError: Gradio is not installed.
    """
    gr = load_gradio()
    first = Settings()
    shown = _shown(first, subject)
    with gr.Blocks(title="vae-augment preview", analytics_enabled=False) as page:
        gr.Markdown(f"## vae-augment preview\n\n{LOCAL if is_local else SPACE}")
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                pictures = gr.HTML(shown[0], elem_id="pictures")
            with gr.Column(scale=2, min_width=280):
                controls = _controls(gr, subject, first)
        code = gr.Code(
            shown[1],
            language="python",
            label="the code to paste",
            elem_id="code",
            interactive=False,
            show_line_numbers=False,
            wrap_lines=True,
            buttons=["copy"],
        )
        for note in subject.notes:
            gr.Markdown(f"*{note}*")

        def update(*values: Any) -> tuple[str, str]:
            return _shown(_settings(*values), subject)

        def toggle(what: str) -> list[Any]:
            return [gr.update(visible=(what == NEW) == is_new) for is_new in (False, False, True)]

        what, strength, jitter, novelty, _, _ = controls
        what.change(toggle, what, [strength, jitter, novelty], show_progress="hidden", api_visibility="private")
        gr.on(
            [control.change for control in controls],
            update,
            controls,
            [pictures, code],
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )
    return page


def serve(subject: Subject, port: int = USUAL_PORT) -> tuple[Any, str]:
    """Show the page on this machine alone, and return it with its address; `page.close()` ends it.

    Raises:
        ImportError: Gradio is not installed.
        OSError: the port is taken.
    """
    page = build_page(subject)
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    names = [HOST, "localhost"]  # a page elsewhere must not read this one under a name of its own that leads here
    try:
        _, address, _ = page.launch(
            **look(),
            server_name=HOST,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, names), Middleware(_OnlyHere)]},
        )
    except OSError:
        raise OSError(f"port {port} is taken: name another, --port {port + 1}") from None
    return page, address


def look() -> dict[str, Any]:
    """What `launch` of the page takes for its looks: letters of the reader's own system, so that none are fetched."""
    gr = load_gradio()
    fonts, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    return {"theme": gr.themes.Default(font=fonts, font_mono=mono), "footer_links": []}


class _OnlyHere:
    """Adds the header by which a browser loads nothing from elsewhere."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", ONLY_HERE.encode())]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def _controls(gr: Any, subject: Subject, first: Settings) -> list[Any]:
    """In the order of `_settings`. What a subject does not allow is not shown."""
    whats = [VARIATIONS] if subject.fitted is None else [VARIATIONS, NEW]
    classes = [ALL_CLASSES, *subject.classes]
    return [
        gr.Radio(whats, value=VARIATIONS, label="show", visible=len(whats) > 1, elem_id="what"),
        gr.Slider(0, LARGEST_SHOWN, first.strength, step=0.05, label="strength", elem_id="strength"),
        gr.Dropdown(list(subject.jitters), value=first.jitter, label="jitter", elem_id="jitter", filterable=False),
        gr.Slider(0, 1, first.novelty, step=0.05, label="novelty", elem_id="novelty", visible=False),
        gr.Dropdown(classes, value=ALL_CLASSES, label="class", elem_id="class", visible=len(classes) > 1),
        gr.Slider(0, LARGEST_SEED, first.seed, step=1, label="seed", elem_id="seed"),
    ]


def _settings(what: str, strength: float, jitter: str, novelty: float, of_class: str, seed: float) -> Settings:
    # sliders give 0.15000000000000002, and the code to paste says 0.15
    return Settings(what == NEW, round(strength, 4), jitter, round(novelty, 4), of_class, int(seed))


def _shown(settings: Settings, subject: Subject) -> tuple[str, str]:
    what = "new images of its class" if settings.is_new else "varied"
    return pictures_as_html(settings.rows(subject), what), settings.code(subject)


def load_gradio() -> Any:
    """Gradio, told to report to nobody. Raises ImportError, with the remedy, if it is not installed."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # which is read at the import
    try:
        import gradio
    except ImportError as error:
        raise ImportError(f"the page is shown by Gradio: pip install 'vae-augment[app]' ({error})") from error
    return gradio
