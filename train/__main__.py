"""Train a VAE and write a weights folder.

python -m train mnist                       one of the recipes: sample, mnist, fashion-mnist
python -m train mnist --steps 500 --vae.latent_dim 32
python -m train --data folder:PATH --size 64    images of your own, resized to 64x64; or --data hf:NAME
python -m train --config RUN/training.yaml  the same run again
python -m train --resume RUN                go on where a run was stopped
python -m train mnist --push-to-hub ME/mnist   and put the weights on the Hugging Face Hub
torchrun --nproc-per-node 2 -m train mnist     the same run on two GPUs, or in two processes of the CPU
"""

import argparse
import dataclasses
import difflib
import errno
import itertools
import os
import re
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch

try:
    import yaml
    from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
except ImportError as error:
    sys.exit(f"error: training needs {error.name}: pip install 'vae-augment[train]'")

from vae_augment import LatentBank, VAEConfig, Weights, hub
from vae_augment.atomic import atomic_write, remove_parts
from vae_augment.strength import solve_gains
from vae_augment.vae import Whitened

from . import checkpoint, processes
from . import data as datasets
from .card import run_card
from .log import RUN_ID, Log, WandbMode
from .loop import check, train
from .loss import evaluate, knn_purity
from .pictures import contact_sheet, grids
from .recipes import FREE_TO_CHANGE, RECIPES, Recipe, for_images
from .state import check_images

set_parsing_settings(docstring_parse_attribute_docstrings=True)


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, one's part of it, one's largest file


def main(arguments: list[str] | None = None) -> None:
    with processes.joined():
        _main(sys.argv[1:] if arguments is None else arguments)


