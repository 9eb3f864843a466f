"""Put the bundled weights on the Hugging Face Hub, each with its card, in repositories of yours.

    python -m train.publish you                       says what it would send, and sends nothing
    python -m train.publish you --push --tag v0.1.0   sends you/vae-augment-mnist and the others
    python -m train.publish you --only mnist --prefix digits- --private --push

Each goes as one commit, with its card and picture; text that was written into a card on the Hub stays. A card names its
repository: `VAEAugment.from_pretrained("you/vae-augment-mnist")`. Log in first, with `hf auth login`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vae_augment import hub
from vae_augment.commands import plain_warnings, show


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: default: those of the process.

    Returns:
        The exit code: 0; 2 if the command is wrong; 1 after any other error. Errors are printed as one line.
    """
    options = _parser().parse_args(arguments)
    names = list(dict.fromkeys(options.only or hub.bundled()))
    repositories = {name: f"{options.user}/{options.prefix}{name}" for name in names}
    try:
        for repo_id in repositories.values():
            hub.check_repo_id(repo_id)
    except ValueError as error:
        return _fail(error, 2)
    try:
        with plain_warnings():
            for name, repo_id in repositories.items():
                _publish(hub.BUNDLED / name, repo_id, options) if options.push else _tell(hub.BUNDLED / name, repo_id)
    except (OSError, ValueError) as error:
        return _fail(error, 1)
    if not options.push:
        show("nothing was sent: repeat the command with --push")
    return 0


def _tell(folder: Path, repo_id: str) -> None:
    """Say what a push would send; weights that do not load are told now."""
    hub.load(str(folder))
    files = [folder / name for name in (*hub.FILES, *hub.DOCUMENTS) if (folder / name).is_file()]
    sizes = ", ".join(f"{file.name} {file.stat().st_size / 1000:,.0f} kB" for file in files)
    show(f"would push {folder.name} to {repo_id}: {sizes}")


def _publish(folder: Path, repo_id: str, options: argparse.Namespace) -> None:
    private = True if options.private else None
    sha = hub.push(folder, repo_id, private=private, tag=options.tag, originals=options.originals)
    show(f"pushed {folder.name} to {repo_id}, commit {sha}")


def _fail(error: Exception, code: int) -> int:
    print(f"error: {hub.printable(' '.join(str(error).split()))}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m train.publish", description=__doc__, formatter_class=form)
    parser.add_argument("user", metavar="USER", help="your name on the Hub, or that of an organisation")
    parser.add_argument("--push", action="store_true", help="send them; without it nothing is sent")
    parser.add_argument(
        "--only", nargs="+", choices=hub.bundled(), metavar="NAME", help="some of the bundled weights; default all"
    )
    parser.add_argument("--prefix", default="vae-augment-", help="of each repository's name; default vae-augment-")
    parser.add_argument("--private", action="store_true", help="make new repositories private")
    parser.add_argument("--tag", help="name to give each commit, as v0.1.0")
    parser.add_argument(
        "--originals",
        action="store_true",
        help="send samples.png with its first row, which are held-out images themselves",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
