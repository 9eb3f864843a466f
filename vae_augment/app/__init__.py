"""What the command `preview` shows: a subject, which is images with weights that suit them, and a page to try these on.

Gradio is imported when the page is built, and not before.
"""

from .page import build_page, load_gradio, look, serve
from .settings import ALL_CLASSES, Settings
from .subject import Subject

__all__ = ["ALL_CLASSES", "Settings", "Subject", "build_page", "load_gradio", "look", "serve"]
