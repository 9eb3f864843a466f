import pytest
import torch
from torchvision.transforms import v2

from benchmarks import fixmatch, probe, rivals
from vae_augment import encoders


def test_a_probe_of_one_hot_distributions_is_that_of_classes():
    torch.manual_seed(0)
    features, labels = torch.randn(60, 8), torch.arange(60) % 3
    weights = torch.rand(60)
    of_classes = probe.probe(features, labels, weights)
    of_rows = probe.probe(features, rivals.one_hot(labels, 3), weights)
    assert of_rows.coef_ == pytest.approx(of_classes.coef_, abs=1e-3)


def test_a_probe_learns_from_what_weighs_most():
    features = torch.tensor([[1.0, 0.1], [1.0, 0.1], [0.1, 1.0], [0.1, 1.0]])
    labels, heavy = torch.tensor([0, 1, 0, 1]), torch.tensor([9.0, 1.0, 1.0, 9.0])
    assert probe.probe(features, labels, heavy).predict(probe.unit(features)).tolist() == [0, 0, 1, 1]
    assert probe.probe(features, labels, 10 - heavy).predict(probe.unit(features)).tolist() == [1, 1, 0, 0]


def test_of_each_class_the_surer_half_is_taken():
    said = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    assert rivals.surer_half(said, 0).tolist() == [0, 2]
    assert rivals.surer_half(said, 1).tolist() == [3]
    assert rivals.surer_half(said[:3], 1).tolist() == []


def test_fixmatch_learns_from_two_labelled_images_and_a_pool():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    shade = torch.tensor([60, 190])[labels][:, None, None, None]
    images = (shade + torch.randint(-30, 30, (40, 1, 16, 16), generator=generator)).to(torch.uint8)
    torch.manual_seed(0)
    weak, _ = fixmatch.views(images[:2], v2.Identity())
    net = fixmatch.fixmatch(weak, labels[:2], fixmatch.views(images, v2.Identity()), 0, 2, 300)
    with torch.no_grad():
        assert net(images.float() / 255).argmax(1).tolist() == labels.tolist()


@pytest.mark.skipif(not encoders.is_ready("efficientnet-lite0"), reason="needs vae-augment[lite0]")
def test_the_last_stage_continues_what_goes_into_it():
    encoder = encoders.load_encoder("efficientnet-lite0")
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    stage = probe.LastStage(encoder, 5)
    seen = probe.before_last_stage(encoder, images).float()
    with torch.no_grad():
        features = stage.act(stage.norm(stage.conv(stage.block(seen)))).mean((2, 3))
    assert torch.nn.functional.cosine_similarity(features, encoder.embed(images)).min() > 0.99
    assert stage(seen).shape == (3, 5)
