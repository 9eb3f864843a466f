"""Weights folders: loaded by name, saved, pushed to the Hugging Face Hub, described; model cards; files of fits."""

from .card import read_card
from .describe import BankDescription, Description, describe
from .find import load, name_of
from .fit_file import load_fit, save_fit
from .format import DOCUMENTS, FILES
from .model_card import as_markdown, metric_text, model_card
from .pretrained import Pretrained
from .printable import printable
from .published import ORIGINALS
from .recipe_text import weights_without_path
from .remote import check_repo_id, push
from .shipped import BUNDLED, bundled
from .weights import Weights, WeightsError
from .write import save

__all__ = [
    "BUNDLED",
    "DOCUMENTS",
    "FILES",
    "ORIGINALS",
    "BankDescription",
    "Description",
    "Pretrained",
    "Weights",
    "WeightsError",
    "as_markdown",
    "bundled",
    "check_repo_id",
    "describe",
    "load",
    "load_fit",
    "metric_text",
    "model_card",
    "name_of",
    "printable",
    "push",
    "read_card",
    "save",
    "save_fit",
    "weights_without_path",
]
