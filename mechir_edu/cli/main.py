"""Run a command: ``mechir-edu demo | patch | circuit | prefetch | tutorials | check``.

Exit codes: 0 done, 1 something is missing (``check``, ``prefetch``), 2 bad arguments or input, 130
interrupted.

What the user gave is told from a fault of the program by where the error was raised. A ValueError
that our own code raises is about the input: it is printed as one line, and ends the command with
exit code 2. So does a file, a network or a package that cannot be used (OSError, ImportError),
whoever noticed. Any other error, such as a ValueError from inside numpy, pandas or transformers, is
nothing that the user can mend by another argument: it keeps its trace, as all errors do under
``--debug``.
"""

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata

from mechir_edu.cli import check, circuit, demo, patch, prefetch, tutorials

OURS = ("mechir_edu", "study", "published_files", "published_grid", "__main__")
COMMANDS = {
    "demo": demo,
    "patch": patch,
    "circuit": circuit,
    "prefetch": prefetch,
    "tutorials": tutorials,
    "check": check,
}


def parser() -> argparse.ArgumentParser:
    """The parser with every command's arguments."""
    top = argparse.ArgumentParser(
        prog="mechir-edu",
        description="Why does a neural ranker score a passage as it does? Change one word of a "
        "document, run the ranker on both versions, and see which parts carry the difference.",
    )
    version = f"mechir-edu {metadata.version('mechir-edu')}"
    top.add_argument("--version", action="version", version=version)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = module.__doc__.splitlines()[0].rstrip(".")
        command = commands.add_parser(name, help=summary, description=module.DESCRIPTION)
        module.add_arguments(command)
        command.add_argument("--debug", action="store_true", help="show the trace of any error")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. Without any argument, print the help."""
    if not (sys.argv[1:] if argv is None else argv):
        parser().print_help()
        return 0
    args = parser().parse_args(argv)
    command = COMMANDS[args.command].run
    return explained(f"mechir-edu {args.command}", lambda: command(args), debug=args.debug)


def explained(name: str, command: Callable[[], int], *, debug: bool = False) -> int:
    """Run a command and print in one line what is wrong with the input; returns the exit code."""
    # Two tokenizer threads and a fork make Hugging Face print a warning that nobody can act on.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            return command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as error:
        if debug or not is_about_input(error):
            raise
        print(f"{name}: {error}", file=sys.stderr)
        return 2


def _note(message: Warning | str, *where: object, **more: object) -> None:
    """Print a warning without the place in the code that gave it."""
    print(f"note: {message}", file=sys.stderr)


def is_about_input(error: Exception) -> bool:
    """Tell whether an error is about what the user gave, or what the machine lacks.

    A ValueError is if a module of ours raised it; see the module's docstring.
    """
    if not isinstance(error, ValueError):
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals["__name__"].partition(".")[0] in OURS
