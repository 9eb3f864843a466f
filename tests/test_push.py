"""Push and pull with the real huggingface_hub client, against a server on loopback, by both ways that large files take."""

import importlib.util
import io
import re
from pathlib import Path

import huggingface_hub
import pytest
from PIL import Image

from tests.hub_client import Client, Done, client
from tests.hub_server import Hub, serve
from vae_augment import hub as weights_hub
from vae_augment.hub.card import END, Card
from vae_augment.hub.published import ORIGINALS

FASHION = weights_hub.BUNDLED / "fashion-mnist"
FINGERPRINT = """
import hashlib, torch
from vae_augment import VAEAugment
from vae_augment.demo_data import fashion_sample
augment = VAEAugment.from_pretrained({arguments})
torch.manual_seed(0)
print(hashlib.sha256(augment(fashion_sample()[0][:8]).numpy().tobytes()).hexdigest())
"""


class Side:
    """A server, and a client whose large files go one way; each test has a repository and a cache of its own."""

    def __init__(self, server: Hub, process: Client, way: str) -> None:
        self.server, self.process, self.way = server, process, way
        self.repo, self.cache = "", ""

    def push(self, options: str = "", folder: str = str(FASHION)) -> Done:
        return self.process.run(f"print(hub.push({folder!r}, {self.repo!r}, {options}))")

    def pushed(self, options: str = "") -> str:
        done = self.push(options)
        assert done.error == "", done.error
        return done.out

    def pull(self, options: str = "", cache: str = "") -> Done:
        arguments = f"{self.repo!r}, cache_dir={cache or self.cache!r}, {options}"
        return self.process.run(FINGERPRINT.format(arguments=arguments))

    @property
    def commits(self) -> int:
        return len(self.server.commits[self.repo]) - 1  # a repository begins with an empty one


@pytest.fixture(scope="module", params=["xet", "lfs"])
def process(request, tmp_path_factory):
    if request.param == "xet" and importlib.util.find_spec("hf_xet") is None:
        pytest.skip("hf_xet is not installed on this platform: the client has no Xet")
    with serve() as server:
        home = tmp_path_factory.mktemp("home")
        with client(server.url, home, HF_HUB_DISABLE_XET=str(int(request.param == "lfs"))) as running:
            yield Side(server, running, request.param)


@pytest.fixture
def side(process, request, tmp_path):
    process.repo, process.cache = (
        "me/" + re.sub(r"\W", "-", request.node.name.removeprefix("test_").rstrip("]"))[:90],
        str(tmp_path / "cache"),
    )
    process.server.faults.clear()
    process.server.requests.clear()
    process.server.pause = 0
    return process


@pytest.fixture(scope="module")
def fingerprint(process):
    return process.process.run(FINGERPRINT.format(arguments="'fashion-mnist'")).out


def test_what_one_process_pushes_is_loaded_bit_for_bit(side, fingerprint):
    sha = side.pushed("tag='v1'")
    files = side.server.commits[side.repo][sha]
    assert set(files) == {"config.json", "model.safetensors", "bank.safetensors", "README.md", "samples.png"}
    card = Card.parse(files["README.md"].decode())
    assert f'from_pretrained("{side.repo}")' in card.block, "not the folder that it was pushed from"
    assert card.front["model-index"][0]["name"] == side.repo.removeprefix("me/")
    assert (files["model.safetensors"].xet is not None) == (side.way == "xet")
    assert any("xet-write-token" in line for line in side.server.requests) == (side.way == "xet")
    for options in (f"revision={sha!r}", "revision='v1'", ""):
        assert side.pull(options, cache=f"{side.cache}{options}") == Done(fingerprint, "")
    shown = side.process.run(f"print(VAEAugment.from_pretrained({side.repo!r}, cache_dir={side.cache!r}))").out
    assert f"VAEAugment({side.repo!r}, revision={sha!r}, strength" in shown
    # what was fetched once needs no server
    side.server.requests.clear()
    assert side.pull("local_files_only=True") == Done(fingerprint, "")
    assert side.server.requests == []
    side.server.fail(".")
    assert side.pull(f"revision={sha!r}").out == fingerprint


def test_held_out_images_are_sent_only_when_asked_for(side):
    whole = (FASHION / "samples.png").read_bytes()

    def sent(options: str) -> tuple[bytes, str]:
        options = f"revision={side.pushed(options)!r}, cache_dir={side.cache!r}"
        get = f"huggingface_hub.hf_hub_download({side.repo!r}, %r, {options})"
        picture, card = (side.process.run(f"print({get % name})").out for name in ("samples.png", "README.md"))
        return Path(picture).read_bytes(), Path(card).read_text()

    picture, card = sent("")
    with Image.open(io.BytesIO(whole)) as own, Image.open(io.BytesIO(picture)) as cut:
        assert cut.size == (own.width, own.height - 58)
        assert cut.tobytes() == own.crop((0, 58, own.width, own.height)).tobytes()
    assert ORIGINALS not in card
    picture, card = sent("originals=True")
    with Image.open(io.BytesIO(whole)) as own, Image.open(io.BytesIO(picture)) as sent_whole:
        assert (sent_whole.size, sent_whole.tobytes()) == (own.size, own.tobytes())
    assert f"Rows: {ORIGINALS}, reconstructions" in card


