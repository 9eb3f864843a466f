"""A weights folder, from and to the disk and the Hugging Face Hub; model cards; what a fit learned, as a file."""

from .bundled import BUNDLED, bundled
from .card import model_card, read_card
from .fit_file import load_fit, save_fit
from .format import DOCUMENTS, FILES, load_folder
from .load import load, name_of
from .pretrained import Pretrained, save
from .remote import check_repo_id, push
from .weights import Weights, WeightsError

__all__ = [
    "BUNDLED",
    "DOCUMENTS",
    "FILES",
    "Pretrained",
    "Weights",
    "WeightsError",
    "bundled",
    "check_repo_id",
    "load",
    "load_fit",
    "load_folder",
    "model_card",
    "name_of",
    "push",
    "read_card",
    "save",
    "save_fit",
]
