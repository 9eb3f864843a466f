"""The model card: valid for the Hub, and its owner's text stays."""

import ast
from dataclasses import replace

import pytest
import torch
from huggingface_hub import EvalResult, ModelCard

from tests.conftest import IMAGES
from vae_augment import VAE, LatentBank, VAEAugment, VAEConfig, Weights, hub, load_weights
from vae_augment.hub.card import BEGIN, END, Card, read_card, read_license
from vae_augment.hub.model_card import model_card

METRICS = {"test_psnr_db": 26.632, "test_knn_purity": 0.95, "train_seconds": 115.6}
PROVENANCE = {"name": "MNIST training images", "images": 60000, "sha256": "0" * 64}
RECIPE = "data: mnist\nsteps: 4000\n"


@pytest.fixture
def weights(vae):
    return Weights(vae, LatentBank.from_images(vae, IMAGES[:20]), {"Noise": 0.5}, PROVENANCE, METRICS)


def test_the_front_matter_is_what_the_hub_reads(weights):
    text = model_card(weights, "me/mnist", recipe=RECIPE, command="python -m train mnist", picture="originals")
    data = ModelCard(text, ignore_metadata_errors=False).data
    assert (data.library_name, data.license, data.datasets) == ("vae-augment", None, ["ylecun/mnist"])
    assert data.model_name == "mnist"  # no user here, and no folders of the machine
    psnr, purity = data.eval_results
    assert isinstance(psnr, EvalResult)
    assert (psnr.metric_type, psnr.metric_value, psnr.dataset_type) == ("psnr", 26.632, "ylecun/mnist")
    assert (psnr.dataset_name, psnr.dataset_split, purity.metric_value) == ("MNIST", "test", 0.95)
    for said in ("![originals](samples.png)", "26.63 dB", "60,000 images", "steps: 4000", "20 latents", "**Limits.**"):
        assert said in text
    assert "`python -m train mnist`" in text


def test_what_is_not_known_is_not_said():
    text = model_card(Weights(VAE(VAEConfig(latent_dim=8))), "me/own")
    data = ModelCard(text, ignore_metadata_errors=False).data
    assert data.eval_results is None
    assert data.datasets is None
    for absent in ("samples.png", "## Recipe", "sha256", "None"):
        assert absent not in text
    assert "not measured" in text


@pytest.mark.parametrize(
    ("line", "dataset"),
    [
        ("hf:uoft-cs/cifar10", "uoft-cs/cifar10"),
        ("'hf:me/birds:train'", "me/birds"),
        ("folder:/my/mnist", None),
        ("fashion-mnist", "zalando-datasets/fashion_mnist"),
        ("hf:private/birds", None),  # is a folder here
        ("hf:/home/me/birds", None),
        ("hf:../birds", None),
        ("hf:my birds", None),
    ],
)
def test_data_sets_of_the_hub_are_named(weights, line, dataset, tmp_path, monkeypatch):
    (tmp_path / "private" / "birds").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    data = ModelCard(model_card(weights, "me/own", recipe=f"data: {line}\n")).data
    assert data.datasets == (None if dataset is None else [dataset])
    assert data.eval_results[0].dataset_type == (dataset or "imagefolder")


def test_a_card_edited_by_hand_keeps_its_text(weights):
    first = model_card(weights, "me/mnist", recipe=RECIPE)
    edited = (
        first.replace("---\n", "---\nlicense: mit\nlanguage: en\n", 1)
        .replace("- vae\n", "- vae\n- digits\n")
        .replace(BEGIN, f"Ours, with *thanks*.\n\n{BEGIN}")
        .replace("26.63 dB", "99 dB")
    ) + "\n## Seen in use\n\nA parser — quickly.\n"
    measured = Weights(weights.vae, weights.bank, {}, PROVENANCE, METRICS | {"test_psnr_db": 27.5})
    again = model_card(measured, "me/mnist", recipe=RECIPE, old=edited)
    card, data = Card.parse(again), ModelCard(again, ignore_metadata_errors=False).data
    assert (card.before, card.after) == ("Ours, with *thanks*.", "## Seen in use\n\nA parser — quickly.")
    assert "27.50 dB" in card.block
    assert "99 dB" not in again
    assert "26.63" not in again
    assert (data.license, data.language, "digits" in data.tags, data.tags.count("vae")) == ("mit", "en", True, 1)
    assert data.eval_results[0].metric_value == 27.5
    assert model_card(measured, "me/mnist", recipe=RECIPE, old=again) == again, "writing it again changes nothing"


