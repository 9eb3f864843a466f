"""`python -m train.publish`, by the real client against a server on loopback: nothing without --push, then each with its card."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_client import environment
from tests.hub_server import Hub, serve
from vae_augment import hub
from vae_augment.hub.card import Card


@pytest.fixture
def server():
    with serve() as running:
        yield running


def publish(server: Hub, home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Large files go by git-LFS, the way that needs no further storage."""
    return subprocess.run(
        [sys.executable, "-m", "train.publish", *words],
        env=environment(server.url, home, HF_HUB_DISABLE_XET="1", PYTHONWARNINGS="default::UserWarning"),
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_push_it_says_what_it_would_send_and_asks_no_server(server, tmp_path):
    done = publish(server, tmp_path, "me")
    assert done.returncode == 0, done.stderr
    for name in hub.bundled():
        assert f"would push {name} to me/vae-augment-{name}: config.json" in done.stdout
    assert done.stdout.splitlines()[-1] == "nothing was sent: repeat the command with --push"
    assert server.requests == []


def test_with_push_each_is_one_commit_whose_card_names_its_repository(server, tmp_path):
    done = publish(
        server, tmp_path, "me", "--only", "mnist", "fashion-mnist", "--prefix", "small-", "--tag", "v1", "--push"
    )
    assert done.returncode == 0, done.stderr
    assert "note: these weights hold the latents" in done.stderr, (
        "public weights with a bank show likenesses, which is told"
    )
    assert set(server.commits) == {"me/small-mnist", "me/small-fashion-mnist"}
    for name in ("mnist", "fashion-mnist"):
        repo_id = f"me/small-{name}"
        sha = server.refs[repo_id]["main"]
        assert f"pushed {name} to {repo_id}, commit {sha}" in done.stdout
        assert server.refs[repo_id]["v1"] == sha
        files = server.commits[repo_id][sha]
        assert set(files) == {"config.json", "model.safetensors", "bank.safetensors", "README.md", "samples.png"}
        card = Card.parse(files["README.md"].decode())
        assert f'from_pretrained("{repo_id}")' in card.block
        assert "Accuracy from few labels" in card.after, "what was written by hand goes along"
        assert card.front["license"] == "apache-2.0"


@pytest.mark.parametrize(("licence", "is_told"), [("mit", True), ("apache-2.0", False)])
def test_another_licence_on_the_hub_is_told(licence, is_told, server, tmp_path):
    words = ("me", "--only", "mnist", "--push")
    publish(server, tmp_path, *words)
    edited = f"---\nlicense: {licence}\n---\nMine.\n"
    server.commit("me/vae-augment-mnist", "main", {"README.md": edited.encode()})
    done = publish(server, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    told = "stated the licence 'mit', and that of the folder, which is pushed, 'apache-2.0'"
    assert (told in done.stderr) == is_told
    sha = server.refs["me/vae-augment-mnist"]["main"]
    card = Card.parse(server.commits["me/vae-augment-mnist"][sha]["README.md"].decode())
    assert card.front["license"] == "apache-2.0"


def test_private_repositories_are_private_and_no_note_is_needed(server, tmp_path):
    done = publish(server, tmp_path, "me", "--only", "mnist", "--private", "--push")
    assert (done.returncode, done.stderr) == (0, "")
    assert server.private == {"me/vae-augment-mnist"}


def test_a_server_that_refuses_is_told_in_one_line(server, tmp_path):
    server.fail("POST .*/commit/", 403)
    done = publish(server, tmp_path, "me", "--only", "mnist", "--push")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "hf auth login" in done.stderr


@pytest.mark.parametrize("words", [["me/you"], ["me", "--only", "letters"], ["me", "--prefix", "a b"]])
def test_a_wrong_command_sends_nothing_and_ends_with_2(server, tmp_path, words):
    done = publish(server, tmp_path, *words, "--push")
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert server.requests == []
