"""Classes that texts describe in place of labelled images, or beside them.

The texts' features here are means of other garments' features, moved away by one vector, as CLIP's texts lie in another
cone than its images.
"""

import dataclasses
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from benchmarks.texts import lite0_with_names
from tests.conftest import IMAGES, LABELS
from tests.test_encoders import needs_lite0
from vae_augment import LatentBank, SyntheticDataset, VAEAugment, load_weights
from vae_augment.demo_data import FASHION_CLASSES
from vae_augment.encoders import Encoder
from vae_augment.pool.label_spreading import held_out, knn_graph
from vae_augment.pool.text_seeds import surest, text_prototypes
from vae_augment.vae import Whitened

OTHERS, OTHER_LABELS = IMAGES[:250], LABELS[:250]
POOL, TRUTH = IMAGES[250:], LABELS[250:]
TEXTS = {c: f"a photo of a {name}" for c, name in enumerate(FASHION_CLASSES)}


def pixels(x):
    return adaptive_avg_pool2d(x[:, :1], 14).flatten(1)


def of_garments(encoder, gap=1.0):
    """The encoder with a function of texts: means of other garments, moved by a vector of this length."""
    embedded = normalize(encoder.embed(OTHERS), dim=1)
    offset = gap * normalize(torch.randn(embedded.shape[1], generator=torch.Generator().manual_seed(0)), dim=0)
    known = {text: embedded[c == OTHER_LABELS].mean(0) + offset for c, text in TEXTS.items()}
    return dataclasses.replace(encoder, text=lambda texts: torch.stack([known[text] for text in texts]))


PIXELS = Encoder(pixels, size=28, name="pixels")
ENCODER = of_garments(PIXELS)


@pytest.fixture(scope="module")
def vae():
    return load_weights("fashion-mnist").vae


@pytest.fixture(scope="module")
def bank(vae):
    return LatentBank.from_images(vae, POOL, features=ENCODER)


@pytest.fixture(scope="module")
def fitted(bank, vae):
    return VAEAugment(vae, bank=bank).fit(classes=TEXTS)


def right(augment, of=TRUTH):
    """Part of the pool's images with the right label."""
    found = augment.pool_labels()
    return float((torch.tensor(found.label) == of[found.index]).sum()) / len(POOL)


def few(n, draw=0):
    """So many of each of the other garments, with their labels."""
    places = torch.cat([(c == OTHER_LABELS).nonzero()[n * draw : n * draw + n, 0] for c in range(10)])
    return [(OTHERS[i], int(OTHER_LABELS[i])) for i in places.tolist()]


def test_texts_alone_label_a_pool(fitted):
    assert right(fitted) > 0.5, "0.62; of ten classes a tenth is chance"
    assert fitted.classes == tuple(range(10))
    assert fitted.sample([9, 9, 0]).shape == (3, 1, 28, 28)
    assert len(fitted.pool_labels()) == len(POOL), "none of the pool is left out, as if no class named it"
    assert fitted.pool_labels().confidence.mean() < 0.95, "how well seeds agree with one another says nothing of this"


def test_a_report_says_whose_labels_they_are(fitted):
    report = fitted.fit_report
    assert (report.labelled, report.seeds, report.judged) == (0, 100, 100)
    assert list(report.weights) == ["latents and HOG", "patch features", "pixels"]
    text = str(report)
    assert text.startswith("no labelled images; of 10 classes 100 images of the pool, which texts name most surely")
    assert "all of these labels are the texts', and no person's" in text


def test_a_fit_to_texts_is_stored_and_an_image_alone_gets_the_class_of_the_nearest_seed(fitted, tmp_path):
    fitted.save_fit(tmp_path / "fit.safetensors")
    again = VAEAugment.from_pretrained("fashion-mnist").load_fit(tmp_path / "fit.safetensors")
    assert again.classes == fitted.classes
    assert again(POOL[:4]).shape == (4, 1, 28, 28)
    x = Whitened(again.vae).whitened_mean(OTHERS / 255)
    assert (again.jitter.nearest_class(x) == OTHER_LABELS).float().mean() > 0.5


def test_texts_beside_few_labelled_images_label_more(bank, vae):
    for n in (1, 2, 5):
        gains = []
        for draw in range(3):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of classes that are few
                without = right(VAEAugment(vae, bank=bank).fit(few(n, draw)))
                gains.append(right(VAEAugment(vae, bank=bank).fit(few(n, draw), classes=TEXTS)) - without)
        assert sum(gains) / 3 > 0.02 / n


