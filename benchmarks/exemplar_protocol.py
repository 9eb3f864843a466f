"""Run the published protocol of this very mechanism: encode a training image, jitter its latent, decode, keep the label.

    python -m benchmarks.exemplar_protocol --data fashion-mnist --arms none crop crop+ours   20 to 60 minutes a seed on one thread

Exemplar VAE (Norouzi, Fleet & Norouzi, NeurIPS 2020): all labels, first 50,000 training images for the VAE and the
classifier, an MLP 784-1024-1024-10, SGD with momentum 0.9, learning rate 0.1 falling linearly to a hundredth, batch 100,
100 epochs, label smoothing 0.1, loss 0.4 real + 0.6 augmented with a fresh jitter at every step, the last step's weights.
Their test error: MNIST 1.23 % without, 0.77 % with (of 8,192 units a layer 1.17 % and 0.69 %); Fashion-MNIST 8.56 % and 8.16 %,
probably of 8,192 units, since their abstract names these beside 1.17 % and 0.69 %. `--width` sets the units.

`ours` is noise in the latent space toward where an image's latent lies after small perturbations of the image (those of
`vae_augment.pool.perturbations`: shifts by a pixel, ten degrees, a tenth of the size, shear, brightness), and on garments also
toward the training images of its class that it resembles most; on garments what is decoded gets noise of 0.1 a pixel, as a
sample of a Gaussian likelihood has. `crop` and `affine` are classical policies, and `crop+ours`, `affine+ours` are what the
package is for: the policy, then noise toward the five images of its class that the image resembles most. In each of these arms
three variations are made of an image at each epoch, and the one that the classifier finds hardest is used (Gong et al.,
"MaxUp", CVPR 2021).
What differs, then: theirs takes one variation, moved by noise alike in all directions; their classifier and VAE do not know
which pixels are neighbours, where our VAE is convolutional, and perturbations and policies know it too; they compute in
float64, here matrices are multiplied in bfloat16 where the CPU does that, on a GPU in TF32.
`none` must land near their figure without, or the harness is wrong. Networks of several seeds are trained side by side, on
the variations of one VAE; their shuffling and noise depend on which seeds these are.

All of this was chosen by the last 10,000 training images; docs/benchmarks.md lists what was tried. `--validate` measures the
chosen arms so.
"""

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from train import data as datasets
from train import device as devices
from vae_augment import VAE
from vae_augment.pool import latent_hog_neighbours, perturbations
from vae_augment.source import ROOT_VARIABLE
from vae_augment.vae import FusedVAE, Whitened, computes_bf16

from .pretrain import pretrain
from .rows import stamp, store

RESULTS = Path(__file__).parent / "exemplar_protocol.jsonl"
TRAINING, BATCH, EPOCHS, PIXELS = 50_000, 100, 100, 784
BF16 = computes_bf16(torch.device("cpu"))
HARDEST_OF = 3
PART = 1000  # images varied at a time

Networks = list[Tensor]  # of R seeds: weights (R, inside, outside) and biases (R, 1, outside), layer after layer


@dataclass(frozen=True)
class Warp:
    """How images themselves are deformed, each by its own draw, evenly up to so much: a classical policy."""

    pixels: int  # whole ones, as by RandomCrop(28, padding=pixels)
    degrees: float = 0.0
    scale: float = 0.0
    shear: float = 0.0  # degrees


@dataclass(frozen=True)
class Jitter:
    """How latents move.

    Args:
        scale: of the noise, over all directions together, in their mean length.
        deformations: toward the latents of small deformations of the image.
        neighbours: also toward so many images of its class that it resembles most.
        noise: std of what is then added to each pixel, in [0, 1].
    """

    scale: float
    deformations: bool = False
    neighbours: int = 0
    noise: float = 0.0


WARPS = {
    "mnist": {"crop": Warp(1), "affine": Warp(2, 10, 0.1, 10)},
    "fashion-mnist": {"crop": Warp(1), "affine": Warp(1, 3, 0.03)},
}
OURS = {
    "mnist": Jitter(2.0, deformations=True),
    "fashion-mnist": Jitter(1.2, deformations=True, neighbours=10, noise=0.1),
}
AFTER_WARP = Jitter(0.9, neighbours=5)
ARMS = ("none", "crop", "affine", "ours", "crop+ours", "affine+ours")

Change = Callable[[Tensor, Tensor], Tensor]  # images (B, 1, 28, 28) in [0, 1], and which of all they are -> new ones


