"""Autoencoders of diffusers behind the transform: each class, and what each is known to go wrong by."""

import copy
import pickle
import subprocess
import sys
import warnings

import pytest
import torch

from tests.diffusers_models import NAMES, model, size_of
from tests.photographs import photograph
from vae_augment import LatentBank, Noise, VAEAugment
from vae_augment.autoencoders import DiffusersCodec, Statistics, shipped_images
from vae_augment.strength import RHO
from vae_augment.vae import Whitened

pytest.importorskip("diffusers")
PHOTO = photograph(3, (100, 75))


@pytest.fixture(scope="module", params=NAMES)
def folder(request, tmp_path_factory):
    """A folder that diffusers has written."""
    folder = tmp_path_factory.mktemp(request.param)
    model(request.param).save_pretrained(folder)
    return folder, request.param


def load(folder, **options):
    folder, name = folder
    return VAEAugment.from_pretrained(folder, size=size_of(name), **options)


def codec(name, size=None, **config):
    return DiffusersCodec(model(name, **config), size or size_of(name))


def images(augment, count=100):
    return shipped_images(augment.vae.channels, augment.vae.size, count)


def rho(augment, x, draws=8):
    """The change of decoded images over the distance between images, of draws that no gain was solved on."""
    net, between = Whitened(augment.vae), (x - x.roll(1, 0)).square().mean()
    with torch.no_grad():
        mean = net.whitened_mean(x)
        moves = [Noise().draw(mean.shape, torch.Generator().manual_seed(1000 + seed)) for seed in range(draws)]
        before = net.decode_whitened(mean)
        changes = [(net.decode_whitened(mean + augment.gain * move) - before).square().mean() for move in moves]
    return float(sum(changes) / draws / between)


def test_strength_0_is_the_identity_and_strength_1_the_same_visible_change(folder):
    augment = load(folder)
    x = images(augment)
    assert augment.calibrate(x) is augment
    assert rho(augment, x) == pytest.approx(RHO, rel=0.05)
    new = augment(PHOTO)
    assert (new.mode, new.size) == ("RGB", (100, 75))
    assert new.tobytes() != PHOTO.tobytes()
    augment.strength = 0
    assert augment(PHOTO).tobytes() == PHOTO.tobytes()


def test_before_it_is_calibrated_strength_is_that_of_shipped_images(folder):
    augment = load(folder)
    assert rho(augment, shipped_images(3, augment.vae.size)) == pytest.approx(RHO, rel=0.4)  # they are eight
    assert augment.vae.statistics.images == 0


def test_saved_loaded_equal_with_its_bank(folder, tmp_path):
    augment = load(folder).calibrate(images(load(folder), 20))
    augment = augment.with_bank(LatentBank.from_images(augment.vae, images(augment, 40)))
    augment.save_pretrained(tmp_path)
    again = VAEAugment.from_pretrained(tmp_path)
    assert again.vae.fingerprint() == augment.vae.fingerprint()
    assert again.gain == augment.gain
    assert torch.equal(again.bank.latents, augment.bank.latents)
    for key, value in augment.vae.state_dict().items():
        assert torch.equal(again.vae.state_dict()[key], value)
    torch.manual_seed(1)
    one = augment(PHOTO)
    torch.manual_seed(1)
    assert again(PHOTO).tobytes() == one.tobytes()


def test_diffusers_reads_what_was_saved(folder, tmp_path):
    import diffusers

    augment = load(folder)
    augment.save_pretrained(tmp_path)
    net = getattr(diffusers, folder[1]).from_pretrained(tmp_path, use_safetensors=True)
    for key, value in augment.vae.net.state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key


def test_it_travels_to_workers_of_any_start_method(folder):
    augment = load(folder)
    augment(PHOTO)  # transformers hangs hooks into a network that has computed
    torch.manual_seed(2)
    one = augment(PHOTO)
    for again in (pickle.loads(pickle.dumps(augment)), copy.deepcopy(augment)):
        torch.manual_seed(2)
        assert again(PHOTO).tobytes() == one.tobytes()


