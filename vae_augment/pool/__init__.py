"""A pool of unlabelled images, kept as latents: ways of comparing images with it, and how a few labels spread over it."""

from .bank import LatentBank
from .embedding import EmbedBatch, embed_images
from .encoder_features import LabelledFeatures
from .label_probe import LabelProbe
from .latent_hog import LatentHogView, latent_hog_neighbours
from .nearest import EXACT, Search, nearest_by_cosine, recall, without_own
from .perturbations import perturbations
from .perturbed_search import PerturbedSearch
from .policy import CLUSTERED, PHOTOGRAPHS, FitPolicy
from .query import Query
from .reading import USUAL_BANK, encoded
from .storage import bank_from_tensors, bank_shapes, bank_texts, bank_to_tensors, integer_names
from .text_seeds import ClassTexts, TextClasses
from .views import Extractor, FeatureView, View

__all__ = [
    "CLUSTERED",
    "EXACT",
    "PHOTOGRAPHS",
    "USUAL_BANK",
    "ClassTexts",
    "EmbedBatch",
    "Extractor",
    "FeatureView",
    "FitPolicy",
    "LabelProbe",
    "LabelledFeatures",
    "LatentBank",
    "LatentHogView",
    "PerturbedSearch",
    "Query",
    "Search",
    "TextClasses",
    "View",
    "bank_from_tensors",
    "bank_shapes",
    "bank_texts",
    "bank_to_tensors",
    "embed_images",
    "encoded",
    "integer_names",
    "latent_hog_neighbours",
    "nearest_by_cosine",
    "perturbations",
    "recall",
    "without_own",
]
