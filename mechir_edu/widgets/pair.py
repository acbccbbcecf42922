"""Panel: edit a document, and see its aligned tokens and both scores."""

from collections.abc import Sequence
from functools import lru_cache, partial

import ipywidgets

from mechir_edu import plots
from mechir_edu.collection.collection import Collection
from mechir_edu.collection.judged import Judged, Skipped
from mechir_edu.collection.load import load_collection
from mechir_edu.patching.one_pair import read_pair
from mechir_edu.patching.reading import PairReading
from mechir_edu.perturb.axioms.registry import AXIOMS, find_axiom
from mechir_edu.perturb.draw import make_pairs, pair_maker
from mechir_edu.perturb.own import difference
from mechir_edu.perturb.pair import Pair
from mechir_edu.plots.pairs import describe_scores
from mechir_edu.rankers.base import Ranker
from mechir_edu.widgets.controls import dropdown, labelled, pair_options
from mechir_edu.widgets.panel import Drawing, Panel

_DRAWN, _OWN = "as drawn", "own"
_BOX = {"width": "100%", "height": "7.5em"}


def explore_pair(
    ranker: Ranker,
    pairs: Sequence[Pair] | None = None,
    *,
    collection: Collection | None = None,
    axioms: Sequence[str] | None = None,
    filler: str = "a",
) -> Panel:
    """Edit a document yourself or by an axiom; see both scores and the aligned tokens.

    The text is read when you press Apply, to which the Tab key leads, or leave the field otherwise.
    Where the pairs hold other documents of the same query, their best score is shown: the one to
    beat.

    Parameters
    ----------
    ranker : of any kind.
    pairs : documents to start from, with their edits; eight TFC1 pairs of the collection when
        omitted.
    collection : gives axioms the frequencies of words; the embedded one when omitted.
    axioms : names of the axioms to choose from, of `mechir_edu.AXIOMS`; all of them when omitted.
    filler : what fills the gaps, as for `mechir_edu.patch`.

    Returns
    -------
    Panel
        Controls ``document``, ``edit``, ``text`` and the button ``apply``. The static twin is
        `plots.plot_pair`.

    Raises
    ------
    ValueError
        If there is no pair, or one in which the query is edited, or no axiom of a name.
    """
    collection = load_collection("embedded") if collection is None else collection
    pairs = make_pairs(collection, "TFC1", n=8) if pairs is None else pairs
    if any(pair.perturbed_query is not None for pair in pairs):
        raise ValueError("this panel edits documents, but in one of the pairs the query is edited")
    names = list(AXIOMS) if axioms is None else [find_axiom(name).name for name in axioms]
    edits = _Edits(tuple(pairs), collection)
    read = lru_cache(maxsize=256)(partial(read_pair, ranker, filler=filler))

    def draw(document: int, edit: str, text: str) -> Drawing:
        reading = read(edits.pair(document, edit, text))
        words = f"{_in_words(reading)}{to_beat(document)}"
        return Drawing(plots.plot_pair(reading).figure, words, note=_note(edit, to_beat(document)))

    @lru_cache
    def to_beat(document: int) -> str:
        """The best score of the query's other documents, in a sentence."""
        mine = pairs[document]
        others = {
            pair.doc_id: pair.baseline
            for pair in pairs
            if (pair.query, pair.doc_id != mine.doc_id) == (mine.query, True)
        }
        if not others:
            return ""
        scores = dict(zip(others, ranker.score(mine.query, list(others.values())), strict=True))
        best = max(scores, key=scores.__getitem__)
        return f" The score to beat is {scores[best]:.3f}, of {best}.".replace("-", "−")

    return Panel("explore_pair", _controls(edits, names), draw)


def _note(edit: str, to_beat: str) -> str:
    """What the chosen edit does, and the score to beat."""
    said = f"{edit}: {AXIOMS[edit].statement}" if edit in AXIOMS else ""
    return f"{said}{to_beat}".strip()


class _Edits:
    """The documents, and what each edit makes of them."""

    def __init__(self, pairs: tuple[Pair, ...], collection: Collection) -> None:
        self.pairs = pairs
        self._perturb = lru_cache(lambda axiom: pair_maker(collection, axiom))

    def made(self, document: int, edit: str) -> Pair | Skipped | None:
        """Apply an axiom to a document; None for the reader's own edit."""
        pair = self.pairs[document]
        if edit in (_DRAWN, _OWN):
            return pair if edit == _DRAWN else None
        judged = (pair.query_id, pair.doc_id, pair.query, pair.baseline, pair.relevance or 0)
        return self._perturb(edit)(Judged(*judged))

    def pair(self, document: int, edit: str, text: str) -> Pair:
        """Make the pair that the controls describe.

        Raises
        ------
        ValueError
            If the axiom cannot be applied to the document, or the text is empty or unchanged.
        """
        made, drawn = self.made(document, edit), self.pairs[document]
        if isinstance(made, Skipped):
            raise ValueError(f"{edit} cannot be applied to this document: {made.reason}")
        if made is not None and made.perturbed == text:
            return made
        if not text.strip():
            raise ValueError("the text is empty; type a passage, and press Apply")
        if text == drawn.baseline:
            raise ValueError(
                "the text is still the document as the collection has it; change something, and "
                "press Apply"
            )
        place = difference(drawn.baseline, text)
        ids = (drawn.query_id, drawn.doc_id, drawn.query, drawn.baseline)
        return Pair(*ids, text, "own edit", 0, relevance=drawn.relevance, edit=place)


def _controls(edits: _Edits, axioms: Sequence[str]) -> dict[str, ipywidgets.Widget]:
    documents = pair_options(edits.pairs)
    names = [("as in the pair", _DRAWN), ("your own", _OWN), *((name, name) for name in axioms)]
    layout = ipywidgets.Layout(**_BOX)
    text = ipywidgets.Textarea(edits.pairs[0].perturbed, continuous_update=False, layout=layout)
    controls = {
        "document": dropdown("document", documents, "query and passage"),
        "edit": dropdown("edit", names, "what is done to the document"),
        "text": labelled(text, "text", "the edited document; press Apply when you are done"),
        "apply": labelled(ipywidgets.Button(), "Apply", "read the text, score it and align it"),
    }
    document, edit = controls["document"], controls["edit"]

    def write(change: dict) -> None:
        """Write what the chosen edit makes of the chosen document."""
        made = edits.made(document.value, edit.value)
        if isinstance(made, Pair):
            text.value = made.perturbed
        elif change["owner"] is document or made is not None:
            text.value = edits.pairs[document.value].baseline

    def disown(change: dict) -> None:
        """Call the edit the reader's own as soon as it no longer is the axiom's."""
        made = edits.made(document.value, edit.value)
        if isinstance(made, Pair) and made.perturbed != text.value:
            edit.value = _OWN

    document.observe(write, names="value")
    edit.observe(write, names="value")
    text.observe(disown, names="value")
    return controls


def _in_words(reading: PairReading) -> str:
    before, after = (
        " ".join(
            token for token, is_edited in zip(tokens, reading.edited, strict=True) if is_edited
        )
        for tokens in (reading.baseline, reading.perturbed)
    )
    return (
        f"{len(reading.edited)} tokens, aligned; {describe_scores(reading)}. Edited span: "
        f"baseline has “{before}”, perturbed has “{after}”."
    )
