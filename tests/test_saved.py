"""`SyntheticDataset.save` writes sets that others read, with the counts that were asked for, and the same bytes each time."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import PIL.Image
import pytest
import torch
from torch.utils.data import Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from tests.conftest import FEW, IMAGES, LABELS, nearest_class
from tests.written_sets import FORMATS, Garments, load, metadata, new_by_class, tree
from vae_augment import SyntheticDataset, VAEAugment
from vae_augment.demo_data import FASHION_CLASSES
from vae_augment.export.names import folder_names
from vae_augment.source import open_source

NAMES = list(FASHION_CLASSES)
NAMELESS = {"synthetic", "strength", "novelty", "seed", "weights", "revision"}


@pytest.fixture(scope="module")
def garments():
    """The shipped sample with as many synthetic images, fitted once."""
    return SyntheticDataset(open_source("sample"), 1.0, "fashion-mnist")


def unbalanced():
    """Ten images of trousers and three of bags."""
    chosen = [*(LABELS == 1).nonzero()[:10, 0], *(LABELS == 8).nonzero()[:3, 0]]
    return Garments([(v2.functional.to_pil_image(IMAGES[i]), NAMES[LABELS[i]]) for i in chosen])


def test_a_folder_of_images_is_read_by_torchvision_and_datasets(garments, tmp_path):
    folder = garments.save(tmp_path / "set", workers=1)
    images = ImageFolder(folder / "train", loader=PIL.Image.open)
    assert (len(images), images.classes) == (500, sorted(NAMES))
    read = load("imagefolder", data_dir=folder, cache=tmp_path / "cache")
    assert {"image", "label", "source_index", *NAMELESS} == set(read.features)
    assert type(read.features["image"]).__name__ == "Image"
    by_file = {Path(path).name: image for (path, _), (image, _) in zip(images.samples, images, strict=True)}
    # versions of datasets differ in the order of files
    (first,) = (row for row in read if row["image"].tobytes() == by_file["000000.png"].tobytes())
    written = json.loads((folder / "train" / "metadata.jsonl").read_text().splitlines()[0])
    assert {name: first[name] for name in written if name != "file_name"} == {
        name: value for name, value in written.items() if name != "file_name"
    }
    assert (first["image"].mode, first["image"].size) == ("L", (28, 28))
    encoded = read.class_encode_column("label")
    assert encoded.features["label"].names == sorted(NAMES)
    again = open_source(str(folder))  # by this package's own commands: train, report
    assert (len(again), again.classes) == (500, sorted(NAMES))


def test_parquet_has_images_and_classes_as_features(garments, tmp_path):
    folder = garments.save(tmp_path / "set", format="parquet", include_real=True, workers=1)
    import datasets

    read = load(folder, cache=tmp_path / "cache")
    assert read.features["label"] == datasets.ClassLabel(names=NAMES)
    assert read.features["image"] == datasets.Image()
    assert (len(read), sum(read["synthetic"])) == (1000, 500)
    source = open_source("sample")
    assert read[7]["image"].tobytes() == source[7][0].tobytes(), "real images come first, as they are"
    assert read["label"][:500] == source.targets
    assert [read["label"][i] for i in range(500, 1000)] == [source.targets[i] for i in read["source_index"][500:]]
    assert len(open_source(f"hf:{folder}")) == 1000


def test_webdataset_has_an_image_a_class_and_what_is_known(garments, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    folder = garments.save(tmp_path / "set", format="webdataset", counts={"Bag": 3, 9: 2}, workers=1)
    (file,) = (folder / "data").iterdir()
    samples = list(webdataset.WebDataset(str(file), shardshuffle=False).decode("pil").to_tuple("png", "cls", "json"))
    assert sorted(cls for _, cls, _ in samples) == [8, 8, 8, 9, 9]
    assert all(known["label"] == {8: "Bag", 9: "Ankle boot"}[cls] for _, cls, known in samples)
    assert samples[0][0].size == (28, 28)
    assert {"label", "source_index", *NAMELESS} == set(samples[0][2])


def test_each_way_of_writing_holds_the_same_images(garments, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    folders = {form: garments.save(tmp_path / form, format=form, workers=1) for form in FORMATS}
    parquet = [image.tobytes() for image in load(folders["parquet"], cache=tmp_path / "cache")["image"]]
    files = load("imagefolder", data_dir=folders["imagefolder"], cache=tmp_path / "cache")["image"]
    tar = webdataset.WebDataset(str(*(folders["webdataset"] / "data").iterdir()), shardshuffle=False)
    tars = [PIL.Image.open(io.BytesIO(sample["png"])) for sample in tar]
    assert parquet == [image.tobytes() for image in tars]
    assert sorted(parquet) == sorted(image.tobytes() for image in files), (
        "in an order that versions of datasets differ in"
    )
    assert len(set(parquet)) == 500, "no image is written twice"


def test_images_show_their_class_and_are_no_copies(garments, tmp_path):
    images = ImageFolder(garments.save(tmp_path / "set", workers=1) / "train", loader=PIL.Image.open)
    pixels = torch.stack([v2.functional.pil_to_tensor(image) for image, _ in images])
    truth = torch.tensor([NAMES.index(images.classes[target]) for target in images.targets])
    assert (nearest_class(pixels / 255) == truth).float().mean() > 0.7
    assert not {image.numpy().tobytes() for image in pixels} & {image.numpy().tobytes() for image in IMAGES}


def test_counts_by_class_fill_the_smallest_first(tmp_path):
    dataset = SyntheticDataset(unbalanced(), 1.0, "fashion-mnist")
    folder = dataset.save(tmp_path / "even", per_class=12, include_real=True, workers=1)
    assert Counter(row["label"] for row in metadata(folder)) == {"Trouser": 12, "Bag": 12}
    assert new_by_class(folder) == {"Bag": 9, "Trouser": 2}
    added = [row["label"] for row in metadata(folder) if row["synthetic"]]
    assert set(added[:7]) == {"Bag"}, "the smallest class first"
    folder = dataset.save(tmp_path / "five", per_class=5, workers=1)
    assert new_by_class(folder) == {"Bag": 2}, "a class that has more gets none"
    folder = dataset.save(tmp_path / "counts", counts={"Trouser": 4}, workers=1)
    assert new_by_class(folder) == {"Trouser": 4}
    assert sorted(row["source_index"] for row in metadata(folder)) == [0, 1, 2, 3]
    labels = [
        row["label"] for row in metadata(dataset.save(tmp_path / "m", counts={"Trouser": 50, "Bag": 50}, workers=1))
    ]
    assert 15 < labels[:50].count("Bag") < 35, "a file holds samples of all classes"
    with pytest.raises(
        ValueError, match="each class has 3 samples or more, so that 3 per class need no synthetic ones"
    ):
        dataset.save(tmp_path / "none", per_class=3)
    image = PIL.Image.open(next((tmp_path / "even" / "train" / "Bag").iterdir()))
    assert image.size == (28, 28), "before the transform of the base"


def test_real_images_do_not_change_the_synthetic_ones(garments, tmp_path):
    alone = garments.save(tmp_path / "alone", counts={"Bag": 5}, workers=1)
    beside = garments.save(tmp_path / "beside", counts={"Bag": 5}, include_real=True, workers=1)
    bags = sorted((beside / "train" / "Bag").iterdir())
    assert len(bags) == 50 + 5
    assert [path.read_bytes() for path in bags[50:]] == [
        p.read_bytes() for p in sorted((alone / "train" / "Bag").iterdir())
    ]


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_workers(garments, tmp_path):
    few = [garments.writer(tmp_path / name / "set", shard_size=100) for name in "abc"]
    for writer, workers in zip(few, (1, 2, 3), strict=True):
        writer.run(workers)
    assert tree(tmp_path / "a") == tree(tmp_path / "b") == tree(tmp_path / "c")
    state = torch.random.get_rng_state()
    other = garments.save(tmp_path / "d" / "set", seed=1)
    assert torch.equal(torch.random.get_rng_state(), state), "the user's generator is left alone"
    images = [
        {name: png for name, png in tree(folder).items() if name.startswith("train/")}
        for folder in (other, few[0].folder)
    ]
    assert images[0].keys() == images[1].keys()
    assert {name for name in images[0] if images[0][name] == images[1][name]} == set(), "another seed, other images"


def test_workers_may_be_spawned_and_threads_do_not_matter(garments, tmp_path):
    code = """
