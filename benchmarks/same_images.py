"""Hash what 70 calls of the package return, to tell whether a change of the code changed an image.

    python -m benchmarks.same_images FITS > before.txt       at one commit
    python -m benchmarks.same_images FITS > after.txt        at another, on the same machine
    diff before.txt after.txt                                prints nothing if seeds keep their images

It measures nothing; it is here because no test can hold the answer, which depends on the processor. A line is the start of a
sha256, the next random number, which tells whether as many were drawn, and the call. FITS is a folder: the first run writes two
fits into it, and later runs read these, so that the file format is compared too. Without it, each run reads what it wrote
itself. It takes about ten seconds on one thread.
"""

import copy
import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import safetensors.torch
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from vae_augment import (
    VAE,
    Extrapolate,
    Interpolate,
    LatentBank,
    LocalNoise,
    Noise,
    PosteriorSample,
    SyntheticDataset,
    VAEAugment,
    VAEConfig,
    hub,
)
from vae_augment.demo_data import fashion_sample

IMAGES, LABELS = fashion_sample()
FEW = [(IMAGES[i], int(LABELS[i])) for i in range(100)]
BATCH, CLIP, CLIPS = IMAGES[:64], tv_tensors.Video(IMAGES[:6]), tv_tensors.Video(IMAGES[:12].view(3, 4, 1, 28, 28))
COLOUR = VAEConfig(channels=3, size=32, latent_dim=8, spatial=True, width=32)
PIL_IMAGES = [F.to_pil_image(image) for image in IMAGES[:20]]
Calls = Iterator[tuple[str, Callable[[], Any]]]  # a name, and what makes images after `torch.manual_seed(0)`


def calls(fits: Path) -> Calls:
    yield from varied()
    yield from varied_with_probability()
    yield from by_each_jitter()
    yield from photographs()
    fitted = pool_itself("fashion-mnist").fit(FEW)
    yield from fitted_to_classes(fitted)
    yield from partly_fitted_to_classes(fitted)
    yield from fitted_otherwise(fitted, fits)
    yield from data_sets()
    yield from new_images()


def pool_itself(name: str) -> VAEAugment:
    """As all were before samples were new: decoded latents of the pool."""
    return VAEAugment.from_pretrained(name, novelty=0)


def varied() -> Calls:
    plain = VAEAugment.from_pretrained("fashion-mnist")
    yield "PIL", lambda: plain(PIL_IMAGES[0])
    yield "PIL, 20 in turn", lambda: [plain(image) for image in PIL_IMAGES]
    yield "uint8", lambda: plain(IMAGES[0])
    yield "float", lambda: plain(IMAGES[0] / 255)
    yield "uint8 batch", lambda: plain(BATCH)
    yield "float batch", lambda: plain(BATCH / 255)
    yield "batch of batches", lambda: plain(BATCH.view(4, 16, 1, 28, 28))
    yield "batch with labels", lambda: plain(BATCH, LABELS[:64])
    yield "RGB PIL 50x37", lambda: plain(F.resize(PIL_IMAGES[0].convert("RGB"), [50, 37]))
    yield "RGBA PIL", lambda: plain(PIL_IMAGES[0].convert("RGBA"))
    yield "clip", lambda: plain(CLIP)
    yield "clips", lambda: plain(CLIPS)
    per_frame = VAEAugment.from_pretrained("fashion-mnist", per_frame=True)
    yield "clip, per frame", lambda: per_frame(CLIP)


def varied_with_probability() -> Calls:
    half = VAEAugment.from_pretrained("fashion-mnist", p=0.5, strength=0.7)
    yield "p = 0.5, one by one", lambda: [half(image) for image in IMAGES[:20]]
    yield "p = 0.5, batch", lambda: half(BATCH)
    yield "p = 0.5, floats", lambda: half(BATCH / 255)
    yield "p = 0.5, clips", lambda: half(CLIPS)
    kinds = [*IMAGES[:10], *PIL_IMAGES[:5], PIL_IMAGES[0].convert("RGB")]
    yield "p = 0.5, list", lambda: half.vary_all(kinds)
    yield "p = 0.5, list of one kind", lambda: half.vary_all(list(IMAGES[:30]))
    yield "list with clips", lambda: half.vary_all([IMAGES[0], tv_tensors.Video(IMAGES[:5]), IMAGES[1]])


