"""The command line of the trainer: its parser, and what a command line means."""

import argparse
import dataclasses
import difflib
import functools
import itertools
import json
import re
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, get_args

try:
    import yaml  # noqa: F401 (told here, once, if it is missing)
    from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
except ImportError as error:
    sys.exit(f"error: training needs {error.name}: pip install 'vae-augment[train]'")

from vae_augment import VAEConfig, hub
from vae_augment.source import ROOT_VARIABLE

from . import data as datasets
from . import paths, processes, start
from .errors import exit_with_remedy
from .lock import LOCK_FILE
from .log import WandbMode, remembered_wandb_mode
from .recipes import (
    CHANGEABLE_ON_RESUME,
    RECIPE_FILE,
    RECIPES,
    Recipe,
    are_glyphs,
    glyph_size,
    recipe_for_glyphs,
    recipe_for_images,
    recipe_from_weights,
)
from .run import run
from .values import KINDS, RECIPE_MODE, as_yaml_has_them, read_yaml

set_parsing_settings(docstring_parse_attribute_docstrings=True)

DEFAULT_SIZE = 64  # pixels a side, for images of one's own
LONGEST_REASON = 200  # characters of it that a message quotes


@dataclass(frozen=True)
class Command:
    """A command line that was checked.

    Args:
        recipe: what to train.
        source: its data set, as `Recipe.data` names it, or where the images of a resumed run lay before.
        folder: to write.
        text: the command line that the model card shows.
        options: the other flags.
    """

    recipe: Recipe
    source: str
    folder: Path
    text: str
    options: Namespace
    note: str = ""  # why this recipe was chosen


def execute(arguments: list[str], usage: str) -> None:
    """Run a command line; expected errors end the program with one line that says what to do."""
    with exit_with_remedy(None):
        command = parse(arguments, usage)
    options = command.options
    if command.note and processes.is_main():
        print(command.note, flush=True)
    with exit_with_remedy(command.folder):
        run(
            command.recipe,
            command.source,
            command.folder,
            options.root,
            options.wandb,
            command.text,
            options.push_to_hub,
            resume=options.resume is not None,
        )
        if options.push_to_hub is not None and processes.is_main():
            push(command.folder, options.push_to_hub, options.private, options.endpoint, options.push_originals)


def parse(arguments: list[str], usage: str) -> Command:
    """Parse a command line and check all that can be checked before anything is read or written.

    Raises:
        ValueError, OSError: flags contradict one another, a stored run, or a folder's content.
        SystemExit: an unknown recipe, flag or value; or --help, --print_config.
    """
    name, flags = split_recipe_name(arguments, usage)
    flags = stored_recipe_first(name, as_yaml_has_them(_with_field_names(flags)))
    begun, note = starting_recipe(name, flags)
    options = make_parser(begun, usage).parse_args(flags)
    recipe = recipe_of(options)
    if recipe.start is not None and recipe.start == begun.start:
        start.check(recipe, begun.vae)
    check_size(options, recipe)
    # the card's reader has no checkpoint to resume from
    repeated = arguments if options.resume is None else ["--config", RECIPE_FILE]
    text, source = f"{processes.launcher()} {paths.storable(shlex.join(repeated))}", recipe.data
    if options.resume is not None:
        check_same_run(recipe, _path(options.resume), _path(options.out or options.resume))
        options.out = options.resume
        options.wandb = options.wandb or remembered_wandb_mode(_path(options.resume))
        if _peek(flags, "data")[0]["data"] is None:
            source = paths.remembered_place(_path(options.resume), source)
    if options.push_to_hub is not None:
        hub.check_repo_id(options.push_to_hub)
    default_name = name or datasets.short_name(recipe.data) or recipe.data
    folder = _path(options.out) if options.out else new_folder(str(_path(default_name)))
    if processes.is_main() and not (options.resume or options.overwrite):
        check_empty(folder)
    return Command(recipe, source, folder, text, options, note)