def test_labelled_images_judge_the_texts(bank, vae):
    names = list(TEXTS.values())
    wrong = {c: names[(c + 3) % 10] for c in TEXTS}
    augment, without = VAEAugment(vae, bank=bank).fit(few(10), classes=wrong), VAEAugment(vae, bank=bank).fit(few(10))
    weights = augment.fit_report.weights
    assert list(weights)[3:] == [f"{name}, with texts" for name in list(weights)[:3]]
    assert sum(list(weights.values())[3:]) < 0.1
    assert right(augment) > right(without) - 0.02
    told = VAEAugment(vae, bank=bank).fit(few(10), classes=TEXTS).fit_report
    assert sum(list(told.weights.values())[3:]) > 0.3
    assert (told.labelled, told.judged, told.seeds) == (100, 100, 100)
    assert str(told).startswith("100 labelled images of 10 classes, and 100 images of the pool, which texts name")
    assert "no person's" not in str(told)


def test_classes_may_be_known_by_texts_or_by_images_alone(bank, vae):
    shown = [(image, label) for image, label in few(5) if label < 5]
    for texts in ({c: TEXTS[c] for c in range(5, 10)}, {7: TEXTS[7]}):
        augment = VAEAugment(vae, bank=bank).fit(shown, classes=texts)
        assert augment.classes == (*range(5), *texts)
        found = augment.pool_labels()
        named = torch.isin(TRUTH[found.index], torch.tensor(augment.classes))
        assert (torch.tensor(found.label) == TRUTH[found.index])[named].float().mean() > 0.5
        assert augment.sample(list(texts)).shape == (len(texts), 1, 28, 28)
        assert all(augment.fit_report.kept[c] for c in texts)


def test_a_text_that_is_near_to_all_images_takes_none_from_others(bank):
    cosines = normalize(PIXELS.embed(POOL), dim=1) @ normalize(ENCODER.embed_texts(list(TEXTS.values())), dim=1).T
    mean = normalize(PIXELS.embed(POOL), dim=1).mean(0)
    near = lambda texts: ENCODER.text(texts) + mean * torch.tensor([["Dress" in text] for text in texts])  # noqa: E731
    encoder = dataclasses.replace(ENCODER, text=near)
    drawn = normalize(PIXELS.embed(POOL), dim=1) @ normalize(encoder.embed_texts(list(TEXTS.values())), dim=1).T
    assert (drawn.argmax(1) == 3).sum() > 2 * (cosines.argmax(1) == 3).sum()
    none = torch.zeros(0, dtype=torch.int64)
    seeds = bank.text_classes(TEXTS, encoder).seeds(range(10), torch.zeros(0, 196), none)
    assert (seeds == TRUTH)[seeds >= 0].float().mean() > 0.7
    assert seeds[seeds >= 0].bincount().tolist() == [10] * 10


def test_the_surest_images_of_each_class_are_taken_and_none_for_two():
    scores = torch.tensor([[3.0, 0, 0], [2, 1.5, 0], [4, 3.9, 0], [0, 1, 0.5], [0, 0, 0.1]])
    assert surest(scores, [2, 1, 1]).tolist() == [0, 0, -1, 1, 2]
    assert surest(scores, [1, 0, 5]).tolist() == [0, -1, -1, -1, 2]


def test_several_texts_of_a_class_count_the_same_each():
    vectors = {"one": [3.0, 0.0], "other": [0.0, 1.0], "third": [-1.0, 0.0]}
    encoder = Encoder(pixels, size=28, batch_size=2, text=lambda texts: torch.tensor([vectors[text] for text in texts]))
    found = text_prototypes(encoder, {"both": ["one", "other"], "third": ["third"]})
    assert torch.allclose(found, torch.tensor([[0.5**0.5, 0.5**0.5], [-1, 0]]))


def test_a_stored_bank_reads_texts_when_it_has_its_encoder_again(bank, vae, fitted, tmp_path):
    VAEAugment(vae, bank=bank, gain=1.0).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="which is not stored in it"):
        VAEAugment.from_pretrained(tmp_path).fit(classes=TEXTS)
    given = VAEAugment.from_pretrained(tmp_path, features=ENCODER).fit(classes=TEXTS)
    by_fit = VAEAugment.from_pretrained(tmp_path).fit(classes=TEXTS, features=ENCODER)
    precomputed = LatentBank.from_images(vae, POOL, features=PIXELS.embed(POOL))
    by_rows = VAEAugment(vae, bank=precomputed).fit(classes=TEXTS, features=ENCODER)
    for augment in (given, by_fit, by_rows):
        assert torch.equal(augment.jitter.members, fitted.jitter.members)


