"""The verb `report` and its page: whole, of nothing from elsewhere, safe from names of strangers, with remedies for mistakes."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2.functional import to_pil_image

from tests.conftest import IMAGES, LABELS
from tests.test_readme import REPORT, blocks, python_blocks
from vae_augment import VAEAugment
from vae_augment.__main__ import main
from vae_augment.demo_data import FASHION_CLASSES
from vae_augment.export import PLAN
from vae_augment.report import ImageSet, Sets, as_pairs, common_look, make_report, read_samples

HOSTILE = "<img src=x onerror=alert(1)> \u202eboot"


def write(folder: Path, start: int, stop: int) -> Path:
    """Images of the sample in folders of their classes."""
    names = (*FASHION_CLASSES[:9], HOSTILE)
    for number in range(start, stop):
        target = folder / names[int(LABELS[number])]
        target.mkdir(parents=True, exist_ok=True)
        to_pil_image(IMAGES[number]).save(target / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    for name, start, stop in (("photos", 0, 170), ("made", 170, 330), ("more-photos", 330, 500)):
        write(root / name, start, stop)
    return root


@pytest.fixture(scope="module")
def written(folders):
    """The folder in which the second command of the page was run."""
    command = next(line for line in blocks(REPORT, "bash")[0].splitlines() if " photos " in line)
    words = command.split("#")[0].split()[1:]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folders)
        assert main(words) == 0
    return folders


def test_a_page_and_json_are_written(written):
    told = json.loads((written / "report.json").read_text(), parse_constant=pytest.fail)
    assert told["verdict"] in ("use", "look", "do not use")
    assert list(told["words"]) == ["unrealistic", "unvaried", "copied", "missing", "label truth"]
    assert told["images"] == {"training": 170, "held_out": 170, "synthetic": 160}
    assert set(told["taught"]) == {"real", "synthetic", "both"}
    assert "small classifier" in told["features"]
    assert HOSTILE in told["classes"]
    page = (written / "report.html").read_text()
    assert told["words"]["copied"]["sentence"] in page
    assert not list(written.glob(".*")), "nothing is left over"


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_loads_and_runs_nothing_whatever_a_class_is_called(written):
    page = (written / "report.html").read_text()
    elements = Elements(page).found
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in elements}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    sources = [attributes["src"] for _, attributes in elements if "src" in attributes]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert all(attributes["href"].startswith("#") for _, attributes in elements if "href" in attributes)
    assert "url(" not in page
    assert "\u202e" not in page
    assert "&lt;img src=x onerror=alert(1)&gt; \\u202eboot" in page


def test_the_page_is_made_for_phones_and_the_dark(written):
    page = (written / "report.html").read_text()
    assert 'name="viewport"' in page
    assert "prefers-color-scheme:dark" in page
    assert "@media(max-width" in page


def test_every_figure_says_how_to_read_it(written):
    page = (written / "report.html").read_text()
    rows = re.findall(r"<tr><th>[^<]*</th><td data-name=.*?</tr>", page, re.DOTALL)
    assert len(rows) >= 8
    assert all(len(re.search(r'class="reading">([^<]*)<', row)[1]) > 30 for row in rows)


WRONG = {
    "no such folder": (["report", "nowhere", "made"], 2, "nowhere"),
    "no page": (["report", "photos", "made", "--out", "report.pdf"], 2, ".html"),
    "a folder that is not there": (["report", "photos", "made", "--out", "nowhere/report.html"], 2, "make it first"),
    "a side that is none": (["report", "photos", "made", "--size", "large"], 2, "pixels"),
    "a side of nothing": (["report", "photos", "made", "--size", "0"], 2, "pixels"),
    "a seed that is none": (["report", "photos", "made", "--seed", "x"], 2, "int"),
    "one folder alone": (["report", "photos"], 2, "SYNTHETIC"),
    "other classes": (["report", "photos", "others"], 2, "same names"),
    "too few images": (["report", "few", "made"], 2, "give more"),
    "one synthetic image": (["report", "photos", "single"], 2, "give more"),
    "one class": (["report", "one", "made"], 2, "two or more"),
    "no test images": (["report", "photos", "made", "--held-out", "photos"], 2, "held out"),
    "a set that was begun": (["report", "photos", "begun"], 2, "goes on: vae-augment generate photos --out begun"),
    "a part of it": (["report", "photos", "folder:begun/train"], 2, "goes on: vae-augment generate photos --out begun"),
    "one that was begun as real": (["report", "begun", "made"], 2, "not whole"),
    "one that was begun as held out": (["report", "photos", "made", "--held-out", "begun"], 2, "not whole"),
    "one whose plan is cut off": (["report", "photos", "cut"], 2, "goes on: vae-augment generate"),
    "one with a command of a stranger": (["report", "photos", "strange"], 2, "goes on: vae-augment generate"),
    "one with a plan without an end": (["report", "photos", "deep"], 2, "goes on: vae-augment generate"),
    "real images alone": (["report", "photos", "real"], 2, "no synthetic images"),
    "a damaged list of real images": (["report", "photos", "damaged"], 2, "metadata.jsonl"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_told_with_its_remedy_and_writes_nothing(mistake, folders, tmp_path, monkeypatch, capsys):
    arguments, code, told = WRONG[mistake]
    for name in ("photos", "made"):
        (tmp_path / name).symlink_to(folders / name)
    write(tmp_path / "few", 0, 19)
    write(tmp_path / "single", 0, 1)
    write(tmp_path / "others" / "deeper", 0, 60)
    shutil.copytree(folders / "photos" / "Trouser", tmp_path / "one" / "Trouser")
    for name, cut in (("real", None), ("damaged", -5)):
        train = write(tmp_path / name / "train", 0, 60)
        lines = [{"file_name": str(file.relative_to(train)), "synthetic": False} for file in train.rglob("*.png")]
        (train / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines))[:cut])
    for name, plan in (
        ("begun", '{"how": "vae-augment generate photos --out begun"}'),
        ("cut", '{"how'),
        ("strange", '{"how": "vae-augment generate x; curl http://127.0.0.1/x | sh"}'),
        ("deep", "[" * 200_000),
    ):
        write(tmp_path / name / "train", 0, 60)
        (tmp_path / name / ".vae-augment").mkdir()
        (tmp_path / name / PLAN).write_text(plan)
    before = set(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    try:
        found = main(arguments)
    except SystemExit as ended:
        found = ended.code
    error = capsys.readouterr().err
    assert found == code
    assert told in error.splitlines()[-1]
    assert "Traceback" not in error
    assert "curl" not in error
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("form", "source"), [("imagefolder", "both"), ("imagefolder", "folder:both/train"), ("parquet", "hf:both")]
)
def test_real_images_that_generate_wrote_beside_are_left_out(form, source, folders, tmp_path, monkeypatch):
    (tmp_path / "photos").symlink_to(folders / "photos")
    monkeypatch.chdir(tmp_path)
    how = ["--count", "60", "--include-real", "--format", form, "--workers", "1"]
    assert main(["generate", "photos", "--out", "both", *how]) == 0
    assert main(["report", "photos", source, "--held-out", str(folders / "more-photos")]) == 0
    told = json.loads(Path("report.json").read_text())
    assert told["images"] == {"training": 170, "held_out": 170, "synthetic": 60}
    assert told["words"]["copied"]["scores"]["copies"]["value"] < 0.1
    assert "170 real images" in told["notes"][0]
    assert "left out" in told["notes"][0]


def test_what_is_left_out_is_told_in_a_line_without_a_place_in_the_code(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = shutil.copytree(folders / "made", tmp_path / "made")
    (made / "Trouser" / "raw.nef").write_bytes(b"x")
    assert main(["report", str(folders / "photos"), "made", "--held-out", str(folders / "more-photos")]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(notes) == 1
    assert notes[0].startswith("note: made: 1 files are left out")


def test_classes_are_matched_by_name_and_others_left_out():
    real = ImageSet(IMAGES[:100], LABELS[:100] % 2)
    made = ImageSet(IMAGES[:90], torch.arange(90) % 3)
    sets = Sets.of((real, ["cat", "dog"]), (made, ["dog", "cat", "fox"]), (real, ["cat", "dog"]))
    assert len(sets.synthetic) == 60
    assert sets.synthetic.labels[:2].tolist() == [1, 0]
    assert sets.synthetic.index[:4].tolist() == [0, 1, 3, 4]
    assert "'fox'" in sets.notes[0]


def test_classes_are_found_in_the_folders_that_generate_writes():
    real = ImageSet(IMAGES[:100], LABELS[:100] % 2)
    sets = Sets.of((real, ["T-shirt/top", "dog"]), (real, ["T-shirt%2Ftop", "dog"]), (real, ["T-shirt/top", "dog"]))
    assert len(sets.synthetic) == 100
    assert not sets.notes


def test_without_held_out_images_a_fifth_of_each_class_is_held_out_and_told():
    names = [str(c) for c in range(10)]
    whole = ImageSet(IMAGES, LABELS)
    sets = Sets.of((whole, names), (whole, names))
    assert sets.held_out.counts(10).tolist() == [10] * 10
    assert sets.training.counts(10).tolist() == [40] * 10
    assert not set(sets.training.index.tolist()) & set(sets.held_out.index.tolist())
    assert sets.is_own
    assert "held out here" in sets.notes[0]


def test_images_of_many_kinds_are_read_at_one_size():
    colour = [(to_pil_image(IMAGES[i].repeat(3, 1, 1)).resize((40, 50)), int(LABELS[i])) for i in range(20)]
    grey = (IMAGES[:20], LABELS[:20])
    assert common_look([grey]) == (1, 28)
    assert common_look([grey, colour]) == (3, 28)
    images, names = read_samples(colour, 3, 28)
    assert images.images.shape == (20, 3, 28, 28)
    assert images.images.dtype == torch.uint8
    assert [names[i] for i in images.labels.tolist()] == [str(int(label)) for label in LABELS[:20]]
    assert torch.equal(read_samples(grey, 1, 28)[0].images, IMAGES[:20])
    with pytest.raises(ValueError, match="20 images and 3 labels"):
        as_pairs((IMAGES[:20], LABELS[:3]))


def test_features_of_ones_own_are_taken_and_named():
    def columns(x):
        assert x.dtype == torch.float32
        assert 0 <= float(x.min()) <= float(x.max()) <= 1
        return x.mean(2).flatten(1)

    parts = [ImageSet(IMAGES[i::3], LABELS[i::3] // 5) for i in range(3)]
    report = make_report(Sets.of(*((part, ["a", "b"]) for part in parts)), features=columns, show=False)
    assert "columns" in report.features
    for wrong, error in ((lambda x: x, ValueError), (3, TypeError)):
        with pytest.raises(error, match="features"):
            make_report(Sets.of(*((part, ["a", "b"]) for part in parts)), features=wrong, show=False)


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    names = python_blocks(REPORT, tmp_path, monkeypatch)
    assert names["report"].counts == {"training": 200, "held_out": 300, "synthetic": 200}
    assert not {"copied", "missing", "label truth"} & set(names["report"].flagged), str(names["report"])
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_samples_need_a_fit():
    with pytest.raises(RuntimeError, match="fit"):
        VAEAugment.from_pretrained("fashion-mnist").report(IMAGES, LABELS)


def test_importing_the_package_imports_no_library_of_the_report():
    import subprocess
    import sys

    code = "import sys, vae_augment; assert not {'sklearn', 'scipy', 'torchmetrics', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
