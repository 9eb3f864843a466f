"""Small pretrained VAEs for torchvision pipelines, from the command line.

vae-augment info mnist       what a weights folder is: its images, quality, licence and files
vae-augment generate photos --out more --count 2000
                             write synthetic images of your classes to a folder
vae-augment report photos more
                             say whether these may be trusted
vae-augment preview photos   draw images of yours beside what becomes of them
vae-augment VERB --help      arguments and examples of a verb

Training has a command of its own: vae-augment-train, or python -m train.
"""

import argparse
import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import NoReturn

from . import commands
from .commands import UsageError, printable
from .version import __version__

VERBS = tuple(sorted(module.name for module in iter_modules(commands.__path__)))


def main(arguments: list[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: default: those of the process.

    Returns:
        The exit code: 0; 2 if the command is wrong; 1 after any other error. Errors are printed as one line.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        options.run(options)
    except KeyboardInterrupt:
        return 130  # as shells have it
    except (OSError, ValueError) as error:
        print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others are."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {printable(message)}. Examples: {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = OneLineParser(prog="vae-augment", description=__doc__, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"vae-augment {__version__}")
    verbs = parser.add_subparsers(metavar="VERB")
    parser.set_defaults(run=None)
    for name in VERBS:
        verb = import_module(f"{__package__}.commands.{name}")
        text = verb.__doc__ or ""
        verb_parser = verbs.add_parser(name, help=text.partition("\n")[0], description=text, formatter_class=form)
        verb.add_arguments(verb_parser)
        verb_parser.set_defaults(run=verb.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
