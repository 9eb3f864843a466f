"""Previews: a grid of originals and of what becomes of them, from Python and from the command line."""

import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch.utils.data import Subset
from torchvision import tv_tensors
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import functional as F

from tests.conftest import FEW, IMAGES, LABELS
from vae_augment import LatentBank, LocalNoise, VAEAugment
from vae_augment.__main__ import main
from vae_augment.app import Subject
from vae_augment.demo_data import FASHION_CLASSES
from vae_augment.source import open_source

pytest.importorskip("matplotlib")

JITTERS = ["PosteriorSample", "Interpolate", "Extrapolate", "LocalNoise"]
PAGE = Path(__file__).parents[1] / "docs" / "preview.md"
NOVELTIES = ["novelty 0", "novelty 0.5", "novelty 0.85", "novelty 1"]


@pytest.fixture(scope="module")
def garments() -> VAEAugment:
    return VAEAugment.from_pretrained("fashion-mnist")


def texts(figure):
    return [text.get_text() for text in figure.texts]


def cells(figure):
    """The pictures of a figure's PNG file, row by row: uint8 arrays (H, W, 3), as they were drawn."""
    picture = np.asarray(PIL.Image.open(io.BytesIO(figure.to_png())).convert("RGB"))
    height, width = picture.shape[:2]
    places = {}
    for axes in figure.axes:
        left, bottom, right, top = axes.get_position().extents
        box = round((1 - top) * height), round((1 - bottom) * height), round(left * width), round(right * width)
        places[box[0], box[2]] = picture[box[0] : box[1], box[2] : box[3]]
    rows = sorted({y for y, _ in places})
    return [[cell for (y, _), cell in sorted(places.items()) if y == row] for row in rows]


