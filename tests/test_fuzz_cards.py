"""Cards of random fragments: read and written again in linear time, without an error, and without a loss of owners' text."""

import random
import resource
import time
import warnings

import pytest
from huggingface_hub import ModelCard

from tests.test_card_hostile import BROKEN, HOSTILE
from tests.test_fuzz import COUNT, SLOWEST, record_worst
from vae_augment import VAE, VAEConfig, Weights
from vae_augment.hub.card import BEGIN, END, Card, card_text
from vae_augment.hub.model_card import model_card
from vae_augment.hub.published import published

LINES = [
    *BROKEN.values(),
    "license: mit",
    "license: [mit]",
    "tags: [a, b]",
    "tags: {a: 1}",
    "datasets: me/birds",
    "model-index: [1]",
    "model-index: x",
    "library_name: other",
    "~: 1",
    "a: .nan",
    "a: 0x" + "f" * 4000,
    "a: |\n  b\n  ---\n  c",
    "a: !!set {b, c}",
    "a: !!binary aGk=",
    "2020-01-01: 1",
]
FRAGMENTS = [
    "---\n",
    "---",
    "...\n",
    "\n" * 1000,
    BEGIN,
    END,
    BEGIN[:40],
    "## Recipe\n\n",
    "```yaml\ndata: folder:/a/b\n```\n",
    "`" * 2000,
    "augment = VAEAugment.from_pretrained(",
    'augment = VAEAugment.from_pretrained("x")\n',
    "\ufeff",
    "\r\n",
    "\0",
    "\x85",
    "\u2028",
    "\U0001f600",
    "text " * 1000,
    "data: mnist\n",
    *HOSTILE,
]


def text_of(chance: random.Random) -> str:
    front = ""
    if chance.random() < 0.7:
        lines = [chance.choice(LINES) for _ in range(chance.choice([0, 1, 1, 2, 5]))]
        front = (
            "---\n" + "".join(f"{line}\n" for line in lines) + chance.choice(["---\n", "---\n", "---", "--- \n", ""])
        )
    return front + "".join(chance.choice(FRAGMENTS) for _ in range(chance.choice([0, 1, 3, 10])))


def test_cards_of_any_text_are_read_and_written(record_property):
    network = VAE(VAEConfig(latent_dim=4, width=8, neck=2))
    most = 0.0
    before, broken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for number in range(COUNT):
        chance = random.Random(f"card {number}")
        content = f"{text_of(chance)}\n\nWords of {number}.\n".encode("utf-8", "surrogatepass")
        if chance.random() < 0.3:
            at = chance.randrange(len(content) - len(f"Words of {number}.\n"))
            content = content[:at] + chance.randbytes(3) + content[at:]
        weights = Weights(
            network, provenance={"name": chance.choice(HOSTILE), "images": 3, "sha256": chance.choice(HOSTILE)}
        )
        recipe = chance.choice(["", "data: folder:/home/me/x\n", "a: [*b]", *LINES])
        started = time.thread_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                once = model_card(
                    weights, "me/x", recipe=recipe, command=chance.choice(HOSTILE), old=card_text(content)
                )
                twice = model_card(weights, "me/x", recipe=recipe, command="", old=once)
            card, again = Card.parse(once), Card.parse(twice)
            Card.parse(card_text(content)).renamed("me/y").without_paths()
            published({"README.md": content}, 28, originals=False)
        except Exception as error:
            pytest.fail(f"card {number}: {error!r}")
        most = max(most, time.thread_time() - started)
        assert most < SLOWEST, f"card {number}"
        broken += bool(Card.parse(card_text(content)).fault)
        assert card.fault == "", f"card {number}"
        assert (card.before, card.after, dict(card.front)) == (again.before, again.after, dict(again.front)), (
            f"card {number}"
        )
        assert card.front["library_name"]
        is_in_block = f"Words of {number}." in Card.parse(card_text(content)).block
        assert is_in_block or f"Words of {number}." in card.before + card.after, f"card {number}"
        assert card_text(once.encode()) == once
        ModelCard(once, ignore_metadata_errors=True)
    assert 0 < broken < COUNT
    record_worst(record_property, {"read": COUNT - broken, "told": broken}, most, before)