def split_recipe_name(arguments: list[str], usage: str) -> tuple[str | None, list[str]]:
    """Split a command line into the name of a recipe, or None, and the flags."""
    if not arguments:  # training is nothing to begin by mistake
        if processes.is_main():
            print(f"{usage}\nrecipes: {', '.join(RECIPES)}", file=sys.stderr)
        sys.exit(2)
    if arguments[0].startswith("-"):
        return None, arguments
    name = arguments[0]
    if name not in RECIPES:
        close = difflib.get_close_matches(name.lower(), RECIPES, n=1)
        hint = f". Did you mean {close[0]!r}?" if close else ""
        sys.exit(f"error: no recipe named {name!r}: choose one of {', '.join(RECIPES)}{hint}")
    return name, arguments[1:]


def stored_recipe_first(name: str | None, flags: list[str]) -> list[str]:
    """Put a stored recipe, that of --config or of the run to resume, before the flags that change it."""
    config, others = _peek(flags, "config")
    folder = _peek(flags, "config", "resume")[0]["resume"]
    if folder is not None:
        stored = _path(folder) / RECIPE_FILE
        if not stored.is_file():
            sys.exit(f"error: {folder} is no run: it has no {RECIPE_FILE}")
        check_stored(stored)
        flags = ["--config", str(stored), *flags]
    elif config["config"] is not None:
        flags = ["--config", config["config"], *others]
    if name is not None and flags[:1] == ["--config"]:
        sys.exit(f"error: the recipe is {name}, or that of {flags[1]}: leave one out")
    return flags


def check_stored(path: Path) -> None:
    """Raise ValueError, in one line, if the recipe of a run is damaged: its owner wrote no key or value of it."""
    parser = make_parser(RECIPES["sample"])
    parser.exit_on_error = False
    try:
        recipe_of(parser.parse_args(["--config", str(path)]))
    except OSError:
        raise
    except Exception as error:  # the parser's, a recipe's, or of another kind for what no program wrote
        reason = hub.printable(" ".join(str(error).split())[:LONGEST_REASON])
        raise ValueError(f"{path} is damaged ({reason}): begin a new run") from error


def starting_recipe(name: str | None, flags: list[str]) -> tuple[Recipe, str]:
    """Return the recipe that the flags change, and why it is that: the named one, or one made for the images of `--data`.

    If the flags begin with a stored recipe, that one replaces all fields.
    """
    if flags[:1] == ["--config"]:
        return RECIPES["sample"], ""
    given, _ = _peek(flags, "data", "size", "vae.channels", "vae.spatial", "start")
    data, channels, side = given["data"] or "", given["vae.channels"], given["size"] or ""
    size = int(side) if re.fullmatch(r"-?\d+", side) else None  # what is no number is left to the parser's message
    if given["data"] is not None:
        datasets.check_name(data)  # before its size is judged
    is_own = data.startswith(datasets.OWN_IMAGES)
    if (weights := given["start"] or "null") != "null" and not (is_own and name is not None):
        return _recipe_from_weights(weights, data or (RECIPES[name].data if name else "sample"), channels, size), ""
    if not is_own:
        recipe = RECIPES[name or (data if data in RECIPES else "sample")]
        return recipe if size is None else replace(recipe, vae=replace(recipe.vae, size=size)), ""
    if name is not None:
        raise ValueError(f"the recipe {name} is one for its own images, not for {data}: leave {name} out")
    return _recipe_by_look(data, channels, size, given["vae.spatial"])


def _recipe_by_look(data: str, channels: str | None, size: int | None, spatial: str | None) -> tuple[Recipe, str]:
    """The recipe for images of one's own, and why it is that one; --vae.spatial decides, else what the images look like."""
    if size is not None and size < 1:
        raise ValueError(f"size must be positive, got {size}")  # before an image is read
    look = datasets.look(data)
    look = look._replace(channels=int(channels) if channels else look.channels)
    is_vector = are_glyphs(look) if spatial is None else spatial.lower() == "false"
    kinds = {1: "grey", 3: "colour"}
    seen = f"{data}: {kinds.get(look.channels, f'{look.channels}-channel')} images of about {look.side} pixels"
    seen += f", {look.background:.0%} background" if look.background else ""
    if is_vector:
        kind, other = "characters and the like, a vector latent", "--vae.spatial true takes that for photographs"
        recipe = recipe_for_glyphs(data, look.channels, glyph_size(look) if size is None else size, look.images)
    else:
        kind, other = "photographs, a spatial latent", "--vae.spatial false takes that for characters"
        recipe = recipe_for_images(data, look.channels, DEFAULT_SIZE if size is None else size)
    asked = f", as --vae.spatial {spatial} asks" if spatial is not None else f"; {other}"
    return recipe, f"{seen}. So the recipe is that for {kind}, at {recipe.vae.size} pixels{asked}"


