"""`vae-augment generate` writes what was asked for, goes on where it was, and tells each wrong use in one line."""

import argparse
import multiprocessing
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import functional as F

from tests.written_sets import load, metadata, new_by_class, tree
from vae_augment.__main__ import OneLineParser, main
from vae_augment.commands import generate
from vae_augment.demo_data import fashion_sample

NAMELESS = {"synthetic", "strength", "novelty", "seed", "weights", "revision"}


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """Run the verb in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = main(["generate", *map(str, arguments)])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("asked", "new"),
    [(["--count", 7], 7), (["--ratio", 0.05], 25), (["--share", 0.2], 125), (["--per-class", 51], 10)],
)
def test_the_command_writes_as_many_as_were_asked_for(command, asked, new, tmp_path):
    code, out, err = command("sample", "--out", "set", *asked, "--workers", 1)
    assert (code, err) == (0, "")
    found, made = out.splitlines()
    assert found.startswith("10 classes: T-shirt (50), Trouser (50), ")
    assert re.search(r"\. Weights: fashion-mnist\. Of \d+ labels held out they find \d+%$", found)
    assert made.startswith(f"set: {new} synthetic images of {min(new, 10)} classes, imagefolder, in ")
    assert len(metadata(tmp_path / "set")) == sum(new_by_class(tmp_path / "set").values()) == new


def test_of_images_larger_than_the_weights_draw_it_is_told_and_only_classes_that_are_made_count(command, tmp_path):
    images, labels = fashion_sample()
    for i in range(60):
        folder = tmp_path / "photos" / str(int(labels[i]) % 2)
        folder.mkdir(parents=True, exist_ok=True)
        F.to_pil_image(images[i]).resize((70, 90)).save(folder / f"{i}.png")
    code, out, _ = command("photos", "--out", "set", "--counts", "1=5", "--weights", "fashion-mnist", "--workers", 1)
    found, made = out.splitlines()
    assert code == 0
    assert (
        "Weights: fashion-mnist, which draw 28x28 pixels: new images lack finer detail, that yours of 70x90 may have"
        in found
    )
    assert made.startswith("set: 5 synthetic images of 1 class, imagefolder, in ")
    assert "5 synthetic images of 1 class, made by" in (tmp_path / "set" / "README.md").read_text()


def test_weights_alone_give_images_without_classes(command, tmp_path):
    code, out, _ = command("mnist", "--out", "digits", "--count", 20, "--novelty", 0.5)
    assert (code, out.startswith("digits: 20 synthetic images, imagefolder")) == (0, True)
    read = load("imagefolder", data_dir=tmp_path / "digits", cache=tmp_path / "cache")
    assert set(read.features) == {"image", *NAMELESS}
    assert read[3]["novelty"] == 0.5
    assert len({image.tobytes() for image in read["image"]}) == 20
    code, _, _ = command("mnist", "--out", "rows", "--count", 20, "--novelty", 0.5, "--format", "parquet")
    assert [image.tobytes() for image in load(tmp_path / "rows", cache=tmp_path / "cache")["image"]] == [
        image.tobytes() for image in read["image"]
    ]


def test_photographs_keep_their_size_and_are_varied_by_strength(command, tmp_path):
    for name, grey in (("a", 60), ("b", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            PIL.Image.new("RGB", (40 + i, 30), (grey, 0, 0)).save(tmp_path / "photos" / name / f"{i}.jpg")
    code, out, err = command("photos", "--out", "set", "--count", 8, "--strength", 0.5, "--weights", "cifar10")
    assert (code, err) == (0, "")
    images = ImageFolder(tmp_path / "set" / "train", loader=PIL.Image.open)
    assert sorted(image.size for image, _ in images) == sorted([(40 + i, 30) for i in range(4)] * 2)
    assert {row["strength"] for row in metadata(tmp_path / "set")} == {0.5}
    assert out.splitlines()[0] == "2 classes: a (4), b (4). Weights: cifar10", "nothing is fitted"


def test_where_classes_are_not_told_apart_and_images_are_varied_none_is_said_to_show_another(command, tmp_path):
    images, _ = fashion_sample()
    for i, image in enumerate(images[:200]):
        folder = tmp_path / "mixed" / "ab"[i // 10 % 2]  # of ten images each is of another kind
        folder.mkdir(parents=True, exist_ok=True)
        F.to_pil_image(image).save(folder / f"{i}.png")
    code, out, _ = command("mixed", "--out", "set", "--count", 4, "--weights", "fashion-mnist")
    assert (code, "labels held out they find" in out) == (0, True)
    assert "another class" not in out


def test_the_card_says_how_many_how_and_what_is_given_away(command, tmp_path):
    import yaml

    command("sample", "--out", tmp_path / "set", "--counts", "Bag=12,Coat=3", "--include-real", "--workers", 1)
    text = (tmp_path / "set" / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert (front["license"], front["task_categories"]) == ("unknown", ["image-classification"])
    assert "synthetic" in front["tags"]
    assert "\n| Bag | 50 | 12 |\n| Ankle boot | 50 | 0 |\n" in text
    assert "\nvae-augment generate sample --out set --counts Bag=12,Coat=3 --include-real\n" in text
    for said in (
        "Licence:** unknown",
        "Synthetic does not mean private",
        "It holds 500 real images",
        "decodes to a likeness",
    ):
        assert said in text
    picture = PIL.Image.open(tmp_path / "set" / ".vae-augment" / "gallery.png")
    assert picture.size == (8 * 66 - 2, 2 * 66 - 2), "two classes, eight images of one"
    everything = "".join(content.decode("latin1") for content in tree(tmp_path / "set").values())
    assert str(tmp_path) not in everything, "no path of this machine"


WRONG = {
    "no amount": (
        ["sample", "--out", "o"],
        "one of the arguments --count --ratio --share --per-class --counts is required",
    ),
    "two amounts": (["sample", "--out", "o", "--ratio", "1", "--count", "3"], "not allowed with"),
    "no number": (
        ["sample", "--out", "o", "--count", "many"],
        "'many' is no whole number from 1 to 10000000: write one",
    ),
    "no images": (
        ["sample", "--out", "o", "--ratio", "0"],
        "'0' is no number above 0: write synthetic images for each real",
    ),
    "a share of all": (["sample", "--out", "o", "--share", "1"], "'1' is no number between 0 and 1: write"),
    "novelty": (
        ["sample", "--out", "o", "--count", "3", "--novelty", "1.5"],
        "'1.5' is no number from 0 to 1: write one",
    ),
    "counts": (
        ["sample", "--out", "o", "--counts", "Bag:5"],
        "does not say how many of which class: write CLASS=NUMBER",
    ),
    "twice": (["sample", "--out", "o", "--counts", "Bag=5,Bag=6"], "'Bag' is counted twice: write each class once"),
    "unknown class": (
        ["sample", "--out", "o", "--counts", "bags=5"],
        "no class 'bags': did you mean 'Bag'? There are 'T-sh",
    ),
    "enough already": (["sample", "--out", "o", "--per-class", "50"], "ask for more than 50"),
    "format": (["sample", "--out", "o", "--count", "3", "--format", "hdf5"], "invalid choice: 'hdf5' (choose from"),
    "no source": (["nowhere", "--out", "o", "--count", "3"], "no data set 'nowhere': write a folder with one folder"),
    "no weights": (["sample", "--out", "o", "--count", "3", "--weights", "mnits"], "Did you mean 'mnist'?"),
    "classes of weights": (["mnist", "--out", "o", "--per-class", "3"], "write --count N, or name a folder of images"),
    "real of weights": (["mnist", "--out", "o", "--count", "3", "--include-real"], "leave --include-real out"),
    "both kinds": (
        ["sample", "--out", "o", "--count", "3", "--strength", "1", "--novelty", "0"],
        "leave one of them out",
    ),
    "full folder": (
        ["sample", "--out", "full", "--count", "3"],
        "full holds other things (mine.txt): name a folder that is new",
    ),
    "a file": (["sample", "--out", "full/mine.txt", "--count", "3"], "is a file: name a folder that is new or empty"),
    "unknown flag": (["sample", "--out", "o", "--count", "3", "--classes", "3"], "unrecognized arguments: --classes"),
}


@pytest.mark.parametrize(("arguments", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_use_is_one_line_with_the_remedy_and_exit_code_2(command, tmp_path, arguments, told):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert told in err
    assert not (tmp_path / "o").exists()


def test_a_missing_library_is_told_before_any_work(tmp_path):
    code = """