def by_each_jitter() -> Calls:
    decoded = VAEAugment.from_pretrained("fashion-mnist", residual=False)
    yield "not residual", lambda: decoded(BATCH)
    yield "not residual, clip", lambda: decoded(CLIP)
    for jitter in (Noise(2.0), PosteriorSample(1.5), Interpolate(k=5), Extrapolate(k=5), LocalNoise(k=5)):
        augment = VAEAugment.from_pretrained("mnist", jitter=jitter, strength=1.3)
        yield repr(jitter), lambda augment=augment: [augment(BATCH), augment(IMAGES[0]), augment(PIL_IMAGES[0])]
        clip = VAEAugment.from_pretrained("mnist", jitter=jitter, residual=False)
        yield f"{jitter!r}, clip, not residual", lambda augment=clip: augment(CLIP)
    own = VAEAugment.from_pretrained("fashion-mnist", jitter=lambda mean, std: mean + 0.3 * torch.randn_like(mean))
    yield "a jitter of one's own", lambda: [own(BATCH), own(IMAGES[0])]


def photographs() -> Calls:
    torch.manual_seed(0)
    vae = VAE(COLOUR)
    colour = VAEAugment(vae)
    picture = torch.randint(0, 256, (3, 96, 80), dtype=torch.uint8)
    small = picture[:, :32, :32].contiguous()
    yield "colour", lambda: [colour(picture), colour(F.to_pil_image(picture)), colour(small)]
    pool = F.resize(IMAGES, [32, 32]).expand(-1, 3, -1, -1)
    bank = LatentBank.from_images(vae, pool)
    yield "a bank of photographs", lambda: saved(vae, bank)
    photos = VAEAugment(vae, bank=bank, novelty=0).fit(list(zip(pool[:60], LABELS[:60].tolist(), strict=True)))
    yield "fitted to photographs", lambda: [photos.sample([1, 2, 3, 9]), photos(pool[:4], LABELS[:4]), photos(pool[0])]


