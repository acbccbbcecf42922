"""Write all pages of the kit, their PDFs, and a page that lists them."""

import sys
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path

from mechir_edu.files import write_whole
from workshop.pages import page
from workshop.printing import find_browser, print_pdf
from workshop.sheets import answer_key, answer_sheet, cheat_sheet, handout
from workshop.slides import DECKS, deck

# Name -> what it is, what makes it, and whether it is meant for paper.
PAGES: dict[str, tuple[str, Callable[[], str], bool]] = {
    **{
        name: (f"Slides: {what.lower()}", partial(deck, name), False)
        for name, what in DECKS.items()
    },
    "handout": ("Handout: three runs, recovery, how to read a map", handout, True),
    "cheat_sheet": ("Cheat sheet: the names that a class needs", cheat_sheet, True),
    "answer_sheet": ("Answer sheet: predictions to tick", answer_sheet, True),
    "answer_key": ("Answer key, for instructors", answer_key, False),
}


def write_kit(folder: Path) -> list[Path]:
    """Write the kit; PDFs only where there is a browser that can print them, and it says so.

    Returns
    -------
    list of Path
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written, browser = [], find_browser()
    for name, (_, make, is_paper) in PAGES.items():
        write_whole(path := folder / f"{name}.html", make().encode())
        written.append(path)
        if is_paper and browser:
            written.append(print_pdf(path, browser))
    if not browser:
        print(
            "*** NO PDF WAS PRINTED: there is no Chromium here; print handout.html, "
            "cheat_sheet.html and answer_sheet.html from any browser ***",
            file=sys.stderr,
        )
    write_whole(index := folder / "index.html", _index(folder).encode())
    return [*written, index]


def _index(folder: Path) -> str:
    rows = []
    for name, (what, _, _) in PAGES.items():
        forms = [form for form in ("html", "pdf") if (folder / f"{name}.{form}").is_file()]
        links = ", ".join(f'<a href="{name}.{form}">{form}</a>' for form in forms)
        rows.append(f"<tr><td>{escape(what)}</td><td>{links}</td></tr>")
    told = (
        "<h1>Workshop kit</h1><p>Every page is one file and opens without a network. Slides: arrow "
        "keys go on, S opens the speaker's window with notes and a clock, F fills the screen.</p>"
    )
    return page("MechIR-Edu: workshop kit", f"{told}<table>{''.join(rows)}</table>", "sheets.css")
