"""Run every benchmark, one after another, and write the tables of README.md from what they measure.

About 25 minutes on two slow cores, which must have nothing else to do. What is measured goes into
one JSON file with the machine's name, after each benchmark, so that ``--resume`` continues a run
that was cut off. Then each table of README.md, marked by ``<!-- table NAME -->`` and
``<!-- end -->``, is written anew from that file; ``--tables`` does only this. The text around the
tables is written by hand and cites no figure. MechIR's environment and all-mpnet-base-v2 are made
before.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mechir_environment
import mpnet_weights
from common import as_table, describe_machine

HERE = Path(__file__).resolve().parent
README, MEASURED, FIGURE = HERE / "README.md", "measured.json", "growth.svg"
NEEDED = {
    "mechir_environment.py": lambda: mechir_environment.python_of(mechir_environment.DEFAULT),
    "mpnet_weights.py": lambda: mpnet_weights.folder_of(mpnet_weights.DEFAULT),
}
MARKED = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Benchmark:
    """One script with its options.

    Attributes
    ----------
    name : of its table in README.md.
    call : script and options of the usual run.
    small : options that make it as small as it can be, to try it.
    leave_out : columns that its table does not show.
    """

    name: str
    call: str
    small: str
    leave_out: tuple[str, ...] = ("wall s", "spread")


# Products cost a bi-encoder of MiniLM's size some 4 s a pair (naive) on a slow core.
BENCHMARKS = (
    Benchmark("start", "import_time.py", "--repeats 1", ("CPU s",)),
    Benchmark(
        "heads", "patch_heads.py --padding tight --pairs 8 --repeats 2", "--pairs 1 --repeats 1"
    ),
    Benchmark(
        "heads-as-readme", "patch_heads.py --padding readme --pairs 2 --repeats 1", "--pairs 1"
    ),
    Benchmark(
        "blocks", "patch_blocks.py --pairs 4 --positions 1 --repeats 1", "--pairs 1 --padding tight"
    ),
    Benchmark("memory", "memory.py --repeats 3", "--pairs 1 --tokens 16 --repeats 1", ()),
    Benchmark("gradient-tfc1", "gradient.py --pairs 16 --repeats 1", "--pairs 2", ("wall s",)),
    Benchmark(
        "gradient-tdc", "gradient.py --axiom TDC --pairs 16 --repeats 1", "--pairs 2", ("wall s",)
    ),
    Benchmark("cores", "cores.py --pairs 6 --repeats 2", "--pairs 2 --model planted", ()),
    Benchmark(
        "kinds",
        "kinds.py --pairs 2 --repeats 1 --kinds smollm2-135m t5-small sparse multivector dot cat",
        "--pairs 1 --kinds tiny t5-tiny sparse",
        ("engine", "naive timed in layers", "mean |effect|"),
    ),
    Benchmark(
        "base",
        "base.py --pairs 4 --cross-pairs 2 --repeats 1",
        "--pairs 1 --cross-pairs 1 --layers 1 --shape 1 12 768 3072",
        (),
    ),
    Benchmark(
        "circuits", "circuits.py --pairs 2 --repeats 3", "--pairs 1 --model planted --sets 3", ()
    ),
    Benchmark(
        "growth",
        "growth.py --repeats 2 --memory 4 16 32 --figure growth.svg",
        "--points 2 --repeats 1 --memory",
        (),
    ),
)


def main() -> int:
    """Run what is asked for, write the tables; gives 1 if a benchmark failed."""
    options = read_options()
    file = options.folder / MEASURED
    if options.tables:
        write_tables(json.loads(file.read_text(encoding="utf-8")), options.folder)
        return 0
    measured = begin(options)
    failed = []
    for benchmark in BENCHMARKS:
        if benchmark.name in measured["benchmarks"]:
            continue
        try:
            done = run(benchmark, options.folder, small=options.small)
        except subprocess.CalledProcessError as error:
            print(f"*** {benchmark.name} FAILED with exit code {error.returncode}", flush=True)
            failed.append(benchmark.name)
            continue
        measured["benchmarks"][benchmark.name] = done
        file.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    if failed:
        print(f"*** README's tables are left as they were; failed: {', '.join(failed)}")
        return 1
    write_tables(measured, options.folder)
    print(f"{minutes(measured):.1f} minutes; written to {options.folder}")
    return 0


def read_options() -> Namespace:
    """Read the options."""
    parser = ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=HERE, help="where measured.json, README.md, growth.svg are"
    )
    parser.add_argument(
        "--small", action="store_true", help="smallest sizes, to try the scripts, in a new folder"
    )
    parser.add_argument("--resume", action="store_true", help="keep what measured.json holds")
    parser.add_argument("--tables", action="store_true", help="write the tables, measure nothing")
    options = parser.parse_args()
    if options.small and options.folder == HERE:
        # What is measured so must not replace the tables that are to be read.
        options.folder = Path(tempfile.mkdtemp(prefix="mechir-edu-benchmarks-"))
    if not (options.folder / README.name).exists():
        shutil.copyfile(README, options.folder / README.name)
    return options


def begin(options: Namespace) -> dict[str, Any]:
    """Start the record of a run, or take up the one that was cut off.

    Raises
    ------
    SystemExit
        If MechIR or a checkpoint is not at hand; if the record is of another machine, of other
        versions or of other sizes.
    """
    missing = [script for script, made in NEEDED.items() if not made()]
    if missing and not options.small:
        raise SystemExit(f"first run, in {HERE}: {' and '.join(missing)}")
    fresh = {"machine": machine(), "small": options.small, "benchmarks": {}}
    file = options.folder / MEASURED
    if not (options.resume and file.exists()):
        return fresh
    kept = json.loads(file.read_text(encoding="utf-8"))
    for name in ("processor", "cores", "system", "versions", "commit"):
        if kept["machine"][name] != fresh["machine"][name]:
            raise SystemExit(
                f"--resume needs the same {name}: {file} has {kept['machine'][name]!r}, here it "
                f"is {fresh['machine'][name]!r}; run without --resume"
            )
    if kept["small"] != options.small:
        raise SystemExit(f"--resume needs the sizes of {file}: --small in both runs or in none")
    return kept


def machine() -> dict[str, str]:
    """Processor, cores, system, versions, commit and date."""
    described = describe_machine(1)
    del described["load"]
    described |= {"cores": f"{os.cpu_count()} cores", "commit": commit()}
    return described | {"system": f"{platform.system()} {platform.machine()}"}


def commit() -> str:
    """The commit that is checked out, and whether more than what is written here was changed."""
    head = _git("rev-parse", "--short", "HEAD").strip()
    written = [f":!{name}" for name in (README.name, MEASURED, FIGURE)]
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *written)
    return f"{head or 'unknown'}{'-dirty' if changes else ''}"


def _git(*words: str) -> str:
    git = ["git", "-C", str(HERE), *words]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout


def run(benchmark: Benchmark, folder: Path, *, small: bool) -> dict[str, Any]:
    """Run a script in a process of its own; gives what it measured, and how long that took."""
    call = f"{benchmark.call} {benchmark.small}".strip() if small else benchmark.call
    script, *words = call.split()
    print(f"\n=== {call}", flush=True)
    words = [str(folder / word) if word == FIGURE else word for word in words]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / MEASURED
        start = time.monotonic()
        command = [sys.executable, str(HERE / script), *words, "--json", str(file)]
        subprocess.run(command, check=True)
        content = json.loads(file.read_text(encoding="utf-8"))
    return {
        "command": call,
        "title": content["title"],
        "load": content["machine"]["load"],
        "seconds": round(time.monotonic() - start, 1),
        "rows": content["rows"],
    }


def minutes(measured: dict[str, Any]) -> float:
    """How long the benchmarks took together."""
    return sum(part["seconds"] for part in measured["benchmarks"].values()) / 60


def write_tables(measured: dict[str, Any], folder: Path) -> None:
    """Put what was measured into README.md."""
    readme = folder / README.name
    text = with_tables(readme.read_text(encoding="utf-8"), measured)
    readme.write_text(text, encoding="utf-8")


def with_tables(text: str, measured: dict[str, Any]) -> str:
    """A text whose marked tables hold what was measured.

    Raises
    ------
    ValueError
        If a benchmark has no place in the text, or a place no benchmark.
    """
    tables = {"machine": about(measured)}
    for benchmark in BENCHMARKS:
        part = measured["benchmarks"][benchmark.name]
        rows = [
            {name: value for name, value in row.items() if name not in benchmark.leave_out}
            for row in part["rows"]
        ]
        facts = f"`{part['command']}`: {part['title']}. {part['load'].capitalize()}"
        tables[benchmark.name] = f"{facts}, {part['seconds']:.0f} s.\n\n{as_table(rows)}"
    marked = [name for _, name, _ in MARKED.findall(text)]
    if sorted(marked) != sorted(tables):
        raise ValueError(
            f"needed a marked place for each of {sorted(tables)}, got {sorted(marked)}"
        )
    return MARKED.sub(lambda at: f"{at[1]}\n{tables[at[2]]}\n\n{at[3]}", text)


def about(measured: dict[str, Any]) -> str:
    """The machine, the date and the time that the run took."""
    facts = measured["machine"]
    named = ", ".join(facts[name] for name in ("processor", "cores", "system", "versions"))
    text = f"{facts['date']}, {named}; commit {facts['commit']}; {minutes(measured):.1f} minutes."
    if measured["small"]:
        text += "\n\n**Smallest sizes, which only try the scripts: no ratio below means anything.**"
    return text


if __name__ == "__main__":
    sys.exit(main())
