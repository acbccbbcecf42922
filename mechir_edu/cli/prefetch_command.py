"""Download models and collections, or carry them over on a USB stick.

Arguments only; what is done stands in `mechir_edu.cli.prefetch`.
"""

import argparse
from pathlib import Path

RUNNER = "mechir_edu.cli.prefetch"
DESCRIPTION = (
    "Fetch what the notebooks need while there is a network, and print sizes and SHA-256. "
    "Without arguments: what is embedded, which needs no network. With --bundle FILE.zip, what was "
    "fetched goes into one file, too; --from FILE.zip installs such a file on a machine without a "
    "network. The file is checked and installed whole or not at all; take it only from those whom "
    "you would take a program from. HF_HUB_OFFLINE=1 is honoured. Exit code 1: something could not "
    "be had."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mechir-edu prefetch``."""
    parser.add_argument(
        "--models",
        nargs="*",
        metavar="ID",
        help='hub ids; OWNER/NAME@COMMIT takes that commit. "embedded" when nothing is named',
    )
    parser.add_argument(
        "--collections",
        nargs="*",
        metavar="ID",
        help='ir_datasets ids such as msmarco-passage/trec-dl-2019/judged; else "embedded"',
    )
    file = parser.add_mutually_exclusive_group()
    file.add_argument("--bundle", type=Path, metavar="FILE.zip", help="write a bundle of these")
    file.add_argument(
        "--from", type=Path, dest="source", metavar="FILE.zip", help="install a bundle"
    )