def test_one_push_is_one_commit_and_main_may_move(side, fingerprint):
    first = side.pushed()
    assert side.commits == 1
    side.server.commit(side.repo, "main", {"config.json": b"{}"})
    moved = side.pull()
    assert moved.error.startswith("WeightsError")
    assert side.repo in moved.error
    assert side.pull(f"revision={first!r}") == Done(fingerprint, "")


def test_a_branch_is_made_and_main_stays(side, fingerprint):
    first = side.pushed()
    other = str(weights_hub.BUNDLED / "mnist")
    assert side.push("branch='dev', tag='dev-1'", other).error == ""
    assert side.push("branch='dev'").error == "", "an existing branch is taken"
    assert side.server.refs[side.repo]["main"] == first
    assert side.pull() == Done(fingerprint, "")
    digits = side.process.run(FINGERPRINT.format(arguments="'mnist'")).out
    assert side.pull("revision='dev-1'").out == digits
    assert side.pull("revision='dev'").out == fingerprint


def test_methods_of_the_transform_and_a_card_that_its_owner_edits(side, fingerprint):
    first = side.process.run(
        f"augment = VAEAugment.from_pretrained('fashion-mnist'); print(augment.push_to_hub({side.repo!r}, private=True))"
    )
    assert first.error == ""
    assert side.repo in side.server.private
    assert side.pull() == Done(fingerprint, "")
    # its owner edits the card on the Hub, then pushes the network alone
    card = side.server.commits[side.repo][first.out]["README.md"].decode()
    assert "license" not in card
    edited = card.replace("tags:", "license: mit\ntags:").replace(END, f"{END}\n\nEdited on the web.")
    side.server.commit(side.repo, "main", {"README.md": edited.encode(), "notes.txt": b"mine"})
    second = side.process.run(
        f"augment = VAEAugment(load_weights({side.repo!r}, cache_dir={side.cache!r}).vae); "
        f"print(augment.save_pretrained({side.cache + '/saved'!r}, push_to_hub=True, repo_id={side.repo!r}, tag='net'))"
    )
    assert second.error == ""
    files = side.server.commits[side.repo][second.out]
    assert set(files) == {"config.json", "model.safetensors", "README.md", "notes.txt"}, "no bank of other weights"
    card = Card.parse(files["README.md"].decode())
    assert (card.after, card.front["license"]) == ("Edited on the web.", "mit")
    assert "not measured" in card.block
    loaded = side.process.run(
        f"net = load_weights({side.repo!r}, revision='net', cache_dir={side.cache!r}).vae.state_dict(); "
        "own = load_weights('fashion-mnist').vae.state_dict(); "
        "print(len(own), all(torch.equal(net[key], own[key]) for key in own))"
    )
    assert loaded.error == ""
    assert loaded.out.endswith(" True")


def test_a_private_repository_needs_the_token(side, fingerprint):
    side.pushed("private=True")
    assert side.repo in side.server.private
    assert side.pull() == Done(fingerprint, "")
    stranger = side.pull("token=False", cache=f"{side.cache}-b").error
    assert stranger.startswith("FileNotFoundError"), "the Hub does not tell a stranger that it exists"
    assert "could not be fetched" in stranger
    assert "hf auth login" in stranger
    expired = side.pull("token='hf_expired'", cache=f"{side.cache}-b").error
    assert expired.startswith("ConnectionError")
    assert "401" in expired
    assert "hf auth login" in expired


def test_a_repository_that_must_be_asked_for_is_told(side):
    side.pushed()
    side.server.fail("GET /api/models", 403, code="GatedRepo")
    gated = side.pull().error
    assert gated.startswith("ConnectionError")
    assert "gated" in gated
    assert "hf auth login" in gated


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_a_server_that_refuses_is_told_and_nothing_is_committed(side, status):
    side.server.fail("POST .*/commit/", status)
    refused = side.push().error
    assert refused.startswith("ConnectionError")
    assert str(status) in refused
    assert "nothing is committed" in refused
    assert ("hf auth login" in refused) == (status in (401, 403, 404))
    assert side.commits == 0
    if status != 429:  # which is asked again, for five seconds
        side.server.fail("GET /api/models", status)
        pull = side.pull().error
        assert pull.startswith("FileNotFoundError" if status == 404 else "ConnectionError")
        assert str(status) in pull
        assert ("hf auth login" in pull) == (status in (401, 403, 404))
        assert ("Try again" in pull) == (status == 500)


