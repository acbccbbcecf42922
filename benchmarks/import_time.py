"""Time what a user waits for before anything happens: the import, and the command line's help.

To reach: ``import mechir_edu`` under 0.05 s, ``mechir-edu --help`` under 1 s. Both are timed as
whole processes, so the interpreter's own start, in a row of its own, is a part of them.
"""

import os
import subprocess
import sys
from functools import partial
from typing import Any

from common import Timed, Timing, interleave, options_of_all, parse, report, timed

COMMANDS = {
    "python -c pass": ("-c", "pass"),
    "import mechir_edu": ("-c", "import mechir_edu"),
    "mechir-edu --help": ("-m", "mechir_edu", "--help"),
}
TO_REACH = {"import mechir_edu": "< 0.05 s", "mechir-edu --help": "< 1 s"}


def main() -> None:
    """Run each in fresh processes, in turns."""
    options = parse(options_of_all(__doc__.splitlines()[0], repeats=9))
    tasks = {name: partial(run, words) for name, words in COMMANDS.items()}
    tasks["import mechir_edu"]()  # what is compiled and read from the disk once
    times, _ = interleave(tasks, options.repeats)
    report("Start", [row(name, timing) for name, timing in times.items()], options)


def run(words: tuple[str, ...]) -> Timed:
    """Run the interpreter to its end; the CPU time is the child's."""
    before = os.times()
    command = [sys.executable, *words]
    whole = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])  # user and system time of finished children
    return Timed(cpu, whole.wall, None)


def row(name: str, timing: Timing) -> dict[str, Any]:
    """One line of the table."""
    return {
        "process": name,
        "wall s": timing.median_wall,
        "CPU s": timing.median_cpu,
        "to reach": TO_REACH.get(name, ""),
    }


if __name__ == "__main__":
    main()
