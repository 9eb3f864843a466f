"""FID and KID of features of ours, by torchmetrics. Heusel et al. (NeurIPS 2017), Bińkowski et al. (ICLR 2018)."""

import warnings

from torch import Tensor, nn

DIMENSIONS = 64  # principal components: a covariance of more than there are images is none
SUBSETS = 20  # of KID
LARGEST_SUBSET = 100  # images


class AsTheyAre(nn.Module):
    """Features that pass for a network's: what torchmetrics is given."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.num_features = dimensions

    def forward(self, x: Tensor) -> Tensor:
        return x


def fid_and_kid(synthetic: Tensor, real: Tensor) -> tuple[float, float]:
    """Fréchet and kernel distance of features `(N, D)` and `(M, D)`; 0 if they are of one distribution, above it else.

    They compare with no distance of other features. KID draws from the global generator.
    """
    # by their modules: torchmetrics.image names them only where torch-fidelity is, of which nothing is used here
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(LARGEST_SUBSET, len(synthetic), len(real))
    fid = FrechetInceptionDistance(feature=AsTheyAre(synthetic.shape[1]))
    with warnings.catch_warnings():
        # of a few hundred images here
        warnings.filterwarnings("ignore", ".* will save all extracted features in buffer")
        kid = KernelInceptionDistance(feature=AsTheyAre(synthetic.shape[1]), subsets=SUBSETS, subset_size=size)
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(synthetic, real=False)
    return float(fid.compute()), float(kid.compute()[0])