def test_samples_of_a_data_set_whose_labels_are_the_names(bank, vae):
    named = {name: TEXTS[c] for c, name in enumerate(FASHION_CLASSES)}
    augment = VAEAugment(vae, bank=bank).fit(classes=named)
    sure = augment.pool_labels().kept()
    base = [(POOL[i], label) for i, label in zip(sure.index.tolist(), sure.label, strict=True)]
    data = SyntheticDataset(base, ratio=1, augment=augment, pool=POOL, decode=False, seed=0)
    image, label = data[len(base) + 3]
    assert (image.shape, label in FASHION_CLASSES) == ((1, 28, 28), True)
    assert any(torch.equal(image, other) for other in POOL)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"ant": "a photo of an ant"}, r"at least two classes"),
        ({"ant": "an ant", "bee": ""}, "the class 'bee' has an empty text"),
        ({"ant": "an ant", "bee": []}, "the class 'bee' has an empty text"),
        ({"ant": "an ant", "bee": ["a bee", "  "]}, "the class 'bee' has an empty text"),
        ({"ant": "an ant", "bee": 7}, "its text a string or a list of such, got 'bee': 7"),
        ({"ant": "an ant", 0.5: "a bee"}, "a class is an integer or a string"),
        ({}, "there are no classes"),
        (["ant", "ant"], "the class 'ant' is there twice"),
        (["ant", ""], "the class '' has an empty text"),
        ([0, 1], "a class is an integer or a string, and its text a string"),
        ("ant", "classes are texts of each class"),
        (7, "classes are texts of each class"),
        ({"ant": "an ant", "bee": "an ant"}, "does not tell the texts of 'ant' and 'bee' apart"),
    ],
)
def test_texts_that_are_none_are_refused(classes, message, bank, vae):
    lengths = dataclasses.replace(ENCODER, text=lambda texts: torch.tensor([[len(t)] + [1.0] * 195 for t in texts]))
    with pytest.raises((TypeError, ValueError), match=message):
        VAEAugment(vae, bank=bank).fit(classes=classes, features=lengths)


