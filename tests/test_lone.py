"""One image at a time takes a shorter way to the same pixels, in memory that is kept."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from tests.conftest import FEW, IMAGES
from tests.test_fused import CONFIGS
from vae_augment import VAE, Noise, VAEAugment, jitter, shortcuts
from vae_augment.images import PilBytes
from vae_augment.vae import PLANAR, FusedVAE, LoneVAE

COLOUR = CONFIGS[1]
TINT = torch.tensor([1, 2, 3], dtype=torch.uint8)[:, None, None]
PICTURE = F.resize(IMAGES[7], [120, 90]).expand(3, -1, -1) // TINT


def pictures():
    return {
        "grey, as large as the model": F.to_pil_image(IMAGES[7]),
        "grey, larger": F.to_pil_image(F.resize(IMAGES[7], [61, 40])),
        "colour, larger": F.to_pil_image(PICTURE),
        "colour, as large as the model": F.to_pil_image(F.resize(PICTURE, [32, 32])),
    }


def transform_for(image):
    torch.manual_seed(0)
    return VAEAugment.from_pretrained("fashion-mnist") if image.mode == "L" else VAEAugment(VAE(COLOUR), gain=1.0)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("is_bytes", [True, False], ids=["bytes", "floats"])
@torch.no_grad()
def test_it_computes_what_the_matrices_do(config, is_bytes):
    torch.manual_seed(0)
    vae = VAE(config).eval()
    vae.latent_mean.normal_()
    vae.latent_std.uniform_(0.5, 2)
    fused = FusedVAE(vae)
    lone = LoneVAE(fused)
    pixels = torch.randint(0, 256, (1, config.channels, config.size, config.size), dtype=torch.uint8)
    x, move = pixels / 255, torch.randn(1, *vae.latent_shape)
    mean = fused.whitened_mean(x)
    change = fused.decoded_change(mean, move, 0.7)
    given = pixels if is_bytes else x
    for layout in (PLANAR, config.channels, 4):
        rows = given if layout == PLANAR else given.permute(0, 2, 3, 1)
        if layout > config.channels:
            rows = torch.cat([rows, rows[..., :1].expand(-1, -1, -1, layout - config.channels)], -1)
        row = rows.contiguous().numpy().ravel()

        def image_of(values, layout=layout):
            if layout == PLANAR:
                return torch.from_numpy(values).view(x.shape), torch.empty(0)
            values = torch.from_numpy(values).view(1, config.size, config.size, layout).permute(0, 3, 1, 2)
            return values[:, : config.channels], values[:, config.channels :]

        for _ in range(2):  # the second time in the memory of the first
            got, filling = image_of(lone.change(row, layout, move, 0.7))
            torch.testing.assert_close(got, change, atol=2e-5, rtol=0)
            assert not filling.any()
        torch.testing.assert_close(lone.mean(row, layout), mean, atol=2e-5, rtol=1e-4)
        drawn, filling = image_of(lone.decoded(mean, layout))
        torch.testing.assert_close(drawn, fused.decode_whitened(mean), atol=1e-5, rtol=0)
        assert (filling == 1).all()


@pytest.mark.parametrize("name", pictures())
def test_a_pil_image_of_any_size_is_varied_as_on_the_general_way(name, monkeypatch):
    image = pictures()[name]
    before = image.tobytes()
    augment = transform_for(image)

    def made():
        torch.manual_seed(3)
        return np.asarray(augment(image)).astype(int), torch.rand(())

    short, after = made()
    assert image.tobytes() == before, "the image that was given is left alone"
    monkeypatch.setattr(shortcuts, "varied_bytes", lambda *given: None)
    monkeypatch.setattr(shortcuts, "varied_alone", lambda *given: None)
    long, then = made()
    assert after == then
    assert (short != np.asarray(image)).mean() > 0.2
    assert np.abs(short - long).max() <= 1
    if "larger" not in name:  # else the change is rounded before it is enlarged, too
        assert (short != long).mean() < 0.01, "only what lies between two grey levels may be rounded another way"


def test_a_new_image_of_a_class_in_the_size_of_a_pil_image(fitted, monkeypatch):
    image = pictures()["grey, larger"]

    def made():
        torch.manual_seed(3)
        return np.asarray(fitted(image, FEW[0][1])[0]).astype(int)

    short = made()
    monkeypatch.setattr(shortcuts, "varied_bytes", lambda *given: None)
    assert short.shape == (61, 40)
    assert np.abs(short - made()).max() <= 1, "rounded before it is enlarged"


def test_a_change_too_large_for_bytes_is_left_to_the_general_way():
    found = PilBytes.of(PIL.Image.new("L", (40, 40), 90), channels=1)
    assert found.with_change(np.full(28 * 28, 0.6, np.float32), 28) is None
    assert found.with_change(np.full(28 * 28, -0.6, np.float32), 28) is None
    assert set(found.with_change(np.full(28 * 28, 0.4, np.float32), 28).tobytes()) == {90 + 102}
    assert set(found.with_change(np.full(28 * 28, -0.4, np.float32), 28).tobytes()) == {0}


@pytest.mark.parametrize("name", ["colour, larger", "colour, as large as the model"])
def test_what_pil_keeps_beside_pixels_stays(name):
    image = pictures()[name]
    image.info["dpi"] = (300, 300)
    out = transform_for(image)(image)
    assert (out.mode, out.size, out.info["dpi"]) == (image.mode, image.size, (300, 300))
    assert set(out.tobytes("raw", "RGBX")[3::4]) == {255}, "the byte that fills a pixel is PIL's own"
    out.putpixel((0, 0), (1, 2, 3))
    assert out.getpixel((0, 0)) == (1, 2, 3)


def test_threads_have_their_own_memory(augment):
    params = augment.make_params([IMAGES[0]])
    expected = augment.transform(IMAGES[0], params)
    with ThreadPoolExecutor(8) as pool:
        assert all(
            torch.equal(image, expected)
            for image in pool.map(lambda _: augment.transform(IMAGES[0], params), range(300))
        )


def test_memory_made_in_inference_mode_serves_outside_of_it():
    augment = VAEAugment.from_pretrained("mnist")
    with torch.inference_mode():
        augment(IMAGES[0])
    assert augment(IMAGES[0]).shape == (1, 28, 28)


@pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="vmap of torch 2.6 takes no places of 32 bits")
def test_within_vmap_images_are_varied_too(augment):
    assert torch.func.vmap(augment, randomness="different")(IMAGES[:4]).shape == (4, 1, 28, 28)
    of_colours = VAEAugment(VAE(COLOUR), gain=1.0)
    assert torch.func.vmap(of_colours, randomness="different")(PICTURE[None].repeat(2, 1, 1, 1)).shape == (
        2,
        3,
        120,
        90,
    )


def test_a_truncated_file_is_told_by_its_name(tmp_path):
    F.to_pil_image(F.resize(PICTURE, [300, 300])).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"a\.png cannot be read"):
        VAEAugment(VAE(COLOUR), gain=1.0)(PIL.Image.open(tmp_path / "a.png"))


SETTINGS = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "meta": lambda: torch.device("meta"),
    "inference": torch.inference_mode,
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("p", [1.0, 0.999])
def test_what_is_set_around_it_changes_no_image_with_a_spatial_latent(setting, p):
    """Nor does it stay behind: the matrix by which noise is made smooth is kept for the whole process."""
    torch.manual_seed(0)
    augment, pixels = VAEAugment(VAE(COLOUR), gain=1.0, p=p), F.resize(PICTURE, [32, 32])

    def made():
        torch.manual_seed(3)
        images = [augment(pixels), augment(pixels / 255), augment.transform(pixels, augment.make_params([pixels]))]
        return [*images, torch.from_numpy(np.array(augment(F.to_pil_image(PICTURE))))]

    jitter._interpolation.cache_clear()
    with SETTINGS[setting]():
        within = made()
    for one, other in zip(within, made(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_copy_is_the_same_whatever_is_set_where_it_is_made(augment, setting):
    def made(transform):
        torch.manual_seed(3)
        return transform(IMAGES[7])

    with SETTINGS[setting]():
        copies = [copy.deepcopy(augment), pickle.loads(pickle.dumps(augment))]
    assert all(torch.equal(made(one), made(augment)) for one in copies)


def test_noise_and_the_numbers_that_it_is_made_of_lie_apart():
    latent = (1, 8, 2, 32)  # 64 cells, as many as coarse numbers
    drawn = [Noise(coarse=8).draw(latent, torch.Generator().manual_seed(0), kept) for kept in (False, True)]
    assert torch.equal(*drawn)


def test_a_codec_may_call_another_transform():
    """Which draws noise of one shape in the same thread, before that of the first is used."""
    torch.manual_seed(0)
    vae, pixels = VAE(COLOUR), F.resize(PICTURE, [32, 32])
    inner = VAEAugment(vae, gain=1.0)

    class Busy(torch.nn.Module):
        channels, size, latent_shape, latent_mean, latent_std = 3, 32, vae.latent_shape, vae.latent_mean, vae.latent_std

        def encode(self, x):
            inner(pixels)
            return vae.encode(x)

        def decode(self, z):
            return vae.decode(z)

        def fingerprint(self):
            return "busy"

    augment, images = VAEAugment(Busy(), gain=1.0), []
    for vary in (augment, lambda image: augment.transform(image, augment.make_params([image]))):
        torch.manual_seed(3)
        images.append(vary(pixels))
    assert torch.equal(*images)


@pytest.mark.parametrize("larger", [False, True], ids=["of the model's size", "larger"])
def test_within_functions_of_functorch_an_image_is_the_same(larger):
    torch.manual_seed(0)
    augment, x = VAEAugment(VAE(COLOUR), gain=1.0), (PICTURE if larger else F.resize(PICTURE, [32, 32])) / 255

    def made(vary):
        torch.manual_seed(3)
        return vary(x)

    expected = made(augment)
    torch.testing.assert_close(made(torch.func.functionalize(augment)), expected, atol=1e-5, rtol=0)
    gradient, image = made(torch.func.grad_and_value(lambda image: augment(image).sum()))
    torch.testing.assert_close(image, expected.sum())
    assert 0.5 < gradient.mean() <= 1


def test_an_image_with_the_negative_bit_is_read_as_it_is(augment):
    torch.manual_seed(0)
    expected = augment(IMAGES[7] / 255)
    torch.manual_seed(0)
    assert torch.equal(augment(torch._neg_view(-(IMAGES[7] / 255))), expected)
