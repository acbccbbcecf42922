"""The pages that notebooks link to, so that copied notebooks need no clone beside them.

A notebook of the repository links to a page as ``../docs/glossary.md``. In a copy these pages lie
in the folder ``pages`` under the same paths, and the links lead there. A page's own links are kept
where their target was copied, too; others become plain text.
"""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

FOLDER = "pages"
_UP = re.compile(rb"\]\((?:\.\./)+((?:docs|mechir_edu)/[^)#\s]+|README\.md)")
# Code, in which nothing is a link, or a link or picture: its text, target and anchor.
_LINK = re.compile(
    r"(?s:^```.*?^```)|`[^`\n]+`|(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)", re.MULTILINE
)


def linked(notebook: bytes) -> set[str]:
    """Paths in the repository of what a notebook links to, but for other notebooks."""
    return {target.decode() for target in _UP.findall(notebook)}


def relinked(notebook: bytes, place: str) -> bytes:
    """Let a notebook's links lead to the copied pages.

    Parameters
    ----------
    notebook : content of the file.
    place : its path in the folder of copies.
    """
    to = posixpath.relpath(FOLDER, posixpath.dirname(place) or ".").encode()
    return _UP.sub(rb"](" + to + rb"/\1", notebook)


def pages(targets: Iterable[str], roots: Iterable[Path]) -> dict[str, bytes]:
    """Read pages, and the pictures that they show.

    Parameters
    ----------
    targets : paths in the repository.
    roots : folders in which these paths may lie; the first that has a file gives it.

    Returns
    -------
    dict
        Place in the folder of copies -> content.

    Raises
    ------
    FileNotFoundError
        If a page is in none of the folders.
    """
    roots, targets = list(roots), set(targets)
    read = {target: _read(target, roots) for target in targets}
    for page in targets:
        for target in _shown(page, read[page]) - set(read):
            read[target] = _read(target, roots)
    return {f"{FOLDER}/{page}": _followed(page, read[page], set(read)) for page in sorted(read)}


def _read(target: str, roots: list[Path]) -> bytes:
    for root in roots:
        if (root / target).is_file():
            return (root / target).read_bytes()
    raise FileNotFoundError(
        f"this installation has no {target}, to which its notebooks link; "
        "pip install --force-reinstall --no-deps mechir-edu"
    )


def _path(target: str, page: str) -> str:
    """Path in the repository of what a page calls by a relative link."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def _shown(page: str, content: bytes) -> set[str]:
    """Pictures of a page."""
    if not page.endswith(".md"):
        return set()
    return {_path(link[3], page) for link in _LINK.finditer(content.decode()) if link[1]}


def _followed(page: str, content: bytes, known: set[str]) -> bytes:
    """A page with the links that hold in the copy."""

    def follow(link: re.Match) -> str:
        if link[3] is None or ":" in link[3]:  # code, or an address
            return link[0]
        target = _path(link[3], page)
        if target in known:
            return link[0]
        if re.fullmatch(r"tutorials/\d\d_\w+\.ipynb", target):
            name, here = posixpath.basename(target), f"{FOLDER}/{posixpath.dirname(page)}"
            return f"[{link[2]}]({posixpath.relpath(name, here)}{link[4] or ''})"
        return link[2]

    return _LINK.sub(follow, content.decode()).encode() if page.endswith(".md") else content
