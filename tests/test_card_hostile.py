"""Cards of any text: read in linear time; what their owner wrote stays; what a stranger wrote is shown, and not obeyed."""

import re
import time
import warnings
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard

from vae_augment import VAE, VAEConfig, Weights, hub
from vae_augment.hub.card import BEGIN, END, Card, card_text, read_card
from vae_augment.hub.front_matter import MAX_YAML_CHARACTERS
from vae_augment.hub.model_card import model_card
from vae_augment.hub.recipe_text import command_without_paths, data_without_path, recipe_without_paths

SECONDS = 5.0  # of processor time for one card; the limit of what is read is 50,000 characters of YAML


@pytest.fixture(scope="module")
def weights():
    return Weights(VAE(VAEConfig(latent_dim=4, width=8, neck=2)), provenance={"name": "birds", "images": 5})


def laughs(line: str) -> str:
    """A few lines that stand for 9 to the power of 11 items."""
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(["a0: &a0 [x, x]", *levels, line])


def merges() -> str:
    levels = [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)]
    return "\n".join(["a0: &a0 {x: 1}", *levels])


BROKEN = {
    "a date that is none": "date: 2020-13-45",
    "an offset that is none": "date: 2020-01-01 00:00:00 +99:99",
    "no integer": "a: !!int zz",
    "no number": "a: !!float zz",
    "no truth": "a: !!bool zz",
    "an empty integer": "a: !!int ''",
    "5,000 digits": "a: " + "9" * 5000,
    "digits that cannot be written": "a: 0x" + "f" * 40_000,
    "base 60": "a: 1" + ":59" * 15_000,
    "base 60, a float": "a: 1" + ":59" * 15_000 + ".5",
    "never closed": "a: " + "[" * 3000,
    "deep": "a: " + "[" * 500 + "]" * 500,
    "deep, in lines": "\n".join(" " * i + "a:" for i in range(400)),
    "aliases": laughs("tags: *a11"),
    "aliases of data sets": laughs("datasets: *a11"),
    "aliases, merged": merges(),
    "itself": "a: &a [*a]",
    "a command": "a: !!python/object/apply:os.system [ls]",
    "an escape": "a: \x1b[2J",
    "no keys": "? [a]\n: 1",
    "two documents": "a: 1\n...\nb: 2",
    "a list": "- a",
    "names that are none": "~: 1",
    "a name that is a date": "2020-01-01: 1",
    "long": "a: " + "b" * MAX_YAML_CHARACTERS,
    "longer when written again": "a: [" + "b, " * 15_000 + "]",
}


@pytest.mark.parametrize("name", BROKEN)
def test_front_matter_that_cannot_be_read_is_told_and_stays(weights, name):
    old = f"---\nlicense: cc-by-nc-4.0\n{BROKEN[name]}\n---\nWritten by hand.\n"
    started = time.process_time()
    with pytest.warns(UserWarning, match="front matter .* cannot be read: ") as told:
        once = model_card(weights, "me/birds", old=old)
    assert str(told[0].message).isprintable()
    assert old.rstrip("\n") in once, "as it was"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model_card(weights, "me/birds", old=once) == once
    assert time.process_time() - started < SECONDS
    assert "license" not in ModelCard(once).data.to_dict(), "none is claimed where the owner's cannot be read"


@pytest.mark.parametrize(
    "text",
    [
        "---\n" + "\n" * 100_000,
        "---" + " \n" * 100_000,
        "---\n" + "---x\n" * 100_000,
        BEGIN * 5000,
        END * 20_000 + BEGIN,
        BEGIN + "\naugment = VAEAugment.from_pretrained(" * 20_000 + END,
        BEGIN + "augment = VAEAugment.from_pretrained(" * 20_000 + END,
        BEGIN + "\n## Recipe\n\n```yaml\n" * 30_000 + END,
        BEGIN + "\ndata: x\n" + " y\n" * 100_000 + END,
        BEGIN + "\ndata: x" * 100_000 + END,
    ],
    ids=range(10),
)
def test_any_text_is_read_in_linear_time(weights, text):
    started = time.process_time()
    card = Card.parse(model_card(weights, "me/birds", old=text))
    Card.parse(text).renamed("me/finches").without_paths()
    assert time.process_time() - started < SECONDS
    assert card.front["library_name"] == "vae-augment"