def _recipe_from_weights(weights: str, data: str, channels: str | None, size: int | None) -> Recipe:
    """The recipe that goes on from some weights, if these images suit them.

    Raises:
        ValueError: the images have colours or a size that the weights have not.
    """
    recipe = recipe_from_weights(data, weights, start.config_of(weights))
    if size not in (None, recipe.vae.size):
        raise ValueError(
            f"the weights {weights} are of {recipe.vae.size}x{recipe.vae.size} pixels, not --size {size}: leave it out, and "
            "images of any size are resized to theirs"
        )
    is_undecided = data.startswith(datasets.OWN_IMAGES) and channels is None and recipe.vae.channels == 1
    if is_undecided and datasets.detect_channels(data) != 1:
        raise ValueError(
            f"the images of {data} have colours, and the weights {weights} are of grey images. Start from weights of colour "
            "images, or say --vae.channels 1 to read these as grey"
        )
    return recipe


def _with_field_names(flags: list[str]) -> list[str]:
    """Write --from as the recipe's field is named: `from` is no name in Python.

    Example:
        >>> _with_field_names(["--from", "mnist"]), _with_field_names(["--from=mnist"])
        (['--start', 'mnist'], ['--start=mnist'])
    """
    return [re.sub(r"^--from(?=$|=)", "--start", flag) for flag in flags]


def _peek(flags: list[str], *names: str) -> tuple[dict[str, str | None], list[str]]:
    """Read a few flags before the parser is made, and return their values, or None, and the other flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name}")
    given, others = parser.parse_known_args(flags)
    return vars(given), others


def recipe_of(options: Namespace) -> Recipe:
    """Return the recipe that parsed flags describe.

    Raises:
        ValueError: a field that needs a value has none: the parser lets null pass.
    """
    for name, kind in KINDS.items():
        if options.get(name) is None and type(None) not in get_args(kind):
            raise ValueError(f"{name} needs a value, got null")
    values = {field.name: options[field.name] for field in dataclasses.fields(Recipe)}
    begun = None if options.start is None else paths.storable(options.start)
    texts = {"data": paths.storable(options.data), "start": begun}
    return Recipe(**values | texts | {"vae": VAEConfig(**vars(values["vae"]))})


def check_size(options: Namespace, recipe: Recipe) -> None:
    """Raise ValueError if --size is not that of a stored recipe."""
    if options.size not in (None, recipe.vae.size):
        is_new = options.resume is None
        remedy = f"--config: write --vae.size {options.size}" if is_new else "the run, which keeps it"
        raise ValueError(f"--size {options.size} is not the {recipe.vae.size} of {remedy}")


def check_same_run(recipe: Recipe, folder: Path, out: Path) -> None:
    """Raise ValueError unless a resumed run keeps its folder and its recipe."""
    if out.resolve() != folder.resolve():
        raise ValueError(f"a resumed run goes on in its own folder, {folder}: leave --out {out} out")
    now, begun = dataclasses.asdict(recipe), read_yaml((folder / RECIPE_FILE).read_text(encoding="utf-8"))
    now, begun = now | now.pop("vae"), begun | begun.pop("vae", {})
    fixed = [key for key in now if key not in CHANGEABLE_ON_RESUME]
    if changed := [f"{key} ({begun.get(key)} -> {now[key]})" for key in fixed if begun.get(key) != now[key]]:
        raise ValueError(
            f"a resumed run keeps its recipe, these differ: {', '.join(changed)}. Begin a new run for them"
        )


def new_folder(name: str) -> Path:
    """Return runs/NAME, or runs/NAME-2 and so on: a run without --out never replaces another."""
    candidates = (Path("runs") / (name if i == 1 else f"{name}-{i}") for i in itertools.count(1))
    return next(path for path in candidates if not path.exists())


def check_empty(folder: Path) -> None:
    """Raise ValueError if a new run would replace files of this folder."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file: name a folder with --out")
    if folder.is_dir() and any(path.name != LOCK_FILE for path in folder.iterdir()):
        raise ValueError(
            f"{folder} is not empty, and a new run would replace files there: name another folder with --out, go on with "
            f"the run there with --resume {shlex.quote(str(folder))}, or say --overwrite"
        )