import sys
sys.modules["webdataset"] = None
from vae_augment.__main__ import main
sys.exit(main(["generate", "sample", "--out", "o", "--count", "3", "--format", "webdataset"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    needed = "error: webdataset needs the library webdataset: pip install 'vae-augment[write]' ("
    assert done.stderr.startswith(needed)
    assert done.stderr.count("\n") == 1
    assert done.returncode == 2
    assert not (tmp_path / "o").exists()


def test_another_command_over_a_begun_folder_is_refused(command, tmp_path):
    code, _, _ = command("mnist", "--out", "in/set", "--count", 5)
    before = tree(tmp_path / "in" / "set")
    code, _, err = command("mnist", "--out", "in/set", "--count", 6)
    assert code == 2
    assert "in/set was begun by another command, vae-augment generate mnist --out set --count 5: repeat that one" in err
    code, out, _ = command("mnist", "--out", "in/set", "--count", 5)
    assert (code, out) == (0, "in/set is whole: nothing was left to do\n")
    assert tree(tmp_path / "in" / "set") == before
    plan = tmp_path / "in" / "set" / ".vae-augment" / "plan.json"
    plan.write_text(plan.read_text().replace('"seed": 0', '"seed": 7'))
    code, _, err = command("mnist", "--out", "in/set", "--count", 5)
    assert (code, "begun by the same command, of other images or weights" in err) == (2, True)
    plan.write_text("[]")
    code, _, err = command("mnist", "--out", "in/set", "--count", 5)
    assert (code, "another command, a command that cannot be read" in err) == (2, True)


def test_a_damaged_image_is_named_and_the_same_command_goes_on_once_it_is_mended(command, photos, tmp_path):
    images = sorted((tmp_path / "photos" / "cat").iterdir())
    whole = images[25].read_bytes()
    images[25].write_bytes(whole[:-200])
    arguments = ["photos", "--out", "set", "--count", "200", "--strength", "1", "--weights", "fashion-mnist"]
    code, _, err = command(*arguments)
    assert (code, err.count("\n")) == (1, 1)
    assert images[25].name in err
    images[25].write_bytes(whole)
    assert command(*arguments)[0] == 0
    assert len(metadata(tmp_path / "set")) == 200


def test_a_disk_that_is_full_is_one_line_and_the_same_command_goes_on(command, tmp_path):
    arguments = ["sample", "--out", "set", "--count", "400", "--format", "parquet", "--shard-size", "200"]

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))  # bytes of one file

    # workers of other start methods are sent files that are larger
    workers = "2" if multiprocessing.get_all_start_methods()[0] == "fork" else "1"
    done = subprocess.run(
        [sys.executable, "-m", "vae_augment", "generate", *arguments, "--workers", workers],
        cwd=tmp_path, preexec_fn=limited, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: [Errno 27] File too large: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "set").rglob("*.parquet")] == [], "nothing half-written"
    assert not (tmp_path / "set" / "README.md").exists()
    assert command(*arguments, "--workers", "1")[0] == 0
    assert len(list((tmp_path / "set").rglob("*.parquet"))) == 2