def warped(x: Tensor, warp: Warp) -> Tensor:
    """Images `(B, 1, 28, 28)` in [0, 1], black outside."""

    def even(most: float) -> Tensor:
        return (torch.rand(len(x), device=x.device) * 2 - 1) * most

    right, down = torch.randint(-warp.pixels, warp.pixels + 1, (2, len(x)), device=x.device) * (2 / x.shape[-1])
    angle, factor = (even(warp.degrees) * math.pi / 180), 1 / (1 + even(warp.scale))
    shear = (even(warp.shear) * math.pi / 180).tan()
    cos, sin = angle.cos() * factor, angle.sin() * factor
    matrix = torch.stack([cos, shear - sin, right, sin, cos, down], 1).view(-1, 2, 3)
    return grid_sample(x, affine_grid(matrix, list(x.shape), align_corners=False), align_corners=False)


@torch.no_grad()
def jitters(vae: VAE, images: Tensor, labels: Tensor, jitter: Jitter, device: torch.device) -> Change:
    """What moves the latents of images, or of warps of these, and keeps what the decoder does not know of them."""
    vae = vae.cpu()
    kinds = [
        torch.stack([Whitened(vae).whitened_mean(kind) for kind in perturbations(part.float() / 255)], 1)
        for part in images.split(PART)
    ]
    mean, *deformations = torch.cat(kinds).unbind(1)
    ends = deformations if jitter.deformations else []
    if jitter.neighbours:
        near = torch.empty(len(images), jitter.neighbours, dtype=torch.int64)
        for own in ((labels == c).nonzero()[:, 0] for c in range(10)):
            latents = Whitened(vae).unwhiten(mean[own])
            near[own] = own[latent_hog_neighbours(vae, images[own], latents)[0][:, : jitter.neighbours]]
        ends += mean[near].unbind(1)
    toward = torch.stack([(end - mean).half() for end in ends], 1).to(device)  # (N, directions, L)
    fused, count = FusedVAE(vae).to(device), toward.shape[1]

    def jittered(x: Tensor, places: Tensor) -> Tensor:
        eps = torch.randn(len(x), 1, count, device=device)
        move = (eps @ toward[places].float())[:, 0]
        with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
            x = x + fused.decoded_change(fused.whitened_mean(x), move, jitter.scale / count**0.5)
        return x + jitter.noise * torch.randn_like(x) if jitter.noise else x

    return jittered


def variations(images: Tensor, changes: list[Change]) -> Callable[[], Tensor]:
    """What varies all training images `(N, 784)` afresh, both uint8."""

    @torch.no_grad()
    def varied() -> Tensor:
        out = torch.empty_like(images)
        for places in torch.arange(len(images), device=images.device).split(PART):
            x = images[places].view(-1, 1, 28, 28).float() / 255
            for change in changes:
                x = change(x, places)
            out[places] = (x.clamp(0, 1) * 255).round().to(torch.uint8).flatten(1)
        return out

    return varied


def networks(seeds: list[int], width: int, device: torch.device) -> Networks:
    """MLPs 784-width-width-10, initialised as `nn.Linear` is."""
    drawn = []
    for seed in seeds:
        torch.manual_seed(seed)
        layers = [torch.nn.Linear(*sizes) for sizes in ((PIXELS, width), (width, width), (width, 10))]
        drawn.append([part for layer in layers for part in (layer.weight.T, layer.bias[None])])
    return [torch.stack(parts).detach().to(device).requires_grad_() for parts in zip(*drawn, strict=True)]


def logits(nets: Networks, images: Tensor) -> Tensor:
    """uint8 `(R, B, 784)` -> `(R, B, 10)`."""
    w1, b1, w2, b2, w3, b3 = nets
    with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
        h = torch.baddbmm(b1, images.float() / 255, w1).relu()
        h = torch.baddbmm(b2, h, w2).relu()
        return torch.baddbmm(b3, h, w3).float()


def losses(nets: Networks, images: Tensor, labels: Tensor) -> Tensor:
    """`(R, B, 784)`, `(R, B)` -> `(R, B)`."""
    each = cross_entropy(logits(nets, images).flatten(0, 1), labels.flatten(), reduction="none", label_smoothing=0.1)
    return each.view(labels.shape)


@torch.no_grad()
def hardest(nets: Networks, varied_images: Callable[[], Tensor], labels: Tensor, count: int) -> Tensor:
    """Of so many variations of each image, the one with the largest loss, for each network: `(R, N, 784)`."""
    chosen = []
    for net in zip(*(part.split(1) for part in nets), strict=True):
        largest = torch.full(labels.shape, -1.0, device=labels.device)
        best = torch.empty(len(labels), PIXELS, dtype=torch.uint8, device=labels.device)
        for _ in range(count):
            varied = varied_images()
            parts = zip(varied.split(PART), labels.split(PART), strict=True)
            loss = torch.cat([losses(list(net), x[None], y[None])[0] for x, y in parts])
            best = torch.where((loss > largest)[:, None], varied, best)
            largest = torch.maximum(loss, largest)
        chosen.append(best)
    return torch.stack(chosen)