def fitted_to_classes(fitted: VAEAugment) -> Calls:
    few, labels = list(IMAGES[:40]), LABELS[:40].tolist()
    yield "fitted: sample", lambda: fitted.sample([9, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    yield "fitted: alone", lambda: [fitted(image) for image in few]
    yield "fitted: batch alone", lambda: fitted(BATCH)
    yield "fitted: image and label", lambda: [fitted(*pair) for pair in zip(few, labels, strict=True)]
    yield "fitted: PIL and label", lambda: [fitted(*pair) for pair in zip(PIL_IMAGES, labels, strict=False)]
    large = PIL_IMAGES[0].convert("RGB").resize((60, 40))
    yield "fitted: RGB PIL in a dict", lambda: fitted({"image": large, "label": 3})
    yield "fitted: batch and labels", lambda: fitted(BATCH, LABELS[:64])
    yield "fitted: float batch and labels", lambda: fitted(BATCH / 255, LABELS[:64])
    yield "fitted: clip and label", lambda: fitted(CLIP, 3)
    yield "fitted: clip alone", lambda: fitted(CLIP)
    yield "fitted: list and labels", lambda: fitted.vary_all(few, labels)
    yield "fitted: list", lambda: fitted.vary_all(few)


def partly_fitted_to_classes(fitted: VAEAugment) -> Calls:
    few, labels = list(IMAGES[:40]), LABELS[:40].tolist()
    partly = copy.copy(fitted)
    partly.p, partly.strength = 0.6, 0.5
    title = "fitted, p = 0.6, strength 0.5"
    yield f"{title}: image and label", lambda: [partly(*pair) for pair in zip(few, labels, strict=True)]
    yield f"{title}: batch and labels", lambda: partly(BATCH, LABELS[:64])
    yield f"{title}: batch", lambda: partly(BATCH)
    yield f"{title}: clips and labels", lambda: partly(CLIPS, [1, 2, 3])
    yield f"{title}: list and labels", lambda: partly.vary_all(few, labels)


def fitted_otherwise(fitted: VAEAugment, fits: Path) -> Calls:
    frames = VAEAugment.from_pretrained("fashion-mnist", per_frame=True, novelty=0).fit(FEW)
    yield "fitted, per frame: clip and label", lambda: frames(CLIP, 3)
    no_pool = VAEAugment(hub.load("fashion-mnist").vae).fit(FEW)
    yield "without a bank: sample", lambda: no_pool.sample([1, 2, 3, 4])
    yield "without a bank: batch", lambda: [no_pool(BATCH), no_pool(IMAGES[0]), no_pool(BATCH, LABELS[:64])]
    fits.mkdir(parents=True, exist_ok=True)
    for name, augment in (("latents", fitted), ("differences", no_pool)):
        path = fits / f"{name}.safetensors"
        if not path.exists():
            augment.save_fit(path)
        loaded = pool_itself("fashion-mnist").load_fit(path)
        yield f"a saved fit, {name}", lambda loaded=loaded: [loaded.sample([1, 2, 3]), loaded(BATCH)]
    vae = hub.load("mnist").vae
    bank = LatentBank.from_images(vae, IMAGES)
    yield "a bank of one's own", lambda: saved(vae, bank)
    other = VAEAugment.from_pretrained("mnist", bank=bank, novelty=0).fit(FEW)
    yield "fitted with a bank of one's own", lambda: other.sample(LABELS[:40].tolist())


def data_sets() -> Calls:
    base, garments = TensorDataset(IMAGES[:100], LABELS[:100]), pool_itself("fashion-mnist")
    places = list(range(90, 150))
    for seed in (None, 7):
        data = SyntheticDataset(base, ratio=0.5, augment=garments, seed=seed)
        yield f"SyntheticDataset, seed {seed}", lambda data=data: data.__getitems__(places)
        loader = DataLoader(data, batch_size=32, num_workers=2)
        yield f"SyntheticDataset, seed {seed}, 2 workers", lambda loader=loader: list(loader)
    not_fitted = SyntheticDataset(base, ratio=0.5, augment=garments, fit=False, seed=3)
    yield "SyntheticDataset, not fitted", lambda: not_fitted.__getitems__(places)
    balanced = SyntheticDataset(FEW[:35], ratio=1, balance=True)
    balanced.augment.novelty = 0
    yield "SyntheticDataset, balanced, weights chosen", lambda: balanced.__getitems__(list(range(30, 70)))


def new_images() -> Calls:
    fitted = VAEAugment.from_pretrained("fashion-mnist").fit(FEW)
    yield "new: sample", lambda: fitted.sample([9, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    yield "new: batch and labels", lambda: fitted(BATCH, LABELS[:64])
    yield "new: alone", lambda: [fitted(image) for image in IMAGES[:20]]
    yield "generate", lambda: fitted.generate(20)


def saved(vae: VAE, bank: LatentBank) -> list[tuple[str, Tensor]]:
    """The tensors of a bank, by their names in its file."""
    with tempfile.TemporaryDirectory() as folder:
        VAEAugment(vae, bank=bank, gain=1.0).save_pretrained(folder)
        tensors = safetensors.torch.load_file(Path(folder) / "bank.safetensors")
        tensors.pop("index", None)  # banks of earlier commits have none, and no image depends on it
        return sorted(tensors.items())


def digest(value: Any) -> bytes:
    """sha256 of images, tensors, numbers and text, and of lists and dicts of them."""
    sha = hashlib.sha256()
    if isinstance(value, PIL.Image.Image):
        sha.update(value.mode.encode() + np.asarray(value).tobytes())
    elif isinstance(value, Tensor):
        pixels = value.as_subclass(Tensor).contiguous().numpy()
        sha.update(str((value.dtype, tuple(value.shape))).encode() + pixels.tobytes())
    elif isinstance(value, dict):
        sha.update(digest(list(value.items())))
    elif isinstance(value, list | tuple):
        sha.update(b"".join(map(digest, value)))
    else:
        sha.update(repr(value).encode())
    return sha.digest()


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, call in calls(Path(sys.argv[1] if len(sys.argv) > 1 else folder)):
            torch.manual_seed(0)
            print(digest(call()).hex()[:16], name, "| next", f"{float(torch.rand(())):.6f}", flush=True)


if __name__ == "__main__":
    main()