def test_loading_leaves_the_global_rng_alone(folder):
    state = torch.get_rng_state()
    load(folder)
    assert torch.equal(torch.get_rng_state(), state)


def test_fit_sample_and_data_set(tmp_path):
    from vae_augment import SyntheticDataset

    augment = VAEAugment(codec("AutoencoderKL"), gain=1.0)
    pool = torch.cat([images(augment, 60), 0.3 * images(augment, 60)])
    augment = augment.calibrate(pool)
    augment = augment.with_bank(LatentBank.from_images(augment.vae, pool))
    few = [(pool[i], i // 60) for i in (*range(12), *range(60, 72))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # whatever it thinks of two kinds of leaves
        augment.fit(few)
    assert augment.sample([0, 1, 1]).shape == (3, 3, 16, 16)
    augment.save_fit(tmp_path / "fit.safetensors")
    data = SyntheticDataset(few, ratio=0.5, augment=augment)
    assert data[len(few)][0].shape == (3, 16, 16)


# what each class is known to go wrong by


@pytest.mark.parametrize("name", ["AutoencoderKL", "VQModel", "AutoencoderDC"])
def test_scaling_is_never_applied_inside(name):
    one, other = codec(name), codec(name, scaling_factor=0.01)
    x = shipped_images(3, one.size, 2)
    assert torch.equal(one.encode(x)[0], other.encode(x)[0])
    assert torch.equal(one.latent_std, other.latent_std)
    z = Whitened(one).encode_whitened(shipped_images(3, one.size))[0]
    assert float(z.std()) == pytest.approx(1, abs=0.1)


def test_shift_is_never_applied_inside():
    one, other = codec("AutoencoderKL"), codec("AutoencoderKL", shift_factor=3.0, latents_std=(9.0,) * 4)
    x = shipped_images(3, 16, 2)
    assert torch.equal(one.encode(x)[0], other.encode(x)[0])
    assert torch.equal(one.latent_mean, other.latent_mean)


def test_images_are_in_minus_1_to_1_inside_but_for_rae():
    for name in NAMES:
        own = codec(name)
        x = shipped_images(3, own.size, 2)
        inside = x if name == "AutoencoderRAE" else 2 * x - 1
        with torch.no_grad():
            out = own.net.encode(inside)
            posterior = getattr(out, "latent_dist", None)
            expected = posterior.mean if posterior is not None else out.get("latent", out.get("latents"))
            assert torch.equal(own.encode(x)[0], expected), name
            drawn = own.decode(own.encode(x)[0])
        assert drawn.dtype == torch.float32
        assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1


def test_tiny_is_never_called_by_forward_which_rounds_latents_to_bytes():
    own = codec("AutoencoderTiny")
    x = shipped_images(3, 32, 4)
    with torch.no_grad():
        rounded = ((own.net(2 * x - 1).sample + 1) / 2).clamp(0, 1)
        drawn = own.decode(own.encode(x)[0])
    assert not torch.allclose(drawn, rounded, atol=1e-4)
    assert torch.equal(drawn, ((own.net.decoder(own.net.encoder(2 * x - 1)) + 1) / 2).clamp(0, 1))


def test_tiny_bends_latents_beyond_3_and_its_gain_stays_below():
    augment = VAEAugment(codec("AutoencoderTiny"), gain=1.0)
    far = torch.full((1, *augment.vae.latent_shape), 100.0)
    assert torch.equal(augment.vae.decode(far), augment.vae.decode(2 * far))  # 3 tanh(z / 3)
    augment.calibrate(images(augment))
    assert float(augment.gain * augment.vae.latent_std.max()) < 3


def test_vq_does_not_snap_back_to_its_codebook():
    for lookup in (False, True):  # where True, diffusers' own force_not_quantize takes latents for indices
        own = codec("VQModel", lookup_from_codebook=lookup)
        with torch.no_grad():
            z = own.encode(shipped_images(3, 16, 2))[0]
            snapped = [own.net.quantize(latent)[0] for latent in (z, z + 1e-5)]
            assert torch.allclose(*snapped, rtol=0, atol=1e-6)
            assert not torch.equal(own.decode(z), own.decode(z + 1e-5))
            if not lookup:
                free = own.net.decode(z, force_not_quantize=True).sample
                assert torch.equal(own.decode(z), ((free + 1) / 2).clamp(0, 1))


def test_flux2_statistics_are_measured_and_those_of_its_bn_left_alone(tmp_path):
    net = model("AutoencoderKLFlux2")
    net.bn.running_mean.fill_(7.0)
    own = DiffusersCodec(net, 16)
    assert torch.equal(own.latent_std, codec("AutoencoderKLFlux2").latent_std)
    VAEAugment(own, gain=1.0).save_pretrained(tmp_path)
    assert (VAEAugment.from_pretrained(tmp_path).vae.net.bn.running_mean == 7).all()


def test_rae_takes_its_own_size_and_draws_another_than_it_encodes():
    own = codec("AutoencoderRAE")
    assert (own.net.config.encoder_input_size, own.size) == (56, 32)
    assert own.decode(own.encode(torch.zeros(2, 3, 32, 32))[0]).shape == (2, 3, 32, 32)
    with pytest.raises(ValueError, match="draws images of 32 pixels, got size=64: leave size out"):
        codec("AutoencoderRAE", 64)


def test_dc_wants_multiples_of_its_cells():
    with pytest.raises(ValueError, match="must be a multiple of 32 up to 2048, got 100"):
        codec("AutoencoderDC", 100)
    assert DiffusersCodec(model("AutoencoderDC")).size == 128
    of_each = {"block_out_channels": 8, "layers_per_block": 1, "qkv_multiscales": ()}
    seven = {f"{side}_{key}": (value,) * 7 for side in ("encoder", "decoder") for key, value in of_each.items()}
    assert DiffusersCodec(model("AutoencoderDC", **seven)).size == 256  # four cells of 64


def test_asymmetric_is_decoded_without_the_image_which_it_would_copy():
    own = codec("AsymmetricAutoencoderKL")
    x = shipped_images(3, 16, 2)
    with torch.no_grad():
        z = own.encode(x)[0]
        copied = own.net.decode(z, image=2 * x - 1, mask=torch.zeros_like(x[:, :1])).sample
        assert torch.equal(own.decode(z), ((own.net.decode(z).sample + 1) / 2).clamp(0, 1))
        assert not torch.equal(own.decode(z), ((copied + 1) / 2).clamp(0, 1))


def test_a_tiny_posterior_is_not_what_noise_moves_by():
    net = model("AutoencoderKL")
    net.quant_conv.weight.data[4:] = 0
    net.quant_conv.bias.data[4:] = -20.0  # a log variance as of SD's: a sample is the mean
    augment = VAEAugment(DiffusersCodec(net, 16), gain=1.0)
    x = images(augment)
    _, std = augment.vae.encode(x)
    assert float(std.max()) < 1e-4
    augment.calibrate(x)
    assert rho(augment, x) == pytest.approx(RHO, rel=0.05)


# statistics and strength


def test_calibrated_is_another_fingerprint_and_the_same_one_again():
    augment = VAEAugment(codec("AutoencoderTiny"), gain=1.0)
    before, x = augment.vae.fingerprint(), images(augment, 10)
    first = augment.calibrate(x).vae.fingerprint()
    assert first != before
    assert augment.calibrate(x).vae.fingerprint() == first
    assert augment.vae.statistics.images == 10
    assert augment.calibrate(0.5 * x).vae.fingerprint() != first


def test_shipped_statistics_of_other_machines_are_the_same_fingerprint():
    own = codec("AutoencoderTiny")
    mean, std, _ = own.statistics
    assert own.with_statistics(Statistics(mean, std * 1.000001, 0)).fingerprint() == own.fingerprint()
    assert own.with_statistics(Statistics(mean, std * 1.000001, 9)).fingerprint() != own.fingerprint()


def test_banks_and_fits_come_after():
    augment = VAEAugment(codec("AutoencoderTiny"), gain=1.0)
    x = images(augment, 20)
    with_bank = augment.with_bank(LatentBank.from_images(augment.vae, x))
    with pytest.raises(ValueError, match="calibrate a transform without one, and give it a bank then"):
        with_bank.calibrate(x)
    other = VAEAugment(codec("AutoencoderTiny"), gain=1.0).calibrate(x)
    with pytest.raises(ValueError, match="other weights"):
        other.with_bank(with_bank.bank)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with_bank.fit([(x[i], i % 2) for i in range(12)])
    with pytest.raises(RuntimeError, match="calibrate a transform that was not fitted"):
        with_bank.calibrate(x)


def test_data_sets_lists_and_tensors_are_measured_alike():
    photos = [photograph(i, (40, 30)) for i in range(6)]
    one = VAEAugment(codec("AutoencoderTiny"), gain=1.0).calibrate(photos)
    two = VAEAugment(codec("AutoencoderTiny"), gain=1.0).calibrate([(photo, 1) for photo in photos])
    named = [{"before": photos[0], "photo": photo} for photo in photos]
    three = VAEAugment(codec("AutoencoderTiny"), gain=1.0, image_key="photo").calibrate(named)
    assert one.vae.fingerprint() == two.vae.fingerprint() == three.vae.fingerprint()
    assert one.gain == two.gain == three.gain


@pytest.mark.parametrize(("wrong", "match"), [([PHOTO], "got 1: give two"), ([PHOTO] * 3, "all alike")])
def test_images_that_tell_nothing_are_refused(wrong, match):
    augment = VAEAugment(codec("AutoencoderTiny"), gain=1.0)
    before = augment.vae.fingerprint()
    with pytest.raises(ValueError, match=match):
        augment.calibrate(wrong)
    assert augment.vae.fingerprint() == before


# what is asked of it, and what is imported


def test_float16_where_the_config_says_that_it_overflows():
    with pytest.raises(ValueError, match=r"overflows in float16.*dtype=torch.bfloat16"):
        DiffusersCodec(model("AutoencoderKL"), 16, dtype=torch.float16)
    DiffusersCodec(model("AutoencoderKL", force_upcast=False), 16, dtype=torch.float16)
    with pytest.raises(ValueError, match="dtype must be one of"):
        DiffusersCodec(model("AutoencoderKL"), 16, dtype=torch.float64)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_in_bfloat16_and_gives_float32(tmp_path):
    model("AutoencoderKL").save_pretrained(tmp_path)
    exact, fast = (VAEAugment.from_pretrained(tmp_path, size=16, dtype=d) for d in (None, torch.bfloat16))
    x = shipped_images(3, 16, 8).cuda()
    torch.manual_seed(0)
    one = exact(x)
    torch.manual_seed(0)
    two = fast(x)
    assert two.dtype == torch.float32
    assert 0 < float((one - two).abs().max()) < 0.1
    fast.calibrate(x, device="cuda")


def test_import_needs_no_diffusers_and_a_missing_one_is_told(tmp_path):
    model("AutoencoderTiny").save_pretrained(tmp_path)
    script = f"""
import sys
import vae_augment
assert "diffusers" not in sys.modules
sys.modules["diffusers"] = None  # as if it were not installed
try:
    vae_augment.VAEAugment.from_pretrained({str(tmp_path)!r})
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'vae-augment[diffusers]'" in done.stdout
