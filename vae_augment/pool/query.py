"""Query: labelled images, compared with a bank's pool once; all that a fit asks of the pool is answered from that.

Images of the pool that texts name may count as labelled, too, or alone: see `Query.with_seeds`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..images import spread_places
from ..numerics import in_threads
from ..vae import Codec
from .encoder_features import encoder_of
from .label_spreading import Graph, HeldOut, held_out, knn_graph, spread_labels
from .members import class_members
from .nearest import EXACT
from .outliers import outliers
from .policy import FitPolicy
from .ridge import ridge_accuracy, two_sample_auc, with_ridge_vote
from .typicality import typicality
from .views import View
from .weighing import linear_vote, vote_weights

WITH_TEXTS = ", with texts"  # after the name of a view


@dataclass(frozen=True, eq=False)
class Query:
    """M images, as the views of a bank see them. `LatentBank.query` makes one.

    Features, nearest images and graphs are computed when they are first asked for, and kept: a pool that proves to be of another
    kind by the features costs nothing more.

    Args:
        vae: the bank's.
        images: float32 `(M, C, S, S)` in [0, 1].
        views: the bank's; typicality and the two-sample test are by the first, and the ridge vote, see `scores`.
        policy: the bank's.
        given: features of the images in some views, by name, which are not computed.
    """

    vae: Codec
    images: Tensor
    views: tuple[View, ...]
    policy: FitPolicy
    given: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    @torch.no_grad()
    def features(self) -> tuple[Tensor, ...]:
        """Features of the images in each view, float32 `(M, D)`."""
        if not len(self.images):
            return tuple(view.features[:0].float() for view in self.views)
        return tuple(
            self.given[view.name] if view.name in self.given else view.embed(self.vae, self.images)
            for view in self.views
        )

    @cached_property
    @torch.no_grad()
    def nearest(self) -> tuple[Tensor, ...]:
        """Places of each image's nearest of the pool in each view, the nearest first, int64 `(M, k)`."""
        if not len(self.images):
            return tuple(view.neighbours[:0].long() for view in self.views)
        return tuple(
            view.nearest(self.vae, self.images, features)
            for view, features in zip(self.views, self.features, strict=True)
        )

    @cached_property
    @torch.no_grad()
    def graphs(self) -> tuple[Graph, ...]:
        """A kNN graph for each view: of the pool's N images and, after them, these M."""
        pairs = list(zip(self.views, self.nearest, strict=True))
        return tuple(
            in_threads(lambda pair: knn_graph(torch.cat([pair[0].neighbours.long(), pair[1]]), pair[0].weight), pairs)
        )

    @property
    def has_graphs(self) -> bool:
        """Whether anything was asked that needs graphs."""
        return "graphs" in vars(self)

    @cached_property
    def typicality(self) -> Tensor:
        """How much each image is like the pool's, in [0, 1], float32 `(M,)`; see `pool.typicality`."""
        return typicality(self.views[0], self.features[0])

    @cached_property
    def two_sample_auc(self) -> float:
        """How well a classifier tells the images from the pool's, from 0.5, not at all, to 1; 0.5 if the policy has no test."""
        return self._told_apart(None)

    def two_sample_auc_of_classes(self, labels: Tensor) -> float:
        """The same where each class counts alike, int64 `(M,)`: images of unequal number are told by their number, too."""
        return self._told_apart(1 / labels.bincount()[labels].float())

    def _told_apart(self, weight: Tensor | None) -> float:
        if len(self.images) < self.policy.auc_from_images:
            return 0.5
        pool = self.views[0].features
        if len(pool) > EXACT:
            pool = pool[spread_places(len(pool), EXACT)]
        return two_sample_auc(normalize(self.features[0]), normalize(pool.float()), weight)

    def cross_validated_accuracy(self, labels: Tensor, classes: int) -> float:
        """Part of the labels that the others predict rightly when held out; see `pool.label_spreading`.

        Args:
            labels: int64 `(M,)`, from 0 to classes - 1.
        """
        return self.held_out(labels, classes).accuracy([graph.weight for graph in self.graphs])

    def held_out(self, labels: Tensor, classes: int) -> HeldOut:
        """What each view says of labels that are held out in turn, those of seeds if no image is labelled; computed once."""
        if (key := (classes, labels.numpy().tobytes())) not in self._held_out:
            known, graphs, alpha = self._with_pool(labels), self.graphs, self._alpha(labels, classes)
            if not len(labels) and self.seeds is not None:
                known, graphs = self.seeds, tuple(replace(graph, seeds=None) for graph in graphs)
            self._held_out[key] = held_out(graphs, known, classes, alpha)
        return self._held_out[key]

    @cached_property
    def _held_out(self) -> dict[tuple[int, bytes], HeldOut]:
        return {}

    def weighed(self, labels: Tensor, classes: int) -> "Query":
        """The same images, compared by views that vote as heavily as they carry these labels, the best first.

        By the best it is then told whether images are of the pool's kind, unless latents tell classes, which tell that, too. A
        view that carries next to no labels is left out. A policy that weighs no views has the query itself.

        Args:
            labels: int64 `(M,)`, from 0 to classes - 1.
        """
        if not self.policy.weighs_views or not len((held := self.held_out(labels, classes)).own):
            return self
        weights = vote_weights(held, [view.weight for view in self.views])
        order = sorted((i for i, weight in enumerate(weights) if weight), key=lambda i: -weights[i])
        return self.by_views(order, [weights[i] for i in order])

    def by_views(
        self, places: Sequence[int], weights: Sequence[float] | None = None, policy: FitPolicy | None = None
    ) -> "Query":
        """The same images, compared by some of the views, in this order; nothing is computed again.

        Args:
            weights: of their votes; None: their own.
            policy: another one; None: the same.
        """
        votes = [self.graphs[i].weight for i in places] if weights is None else weights
        graphs = [replace(self.graphs[i], weight=vote) for i, vote in zip(places, votes, strict=True)]
        query = self._by_graphs(places, graphs, policy or self.policy)
        query._held_out.update(
            {key: HeldOut(held.own, tuple(held.rows[i] for i in places)) for key, held in self._held_out.items()}
        )
        return query

    def with_seeds(self, seeds: Tensor, alone: bool) -> "Query":
        """The same images, and beside them images of the pool whose labels texts say, which count as labelled.

        A view votes twice then, with them and without: labelled images that are held out judge texts as they judge views.

        Args:
            seeds: int64 `(N,)`, from 0 to classes - 1, and -1 for images of which texts say nothing.
            alone: no view votes without them, as where no image of some class is labelled.
        """
        places, of_all = range(len(self.views)), torch.cat([seeds, seeds.new_full((len(self.images),), -1)])
        seeded = [replace(graph, seeds=of_all) for graph in self.graphs]
        if alone:
            return self._by_graphs(places, seeded, self.policy)
        return self._by_graphs([*places, *places], [*self.graphs, *seeded], self.policy)

    def _by_graphs(self, places: Sequence[int], graphs: Sequence[Graph], policy: FitPolicy) -> "Query":
        """The same images by these graphs, of the views at these places."""
        query = replace(self, views=tuple(self.views[i] for i in places), policy=policy)
        features, nearest = (tuple(of_views[i] for i in places) for of_views in (self.features, self.nearest))
        vars(query).update(features=features, nearest=nearest, graphs=tuple(graphs))
        if policy.latents_tell_classes:  # its bounds are of typicality by latents: by patches no bag is like another
            vars(query).update(typicality=self.typicality)
        return query

    @property
    def seeds(self) -> Tensor | None:
        """Labels of the pool's images, and after them the images, as texts say; -1 where they do not; None without texts."""
        return next((graph.seeds for graph in self.graphs if graph.seeds is not None), None)

    @property
    def voters(self) -> list[str]:
        """The names of the views; with what texts say, where one votes so beside labelled images."""
        with_texts = WITH_TEXTS if len(self.images) else ""
        return [
            view.name + ("" if graph.seeds is None else with_texts)
            for view, graph in zip(self.views, self.graphs, strict=True)
        ]

    def spread(self, labels: Tensor, classes: int, alpha: float | None = None) -> Tensor:
        """Labels of the images, spread over the graphs -> scores of the pool's images.

        Args:
            labels: int64 `(M,)`, from 0 to classes - 1.
            alpha: how far labels travel; None: as the policy says.

        Returns:
            float32 `(N, classes)`, rows that sum to 1, or are 0 where no label arrives and at outliers.
        """
        if alpha is None:
            alpha = self._alpha(labels, classes)
        known = self._with_pool(labels)
        scores = spread_labels(self.graphs, known, classes, alpha)
        scores[outliers(self.graphs, known, classes, self.policy)] = 0
        return scores[: len(known) - len(labels)]

    def scores(self, labels: Tensor, classes: int) -> Tensor:
        """All votes for the class of each image of the pool, float32 `(N, classes)`; rows of 0 where no label arrived.

        The class is that of the largest score. Where ridge regression votes, too, some are below 0.

        Args:
            labels: int64 `(M,)`, from 0 to classes - 1.
        """
        scores = self.spread(labels, classes)
        if (place := self._linear_view) is None:
            return scores
        seen = self.views[place].features, normalize(self.features[place])
        vote = 1.0
        if not self.policy.ridge_vote:  # nobody knows yet whether these features tell such images apart
            held = self.held_out(labels, classes)
            if not len(labels) or not len(held.own):
                return scores
            weights = [graph.weight for graph in self.graphs]
            vote = linear_vote(held, weights, ridge_accuracy(scores, *seen, labels), classes)
            if not vote:
                return scores
        return with_ridge_vote(scores, *seen, labels, vote)

    @property
    def _linear_view(self) -> int | None:
        """The place of the view whose features have the linear vote; None if none has.

        It is the first, or where a policy has no such vote that of an encoder: its network was trained to be read linearly.
        """
        if self.policy.ridge_vote:
            return 0
        return next((i for i, view in enumerate(self.views) if encoder_of(view) is not None), None)

    def class_members(
        self, labels: Tensor, classes: int, keep: float | None = None, scores: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Spread labels and take the most confident images of each class: their places in the pool, int64.

        A class that the pool does not seem to hold has none.

        Args:
            labels: int64 `(M,)`, from 0 to classes - 1.
            keep: part of each class that is kept; None: as the policy says.
            scores: those of `scores`, if they were computed.
        """
        scores = self.scores(labels, classes) if scores is None else scores
        return class_members(scores, self.typicality, labels, keep or self.policy.keep, self.policy)

    def _alpha(self, labels: Tensor, classes: int) -> float:
        seeds = 0 if self.seeds is None else int((self.seeds >= 0).sum())
        return self.policy.alpha(len(labels) + seeds, classes)

    def _with_pool(self, labels: Tensor) -> Tensor:
        """The labels after those of the pool's images, which are unknown, -1."""
        return torch.cat([labels.new_full((len(self.views[0].neighbours),), -1), labels])
