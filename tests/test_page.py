"""The page of `vae-augment preview --serve`, as a reader meets it: in a browser."""

import ast
import base64
import dataclasses
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import PIL.Image
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from vae_augment import VAEAugment
from vae_augment.app import ALL_CLASSES, Settings, Subject, serve
from vae_augment.source import open_source

pytest.importorskip("gradio")
api = pytest.importorskip("playwright.sync_api")

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SPACE = Path(__file__).parents[1] / "examples" / "space"
PATIENCE = 30_000  # milliseconds, for a machine that has much else to do
needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here: apt-get install chromium")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def subject():
    return Subject.open("sample")


@pytest.fixture(scope="module")
def address(subject):
    page, address = serve(subject, free_port())
    yield address
    page.close(verbose=False)


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        # a container's root may not have a sandbox; the page is our own
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


class Reader:
    """Somebody who looks at the page, and at what their browser asks for."""

    def __init__(self, browser, address, **screen):
        self.context = browser.new_context(**screen)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address.rstrip("/"))
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector("#pictures img")
        self.page.wait_for_load_state("networkidle")

    def pictures(self):
        """The bytes of the PNG files that are shown, row by row: the original first."""
        sources = self.page.eval_on_selector_all("#pictures img", "images => images.map(image => image.src)")
        return [base64.b64decode(source.partition("base64,")[2]) for source in sources]

    def others_after(self, act):
        """What is shown once an action has changed it."""
        before = self.pictures()
        act()
        deadline = time.monotonic() + PATIENCE / 1000
        while (after := self.pictures()) == before:
            assert time.monotonic() < deadline, "the pictures stayed as they were"
            time.sleep(0.05)
        return after

    def press(self, control, key):
        self.page.locator(f"#{control} input[type=range]").press(key)

    def choose(self, control, name):
        self.page.locator(f"#{control} input").click()
        self.page.get_by_role("option", name=name, exact=True).click()

    def copied(self, holds):
        """The code, once it holds this, as the button copies it."""
        self.page.wait_for_function("text => document.querySelector('#code').innerText.includes(text)", arg=holds)
        self.page.locator("#code button").first.click()
        return self.page.evaluate("navigator.clipboard.readText()")


@pytest.fixture
def reader(browser, address):
    somebody = Reader(browser, address, viewport={"width": 1280, "height": 900})
    yield somebody
    somebody.context.close()


def drawn(files):
    return [F.pil_to_tensor(PIL.Image.open(io.BytesIO(file))) for file in files]


def shown_by(settings, subject):
    rows = settings.rows(subject)
    return [F.pil_to_tensor(image) for row in rows for image in (row.original, *row.others)]


def are_equal(some, others):
    return len(some) == len(others) and all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@needs_browser
def test_a_slider_that_is_moved_shows_other_pictures(reader, subject):
    assert are_equal(drawn(reader.pictures()), shown_by(Settings(), subject))
    after = drawn(reader.others_after(lambda: reader.press("strength", "ArrowRight")))
    assert are_equal(after, shown_by(Settings(strength=1.05), subject))
    assert len(after) == 20
    assert are_equal(after[::5], shown_by(Settings(), subject)[::5])  # the originals stay