def at_size(cell, side=28):
    """A grey cell back at its image's own size, uint8 (1, H, W)."""
    assert (cell == cell[..., :1]).all()
    factor = len(cell) // side
    middle = cell[factor // 2 :: factor, factor // 2 :: factor]
    # matplotlib before 3.11 draws some edges of pixels one pixel beside
    assert (cell == np.kron(middle, np.ones((factor, factor, 1), np.uint8))).mean() > 0.9
    return torch.from_numpy(middle[..., 0].copy())[None]


def test_there_is_a_cell_for_each_image_strength_and_jitter(garments):
    figure = garments.preview(IMAGES, rows=5, strengths=(0, 0.25, 3))
    titles = ["original", "strength 0", "strength 0.25", "strength 3", *JITTERS]
    assert texts(figure) == titles
    assert [len(row) for row in cells(figure)] == [len(titles)] * 5


def test_originals_and_strength_0_are_the_images_themselves(garments):
    grid = cells(garments.preview(IMAGES[:4], strengths=[0.0, 1.0], jitters=()))
    for image, (original, unmoved, moved) in zip(IMAGES, grid, strict=False):
        assert (at_size(original) == image).all()
        assert (at_size(unmoved) == image).all()
        assert (at_size(moved) != image).any()


def test_a_column_is_what_the_transform_makes_by_that_seed(garments):
    grid = cells(garments.preview(IMAGES[:4], strengths=[1.5], jitters=[LocalNoise()], seed=7))
    for column, augment in (
        (1, VAEAugment.from_pretrained("fashion-mnist", strength=1.5)),
        (2, VAEAugment.from_pretrained("fashion-mnist", jitter=LocalNoise())),
    ):
        new = augment.vary_all(list(IMAGES[:4]), generator=torch.Generator().manual_seed(7))
        assert all((at_size(row[column]) == one).all() for row, one in zip(grid, new, strict=True))


def test_one_seed_one_picture_and_no_chance_is_used_up(garments):
    before = torch.get_rng_state()
    first, again, other = (garments.preview(IMAGES, rows=2, seed=seed).to_png() for seed in (3, 3, 4))
    assert first == again != other
    assert (torch.get_rng_state() == before).all()


def test_a_transform_stays_as_it_is(fitted):
    import copy

    augment = copy.copy(fitted)
    augment.p, augment.strength, augment.novelty = 0.0, 0.7, 0.3
    figure = augment.preview(IMAGES[:1], strengths=[1.0], jitters=())
    assert (augment.p, augment.strength, augment.novelty, augment.classes) == (0.0, 0.7, 0.3, tuple(range(10)))
    original, *others = cells(figure)[0]
    assert len(others) == 5
    assert all((original != cell).any() for cell in others)  # whatever p says, it is shown


def test_after_a_fit_there_are_new_images_of_each_class(fitted):
    figure = fitted.preview(FEW[:10], rows=10, strengths=(), jitters=())
    assert texts(figure) == ["original", *NOVELTIES, *map(str, range(10))]
    grid = cells(figure)
    images, labels = [image for image, _ in FEW[:10]], [label for _, label in FEW[:10]]
    expected = fitted.vary_all(images, labels, torch.Generator().manual_seed(0))  # at its own novelty, 0.85
    assert all((at_size(row[3]) == new).all() for row, new in zip(grid, expected, strict=True))


def test_without_labels_new_images_are_of_the_nearest_class(fitted):
    figure = fitted.preview(IMAGES[:3], strengths=(), jitters=())
    assert texts(figure) == ["original", *NOVELTIES]
    assert texts(fitted.preview(IMAGES[:3], LABELS[:3], strengths=(), jitters=()))[5:] == ["0", "1", "2"]


def test_every_kind_of_image_is_shown(image, vae):
    augment = VAEAugment(vae)
    if isinstance(image, torch.Tensor) and image.ndim > 4:
        with pytest.raises(ValueError, match=r"single images \(C, H, W\), and sample 0 has the shape"):
            augment.preview(image)
        return
    is_many = isinstance(image, torch.Tensor) and image.ndim == 4
    grid = cells(augment.preview(image, strengths=[0.0]))
    assert len(grid) == (min(6, len(image)) if is_many else 1)
    assert all((row[0] == row[1]).all() for row in grid)
    assert all((augment.preview([part]).to_png()[:4] == b"\x89PNG") for part in (image if is_many else [image]))


def test_without_a_bank_jitters_that_need_one_are_left_out(vae):
    assert texts(VAEAugment(vae).preview(IMAGES[:1], strengths=())) == ["original", "PosteriorSample"]


def test_of_a_large_network_no_gain_is_solved(vae, monkeypatch):
    monkeypatch.setattr("vae_augment.preview.columns.LARGE", 0)
    augment = VAEAugment(vae)
    assert texts(augment.preview(IMAGES[:1], strengths=())) == ["original"]
    assert texts(augment.calibrate(IMAGES).preview(IMAGES[:1], strengths=())) == ["original", "PosteriorSample"]


def test_images_of_many_channels_are_shown_in_three_colours():
    from vae_augment import VAE, VAEConfig

    augment = VAEAugment(VAE(VAEConfig(latent_dim=8, width=16, neck=4, channels=5)))
    assert len(augment.preview(torch.rand(2, 5, 28, 28)).axes) == 2 * 5


def test_photographs_are_made_smaller(vae):
    photograph = F.resize(F.to_pil_image(IMAGES[3].expand(3, -1, -1)), [1500, 2400])
    figure = VAEAugment(vae).preview([photograph, photograph.rotate(90, expand=True)])
    for row, shape in zip(cells(figure), [(120, 192), (192, 120)], strict=True):
        assert {cell.shape[:2] for cell in row} == {shape}


def test_rows_are_called_as_their_classes(tmp_path, garments):
    for name, image in (("$5", IMAGES[0]), ("a name that is longer than there is room", IMAGES[1])):
        (tmp_path / name).mkdir()
        F.to_pil_image(image).save(tmp_path / name / "1.png")
    for dataset in (ImageFolder(tmp_path), Subset(ImageFolder(tmp_path), [0, 1]), open_source(str(tmp_path))):
        figure = garments.preview(dataset, strengths=(), jitters=())
        assert texts(figure) == ["original", "$5", "a name that is longer t…"]
        assert figure.to_png()


def test_a_figure_shows_itself_and_leaves_pyplot_alone():
    program = (
        "import sys; from vae_augment import VAEAugment; from vae_augment.demo_data import fashion_sample\n"
        "assert not {'matplotlib', 'gradio', 'tqdm.auto'} & set(sys.modules), 'imported too soon'\n"
        "figure = VAEAugment.from_pretrained('mnist').preview(fashion_sample()[0][0])\n"
        "assert figure._repr_png_() == figure.to_png()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "from matplotlib.figure import Figure; assert isinstance(figure, Figure)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("missing", ["matplotlib", "gradio"])
def test_without_the_extra_the_remedy_is_told(missing, tmp_path):
    words = ["preview", "sample", "--out", str(tmp_path / "a.png"), *(["--serve"] if missing == "gradio" else [])]
    program = (
        f"import sys; sys.modules[{missing!r}] = None; from vae_augment.__main__ import main; sys.exit(main({words}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "pip install 'vae-augment[app]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"rows": 0}, ValueError, "rows must be an integer from 1 to 100, got 0"),
        ({"rows": 2.5}, ValueError, "rows must be an integer from 1 to 100, got 2.5"),
        ({"seed": -1}, ValueError, "seed must be an integer from 0 to"),
        ({"seed": "one"}, ValueError, "seed must be an integer from 0 to"),
        ({"strengths": [1, -2]}, ValueError, "strength must be a number from 0 to 1000.0, got -2"),
        ({"novelties": [2]}, ValueError, "novelty must be a number from 0 to 1.0, got 2"),
        ({"jitters": ["Noise"]}, TypeError, "jitter must be a callable"),
    ],
)
def test_numbers_out_of_range_are_told(options, error, told, augment):
    with pytest.raises(error, match=told):
        augment.preview(IMAGES, **options)


@pytest.mark.parametrize(
    ("images", "error", "told"),
    [
        ([], ValueError, "there are no images to preview"),
        (IMAGES[:0], ValueError, "there are no images to preview"),
        (IMAGES[0, 0], ValueError, "add one: image"),
        (IMAGES.numpy(), TypeError, "convert ndarrays"),
        (3, TypeError, "expected a map-style data set or a list"),
        ([PIL.Image.new("P", (28, 28))], TypeError, "convert it"),
        ([tv_tensors.Video(IMAGES[:4])], ValueError, "single images"),
        (IMAGES.float(), ValueError, "divide pixels"),
    ],
)
def test_what_is_no_image_is_told(images, error, told, augment):
    with pytest.raises(error, match=told):
        augment.preview(images)


# The command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the command is run: two folders of images, one with classes."""
    monkeypatch.chdir(tmp_path)
    for place in range(60):
        file = tmp_path / "garments" / FASHION_CLASSES[LABELS[place]].replace(" ", "_") / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        F.to_pil_image(IMAGES[place]).save(file)
    (tmp_path / "plain").mkdir()
    for place in range(3):
        F.to_pil_image(IMAGES[place].expand(3, -1, -1)).convert("P").save(tmp_path / "plain" / f"{place}.png")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_the_command_writes_the_same_picture_each_time(folder, capsys):
    assert main(["preview", "garments", "--rows", "2"]) == 0
    assert capsys.readouterr().out == "preview.png: 2 images, weights fashion-mnist, seed 0\n"
    assert main(["preview", "garments", "--rows", "2", "--out", "again.png"]) == 0
    assert main(["preview", "garments", "--rows", "2", "--out", "other.png", "--seed", "1"]) == 0
    first, again, other = ((folder / name).read_bytes() for name in ("preview.png", "again.png", "other.png"))
    assert first == again != other


def test_the_command_draws_what_the_library_does(folder):
    assert main(["preview", "garments", "--rows", "3", "--strengths", "0", "1.5", "--seed", "5"]) == 0
    subject = Subject.open("garments")
    places = subject.places(3)
    assert len({subject.label(place) for place in places}) == 3
    figure = subject.fitted.preview(Subset(open_source("garments"), places), strengths=[0, 1.5], seed=5)
    assert texts(figure)[:8] == ["original", "strength 0", "strength 1.5", *JITTERS, "novelty 0"]
    assert (folder / "preview.png").read_bytes() == figure.to_png()


def test_a_folder_of_classes_is_fitted_and_one_of_images_is_not(folder, capsys):
    assert main(["preview", "garments", "--rows", "4"]) == 0
    with_classes = PIL.Image.open(folder / "preview.png").size
    assert capsys.readouterr().err == ""
    assert main(["preview", "folder:plain", "--rows", "4"]) == 0
    width, height = PIL.Image.open(folder / "preview.png").size
    assert width < with_classes[0] - 4 * 112
    assert height < with_classes[1]
    assert capsys.readouterr().err == "note: No new images of a class: these images have no classes.\n"


def test_photographs_are_turned_upright(folder):
    photograph = F.to_pil_image(IMAGES[3].expand(3, -1, -1)).resize((60, 40))
    photograph.getexif()[0x0112] = 6
    photograph.save(folder / "plain" / "0.jpg", exif=photograph.getexif())
    seen = Subject.open(str(folder / "plain")).image(0)
    assert (seen.size, seen.getexif().get(0x0112)) == ((40, 60), None)


def test_weights_may_be_named(folder, capsys):
    assert main(["preview", "garments", "--weights", "mnist", "--rows", "1"]) == 0
    assert "weights mnist" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--rows", "0"], "argument --rows: must be an integer from 1 to 100, got '0'"),
        (["--rows", "many"], "argument --rows: must be an integer from 1 to 100, got 'many'"),
        (["--seed", "-1"], "argument --seed: must be an integer from 0 to 9223372036854775807, got '-1'"),
        (["--port", "99999"], "argument --port: must be an integer from 1 to 65535, got '99999'"),
        (["--strengths", "strong"], "argument --strengths: must be numbers from 0 to 1000, as 0.5 1 2, got 'strong'"),
        (["--strengths", "-1"], "argument --strengths: must be numbers from 0 to 1000, as 0.5 1 2, got '-1'"),
        (["--strengths", "nan"], "argument --strengths: must be numbers from 0 to 1000, as 0.5 1 2, got 'nan'"),
        (["--out", "a.jpg"], "argument --out: must be the name of a PNG file, as preview.png, got 'a.jpg'"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_wrong_flags_end_in_2_and_a_remedy(flags, told, folder, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["preview", "sample", *flags])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert not (folder / "preview.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "there is no data set 'nowhere'"),
        (["empty"], "no images under empty: expected files named"),
        (["sample", "--out", "nowhere/a.png"], "there is no folder nowhere: make it, or name another file with --out"),
        (["sample", "--weights", "nothing"], "nothing"),
        (["FashionMNIST", "--root", "nowhere"], "FashionMNIST is not under nowhere"),
        (["bands"], "as augment=NAME, or --weights NAME"),
    ],
)
def test_what_is_not_there_ends_in_2_and_a_remedy(words, told, folder, capsys):
    (folder / "bands").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    PIL.Image.fromarray(noise).save(folder / "bands" / "noise.png")
    assert main(["preview", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert told in error
    assert not list(folder.glob("*.png"))


def test_images_of_16_bits_are_refused_in_one_line(folder, capsys):
    PIL.Image.fromarray(np.zeros((28, 28), np.uint16)).save(folder / "plain" / "0.png")
    assert main(["preview", "plain", "--weights", "mnist"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "error: plain/0.png has more than 8 bits a pixel (PIL mode I;16), and which value is white only"
    )


def test_a_damaged_image_is_named_and_the_old_picture_stays(folder, capsys):
    (folder / "preview.png").write_bytes(b"of yesterday")
    (folder / "plain" / "0.png").write_bytes(b"no image")
    assert main(["preview", "plain"]) == 1
    assert "0.png cannot be read" in capsys.readouterr().err
    assert (folder / "preview.png").read_bytes() == b"of yesterday"


def test_the_commands_and_the_code_of_the_page_run(folder):
    (folder / "garments").rename(folder / "photos")
    text = PAGE.read_text(encoding="utf-8")
    (commands,) = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for line in commands.splitlines():
        assert main(shlex.split(line, comments=True)[1:]) == 0
        if " sample " in line:  # whose picture the page shows; as bytes it depends on the processor
            shown, drawn = (PIL.Image.open(file) for file in (PAGE.parent / "preview.png", folder / "preview.png"))
            assert (shown.size, shown.mode) == (drawn.size, drawn.mode)
            assert np.abs(np.asarray(shown).astype(int) - np.asarray(drawn)).mean() < 2
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert f"len(figure.axes)  # {len(names['figure'].axes)}: " in code
    assert (folder / "garments.png").stat().st_size


def test_a_bank_of_ones_own_has_its_jitters(vae):
    augment = VAEAugment(vae, bank=LatentBank.from_images(vae, IMAGES[:50]))
    assert texts(augment.preview(IMAGES[:1], strengths=())) == ["original", *JITTERS]
