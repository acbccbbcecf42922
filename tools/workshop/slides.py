"""One source, slides.md, and a deck for each length of a class.

A slide begins with ``<!-- in: ninety, half_day, lecture -->``, which names its decks; what follows
the line ``Note:`` is for the speaker alone. The page shows one slide at a time: arrow keys, space
or a click go on, S opens the speaker's window with notes, the next slide and a clock. Without a
script, and on paper, all slides stand below each other.

The page is our own, some hundred lines of CSS and JavaScript. reveal.js would bring nothing else
that a class needs, and would have to be downloaded at every build.
"""

import re

from workshop.pages import HERE, html_of, page

DECKS = {"ninety": "Ninety minutes", "half_day": "Half a day", "lecture": "A lecture"}
_BEGIN = re.compile(r"(?m)^<!-- in: ([\w, ]+) -->\n")


def slides() -> list[tuple[set[str], str, str]]:
    """Decks, content and notes of each slide; content and notes are Markdown.

    Raises
    ------
    ValueError
        If a slide belongs to no deck that there is, or has no notes.
    """
    _, *parts = _BEGIN.split((HERE / "slides.md").read_text(encoding="utf-8"))
    made = []
    for listed, text in zip(parts[::2], parts[1::2], strict=True):
        decks = {name.strip() for name in listed.split(",")}
        content, _, notes = text.partition("\nNote:\n")
        if not decks <= set(DECKS) or not notes.strip():
            raise ValueError(
                f"needed a slide of decks among {list(DECKS)} with a line 'Note:' and notes, got "
                f"{sorted(decks)} and {content.strip()[:60]!r}"
            )
        made.append((decks, content, notes))
    return made


def deck(name: str) -> str:
    """The page of one deck."""
    shown = [(content, notes) for decks, content, notes in slides() if name in decks]
    sections = [
        f'<section class="slide" id="{number}" aria-roledescription="slide">\n'
        f'<div class="content">\n{html_of(content)}</div>\n'
        f'<aside class="notes">\n{html_of(notes)}</aside>\n'
        f'<p class="number">{number} / {len(shown)}</p>\n</section>'
        for number, (content, notes) in enumerate(shown, start=1)
    ]
    return page(
        f"MechIR-Edu: {DECKS[name].lower()}", "\n".join(sections), "slides.css", script="slides.js"
    )
