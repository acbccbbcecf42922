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
from mechir_edu.perturb.axioms.registry import AXIOMS
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
    filler: str = "a",
) -> Panel:
    """Edit a document yourself or by an axiom; see both scores and the aligned tokens.

    The text is read when you leave its field (Tab).

    Parameters
    ----------
    ranker : a `Dot` or `Cat`.
    pairs : documents to start from, with their edits; eight TFC1 pairs of the collection when
        omitted.
    collection : gives axioms the frequencies of words; the embedded one when omitted.
    filler : what fills the gaps, as for `mechir_edu.patch`.

    Returns
    -------
    Panel
        Controls ``document``, ``edit``, ``text``. The static twin is `plots.plot_pair`.

    Raises
    ------
    ValueError
        If there is no pair, or one in which the query is edited.
    """
    collection = load_collection("embedded") if collection is None else collection
    pairs = make_pairs(collection, "TFC1", n=8) if pairs is None else pairs
    if any(pair.perturbed_query is not None for pair in pairs):
        raise ValueError("this panel edits documents, but in one of the pairs the query is edited")
    edits = _Edits(tuple(pairs), collection)
    read = lru_cache(maxsize=256)(partial(read_pair, ranker, filler=filler))

    def draw(document: int, edit: str, text: str) -> Drawing:
        reading = read(edits.pair(document, edit, text))
        return Drawing(plots.plot_pair(reading).figure, _in_words(reading))

    return Panel("explore_pair", _controls(edits), draw)


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
            If the axiom cannot be applied to the document, or the text is unchanged.
        """
        made, drawn = self.made(document, edit), self.pairs[document]
        if isinstance(made, Skipped):
            raise ValueError(f"{edit} cannot be applied to this document: {made.reason}")
        if made is not None and made.perturbed == text:
            return made
        if text == drawn.baseline:
            raise ValueError(
                "the text is still the document as the collection has it; change something, then "
                "leave the field with the Tab key"
            )
        place = difference(drawn.baseline, text)
        ids = (drawn.query_id, drawn.doc_id, drawn.query, drawn.baseline)
        return Pair(*ids, text, "own edit", 0, relevance=drawn.relevance, edit=place)


def _controls(edits: _Edits) -> dict[str, ipywidgets.Widget]:
    documents = pair_options(edits.pairs)
    names = [("as in the pair", _DRAWN), ("your own", _OWN), *((name, name) for name in AXIOMS)]
    layout = ipywidgets.Layout(**_BOX)
    text = ipywidgets.Textarea(edits.pairs[0].perturbed, continuous_update=False, layout=layout)
    controls = {
        "document": dropdown("document", documents, "query and passage"),
        "edit": dropdown("edit", names, "what is done to the document"),
        "text": labelled(text, "text", "the edited document; read when you leave this field"),
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