@needs_browser
def test_at_strength_0_all_are_originals(reader):
    after = drawn(reader.others_after(lambda: reader.press("strength", "Home")))
    assert all(torch.equal(after[i], after[i // 5 * 5]) for i in range(20))


@needs_browser
def test_another_seed_class_and_jitter_show_other_pictures(reader, subject):
    after = reader.others_after(lambda: reader.press("seed", "ArrowRight"))
    assert are_equal(drawn(after), shown_by(Settings(seed=1), subject))
    after = reader.others_after(lambda: reader.choose("class", "Sandal"))
    assert are_equal(drawn(after), shown_by(Settings(seed=1, of_class="Sandal"), subject))
    assert reader.page.locator("#pictures").inner_text().count("Sandal") == 4
    after = reader.others_after(lambda: reader.choose("jitter", "LocalNoise"))
    assert are_equal(drawn(after), shown_by(Settings(seed=1, of_class="Sandal", jitter="LocalNoise"), subject))


@needs_browser
def test_the_pasted_code_makes_the_same_variations(reader, subject):
    reader.others_after(lambda: reader.choose("jitter", "Extrapolate"))
    reader.others_after(lambda: reader.press("strength", "PageUp"))
    files = reader.others_after(lambda: reader.press("seed", "ArrowRight"))
    code = reader.copied("manual_seed(1)")
    assert re.search(r'^augment = VAEAugment\.from_pretrained\("fashion-mnist", strength=.*\)$', code, re.MULTILINE)
    names: dict[str, VAEAugment] = {}
    exec(code, names)
    images = [subject.image(place) for place in subject.places(4)]
    rounds = [names["augment"].vary_all(images) for _ in range(4)]
    assert are_equal(
        drawn(files), [F.pil_to_tensor(image) for row in zip(images, *rounds, strict=True) for image in row]
    )


@needs_browser
def test_the_pasted_code_makes_the_same_new_images(reader, subject):
    reader.others_after(lambda: reader.page.get_by_label("new images of its class").check())
    assert not reader.page.locator("#strength").is_visible()
    reader.others_after(lambda: reader.press("novelty", "Home"))
    files = reader.others_after(lambda: reader.choose("class", "Bag"))
    names: dict[str, object] = {}
    exec(reader.copied("novelty=0)"), names)
    places = subject.places(4, "Bag")
    images, labels = [subject.image(place) for place in places], [subject.label(place) for place in places]
    assert set(labels) == {8}
    rounds = [names["dataset"].augment.vary_all(images, labels) for _ in range(4)]
    assert are_equal(
        drawn(files), [F.pil_to_tensor(image) for row in zip(images, *rounds, strict=True) for image in row]
    )


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_asked_of_another_machine_and_a_phone_is_wide_enough(browser, address, scheme):
    somebody = Reader(browser, address, viewport={"width": 390, "height": 800}, color_scheme=scheme, has_touch=True)
    somebody.others_after(lambda: somebody.press("seed", "ArrowRight"))
    width, seen = somebody.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= seen == 390
    assert [url for url in somebody.asked if not url.startswith((address, "data:", "blob:"))] == []
    assert "Your images stay on this machine" in somebody.page.locator("body").inner_text()
    somebody.context.close()


def test_it_listens_to_this_machine_alone(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)  # this machine, by another way
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    elsewhere = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(elsewhere, timeout=30)


def test_a_port_that_is_taken_is_told(subject, address):
    with pytest.raises(OSError, match=r"port \d+ is taken: name another, --port \d+"):
        serve(subject, int(address.rstrip("/").rpartition(":")[2]))


def test_images_without_classes_have_no_new_ones(tmp_path):
    subject = open_plain(tmp_path)
    assert (subject.classes, subject.fitted) == ((), None)
    assert len(Settings().rows(subject)) == 2
    with pytest.raises(ValueError, match="no new images of a class"):
        Settings(is_new=True).rows(subject)
    assert [row.title for row in Settings(of_class=ALL_CLASSES).rows(subject)] == ["", ""]


def open_plain(folder):
    for place in range(2):
        open_source("sample")[place][0].save(folder / f"{place}.png")
    return Subject.open(str(folder))


def test_names_are_quoted_where_code_is_pasted(tmp_path):
    name = 'a "quoted"\nname\'s'
    subject = dataclasses.replace(open_plain(tmp_path), weights=name)
    assert name in [
        node.value for node in ast.walk(ast.parse(Settings().code(subject))) if isinstance(node, ast.Constant)
    ]


def test_the_command_serves_until_it_is_interrupted(tmp_path):
    open_plain(tmp_path)
    port = free_port()
    words = [sys.executable, "-u", "-m", "vae_augment", "preview", str(tmp_path), "--serve", "--port", str(port)]
    served = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert served.stdout.readline().startswith(f"http://127.0.0.1:{port}/ shows the page, to this machine alone")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            assert "vae-augment preview" in answer.read().decode()
    finally:
        served.send_signal(2)
    _, errors = served.communicate(timeout=60)
    assert served.returncode == 0
    assert errors == "note: No new images of a class: these images have no classes.\n"


def test_the_space_starts_as_its_card_says():
    import yaml

    card = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])
    assert (card["sdk"], card["license"]) == ("gradio", "apache-2.0")
    assert (SPACE / "requirements.txt").read_text() == "vae-augment[app]\n"
    port = free_port()
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, SPACE / card["app_file"]]
    served = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        while f":{port}" not in (line := served.stdout.readline()):
            assert line, "it ended"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=30) as answer:
            config = answer.read().decode()
    finally:
        served.kill()
        served.communicate()
    assert "These are images that come with the package" in config
    assert "Your images stay" not in config