def _main(given: list[str]) -> None:
    has_name = bool(given) and not given[0].startswith("-")
    name = given[0] if has_name else None
    if name is not None and name not in RECIPES:
        close = difflib.get_close_matches(name.lower(), RECIPES, n=1)
        hint = f". Did you mean {close[0]!r}?" if close else ""
        sys.exit(f"error: no recipe named {name!r}: choose one of {', '.join(RECIPES)}{hint}")
    folder: Path | None = None
    arguments = _with_recipe_first(name, given[has_name:])
    try:
        options = _parser(_starting_recipe(name, arguments)).parse_args(arguments)
        recipe = _recipe(options)
        if options.size not in (None, recipe.vae.size):
            is_new = options.resume is None
            remedy = f"--config: write --vae.size {options.size}" if is_new else "the run, which keeps it"
            raise ValueError(f"--size {options.size} is not the {recipe.vae.size} of {remedy}")
        # of the card, for its reader, who has no checkpoint to resume from
        command = f"{_launcher()} {shlex.join(given if options.resume is None else ['--config', 'training.yaml'])}"
        if options.resume is not None:
            _check_same(recipe, _path(options.resume), _path(options.out or options.resume))
            options.out = options.resume
        if options.push_to_hub is not None:
            hub.check_repo_id(options.push_to_hub)
        folder = (
            _path(options.out) if options.out else _new_folder(name or datasets.short_name(recipe.data) or recipe.data)
        )
        if processes.is_first() and not (options.resume or options.overwrite):
            _check_empty(folder)
        run(recipe, folder, options.root, options.wandb, command, options.push_to_hub, options.resume is not None)
        if options.push_to_hub is not None and processes.is_first():
            _push(folder, options.push_to_hub, options.private, options.endpoint)
    except KeyboardInterrupt:
        sys.exit(f"interrupted{_how_to_go_on(folder)}" if processes.is_first() else 1)
    except (OSError, ValueError, ArithmeticError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            where = Path(error.filename or folder or ".").resolve()
            sys.exit(f"error: no space left to write {where} ({error.strerror}): free some{_how_to_go_on(folder)}")
        sys.exit(f"error: {error}")
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        if processes.is_of_a_lost_one(error):
            remedy = _how_to_go_on(folder) if processes.is_first() else ""
            sys.exit(f"error: process {processes.rank()} lost another, whose own error says why ({reason}){remedy}")
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            sys.exit(f"error: torch.compile failed ({reason}): install a C++ compiler, or leave --compile out")
        raise


def _path(text: str) -> Path:
    return Path(text).expanduser()  # the shell leaves the ~ of --out=~/run alone


def _how_to_go_on(folder: Path | None) -> str:
    can_resume = folder is not None and (folder / checkpoint.NAME).is_file()
    return f"; to go on: {_launcher()} --resume {folder}" if can_resume else ""


def _launcher() -> str:
    """The command that started this, without its flags."""
    each = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return "python -m train" if processes.count() == 1 else f"torchrun --nproc-per-node {each} -m train"


def _with_recipe_first(name: str | None, arguments: list[str]) -> list[str]:
    """A stored recipe, that of --config or of the run to resume, before the flags that change it; not beside a name."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--config")
    config, flags = early.parse_known_args(arguments)
    early.add_argument("--resume")
    folder = early.parse_known_args(arguments)[0].resume
    if folder is not None:
        stored = _path(folder) / "training.yaml"
        if not stored.is_file():
            sys.exit(f"error: {folder} is no run: it has no training.yaml")
        arguments = ["--config", str(stored), *arguments]
    elif config.config is not None:
        arguments = ["--config", config.config, *flags]
    if name is not None and arguments[:1] == ["--config"]:
        sys.exit(f"error: the recipe is {name}, or that of {arguments[1]}: leave one out")
    return arguments


def _starting_recipe(name: str | None, arguments: list[str]) -> Recipe:
    """What the flags change: the named recipe, or one made for the images that `--data` names, at `--size`.

    A stored recipe, the first of the flags, has its own size.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--data", "--size", "--root", "--vae.channels"):
        early.add_argument(flag)
    given = early.parse_known_args(arguments)[0]
    if arguments[:1] == ["--config"]:
        return RECIPES["sample"]
    if given.data is not None:
        datasets.check_name(given.data)  # before its size is judged
        if name is not None and given.data.startswith(datasets.OF_ONES_OWN):
            raise ValueError(f"the recipe {name} is one for its own images, not for {given.data}: leave {name} out")
    data, size = given.data or "", int(given.size) if re.fullmatch(r"-?\d+", given.size or "") else None
    if name is not None or not data.startswith(datasets.OF_ONES_OWN):
        recipe = RECIPES[name or (data if data in RECIPES else "sample")]
        return recipe if size is None else replace(recipe, vae=replace(recipe.vae, size=size))
    channels = given.__dict__["vae.channels"]
    return for_images(data, int(channels) if channels else datasets.channels_of(data), 64 if size is None else size)


def _check_same(recipe: Recipe, folder: Path, out: Path) -> None:
    """A run goes on where it was begun and with the recipe it was begun with, or not at all."""
    if out.resolve() != folder.resolve():
        raise ValueError(f"a resumed run goes on in its own folder, {folder}: leave --out {out} out")
    now, begun = dataclasses.asdict(recipe), yaml.safe_load((folder / "training.yaml").read_text())
    now, begun = now | now.pop("vae"), begun | begun.pop("vae")
    fixed = [key for key in now if key not in FREE_TO_CHANGE]
    if changed := [f"{key} ({begun.get(key)} -> {now[key]})" for key in fixed if begun.get(key) != now[key]]:
        raise ValueError(
            f"a resumed run keeps its recipe, these differ: {', '.join(changed)}. Begin a new run for them"
        )


def _new_folder(name: str) -> Path:
    """runs/NAME, or runs/NAME-2 and so on: a run without --out never replaces another."""
    candidates = (Path("runs") / (name if i == 1 else f"{name}-{i}") for i in itertools.count(1))
    return next(path for path in candidates if not path.exists())


def _check_empty(folder: Path) -> None:
    if folder.is_file():
        raise ValueError(f"{folder} is a file: name a folder with --out")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(
            f"{folder} is not empty, and a new run would replace files there: name another folder with --out, go on with "
            f"the run there with --resume {folder}, or say --overwrite"
        )


def _push(folder: Path, repo_id: str, private: bool, endpoint: str | None) -> None:
    try:
        sha = hub.push(folder, repo_id, private=private or None, endpoint=endpoint)
    except Exception as error:
        sys.exit(
            f"error: the weights are whole in {folder}, but were not pushed: {error}\nLog in with `hf auth login`, then: "
            f'python -c "from vae_augment import hub; hub.push({folder.as_posix()!r}, {repo_id!r})"'
        )
    print(f"pushed: VAEAugment.from_pretrained({repo_id!r}, revision={sha!r})")


def run(
    recipe: Recipe,
    folder: Path,
    root: str | None,
    wandb_mode: WandbMode | None,
    command: str,
    repo_id: str | None = None,
    resume: bool = False,
) -> Weights | None:
    """Train, measure and write the weights folder: what `python -m train` does once its flags are read.

    `repo_id` is the name that the model card uses, None: the folder's; `resume` goes on from the folder's checkpoint.
    Of several processes, only the first returns weights.
    """
    text = yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False)
    with processes.first_goes_ahead():
        data = datasets.load(recipe.data, recipe.vae.channels, recipe.vae.size, root)
    if len(data.train) < 2:
        raise ValueError(
            f"{data.name}: {len(data.train)} images to train on, beside {len(data.test)} held out, are too few: 3 at least"
        )
    check(recipe, len(data.train))
    state = processes.from_first(lambda: checkpoint.load(folder) if resume else None)
    if state is not None:
        check_images(state, data.sha256)  # before anything is changed
    if not processes.is_first():
        train(recipe, data, None, folder, state)
        return None
    shape = "x".join(map(str, data.train.shape[1:]))
    print(f"{data.name}: {len(data.train)} of {shape} to train on, {len(data.test)} held out", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    remove_parts(folder)
    # what an older run left must not pass for this run's; what this one left stays until it is replaced
    for name in () if resume else ("config.json", checkpoint.NAME, checkpoint.BEST, RUN_ID):
        (folder / name).unlink(missing_ok=True)
    atomic_write(folder / "training.yaml", text.encode())
    with Log(folder, dataclasses.asdict(recipe), recipe.steps, wandb_mode, state["step"] if state else 0) as log:
        started = time.perf_counter()
        vae = train(recipe, data, log, folder, state)
        seconds = time.perf_counter() - started + (state["seconds"] if state else 0)
        # any thousand: files lie sorted by class, and frames by video
        some = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:1000]
        images = data.train[some].float() / 255
        bank = LatentBank.from_images(vae, data.train, recipe.bank_size) if recipe.bank_size else None
        gains = solve_gains(vae, images[:512], None if bank is None else bank.whitened(vae))
        quality = evaluate(vae, data.test, recipe.likelihood)
        if data.test_labels is not None and len(data.test) > 10:
            quality["knn_purity"] = knn_purity(vae, bank, data.test, data.test_labels)
        log.step(recipe.steps, {f"test/{name}": value for name, value in quality.items()})
        sheet = contact_sheet(vae, data.test, gains["Noise"])
        log.images(recipe.steps, grids(vae, data.test, gains["Noise"]) | {"contact_sheet": sheet})
        if quality["active_units"] == 0:
            log.say(
                "warning: no latent dimension is active, images will hardly be changed: they are too few or all alike"
            )
        elif len(data.test) > 10 and quality["active_units"] < 0.2 * recipe.vae.latent_dim:
            log.say("warning: fewer than a fifth of the latent dimensions are active; lower beta or set free_bits")
        log.histogram(recipe.steps, "latents", Whitened(vae).whitened_mean(images))
        metrics = {f"test_{name}": round(value, 4) for name, value in quality.items()}
        metrics |= {"train_seconds": round(seconds, 1), "train_threads": float(torch.get_num_threads())}
        weights = Weights(vae, bank, gains, data.pool(), metrics)
        sheet.save(folder / "samples.png")
        hub.save(folder, weights, run_card(weights, repo_id or hub.name_of(folder), folder, text, command))
        files = [folder / name for name in (*hub.FILES, *hub.DOCUMENTS) if (folder / name).is_file()]
        log.weights(files, f"vae-{folder.name}", [f"step-{recipe.steps}", recipe.keep])
    print(f"{folder}: " + ", ".join(f"{name} {value:g}" for name, value in metrics.items()))
    print(f"use it: VAEAugment.from_pretrained({hub.name_of(folder)!r})")
    return weights