def test_what_knows_no_texts_is_told(bank, vae):
    with pytest.raises(ValueError, match="the encoder 'pixels' knows no text"):
        VAEAugment(vae, bank=bank).fit(classes=TEXTS, features=PIXELS)
    with pytest.raises(ValueError, match="this bank has none"):
        VAEAugment.from_pretrained("fashion-mnist").fit(classes=TEXTS)
    with pytest.raises(ValueError, match="images of a pool, and there is none"):
        VAEAugment(vae).fit(classes=TEXTS)
    with pytest.raises(TypeError, match="labelled images, fit"):
        VAEAugment(vae, bank=bank).fit()
    with pytest.raises(TypeError, match="there are labels, and no images"):
        VAEAugment(vae, bank=bank).fit(labels=[0, 1], classes=TEXTS)
    for function, message in (
        (lambda texts: torch.eye(len(texts), 12), "has 12 features of a text and 196 of an image"),
        (lambda texts: torch.full((len(texts), 196), torch.nan), "returns values that are not finite for 10 texts"),
        (lambda texts: torch.zeros(3, 196), r"returns \(3, 196\) for 10 texts"),
        (lambda texts: [text.split() for text in texts], "returns list"),
        (lambda texts: torch.zeros(len(texts), 196), "has no direction for the texts of"),
        (lambda texts: torch.ones(len(texts), 196), "does not tell the texts of 0 and 1 apart"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            VAEAugment(vae, bank=bank).fit(classes=TEXTS, features=dataclasses.replace(ENCODER, text=function))
    with pytest.raises(TypeError, match="text of an encoder is a function of a list of texts, got dict"):
        Encoder(pixels, text={})


def test_a_class_that_no_image_is_like_and_a_pool_of_no_use_are_refused(bank, vae):
    small = LatentBank.from_images(vae, POOL[:6], features=ENCODER)
    with pytest.raises(ValueError, match=r"no image of the pool is more like the text of \[.*than like those of other"):
        VAEAugment(vae, bank=small).fit(classes=TEXTS)
    strict = dataclasses.replace(bank, policy=dataclasses.replace(bank.policy, least_accuracy=1.1))
    with pytest.raises(ValueError, match=r"images that texts name, held out.* there are texts alone, and no images"):
        VAEAugment(vae, bank=strict).fit(classes=TEXTS)
    with pytest.warns(UserWarning, match="labelled images held out"):
        VAEAugment(vae, bank=strict).fit(few(5), classes=TEXTS)


def test_seeds_are_known_while_labels_are_held_out():
    graph = knn_graph(torch.tensor([[1, 2], [0, 2], [0, 1], [4, 5], [3, 5], [3, 4]]))
    lone = torch.tensor([0, -1, -1, 1, -1, -1])
    assert not len(held_out([graph], lone, 2, 0.9).own), "each is the only one of its class"
    seeded = dataclasses.replace(graph, seeds=torch.tensor([-1, 0, -1, -1, 1, -1]))
    held = held_out([graph, seeded], lone, 2, 0.9)
    assert held.own.tolist() == [0, 1]
    assert held.accuracies() == [0, 1]


def test_an_encoder_reads_texts_in_eval_mode():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.dropout = nn.Embedding(20, 5), nn.Dropout()

        def forward(self, texts):
            return self.dropout(self.table(torch.tensor([len(text) for text in texts])))

    words = Words().train()
    encoder = Encoder(pixels, size=28, text=words)
    assert torch.equal(encoder.embed_texts(["a", "bee"]), words.table.weight[[1, 3]])
    assert words.training
    assert not encoder.embed_texts(["a"]).requires_grad


@pytest.mark.parametrize(
    "texts", [TEXTS, {"ant": "a photo of an ant"}, {"ant": ["an ant", "a drawing"]}, ["ant", "bee"], ("ant",), "ant"]
)
def test_texts_in_place_of_images_are_told_from_a_data_set(texts, bank, vae):
    for classes in (None, TEXTS):
        with pytest.raises(TypeError, match=r"labelled images first, and got texts, .*fit\(classes=\{\.\.\.\}\)"):
            VAEAugment(vae, bank=bank, gain=1.0).fit(texts, classes=classes)


def test_texts_under_other_labels_than_those_of_the_images_are_refused(bank, vae):
    named = [(image, FASHION_CLASSES[label]) for image, label in few(1)]
    for shown, classes in ((few(1), {str(c): text for c, text in TEXTS.items()}), (named, TEXTS)):
        with pytest.raises(ValueError, match=r"no class would have both: .*classes=\{.*: 'a photo of an ant'"):
            VAEAugment(vae, bank=bank, gain=1.0).fit(shown, classes=classes)
    mixed = {c if c % 2 else str(c): text for c, text in TEXTS.items()}
    assert VAEAugment(vae, bank=bank, gain=1.0).fit(few(1), classes=mixed).classes[-1] == "8", "a person chose so"


def test_features_of_texts_without_a_direction_are_refused(bank, vae):
    def without(texts):
        return ENCODER.text(texts) * torch.tensor([["Dress" not in text] for text in texts])

    def cancel(texts):
        return torch.cat([ENCODER.text([text.removeprefix("no ")]) * (-1) ** text.startswith("no ") for text in texts])

    opposed = {**TEXTS, 3: [TEXTS[3], f"no {TEXTS[3]}"]}
    for function, texts in ((without, TEXTS), (cancel, opposed)):
        encoder = dataclasses.replace(ENCODER, text=function)
        with pytest.raises(
            ValueError, match=r"has no direction for the texts of \[3\]: their features are zeros, or cancel"
        ):
            VAEAugment(vae, bank=bank, gain=1.0).fit(classes=texts, features=encoder)


def test_arrays_of_features_do_not_stand_for_the_encoder_of_texts(bank, vae):
    rows = PIXELS.embed(torch.stack([image for image, _ in few(1)]))
    precomputed = LatentBank.from_images(vae, POOL[:50], features=PIXELS.embed(POOL[:50]))
    with pytest.raises(
        ValueError, match=r"\(precomputed features\), which is not stored in it: give it back, fit\(classes"
    ):
        VAEAugment(vae, bank=precomputed, gain=1.0).fit(few(1), classes=TEXTS, features=rows)
    with pytest.raises(ValueError, match="a row for each labelled image, and there are none"):
        VAEAugment(vae, bank=bank, gain=1.0).fit(classes=TEXTS, features=rows)
    assert VAEAugment(vae, bank=bank, gain=1.0).fit(few(1), classes=TEXTS, features=rows).classes == tuple(TEXTS)


def test_a_report_of_one_image_a_class_claims_nothing(vae):
    small = LatentBank.from_images(vae, POOL[:6], features=ENCODER)
    report = VAEAugment(vae, bank=small, gain=1.0).fit(classes={0: TEXTS[0], 9: TEXTS[9]}).fit_report
    assert (report.labelled, report.seeds, report.judged) == (0, 2, 0)
    assert str(report).splitlines()[1:3] == [
        "no class has two of them: nothing tells whether their labels spread",
        "all of these labels are the texts', and no person's",
    ]


@needs_lite0
def test_names_of_imagenet_label_garments(vae):
    """What Lite0's classifier knows of names shares a space with its images that is not made here."""
    garments = {1: "jean", 2: ["cardigan", "sweatshirt"], 5: "sandal", 7: "running shoe", 8: ["purse", "mailbag"]}
    places = torch.isin(TRUTH, torch.tensor(list(garments))).nonzero()[:, 0]
    bank = LatentBank.from_images(vae, POOL[places], features=lite0_with_names())
    found = VAEAugment(vae, bank=bank).fit(classes=garments).pool_labels()
    assert (torch.tensor(found.label) == TRUTH[places][found.index]).float().mean() > 0.6, "0.86; a fifth is chance"