HOSTILE = [
    END,
    f"birds\n{END}\nA stranger's",
    f"{END}{BEGIN}",
    "<script>alert(1)</script>",
    "<img src=https://track.example/x.png>",
    "![x](https://track.example/x.png)",
    "[click](https://evil.example)",
    "<https://evil.example>",
    "https://evil.example",
    "www.evil.example",
    "birds\n\n# A title\n\n- a list",
    "`code` **bold** ~~gone~~ | a | b |",
    "\x1b[2J\x9b31m\u202e\x07",
    "\ud800",
    "\\",
    "x" * 100_000,
    "---\nlicense: mit\n---",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_strangers_text_is_shown_and_is_not_obeyed(weights, text, tmp_path):
    bank = VAE(VAEConfig(latent_dim=4, width=8, neck=2))
    pool = {"name": text, "images": 5, "sha256": text, "bank": text, text: text}
    hub.save(tmp_path, replace(weights, vae=bank, provenance=pool))
    card = Card.parse(read_card(tmp_path))
    assert (card.before, card.after) == ("", ""), "nothing of it is the owner's"
    assert "license" not in card.front
    shown = re.sub(r"\\.", "", card.block.replace("(https://pypi.org/project/vae-augment)", ""))  # less what is escaped
    for obeyed in ("<", "![", "](", "://", "www.", "\n# A", "**bold", "~~", "\n- a"):
        assert obeyed not in shown
    assert len(card.block) < 5000
    assert all(line.isprintable() for line in card.block.split("\n"))
    assert ModelCard(read_card(tmp_path), ignore_metadata_errors=False).data.library_name == "vae-augment"
    assert hub.load(tmp_path).provenance == pool


def test_a_card_names_what_is_shown(weights):
    card = model_card(replace(weights, provenance={"name": "me/birds_of <Peru> & more"}), "me/birds")
    assert "# VAE for augmentation: me/birds\\_of &lt;Peru&gt; &amp; more\n" in card


# editors


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_card_that_any_editor_wrote_keeps_licence_and_text(tmp_path, weights, encoding, ends):
    hub.save(tmp_path, weights)
    edited = (
        read_card(tmp_path).replace("tags:", "license: cc-by-nc-4.0\ntags:").replace(END, f"{END}\n\nVögel, von Hand.")
    )
    (tmp_path / "README.md").write_bytes(edited.replace("\n", ends).encode(encoding))
    hub.save(tmp_path, weights)
    text = read_card(tmp_path)
    assert ModelCard(text).data.license == "cc-by-nc-4.0"
    assert text.count("license") == text.count("cc-by-nc-4.0") == 1
    assert text.endswith("\nVögel, von Hand.\n")
    assert text.count(BEGIN) == 1
    assert "\ufeff" not in text


def test_a_licence_is_stated_only_by_the_owner(weights):
    first = model_card(weights, "me/birds")
    assert "license" not in first
    for own in ("mit", "apache-2.0"):
        stated = first.replace("---\n", f"---\nlicense: {own}\n", 1)
        again = model_card(weights, "me/birds", old=stated)
        assert ModelCard(again).data.license == own
        assert model_card(weights, "me/birds", old=again) == again
        assert model_card(weights, "me/birds", old=again.replace(f"license: {own}\n", "")) == first, "taken out again"
        pushed = Card.parse(again).keeping(Card.parse(first))
        assert pushed.front["license"] == own, "where the card on the Hub states none"
        assert Card.parse(first).keeping(Card.parse(again)).front["license"] == own, "where the folder's states none"
        empty = Card.parse(first.replace("---\n", "---\nlicense:\n", 1))
        assert empty.keeping(Card.parse(again)).front["license"] == own, "nor does it with nothing behind the word"
        named = Card.parse(first.replace("---\n", "---\nlicense: other\nlicense_name: bar\nlicense_link: x\n", 1))
        assert "license_name" not in Card.parse(again).keeping(named).front, "one licence is pushed, not halves of two"
        assert Card.parse(first).keeping(named).front["license_name"] == "bar"


def test_a_card_can_name_a_folder_that_is_not_unicode(weights):
    text = model_card(weights, "runs/caf\udce9", recipe="data: folder:x\n", command="python -m train --out 'caf\udce9'")
    assert 'VAEAugment.from_pretrained("runs/caf\\udce9")' in text
    assert card_text(text.encode()) == text


# paths of the machine


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("folder:/home/me/photos", "folder:photos"),
        ("folder:/home/me/photos/", "folder:photos"),
        ("folder:clients/acme", "folder:acme"),
        ("folder:~/photos", "folder:photos"),
        ("folder:C:\\Users\\me\\photos", "folder:photos"),
        ("folder:photos", "folder:photos"),
        ("hf:/home/me/birds:image", "hf:birds:image"),
        ("hf:~/birds@main", "hf:birds@main"),
        ("hf:../birds", "hf:birds"),
        ("hf:a/b/c", "hf:c"),
        ("hf:me/birds@main:image", "hf:me/birds@main:image"),
        ("hf:" + "a" * 5000, "hf:" + "a" * 5000),
        ("mnist", "mnist"),
        ("hf:", "hf:"),
        ("folder:", "folder:"),
    ],
)
def test_data_is_published_by_its_name(data, name):
    assert data_without_path(data) == name
    recipe = yaml.safe_dump({"data": data, "steps": 5}, sort_keys=False)
    assert yaml.safe_load(recipe_without_paths(recipe)) == {"data": name, "steps": 5}
    assert (recipe_without_paths(recipe) == recipe) == (data == name)


@pytest.mark.parametrize(
    ("command", "published"),
    [
        ("python -m train mnist --steps 5", "python -m train mnist --steps 5"),
        ("python -m train --out=/home/me/a --root ~/b", "python -m train --out=a --root b"),
        ("python -m train --data 'folder:/home/me/my photos'", "python -m train --data 'folder:my photos'"),
        (
            "python -m train --data=hf:me/birds --push-to-hub me/w",
            "python -m train --data=hf:me/birds --push-to-hub me/w",
        ),
        ("python -m train --config /srv/x/training.yaml", "python -m train --config training.yaml"),
        ("python -m train --endpoint http://hub", "python -m train --endpoint http://hub"),
        ("unclosed '", ""),
    ],
)
def test_a_command_is_published_without_paths(command, published):
    assert command_without_paths(command) == published


@pytest.mark.parametrize("recipe", ["data: 'folder:```'\n", "a: |\n  ```\n  b\n", f"data: 'folder:{END}'\n"])
def test_a_recipe_does_not_end_its_own_block(weights, recipe):
    card = Card.parse(model_card(weights, "me/birds", recipe=recipe, command="python -m train '`a`'"))
    assert card.after == ""
    fence = card.block.rsplit("\n", 1)[1]
    assert set(fence) == {"`"}
    assert card.block.split("## Recipe")[1].count(f"\n{fence}") == 2
    assert card.without_paths() == card