@pytest.mark.skipif(huggingface_hub.__version__ < "2", reason="version 1 asks once for a list of files")
def test_a_server_that_is_full_for_a_moment_is_asked_again(side, fingerprint):
    side.server.fail("GET /api/models/.*/tree", 503, times=1)
    side.pushed()
    side.server.fail("GET /api/models/.*/tree", 429, times=1)
    side.server.fail("GET .*/resolve/.*/config.json", 429, times=1)
    assert side.pull() == Done(fingerprint, "")
    assert not any(fault.times for fault in side.server.faults), "each was met"


def large_download(side: Side) -> str:
    """The request that a tensor's file depends on."""
    return "GET .*xet-read-token" if side.way == "xet" else "GET .*/resolve/.*/bank.safetensors"


def test_a_download_that_breaks_off_goes_on(side, fingerprint):
    side.pushed()
    side.server.fail("GET .*/resolve/.*/config.json", sent=100, times=1)
    side.server.fail(large_download(side), sent=100_000 if side.way == "lfs" else 0, times=1)
    assert side.pull() == Done(fingerprint, "")
    assert not any(fault.times for fault in side.server.faults)


def test_a_download_that_never_ends_leaves_nothing_that_loads_wrongly(side, fingerprint):
    side.pushed()
    side.server.fail(large_download(side), 403 if side.way == "xet" else 500)  # what is not asked again
    broken = side.pull().error
    assert broken.startswith("ConnectionError")
    assert ("hf auth login" if side.way == "xet" else "Try again") in broken
    # what is there by now is not taken for the whole
    partly = side.pull("local_files_only=True").error
    assert partly.startswith("ConnectionError")
    assert "It is not in the cache" in partly
    side.server.faults.clear()
    assert side.pull() == Done(fingerprint, "")


def test_an_upload_that_breaks_off_goes_on(side, fingerprint):
    side.server.fail("GET .*xet-write-token" if side.way == "xet" else "PUT /blobs", times=1)
    side.pushed()
    assert not any(fault.times for fault in side.server.faults)
    assert side.commits == 1
    assert side.pull() == Done(fingerprint, "")


def test_a_commit_that_breaks_off_is_not_made_and_can_be_repeated(side, fingerprint):
    side.server.fail("POST .*/commit/", times=1)
    broken = side.push().error
    assert broken.startswith("ConnectionError")
    assert "can be repeated" in broken
    assert side.commits == 0
    side.pushed()
    assert side.commits == 1
    assert side.pull() == Done(fingerprint, "")


def test_a_server_that_goes_away_is_told(side, fingerprint):
    side.server.fail("POST /api/repos/create")
    broken = side.push().error
    assert broken.startswith("ConnectionError")
    assert "nothing is committed" in broken
    assert "Try again" in broken
    side.server.faults.clear()
    side.pushed()
    side.server.fail(".")
    gone = side.pull().error
    assert gone.startswith("ConnectionError")
    assert "Try again" in gone
    side.server.faults.clear()
    assert side.pull() == Done(fingerprint, "")


def test_a_tag_that_exists_does_not_hide_the_commit(side, fingerprint):
    side.pushed("tag='v1'")
    again = side.push("tag='v1'", str(weights_hub.BUNDLED / "mnist")).error
    sha = side.server.refs[side.repo]["main"]
    assert f"commit {sha} is made, but not tagged 'v1'" in again
    assert side.pull("revision='v1'") == Done(fingerprint, ""), "the tag stays where it was"


def test_files_that_are_missing_or_do_not_fit_are_named(side):
    config = (FASHION / "config.json").read_bytes()
    side.pushed()
    sha = side.server.commit(side.repo, "main", {"config.json": config}, {"model.safetensors"})
    missing = side.pull().error
    assert missing.startswith("FileNotFoundError")
    assert side.repo in missing
    assert sha in missing
    assert "it has no model.safetensors" in missing
    flipped = bytearray((FASHION / "model.safetensors").read_bytes())
    flipped[-1] ^= 1
    side.server.commit(side.repo, "main", {"model.safetensors": bytes(flipped)})
    damaged = side.pull().error
    assert damaged.startswith("WeightsError")
    assert "sha256 differs" in damaged


def test_a_missing_revision_or_repository_is_named(side):
    absent = side.pull().error
    assert absent.startswith("FileNotFoundError")
    assert side.repo in absent
    side.pushed()
    missing = side.pull("revision='v9'").error
    assert missing.startswith("FileNotFoundError")
    assert "v9" in missing


def test_what_does_not_load_is_not_pushed(side, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert side.push(folder=str(tmp_path)).error.startswith("WeightsError")
    assert "user/repo" in side.process.run(f"hub.push({str(FASHION)!r}, 'mine')").error
    assert side.server.requests == []
