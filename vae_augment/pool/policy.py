"""FitPolicy: every threshold by which a fit judges a pool and picks samples' latents, as one table of two rows."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FitPolicy:
    """Thresholds of a fit. A row of the table is `CLUSTERED` or `PHOTOGRAPHS`; fields with a default are the same in both."""

    # Whether images of one class lie near one another as latents; else they do only as features of the bank's first view.
    latents_tell_classes: bool
    # Part of each class's pool images that samples are drawn from, the most confident ones.
    # Where classes are clusters only the fringes are wrong; of photographs the less confident half mostly is.
    keep: float
    # Cross-validated accuracy below which the pool is not used, as a part of the way from guessing to all right.
    # Photographs need less: labels that spread badly still help a classifier that by itself does no better.
    least_accuracy: float
    # Labelled images from which a two-sample test tells whether they are of the pool's kind; inf: there is no test.
    # Fewer are told from any pool by chance. Where latents tell classes, typicality alone tells the kind.
    auc_from_images: float
    # Whether a ridge classifier of the first view's features votes beside the graphs: it errs on different photographs.
    ridge_vote: bool
    # Whether views vote as heavily as they carry labels, see `weighing.py`, and not by their own weights.
    weighs_views: bool = False

    # Median typicality of the labelled images below which the pool does not know such images. Images of the pool's kind have
    # about 0.5; half of that leaves room for labelled images that are few and unusual.
    least_typicality: float = 0.25
    # AUC of the two-sample test above which the pool does not know such images, and above which it holds many others as well.
    # Two classes of a pool of ten lie between both, another kind of image lies above.
    largest_auc: float = 0.85
    largest_auc_without_warning: float = 0.65

    # Labels a class, on average, from which accuracy is cross-validated: of fewer it varies too much from draw to draw.
    accuracy_from_labels: int = 3

    # Part of its own label that a point keeps at each step of spreading, 1 - alpha. Few labels must travel far; of many, each
    # need not. The least part holds up to so many labels a class, on average, and grows with them to the largest.
    least_restart: float = 0.01
    least_restart_to_labels: int = 5
    largest_restart: float = 0.05

    # Score, as a part of the typical one, below which labels hardly reach a point.
    outlier_score: float = 0.05
    # Part of all points that must be hardly reached, beyond that of labelled points held out, before any is an outlier: a few
    # such points are ordinary.
    outlier_share: float = 0.2
    # Labels a class from which labelled points held out set the bound instead, and the part of these that may fall below it.
    outlier_quantile_from_labels: int = 5
    outlier_quantile: float = 0.1

    # Labelled images of a class from which it may be taken for absent from the pool: fewer may be unusual by chance.
    absence_from_images: int = 3
    # Mean typicality of a class's labelled images below which it is absent. Diverse classes that are there lie a little above;
    # a class that looks like another one of the pool is not told by it.
    absence_typicality: float = 0.13
    # The same of a class that gets fewer pool images than this part of an even share, which is a second sign.
    absence_typicality_of_small_class: float = 0.4
    small_class_share: float = 0.15

    def alpha(self, labels: int, classes: int) -> float:
        """How far labels travel at each step of spreading: the farther, the fewer there are a class."""
        restart = self.least_restart * (labels / classes / self.least_restart_to_labels)
        return 1 - min(max(restart, self.least_restart), self.largest_restart)

    def least_accuracy_of(self, labels: int, classes: int) -> float:
        """Cross-validated accuracy, in [0, 1], that this many labels must reach: also a standard error above guessing."""
        chance = 1 / classes
        standard_error = math.sqrt(chance * (1 - chance) / labels)
        return chance + max(self.least_accuracy * (1 - chance), standard_error)


# fmt: off
CLUSTERED   = FitPolicy(latents_tell_classes=True,  keep=0.95, least_accuracy=0.5, auc_from_images=math.inf, ridge_vote=False)
PHOTOGRAPHS = FitPolicy(latents_tell_classes=False, keep=0.5,  least_accuracy=0.1, auc_from_images=10,       ridge_vote=True)
# fmt: on


def weighing_views(policy: FitPolicy) -> FitPolicy:
    """The same for a bank whose images an encoder compares, too: nobody knows before a fit whether it knows such images.

    The part that is kept and all thresholds stay: they follow from how classes lie, and hold for truer labels all the more.
    """
    return replace(policy, weighs_views=True)