import multiprocessing, sys, torch
from vae_augment import SyntheticDataset
from vae_augment.source import open_source
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    torch.set_num_threads(2)
    dataset = SyntheticDataset(open_source("sample"), 1.0, "fashion-mnist")
    dataset.writer(sys.argv[1], shard_size=250).run(2)
"""
    (tmp_path / "program.py").write_text(code)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, tmp_path / "program.py", tmp_path / "spawned" / "set"]
    subprocess.run(command, check=True, timeout=120, env=environment)
    garments.writer(tmp_path / "here" / "set", shard_size=250).run(1)
    assert tree(tmp_path / "spawned") == tree(tmp_path / "here")


def test_another_callable_may_make_the_images(tmp_path):
    flip = SyntheticDataset([(image, label) for image, label in FEW], 1.0, v2.RandomAffine(20))
    folders = [flip.save(tmp_path / name / "set", workers=1) for name in "ab"]
    assert tree(folders[0]) == tree(folders[1])
    assert {row["weights"] for row in metadata(folders[0])} == {""}
    assert "a function of the user's" in (folders[0] / "README.md").read_text()


def test_the_code_on_the_card_runs(garments, tmp_path):
    pytest.importorskip("webdataset")
    for form in FORMATS:
        folder = garments.save(tmp_path / form, format=form, counts={"Bag": 4, "Coat": 1}, workers=1)
        code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
        script = f"{code}\nprint('rows', sum(1 for _ in images))"
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert "rows 5" in done.stdout, done.stderr


def test_no_data_of_a_photograph_but_its_pixels_is_written(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x010F] = "a camera's name"
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(2):
            PIL.Image.new("RGB", (32, 32), (i, 9, 9)).save(tmp_path / "photos" / name / f"{i}.jpg", exif=exif)
    dataset = SyntheticDataset(open_source(str(tmp_path / "photos")), 1.0, "cifar10", fit=False)
    files = tree(dataset.save(tmp_path / "set", include_real=True, workers=1))
    assert len([name for name in files if name.endswith(".png")]) == 9
    assert not any(b"a camera" in content for content in files.values())


def test_class_names_that_no_file_system_allows(tmp_path):
    names = [
        "../../etc",
        "a/b",
        "Bag",
        "bag",
        "test",
        "a test 2",
        "CON",
        ".hidden",
        "x" * 300,
        "e\u202e[*]?",
        "",
        "lost+found",
    ]
    names += ["end. ", "50%74est", "train", "a:b\\c|d\n", "NUL.txt", "__dunder"]
    base = Garments([(v2.functional.to_pil_image(IMAGES[i]), i % len(names)) for i in range(2 * len(names))])
    base.classes = names
    dataset = SyntheticDataset(base, 1.0, "fashion-mnist", fit=False)
    folder = dataset.save(tmp_path / "in" / "set", workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"], "nothing is written elsewhere"
    folders = [path.name for path in (folder / "train").iterdir() if path.is_dir()]
    assert len({name.casefold() for name in folders}) == len(names)
    assert all(len(name.encode()) < 255 and name.isprintable() for name in folders)
    assert len(ImageFolder(folder / "train")) == len(open_source(str(folder))) == 2 * len(names)
    rows = load("imagefolder", data_dir=folder, cache=tmp_path / "cache")
    assert Counter(rows["label"]) == dict.fromkeys(names, 2)
    text = (folder / "README.md").read_text()
    assert all(line.isprintable() for line in text.splitlines())
    parquet = load(dataset.save(tmp_path / "in" / "rows", format="parquet", workers=1), cache=tmp_path / "cache")
    assert parquet.features["label"].names == names


def test_folder_names_are_stable_and_each_another():
    assert folder_names(["cat", "dog 1", "crème brûlée"]) == ["cat", "dog 1", "crème brûlée"]
    assert folder_names(["A", "a", "a~2"]) == ["A", "a~2", "a%7E2"]
    assert len({name.casefold() for name in folder_names(["ß", "ss", "SS", "ﬀ", "ff"])}) == 5


def test_options_of_save_are_checked(garments, tmp_path):
    wrong = {
        "format must be one of imagefolder, parquet, webdataset, got 'hdf5'": {"format": "hdf5"},
        "give one of them": {"per_class": 60, "counts": {"Bag": 3}},
        "no class 'Bags': did you mean 'Bag'": {"counts": {"Bags": 3}},
        "at least 0, got -1": {"counts": {"Bag": -1}},
        "counts ask for no sample": {"counts": {"Bag": 0}},
        "more than a set may have": {"per_class": 10**9},
    }
    for told, options in wrong.items():
        with pytest.raises(ValueError, match=told):
            garments.save(tmp_path / "set", **options)
    with pytest.raises(ValueError, match=r"ratio=0 of 100 samples makes no synthetic ones: raise it"):
        SyntheticDataset(FEW, 0, "fashion-mnist").save(tmp_path / "set")
    clouds = [(torch.rand(4, 8, 8), 0), (torch.rand(4, 8, 8), 1)]
    with pytest.raises(ValueError, match=r"1 or 3 channels, and a sample's has the shape \(4, 8, 8\)"):
        SyntheticDataset(clouds, 1.0, lambda image: image).save(tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_labels_may_lie_anywhere_or_nowhere(tmp_path):
    rows = [{"photo": image, "kind": NAMES[label]} for image, label in FEW]
    dataset = SyntheticDataset(rows, 0.1, "fashion-mnist", labels="kind", image_key="photo")
    assert set(new_by_class(dataset.save(tmp_path / "a", workers=1))) <= set(NAMES)
    bare = SyntheticDataset([image for image, _ in FEW], 0.1, "fashion-mnist")
    assert "label" not in metadata(bare.save(tmp_path / "b", workers=1))[0]
    with pytest.raises(ValueError, match="need samples with a label"):
        bare.save(tmp_path / "c", per_class=5)
    part = SyntheticDataset(Subset(Garments(FEW), range(20)), 0.5, VAEAugment.from_pretrained("fashion-mnist"))
    assert len(metadata(part.save(tmp_path / "d", workers=1))) == 10