def test_data_sets_of_another_run_go_and_those_its_owner_added_stay(weights):
    first = model_card(weights, "me/own", recipe="data: mnist\n")
    own = model_card(weights, "me/own", recipe="data: folder:photos\n", old=first)
    assert ModelCard(own).data.datasets is None
    edited = first.replace("- ylecun/mnist\n", "- ylecun/mnist\n- me/digits\n", 1)
    for data, datasets in (("folder:photos", ["me/digits"]), ("hf:me/birds", ["me/birds", "me/digits"])):
        card = model_card(weights, "me/own", recipe=f"data: {data}\n", old=edited)
        assert ModelCard(card).data.datasets == datasets
        assert model_card(weights, "me/own", recipe=f"data: {data}\n", old=card) == card
    by_hand = "---\ndatasets: me/digits\n---\nMine.\n"
    assert ModelCard(model_card(weights, "me/own", old=by_hand)).data.datasets == ["me/digits"]


@pytest.mark.parametrize(
    ("trained_on", "said"),
    [
        ("MNIST training images", "Nothing of a test set is in"),
        ("Fashion-MNIST training images, shipped sample", "Nothing of a test set is in"),
        ("images of photos", "Nothing of the images held out to measure it is in"),
        ("images of my training images", "Nothing of the images held out to measure it is in"),
        ("me/birds", "Nothing of the images held out to measure it is in"),
    ],
)
def test_a_test_set_is_spoken_of_only_where_one_is_known(trained_on, said, weights):
    assert said in model_card(replace(weights, provenance=PROVENANCE | {"name": trained_on}), "me/own")


@pytest.mark.parametrize("name", ["me/own", 'runs/my "own"', "runs/a\\b"])
def test_the_code_of_a_card_is_python_and_takes_another_name(name, weights):
    card = Card.parse(model_card(weights, name).replace(END, f"{END}\n\nMine: VAEAugment.from_pretrained('x')"))
    for named, expected in ((card, name), (card.renamed("me/p"), "me/p")):
        call = ast.parse(named.block.split("```python\n")[1].split("```")[0]).body[1].value
        assert call.args[0].value == expected
        assert named.front["model-index"][0]["name"] == expected.rpartition("/")[2]
        assert named.after == "Mine: VAEAugment.from_pretrained('x')"
    assert 'own"' not in str(card.renamed("me/p"))