def train(
    images: Tensor,
    labels: Tensor,
    varied_images: Callable[[], Tensor] | None,
    seeds: list[int],
    width: int,
    epochs: int,
) -> Networks:
    """The published settings; `varied_images` makes a new variation of each image, several times at every epoch."""
    nets = networks(seeds, width, images.device)
    torch.manual_seed(seeds[0])
    optimizer = torch.optim.SGD(nets, lr=0.1, momentum=0.9, fused=True)
    each = torch.arange(len(seeds), device=images.device)[:, None]
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - 0.99 * epoch / epochs)
        varied = None if varied_images is None else hardest(nets, varied_images, labels, HARDEST_OF)
        order = torch.stack([torch.randperm(len(images), device=images.device) for _ in seeds])
        for batch in order.split(BATCH, dim=1):  # (R, B)
            x, y = images[batch], labels[batch]
            if varied is None:
                loss = losses(nets, x, y).mean(1)
            else:
                both = losses(nets, torch.cat([x, varied[each, batch]], 1), torch.cat([y, y], 1))
                loss = 0.4 * both[:, :BATCH].mean(1) + 0.6 * both[:, BATCH:].mean(1)
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
    return nets


@torch.no_grad()
def errors(nets: Networks, images: Tensor, labels: Tensor) -> list[float]:
    """Per cent, of each network."""
    count, parts = len(nets[0]), zip(images.split(PART), labels.split(PART), strict=True)
    wrong = torch.stack([(logits(nets, x.expand(count, -1, -1)).argmax(2) != y).sum(1) for x, y in parts]).sum(0)
    return [round(100 * float(part) / len(images), 3) for part in wrong]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", choices=sorted(OURS))
    parser.add_argument("--arms", nargs="+", default=["none", "ours"], choices=ARMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--width", type=int, default=1024, help="units a hidden layer")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="other than 100 writes nothing")
    parser.add_argument("--validate", action="store_true", help="measure on held-out training images; writes nothing")
    parser.add_argument("--device", default="cpu", help="of the classifier; the VAE takes the best there is")
    parser.add_argument("--root", default=os.environ.get(ROOT_VARIABLE))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    device = devices.pick(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    data = datasets.load(options.data, 1, 28, options.root)
    labels = datasets.TORCHVISION[options.data](str(datasets.root_folder(options.root)), train=True).targets
    images, own_labels = data.train[:TRAINING], labels[:TRAINING]
    test, test_labels = (
        (data.train[TRAINING:], labels[TRAINING:]) if options.validate else (data.test, data.test_labels)
    )
    assert test_labels is not None
    x, y = images.flatten(1).to(device), own_labels.to(device)
    vae: VAE | None = None
    for arm in options.arms:
        started, origin = time.perf_counter(), stamp()
        policy, ours = WARPS[options.data].get(arm.removesuffix("+ours")), arm.endswith("ours")
        jitter = (AFTER_WARP if policy else OURS[options.data]) if ours else None
        changes: list[Change] = []
        if policy:
            changes.append(lambda x, _, policy=policy: warped(x, policy))
        if jitter:
            if vae is None:
                with tempfile.TemporaryDirectory() as folder:
                    vae = pretrain(options.data, images, Path(folder))
            changes.append(jitters(vae, images, own_labels, jitter, device))
        varied = variations(x, changes) if changes else None
        nets = train(x, y, varied, options.seeds, options.width, options.epochs)
        for seed, error in zip(
            options.seeds, errors(nets, test.flatten(1).to(device), test_labels.to(device)), strict=True
        ):
            row = {
                "data": options.data,
                "arm": arm,
                "seed": seed,
                "of seeds": options.seeds,
                "error": error,
                "test": "validation" if options.validate else "test",
                "policy": asdict(policy) if policy else None,
                "jitter": asdict(jitter) if jitter else None,
                "hardest_of": HARDEST_OF if changes else None,
                "width": options.width,
                "epochs": options.epochs,
                "seconds of all seeds": round(time.perf_counter() - started),
                **origin,
            }
            if device.type == "cuda":
                row["machine"] = torch.cuda.get_device_name(device)
            print(json.dumps(row), flush=True)
            if options.epochs == EPOCHS and not options.validate:
                store(row, options.results)


if __name__ == "__main__":
    main()