class Parser(ArgumentParser):
    """Says which flag or key was probably meant."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        known = [action.dest for action in self._actions]
        meant = {name.removeprefix("vae."): name for name in known} | {name: name for name in known}
        words = [word.replace("-", "_") for word in re.findall(r"(?:--|')([\w.-]+)", message)]
        for word in words:
            if close := difflib.get_close_matches(word, meant, n=1, cutoff=0.7):
                message += f"\nDid you mean {meant[close[0]]!r}?"
        super().error(message, ex)


def _parser(recipe: Recipe) -> Parser:
    parser = Parser(prog="python -m train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", action="config", help="a training.yaml to repeat")
    parser.add_class_arguments(Recipe)
    parser.set_defaults(dataclasses.asdict(recipe))
    parser.add_argument(
        "--size",
        type=int | None,
        default=None,
        help="side of the model's images in pixels, for --data folder: and hf:; 64",
    )
    parser.add_argument(
        "--out", type=str | None, default=None, help="folder to write; default runs/NAME, or NAME-2 if that exists"
    )
    parser.add_argument(
        "--root", type=str | None, default=None, help=f"of torchvision's data sets; default ${datasets.ROOT_VARIABLE}"
    )
    parser.add_argument(
        "--wandb",
        type=WandbMode | None,
        default=None,
        help="default: $WANDB_MODE, else online if logged in, else offline",
    )
    parser.add_argument(
        "--resume", type=str | None, default=None, help="folder of a run that was stopped, to go on with it"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="let the run replace files of a folder that is not empty"
    )
    parser.add_argument("--push-to-hub", type=str | None, default=None, help="Hugging Face Hub id, user/repo")
    parser.add_argument("--private", action="store_true", help="make a new Hub repository private")
    parser.add_argument("--endpoint", type=str | None, default=None, help="another server than huggingface.co")
    return parser


def _recipe(options: Namespace) -> Recipe:
    values = {field.name: options[field.name] for field in dataclasses.fields(Recipe)}
    return Recipe(**values | {"vae": VAEConfig(**vars(values["vae"]))})


if __name__ == "__main__":
    main()