def test_a_folder_that_cannot_be_made_is_one_line(command, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = command("sample", "--out", "file/set", "--count", 3)
    assert (code, err.count("\n")) == (1, 1)
    assert "file/set" in err


@pytest.fixture
def photos(tmp_path):
    """Garments as cats and dogs, in folders."""
    images, labels = fashion_sample()
    for name, target in (("cat", 1), ("dog", 8)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in (labels == target).nonzero()[:, 0].tolist():
            F.to_pil_image(images[i]).save(tmp_path / "photos" / name / f"{i}.png")


def test_the_commands_and_the_code_of_the_page_run(command, photos, monkeypatch, tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "synthetic.md").read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = [line for language, text in blocks if language == "bash" for line in text.splitlines()]
    own = [shlex.split(line)[2:] for line in lines if line.startswith("vae-augment generate")]
    assert len(own) >= 7
    for words in own:
        fewer = ["100" if word == "2000" else word for word in words]
        assert command(*fewer, "--workers", 1)[0] == 0, words
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    names: dict[str, object] = {}
    for language, text in blocks:
        if language == "python":
            exec(compile(text, "docs/synthetic.md", "exec"), names)
    assert len(metadata(names["folder"])) == 600
    parser = OneLineParser()
    generate.add_arguments(parser)
    for line in lines:
        if "generate" in line:  # those of several machines
            parser.parse_args(shlex.split(line.partition("generate ")[2].removesuffix("'")))


def test_the_examples_of_the_help_parse():
    parser = OneLineParser()
    generate.add_arguments(parser)
    lines = [line.split("   ")[0].strip() for line in (generate.__doc__ or "").splitlines()]
    examples = [line.partition("generate ")[2] for line in lines if line.startswith(("vae-augment ", "torchrun "))]
    assert len(examples) >= 7
    for example in examples:
        options = parser.parse_args(shlex.split(example))
        assert isinstance(options, argparse.Namespace)
        assert generate.command(options).startswith("vae-augment generate ")


def test_so_many_in_all_are_split_as_the_classes_are(command, tmp_path):
    assert command("sample", "--out", "set", "--count", "100")[0] == 0
    assert set(new_by_class(tmp_path / "set").values()) == {10}
