import PIL.Image
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from benchmarks import on_gpu
from tests.conftest import IMAGES, colour, grey, pixels, same_kind
from vae_augment.images import convert, lead_shape, to_model


def test_model_space_is_float32_in_0_1(image):
    x, _ = to_model(image, channels=1, size=28)
    assert x.shape[1:] == (1, 28, 28)
    assert x.dtype == torch.float32
    assert x.min() >= 0
    assert x.max() <= 1


def test_restore_without_change_is_the_image_itself(image):
    x, restore = to_model(image, channels=1, size=28)
    out = restore(x * 0, is_change=True)
    assert same_kind(out, image)
    assert torch.equal(pixels(out), pixels(image))


def test_restore_replaces_pixels_of_same_size(vae):
    x, restore = to_model(grey(), channels=1, size=28)
    assert torch.equal(restore(x), grey())
    assert torch.equal(restore(x.flip(-1)), grey().flip(-1))


def test_change_is_carried_over_at_full_resolution():
    big = torch.full((3, 56, 56), 100, dtype=torch.uint8)
    x, restore = to_model(big, channels=3, size=28)
    assert torch.equal(restore(x * 0 + 10 / 255, is_change=True), big + 10)


def test_rounds_and_does_not_wrap():
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).repeat_interleave(28 * 28).view(3, 28, 28)
    x, restore = to_model(image, channels=3, size=28)
    assert restore(x * 0 + 0.6 / 255, is_change=True).flatten(1)[:, 0].tolist() == [1, 129, 255]
    assert restore(x * 0 - 1.0, is_change=True).max() == 0


def test_colour_becomes_luminance_and_grey_is_repeated():
    x, _ = to_model(colour(), channels=1, size=28)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    assert torch.allclose(x[0], (colour() / 255 * weights).sum(0, keepdim=True))
    x, restore = to_model(grey(), channels=3, size=28)
    assert torch.equal(x[0], (grey() / 255).expand(3, -1, -1))
    assert torch.equal(restore(x), grey())


@pytest.mark.parametrize("mode", ["1", "P", "I", "I;16", "F", "CMYK", "YCbCr", "HSV", "PA"])
def test_refused_pil_modes_are_named_with_the_fix(mode):
    with pytest.raises(TypeError, match=rf"'{mode}'.*(convert|scale)"):
        to_model(PIL.Image.new(mode, (28, 28)), 1, 28)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bool, torch.complex64, torch.uint16])
def test_refused_dtypes_are_named(dtype):
    with pytest.raises(TypeError, match=str(dtype).removeprefix("torch.")):
        to_model(torch.zeros(1, 28, 28, dtype=dtype), 1, 28)


@pytest.mark.parametrize("image", [IMAGES[:2].float(), (IMAGES[:2] / 255 - 0.29) / 0.35])
def test_floats_outside_0_1_are_refused(image):
    with pytest.raises(ValueError, match="before Normalize"):
        to_model(image, 1, 28)


def test_floats_that_are_no_numbers_are_refused_as_such():
    with pytest.raises(ValueError, match=r"finite pixels, got nan at \(0, 0, 0\) and 784 such"):
        to_model(torch.full((1, 28, 28), torch.nan), 1, 28)


def test_slight_overshoot_of_interpolation_is_accepted():
    torch.manual_seed(0)
    x = torch.rand(1, 28, 28) * 1.1 - 0.05
    assert to_model(x, 1, 28)[1](x[None]).shape == x.shape


@pytest.mark.parametrize("channels", [2, 4])
def test_channel_mismatch_names_both_counts(channels):
    with pytest.raises(ValueError, match=f"1-channel.*{channels} channels"):
        to_model(torch.rand(channels, 28, 28), 1, 28)


def test_missing_channel_dimension():
    with pytest.raises(ValueError, match=r"image\[None\]"):
        to_model(torch.rand(28, 28), 1, 28)


def test_resize_can_be_refused():
    with pytest.raises(ValueError, match="30x28"):
        to_model(torch.rand(1, 30, 28), 1, 28, resize=False)


def test_input_is_not_changed(image):
    before = pixels(image).clone()
    x, restore = to_model(image, 1, 28)
    restore(x * 0 + 0.5)
    restore(x * 0 + 0.5, is_change=True)
    assert torch.equal(pixels(image), before)


def test_lead_shape_counts_images():
    assert lead_shape(torch.empty(3, 28, 28)) == ()
    assert lead_shape(torch.empty(2, 5, 3, 28, 28)) == (2, 5)
    assert lead_shape(tv_tensors.Video(torch.empty(2, 5, 3, 28, 28))) == (2,)


def test_gradient_of_the_residual_is_the_identity():
    torch.manual_seed(0)
    image = torch.rand(1, 28, 28, requires_grad=True)
    x, restore = to_model(image * 0.5 + 0.2, 1, 28)
    restore(x.detach() * 0 + 0.01, is_change=True).sum().backward()
    assert torch.allclose(image.grad, torch.full((1, 28, 28), 0.5))


@pytest.mark.parametrize("height", [33, 90])
@pytest.mark.parametrize("size_of_change", [0.0, 0.1, 0.49, 1.0])
def test_a_change_reaches_large_images_of_any_kind_within_a_grey_level(height, size_of_change):
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, height, 70), dtype=torch.uint8)
    change = (torch.rand(2, 3, 32, 32) * 2 - 1) * size_of_change
    grown = torch.nn.functional.interpolate(change, (height, 70), mode="bilinear", antialias=True)
    wanted = (pixels + 255 * grown).clamp(0, 255)
    _, restore = to_model(pixels, 3, 32)
    assert (restore(change, is_change=True) - wanted).abs().max() <= 0.51
    for i in range(2):
        _, restore = to_model(F.to_pil_image(pixels[i]), 3, 32)
        new = F.pil_to_tensor(restore(change[i : i + 1], is_change=True))
        assert (new - wanted[i]).abs().max() <= 1.51
        assert (new.float() - wanted[i]).mean().abs() < 0.05  # neither brighter nor darker
        _, restore = to_model(pixels[i], 3, 32)
        assert (restore(change[i : i + 1], is_change=True) - wanted[i]).abs().max() <= 0.51


def test_a_gpu_in_a_forked_worker_is_one_clear_error(monkeypatch):
    convert.check_fork(torch.device("cuda:0"))
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)  # as torch has it in such a process
    convert.check_fork(torch.device("cpu"))
    with pytest.raises(RuntimeError, match="on cuda:0 in a forked worker, where CUDA does not work: keep the"):
        convert.check_fork(torch.device("cuda:0"))


def test_without_a_gpu_the_benchmark_says_that_nothing_is_measured():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert on_gpu.measure(torch.device("cuda")) == "not measured: there is no CUDA device"