def test_saving_under_a_bundled_name_says_how_to_load_it(vae, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.save("mnist", Weights(vae))
    assert 'from_pretrained("./mnist")' in read_card(tmp_path / "mnist")


@pytest.mark.parametrize(
    "text",
    [
        "# My model\n\nWritten by hand.\n",
        "---\nlicense: mit\n---\n# My model\n\nWritten by hand.\n",
        "---\n[broken: {\n---\nWritten by hand.\n",
        "---\n- a list\n---\nWritten by hand.\n",
        "---\ndate: 2024-13-45\n---\nWritten by hand.\n",
        "---\nlicense: !!int ''\n---\nWritten by hand.\n",
        f"---\na: {'[' * 9000}\n---\nWritten by hand.\n",
        f"{BEGIN}\nWritten by hand.\n",
        f"{END}\n{BEGIN}\nWritten by hand.",
        "---\nWritten by hand.",
    ],
)
def test_no_text_of_anothers_is_lost(weights, text):
    once = model_card(weights, "me/mnist", old=text)
    twice = model_card(weights, "me/mnist", old=once)
    assert once == twice
    assert "Written by hand." in Card.parse(once).after
    assert once.count(BEGIN) == once.count(END) == 1
    assert ModelCard(once, ignore_metadata_errors=False).data.library_name == "vae-augment"


@pytest.mark.parametrize("data", ["2024-13-45", "!!int ''", "[" * 9000, "{hf: 1}", ""])
def test_a_recipe_that_names_no_data_set_has_none(weights, data):
    assert ModelCard(model_card(weights, "me/own", recipe=f"data: {data}\n")).data.datasets is None


def test_what_was_transformed_is_saved_and_loaded_with_its_card(tmp_path):
    augment = VAEAugment.from_pretrained("fashion-mnist")
    assert augment.save_pretrained(tmp_path / "a") is None
    again, bundled = hub.load(tmp_path / "a"), hub.load("fashion-mnist")
    assert (again.gains, again.provenance, again.metrics) == (bundled.gains, bundled.provenance, bundled.metrics)
    for name in ("model.safetensors", "bank.safetensors", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (hub.BUNDLED / "fashion-mnist" / name).read_bytes()
    alone = VAEAugment(load_weights(tmp_path / "a").vae)
    (tmp_path / "a" / "README.md").write_text(read_card(tmp_path / "a") + "\nMine.\n")
    alone.save_pretrained(tmp_path / "a", repo_id="me/garments")
    assert hub.load(tmp_path / "a").bank is None
    assert not (tmp_path / "a" / "bank.safetensors").exists(), "the bank of other weights"
    card = read_card(tmp_path / "a")
    assert card.endswith("\nMine.\n")
    assert 'from_pretrained("me/garments")' in card
    for key, value in bundled.vae.state_dict().items():
        assert torch.equal(load_weights(tmp_path / "a").vae.state_dict()[key], value)


def test_the_gain_that_was_solved_is_saved(vae, tmp_path):
    augment = VAEAugment(vae)
    augment.save_pretrained(tmp_path)
    assert VAEAugment.from_pretrained(tmp_path).gain == augment.gain


def test_saving_writes_a_card_and_keeps_what_is_written_into_it(vae, tmp_path):
    hub.save(tmp_path, Weights(vae))
    assert f'from_pretrained("{tmp_path.as_posix()}")' in read_card(tmp_path)
    (tmp_path / "README.md").write_text(read_card(tmp_path) + "\nMine.\n")
    hub.save(tmp_path, Weights(vae, metrics=METRICS))
    assert read_card(tmp_path).endswith("\nMine.\n")
    assert "26.63 dB" in read_card(tmp_path)
    hub.save(tmp_path, Weights(vae), "Another card.\n")
    assert read_card(tmp_path) == "Another card.\n"


def test_a_licence_is_read_from_the_front_matter(tmp_path):
    assert read_license(tmp_path) is None
    for text, stated in {
        "---\nlicense: mit\n---\nMine.\n": "mit",
        "---\nlicense: [mit, gpl]\n---\n": None,
        "---\nlanguage: en\n---\n": None,
        "license: mit\n": None,
        "---\nlicense: mit\n---\n" + "long " * 100_000: "mit",
    }.items():
        (tmp_path / "README.md").write_text(text)
        assert read_license(tmp_path) == stated


def test_pushing_needs_a_name_before_anything_is_written(augment, tmp_path):
    with pytest.raises(ValueError, match="repo_id='user/repo'"):
        augment.save_pretrained(tmp_path / "a", push_to_hub=True)
    with pytest.raises(ValueError, match="of the form user/repo, got 'mine'"):
        augment.save_pretrained(tmp_path / "a", push_to_hub=True, repo_id="mine")
    with pytest.raises(TypeError, match="only with push_to_hub=True: private"):
        augment.save_pretrained(tmp_path / "a", private=True)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 300, "x/" * 2500])
def test_a_name_too_long_for_a_folder_is_refused(augment, vae, tmp_path, name):
    for save in (augment.save_pretrained, lambda folder: hub.save(folder, Weights(vae))):
        with pytest.raises(ValueError, match=r"too many for a folder: give a shorter name") as refused:
            save(tmp_path / name)
        assert len(str(refused.value)) < 200
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", hub.bundled())
def test_bundled_cards_are_as_the_program_writes_them(name):
    text = read_card(hub.BUNDLED / name)
    card, weights = Card.parse(text), hub.load(name)
    data = ModelCard(text, ignore_metadata_errors=False).data
    assert data.license == "apache-2.0"
    figures = {result.metric_type: result.metric_value for result in data.eval_results}
    assert figures["psnr"] == weights.metrics["test_psnr_db"]
    recipe, picture = card.block.split("```yaml\n")[1].split("```")[0], card.block.split("![")[1].split("](")[0]
    command = card.block.split("## Recipe\n\n`")[1].split("`")[0]
    assert text == model_card(weights, name, recipe=recipe, command=command, picture=picture, old=text)
