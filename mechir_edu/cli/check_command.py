"""Say what is installed, what this machine has, what is cached, and what is missing.

Arguments only; what is done stands in `mechir_edu.cli.check`.
"""

import argparse

RUNNER = "mechir_edu.cli.check"
DESCRIPTION = (
    "Look at the environment without changing it: versions of what the package needs, memory, GPU, "
    "and what is in the caches; for what is missing, the command that brings it. Exit code 0: the "
    "notebooks can run; 1: something that they need is missing."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mechir-edu check``."""
    parser.add_argument(
        "--load",
        action="store_true",
        help="also load both embedded rankers and score a passage (half a minute)",
    )