def push(folder: Path, repo_id: str, private: bool, endpoint: str | None, originals: bool) -> None:
    """Push the weights folder to the Hub, and print how to load it from there."""
    try:
        sha = hub.push(folder, repo_id, private=private or None, endpoint=endpoint, originals=originals)
    except Exception as error:
        given = {"private": private, "endpoint": endpoint, "originals": originals}
        options = "".join(f", {name}={value!r}" for name, value in given.items() if value)
        code = f"from vae_augment import hub; hub.push({json.dumps(folder.as_posix())}, {json.dumps(repo_id)}{options})"
        sys.exit(
            f"error: the weights are whole in {folder}, but were not pushed: {error}\nLog in with `hf auth login`, then: "
            f"python -c {shlex.quote(code)}"
        )
    print(f"pushed: VAEAugment.from_pretrained({repo_id!r}, revision={sha!r})")


def _path(text: str) -> Path:
    return paths.expanded(text)  # the shell leaves the ~ of --out=~/run alone


class Parser(ArgumentParser):
    """A parser whose errors suggest the flag or key that was probably meant."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        known = [action.dest for action in self._actions]
        meant = {name.removeprefix("vae."): name for name in known} | {name: name for name in known}
        words = [word.replace("-", "_") for word in re.findall(r"(?:--|')([\w.-]+)", message)]
        for word in words:
            if close := difflib.get_close_matches(word, meant, n=1, cutoff=0.7):
                message += f"\nDid you mean {meant[close[0]]!r}?"
        super().error(message, ex)


def make_parser(recipe: Recipe, usage: str = "") -> Parser:
    """Return a parser with a flag for each field of a recipe, whose defaults are this one's, and those of a run."""
    description = f"{usage}\nrecipes: {', '.join(RECIPES)}"
    parser = Parser(
        prog="python -m train",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parser_mode=RECIPE_MODE,
    )
    parser.add_argument("--config", action="config", help=f"a {RECIPE_FILE}, whose recipe is repeated")
    parser.add_class_arguments(Recipe)
    parser.set_defaults(dataclasses.asdict(recipe))
    optional = functools.partial(parser.add_argument, default=None)
    optional(
        "--size",
        type=int | None,
        help=f"side of the model's images in pixels, for --data folder:, array: and hf:; default {DEFAULT_SIZE}",
    )
    optional("--out", type=str | None, help="folder to write; default runs/NAME, or NAME-2 if that exists")
    optional("--root", type=str | None, help=f"folder of torchvision's data sets; default ${ROOT_VARIABLE}")
    optional(
        "--wandb",
        type=WandbMode | None,
        help="default: as the run to resume was begun, else $WANDB_MODE, else disabled by $WANDB_DISABLED, else online if "
        "logged in, else offline",
    )
    optional("--resume", type=str | None, help="folder of a run that was stopped, to go on with it")
    parser.add_argument(
        "--overwrite", action="store_true", help="let the run replace files of a folder that is not empty"
    )
    optional("--push-to-hub", type=str | None, help="Hugging Face Hub id, user/repo, to push the weights to")
    parser.add_argument(
        "--push-originals", action="store_true", help="push samples.png with its row of held-out images"
    )
    parser.add_argument("--private", action="store_true", help="make a new Hub repository private")
    optional("--endpoint", type=str | None, help="another server than huggingface.co")
    return parser
