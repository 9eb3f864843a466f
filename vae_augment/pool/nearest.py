"""Nearest neighbours in a pool of any size: all with all up to 32,768 images, beyond that by an index whose recall is measured.

The index is an inverted file of faiss (Douze et al., "The Faiss library", 2024): k-means sorts vectors into lists, and a query
is compared with those of the lists nearest to it. As many lists are looked at as the wanted recall takes. It draws nothing, and
runs on one thread; queries are spread over threads by `in_threads`, so that a pool has the same neighbours on any number of them.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..images import spread_places
from ..numerics import eigh, in_one, in_threads
from ..progress import progress

EXACT = 32_768  # images: up to so many, all are compared with all, and places are stored in 16 bits
LEAST_EXACT = 100
CHUNK = 20  # images compared with a pool at a time: 5 MB
PART = 65_536  # of a pool, compared at a time
SEARCHED = 1000  # images whose neighbours are sought at a time in an index
FEW = 64  # principal components of wider vectors, by which an index finds candidates
MANY = 256  # where those find too few of the neighbours
CANDIDATES = 3  # of these, for each neighbour that is kept
A_LIST = 40  # vectors for each list, by which lists are learned
ROUNDS = 6  # of k-means
RECALL_AT = 10
PROBES = (4, 8, 16, 32, 64, 128, 256, 512)  # lists that are looked at

Rows = Callable[[Tensor], Tensor]  # places, int64 (n,) -> vectors, float32 (n, D)


@dataclass(frozen=True)
class Search:
    """How neighbours are sought while a bank is made.

    Args:
        exact: images up to which all are compared with all, 100 at least: an index of fewer finds too few neighbours. Time grows
            with their square; a larger pool is compared by an index.
        least_recall: part of the ten nearest that an index must find.
        asked: images by which that is measured.
    """

    exact: int = EXACT
    least_recall: float = 0.98
    asked: int = 200

    def __post_init__(self) -> None:
        if not (self.exact >= LEAST_EXACT and 0 < self.least_recall <= 1 and self.asked >= 1):
            raise ValueError(
                f"a search needs exact >= {LEAST_EXACT}, least_recall in (0, 1] and asked >= 1, got {self}"
            )


USUAL_SEARCH = Search()


def as_places(places: Tensor, count: int) -> Tensor:
    """Places in a pool of so many images, as they are stored: int16 up to 32,768 images, else int32."""
    return places.short() if count <= EXACT else places.int()


def nearest_by_cosine(features: Tensor, pool: Tensor, k: int) -> Tensor:
    """Features `(M, D)` -> the k of a pool `(N, D)` at the smallest angle, the nearest first: int64 `(M, k)`; exact."""
    parts = [features.split(CHUNK), pool.split(PART)]
    cosines, places = [], []
    for number, known in enumerate(parts[1]):
        unit = normalize(known.float())
        asked = progress(parts[0], "compare by features")
        best = [(normalize(part) @ unit.T).topk(min(k, len(unit)), dim=1) for part in asked]
        cosines.append(torch.cat([found.values for found in best]))
        places.append(torch.cat([found.indices for found in best]) + number * PART)
    if len(places) == 1:
        return places[0]
    order = torch.cat(cosines, 1).topk(k, dim=1).indices
    return torch.cat(places, 1).gather(1, order)


def neighbours_by_cosine(features: Tensor, k: int, how: Search) -> tuple[Tensor, float]:
    """The k nearest others of each image of a large pool, by an index.

    Args:
        features: float16 `(N, D)`.

    Returns:
        int32 `(N, k)`, the nearest first; and the recall at 10, measured on some of the images.
    """

    def rows(places: Tensor) -> Tensor:
        return normalize(features[places].float())

    def search(index: Index, places: Tensor, probes: int) -> Tensor:
        asked = rows(places)
        near = index.search(asked, 1 + k * (CANDIDATES if index.is_wider else 1), probes)[0]
        if index.is_wider:
            cosines = (rows(near.flatten()).view(*near.shape, -1) @ asked[:, :, None])[:, :, 0]
            near = near.gather(1, cosines.argsort(1, descending=True))
        return without_own(near, places)[:, :k]

    asked = spread_places(len(features), how.asked)
    exact = without_own(nearest_by_cosine(rows(asked), features, RECALL_AT + 1), asked)

    def recall_of(index: Index, probes: int) -> float:
        return recall(search(index, asked, probes)[:, :RECALL_AT], exact)

    for components in (FEW, MANY):
        index = Index(len(features), rows, components)
        probes, found = fewest_probes(partial(recall_of, index), how.least_recall)
        if found >= how.least_recall or not index.is_wider:
            break
    parts = torch.arange(len(features)).split(SEARCHED)
    done = progress(
        in_threads(lambda part: search(index, part, probes).int(), parts), "compare by features", len(parts)
    )
    return in_one(done, len(features)), found


def without_own(near: Tensor, places: Tensor) -> Tensor:
    """Places found for those at `places`, `(M, k)` -> the others `(M, k - 1)`: their own place goes, or else the last one."""
    is_own = (near == places[:, None]).byte()
    return near.gather(1, is_own.argsort(dim=1, stable=True))[:, :-1]


def recall(found: Tensor, exact: Tensor) -> float:
    """Part of the exact neighbours `(M, k)` that were found."""
    return float((exact[:, :, None] == found[:, None, :]).any(2).float().mean())


def fewest_probes(recall_of: Callable[[int], float], least: float) -> tuple[int, float]:
    """As few lists to look at as reach the wanted recall, or the most; and the recall."""
    found = 0.0
    for probes in PROBES:
        if (found := recall_of(probes)) >= least:
            break
    return probes, found


class Index:
    """Vectors of a large pool, as an inverted file.

    Args:
        count: how many there are.
        rows: gives those at some places.
        components: of wider vectors, by so many of which they are found.

    Raises:
        ValueError: faiss is not installed.
    """

    def __init__(self, count: int, rows: Rows, components: int = FEW) -> None:
        faiss = import_faiss()
        lists = max(1, min(count, round(2 * count**0.5)))
        taught = rows(spread_places(count, lists * A_LIST))
        self.is_wider = taught.shape[1] > components
        self._rows, self._axes = rows, None
        if self.is_wider:
            some = taught[: PART // 2]
            self._axes = eigh((some - some.mean(0)).T @ (some - some.mean(0)))[1][:, -components:]
        taught = self._compressed(taught)
        width = taught.shape[1]
        self._faiss, self._quantizer = faiss, faiss.IndexFlatL2(width)
        half = faiss.ScalarQuantizer.QT_fp16
        self._index = faiss.IndexIVFScalarQuantizer(self._quantizer, width, lists, half, faiss.METRIC_L2, False)
        self._index.cp.niter, self._index.cp.min_points_per_centroid = ROUNDS, 1
        parts = torch.arange(count).split(PART // 16)
        with one_thread(faiss):
            self._index.train(taught.numpy())
            vectors = in_threads(lambda part: self._compressed(rows(part)), parts)
            for part in progress(vectors, "index", len(parts)):
                self._index.add(part.numpy())

    def search(self, vectors: Tensor, k: int, probes: int) -> tuple[Tensor, Tensor]:
        """Vectors `(M, D)` -> the places of the k nearest, int64 `(M, k)`, and their squared distances; in any thread."""
        asked = self._compressed(vectors).contiguous().numpy()
        with one_thread(self._faiss):
            how = self._faiss.SearchParametersIVF(nprobe=probes)
            distances, places = self._index.search(asked, k, params=how)
        near = torch.from_numpy(places)
        return torch.where(near < 0, near[:, :1].clamp_min(0), near), torch.from_numpy(distances)

    def _compressed(self, vectors: Tensor) -> Tensor:
        return vectors if self._axes is None else vectors @ self._axes


def import_faiss() -> Any:
    """The library faiss. Raises ValueError if it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise ValueError(
            f"a bank of more than {EXACT:,} images is compared by the library faiss, which is not here ({error}): pip install "
            f"'vae-augment[scale]', or ask for fewer images, size={EXACT}"
        ) from None
    return faiss


@contextlib.contextmanager
def one_thread(faiss: Any) -> Iterator[None]:
    """Within, faiss computes on this thread alone, as it must in a worker; its user's number is afterwards what it was."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
