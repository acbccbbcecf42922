"""The command line: ``mechir-edu demo | patch | prefetch | check``.

Only composes; every command's work stands in a module of its own, imported when it is asked for,
so that ``--help`` is quick. Exit codes: 0 done, 1 something is missing (``check``, ``prefetch``),
2 bad arguments or input, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from mechir_edu.cli import check_command, demo, patch, prefetch_command

COMMANDS = {
    "demo": demo,
    "patch": patch,
    "prefetch": prefetch_command,
    "check": check_command,
}
BAD_INPUT = (ValueError, OSError, ImportError)


def parser() -> argparse.ArgumentParser:
    """The parser with every command's arguments."""
    top = argparse.ArgumentParser(
        prog="mechir-edu",
        description="Why does a neural ranker score a passage as it does? Change one word of a "
        "document, run the ranker on both versions, and see which parts carry the difference.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = module.__doc__.splitlines()[0].rstrip(".")
        command = commands.add_parser(
            name, help=summary, description=module.DESCRIPTION, formatter_class=_Formatter
        )
        module.add_arguments(command)
    return top


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = action.default is None or action.default is False
        return action.help if says_nothing else super()._get_help_string(action)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    args = parser().parse_args(argv)
    # Two tokenizer threads and a fork make Hugging Face print a warning that nobody can act on.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        command = COMMANDS[args.command]
        return import_module(getattr(command, "RUNNER", command.__name__)).run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BAD_INPUT as error:
        print(f"mechir-edu {args.command}: {error}", file=sys.stderr)
        return 2
