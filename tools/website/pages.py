"""Lay the repository's pages out for Sphinx: one folder, and links between what is in it.

The pages are the committed ones: ``docs/``, and the solutions of the notebooks with their outputs.
A link to a page follows it to its new place; a link to a file that is no page becomes plain text,
except for pictures and tables, which come along.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "mechir_edu/assets/mini/README.md"
# On the front page, by the name of the group.
GROUPS = {
    "Learn": ["notebooks/*", "glossary", "axioms", "recipes", "cheat_sheet", "troubleshooting"],
    "Teach": ["instructors"],
    "Study": ["study/report", "study/*", "study/scores/*"],
    "Look up": ["api/*", "*"],
}
API = {
    "mechir_edu": "The package",
    "mechir_edu.plots": "Plots",
    "mechir_edu.stats": "Statistics",
    "mechir_edu.widgets": "Panels",
    "mechir_edu.checks": "Checks of exercises",
    "mechir_edu.checks.tutorial": "Settings of the tutorials",
}
# What stands in a fence without a language is a command or what was printed, not Python.
PLAIN = "```{highlight} text\n```\n\n"
# Code, in which nothing is a link, or a link or picture: its text and target.
LINK = re.compile(r"(?s:^```.*?^```)|`[^`\n]+`|(!?)\[([^\]]*)\]\(([^)\s]+)\)", re.MULTILINE)


def places() -> dict[str, str]:
    """Each page and file of the site: place in the repository -> place on the site."""
    notebooks = sorted((ROOT / "tutorials/solutions").glob("*.ipynb"))
    placed = {f"tutorials/solutions/{path.name}": f"notebooks/{path.name}" for path in notebooks}
    for path in sorted((ROOT / "docs").rglob("*")):
        if path.suffix in (".md", ".png", ".svg", ".csv"):
            placed[path.relative_to(ROOT).as_posix()] = path.relative_to(ROOT / "docs").as_posix()
    return placed | {COLLECTION: "embedded_collection.md"}


def same_page(target: str) -> str:
    """Place in the repository of the page that shows what a link leads to."""
    if re.fullmatch(r"tutorials/\d\d_\w+\.ipynb", target):
        return target.replace("tutorials/", "tutorials/solutions/")
    return {"README.md": "docs/index.md"}.get(target, target)


def relinked(text: str, source: str, placed: dict[str, str]) -> str:
    """A page's markdown with links that hold on the site.

    Raises
    ------
    ValueError
        If a link leads to no file of the repository.
    """

    def replace(match: re.Match) -> str:
        picture, words, link = match.groups()
        if link is None:
            return match[0]
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link) or not path:
            return match[0]
        target = os.path.normpath(os.path.join(os.path.dirname(source), path)).replace("\\", "/")
        if not (ROOT / target).exists():
            raise ValueError(f"{source} links to {link}, and there is no {target}")
        if (page := same_page(target)) not in placed:
            return words
        here = os.path.dirname(placed[source])
        to = os.path.relpath(placed[page], here or ".").replace("\\", "/")
        kept = f"#{anchor}" if anchor and page == target else ""
        return f"{picture}[{words}]({to}{kept})"

    return LINK.sub(replace, text)


def contents(placed: dict[str, str]) -> str:
    """The front page's lists of pages."""
    pages = [name.rsplit(".", 1)[0] for name in placed.values() if name.endswith((".md", ".ipynb"))]
    pages += [f"api/{module}" for module in API]
    left, lists = sorted(set(pages) - {"index"}), []
    for title, patterns in GROUPS.items():
        for pattern in patterns:
            taken = [page for page in left if Path(page).match(pattern)]
            left = [page for page in left if page not in taken]
            lists.append((title, taken))
    blocks = []
    for title in GROUPS:
        listed = "\n".join(page for group, taken in lists if group == title for page in taken)
        blocks.append(f"```{{toctree}}\n:caption: {title}\n:maxdepth: 1\n\n{listed}\n```")
    return "\n\n".join(blocks)


def reference(module: str) -> str:
    """The page of a module's public names."""
    public = import_module(module)
    lines = [f"# {API[module]}: `{module}`", "", "```{eval-rst}"]
    names = getattr(public, "__all__", None)
    if module != "mechir_edu":
        members = "members" if names is None else "no-members"
        lines += [f".. automodule:: {module}", f"   :{members}:", ""]
    for name in sorted(names or ()):
        value = getattr(public, name)
        if isinstance(value, ModuleType):
            continue  # it has a page of its own
        kind = "class" if isinstance(value, type) else "function" if callable(value) else "data"
        option = {"class": ["   :members:"], "data": ["   :no-value:"]}.get(kind, [])
        lines += [f".. auto{kind}:: {module}.{name}", *option, ""]
    return "\n".join([*lines, "```", ""])


def linked(text: str, made: Iterable[str]) -> str:
    """A page's text where names of files that were made beside the pages are links to them.

    Examples
    --------
    >>> linked("print `workshop/a.pdf`, not `workshop/b.pdf`", ["workshop/a.pdf"])
    'print <a href="workshop/a.pdf">workshop/a.pdf</a>, not `workshop/b.pdf`'
    """
    for file in made:
        text = text.replace(f"`{file}`", f'<a href="{file}">{file}</a>')
    return text


def lay_out(folder: Path, made: Iterable[str] = ()) -> None:
    """Write the site's sources into an empty folder.

    Parameters
    ----------
    folder : is written to.
    made : files that lie on the site beside its pages, as seen from its top.
    """
    placed = places()
    for source, place in placed.items():
        (to := folder / place).parent.mkdir(parents=True, exist_ok=True)
        if to.suffix == ".md":
            text = relinked((ROOT / source).read_text(encoding="utf-8"), source, placed)
            if place == "index.md":
                text = text.replace("<!-- contents -->", contents(placed))
            if "/" not in place:
                text = linked(text, made)
            to.write_text(PLAIN + text, encoding="utf-8")
        elif to.suffix == ".ipynb":
            notebook = json.loads((ROOT / source).read_text(encoding="utf-8"))
            for cell in notebook["cells"]:
                if cell["cell_type"] == "markdown":
                    text = relinked("".join(cell["source"]), source, placed)
                    cell["source"] = text.splitlines(keepends=True)
            to.write_text(json.dumps(notebook), encoding="utf-8")
        else:
            shutil.copyfile(ROOT / source, to)
    (folder / "api").mkdir()
    for module in API:
        (folder / f"api/{module}.md").write_text(reference(module), encoding="utf-8")
