import functools
import json
import math
import unicodedata
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.judged import Judged
from mechir_edu.collection.load import load_collection
from mechir_edu.collection.sources import PassagesInMemory
from mechir_edu.collection.terms import terms
from mechir_edu.perturb.axiom import AxiomContext, neutral_word, query_words
from mechir_edu.perturb.axioms.registry import AXIOMS
from mechir_edu.perturb.draw import make_pairs
from mechir_edu.perturb.edits import Edit, insert
from mechir_edu.perturb.own import difference, perturbation
from mechir_edu.perturb.pair import Pair, PairList

TEXT = st.text(alphabet="ab -.", max_size=12)


def toy(query="coral reefs", text="Fish live here.", others=("coral here", "here we are")):
    texts = {"d": text} | {f"o{i}": other for i, other in enumerate(others)}
    return Collection("toy", {"q": query}, {"q": {"d": 3}}, (PassagesInMemory(texts),))


def holds(pair):
    """Edit's promise: outside its spans the two versions are equal."""
    (start, end), (p_start, p_end) = pair.edit.baseline, pair.edit.perturbed
    return (pair.baseline[:start], pair.baseline[end:]) == (
        pair.perturbed[:p_start],
        pair.perturbed[p_end:],
    )


# --- axioms -----------------------------------------------------------------------------------


def test_tfc1_appends_one_query_term(collection):
    for pair in make_pairs(collection, "TFC1", n=60):
        assert pair.perturbed == f"{pair.baseline} {pair.term}"
        assert terms(pair.term)[0] in terms(pair.query)


def test_tfc1_uses_every_query_term_in_the_long_run(collection):
    added = {p.term for p in make_pairs(collection, "TFC1", n=324) if p.query_id == "q01"}
    assert added == set(query_words(collection.queries["q01"]).values())


def test_tdc_appends_the_rarest_query_term(collection):
    statistics = collection.statistics()
    for pair in make_pairs(collection, "TDC", n=60):
        rarest = max(map(statistics.idf, terms(pair.query)))
        assert statistics.idf(terms(pair.term)[0]) == rarest


def test_tdc_compares_stems_with_stems():
    # Unstemmed, "reefs" would look unseen and win; reduced alike it is the commoner term.
    pairs = make_pairs(toy(others=("a reef", "the reef", "coral")), "TDC")
    assert pairs[0].term == "coral"


def test_the_term_added_is_the_word_of_the_query_and_not_its_stem():
    assert make_pairs(toy(query="causes"), "TFC1")[0].term == "causes"


def test_a_pair_does_not_depend_on_its_neighbours(collection):
    few = make_pairs(collection, "TFC1", n=8, grades=[3])
    many = {(p.query_id, p.doc_id): p for p in make_pairs(collection, "TFC1", n=324)}
    assert all(many[p.query_id, p.doc_id] == p for p in few)


def test_one_seed_gives_one_list_and_another_seed_other_terms(collection):
    first, again, other = (make_pairs(collection, "TFC1", n=324, seed=s) for s in (5, 5, 6))
    terms_of = [{(p.query_id, p.doc_id): p.term for p in pairs} for pairs in (first, other)]
    assert first == again
    assert terms_of[0] != terms_of[1]


def test_pairs_carry_grade_sign_and_ids(collection):
    pair = make_pairs(collection, "TDC", n=1)[0]
    assert (pair.axiom, pair.expected_sign, pair.relevance) == ("TDC", 1, 3)
    assert collection.qrels[pair.query_id][pair.doc_id] == 3


@pytest.mark.parametrize("end", [".", "", "-", "(", "\u00e9", "7", "coral", " "])
def test_an_inserted_word_never_merges_with_its_neighbour(end):
    document = f"Fish live here{end}"
    for place in ("end", "start"):
        words = insert(document, "reef", place).text.split()
        assert words.count("reef") == 1
        assert sorted(words) == sorted([*document.split(), "reef"])


@given(document=TEXT.filter(str.strip), place=st.sampled_from(["end", "start"]))
def test_inserting_keeps_the_document(document, place):
    change = insert(document, "reef", place)
    start, end = change.edit.perturbed
    assert change.text[:start] + change.text[end:] == document


# --- control ----------------------------------------------------------------------------------


@pytest.mark.parametrize("axiom", ["TFC1", "TDC"])
def test_the_control_word_is_in_neither_query_nor_document(collection, axiom):
    for pair in make_pairs(collection, f"{axiom}-control", n=324):
        assert terms(pair.term)[0] not in terms(pair.query) + terms(pair.baseline)


@pytest.mark.parametrize("axiom", ["TFC1", "TDC"])
def test_the_control_matches_its_axiom_pair_by_pair(collection, axiom):
    statistics = collection.statistics()
    real, control = (make_pairs(collection, a, n=324) for a in (axiom, AXIOMS[axiom].control))
    of_control = {(p.query_id, p.doc_id): p.term for p in control}
    for pair in real:
        word = of_control.get((pair.query_id, pair.doc_id), pair.term)
        df = [max(statistics.df.get(terms(w)[0], 0), 2) for w in (word, pair.term)]
        assert max(df) + 0.5 <= 1.42 * (min(df) + 0.5)


def test_the_control_matches_a_length_in_word_pieces(collection):
    letters = make_pairs(collection, "TFC1-control", n=100, length=len)
    added = {(p.query_id, p.doc_id): p.term for p in make_pairs(collection, "TFC1", n=324)}
    assert len(letters) > 50
    assert all(len(p.term) == len(added[p.query_id, p.doc_id]) for p in letters)


def test_controls_are_spread_over_many_words(collection):
    words = [p.term for p in make_pairs(collection, "TDC-control", n=200)]
    assert len(set(words)) > 100


def test_a_term_that_no_document_holds_is_matched_with_rare_words(collection):
    judged = collection.sample(1).judged[0]
    context = AxiomContext(collection.statistics)
    word = neutral_word("zyzzyva", judged, context)
    assert context.statistics.df[terms(word)[0]] == 2


def test_without_a_matching_word_the_pair_is_skipped_and_counted():
    pairs = make_pairs(toy(others=()), "TFC1-control")
    assert pairs == []
    assert [s.reason for s in pairs.skipped] == ["no neutral word of this length and rarity"]


# --- skips and errors -------------------------------------------------------------------------


@pytest.mark.parametrize("axiom", AXIOMS)
def test_a_query_of_stop_words_is_skipped_and_counted(axiom):
    pairs = make_pairs(toy(query="who is who"), axiom)
    assert [s.reason for s in pairs.skipped] == ["query has no usable term"]


@pytest.mark.parametrize("axiom", ["TFC1", str.upper])
def test_an_empty_document_is_skipped_and_counted(axiom):
    pairs = make_pairs(toy(text=" \n"), axiom)
    assert [(s.query_id, s.doc_id, s.reason) for s in pairs.skipped] == [
        ("q", "d", "document is empty")
    ]


def test_an_unfit_pair_is_replaced_by_the_next_of_its_grade(collection):
    only_short = perturbation(lambda document: document if len(document) > 350 else "x" + document)
    pairs = make_pairs(collection, only_short, n=12, grades=[2])
    assert len(pairs) == 12
    assert {s.reason for s in pairs.skipped} == {"perturbation changes nothing"}


def test_an_unknown_axiom_is_answered_with_the_known_ones(collection):
    with pytest.raises(ValueError, match="did you mean 'TFC1'.*There are TFC1, TFC2"):
        make_pairs(collection, "tfc1")


def test_an_unknown_place_is_refused(collection):
    with pytest.raises((ValueError, TypeError), match="place"):
        make_pairs(collection, "TFC1", place="middle")


def test_a_sign_other_than_plus_minus_and_zero_is_refused():
    with pytest.raises((ValueError, TypeError), match="expected_sign"):
        Pair("q", "d", "query", "a", "b", axiom="mine", expected_sign=2)


# --- what a pair is given ---------------------------------------------------------------------


def make_pair(**changes):
    fields = {"query_id": "q", "doc_id": "d", "query": "coral", "baseline": "a reef"}
    fields |= {"perturbed": "a coral reef", "axiom": "mine", "expected_sign": 1}
    return Pair(**fields | changes)


@pytest.mark.usefixtures("as_users_run")
def test_numbers_and_strings_of_numpy_become_pythons():
    pair = make_pair(
        query_id=np.int64(7),
        doc_id=np.str_("d7"),
        query=np.str_("coral"),
        expected_sign=np.int8(-1),
        relevance=np.uint8(2),
        edit=Edit((np.int64(2), np.int64(2)), [2, 8]),
    )
    same = make_pair(query_id="7", doc_id="d7", expected_sign=-1, relevance=2)
    assert pair == replace(same, edit=Edit((2, 2), (2, 8)))
    assert repr(pair) == repr(replace(same, edit=Edit((2, 2), (2, 8))))
    assert json.loads(json.dumps(asdict(pair)))["relevance"] == 2


def test_more_pairs_than_there_are_is_said_with_their_number(collection, recwarn):
    with pytest.warns(UserWarning, match=r"has 324 judged pairs, fewer than n=2000; 324 pairs"):
        assert len(make_pairs(collection, "TFC1", n=2000)) == 324
    recwarn.clear()
    assert len(make_pairs(collection, "TFC1")) == len(make_pairs(collection, "TFC1", 324)) == 324
    assert not recwarn


@pytest.mark.usefixtures("as_users_run")
def test_a_number_of_pairs_that_is_none_is_refused(collection):
    with pytest.raises(TypeError, match="n is 'abc'.*whole number"):
        make_pairs(collection, "TFC1", n="abc")


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *(("query_id", wrong) for wrong in (None, math.nan, 1.0, True)),
        *(("doc_id", wrong) for wrong in (b"d", ("d",), pd.NA)),
        *(("query", wrong) for wrong in (None, math.nan, ["coral"], "half \ud83d")),
        *(("baseline", wrong) for wrong in (None, b"a reef", 3)),
        *(("perturbed", wrong) for wrong in (None, "\udc00", {"text": "reef"})),
        *(("axiom", wrong) for wrong in (None, AXIOMS["TFC1"])),
        *(("expected_sign", wrong) for wrong in (None, True, 1.0, "1", 2, -2)),
        *(("relevance", wrong) for wrong in (2.0, math.nan, True, "2", pd.NA)),
        *(("term", wrong) for wrong in (3, ["coral"])),
        *(("edit", wrong) for wrong in ((2, 8), {"baseline": (2, 2)})),
        ("perturbed_query", math.nan),
    ],
)
def test_a_pair_names_the_field_that_is_of_another_kind(field, wrong):
    with pytest.raises((TypeError, ValueError), match=f"{field}.* of pair|must be"):
        make_pair(**{field: wrong})


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    "spans",
    [
        *(((-1, 2), (2, 8)), ((2, 99), (2, 8)), ((2, 2), (2, 99)), ((3, 2), (2, 8))),
        *(((0, 0), (0, 6)), ((2, 2), (2, 7)), ((2, 2), (1, 7)), ((2, 3), (2, 8))),
        *(((2.0, 2.0), (2, 8)), ((True, 2), (2, 8)), ((2, 2), (2, 8, 9)), (2, 8)),
    ],
)
def test_an_edit_that_does_not_make_one_version_of_the_other_is_refused(spans):
    with pytest.raises((TypeError, ValueError), match="edit.* of pair"):
        make_pair(edit=Edit(*spans))


def test_an_edit_of_the_query_is_held_against_the_query():
    options = {"perturbed": "a reef", "perturbed_query": "coral reef"}
    assert make_pair(**options, edit=Edit((5, 5), (5, 10))).edit == Edit((5, 5), (5, 10))
    with pytest.raises(ValueError, match="edit of pair"):
        make_pair(**options, edit=Edit((2, 2), (2, 8)))


# --- Unicode forms ----------------------------------------------------------------------------


def spelled(text):
    """A text as a ranker of the BERT kind reads it."""
    return unicodedata.normalize("NFC", text.replace("\u00ad", "").replace("\u200b", ""))


def respelled(whole, spell):
    """The accented words of some documents of a collection, in another spelling."""
    texts = {d: spell(t.replace("e", "é").replace("o", "ô")) for d, t in whole.items()}
    queries = {"q1": "how do côral rééfs bléach", "q2": "who invénté d thé trains"}
    queries = {q: spell(text) for q, text in queries.items()}
    qrels = {q: dict.fromkeys(texts, 1) for q in queries}
    return Collection("toy", queries, qrels, (PassagesInMemory(texts),))


@pytest.mark.usefixtures("as_users_run")  # for speed
@pytest.mark.parametrize(
    ("spell", "n_docs", "axioms"),
    [
        (lambda text: unicodedata.normalize("NFD", text), 29, ["TFC1-control", "PREF-control"]),
        (lambda text: text.replace("é", "é\u00ad"), 29, ["LNC2-control", "PREF-control"]),
        (lambda text: unicodedata.normalize("NFD", text.replace("a", "a\u200b")), 12, AXIOMS),
    ],
    ids=["NFD", "soft hyphens", "both"],
)
def test_one_text_in_another_form_gets_the_same_pairs(collection, spell, n_docs, axioms):
    whole = collection.texts([f"d{i:03}" for i in range(1, n_docs + 1)])
    plain, other = respelled(whole, str), respelled(whole, spell)
    for name in axioms:
        expected, made = (make_pairs(c, name, n=2 * n_docs, seed=3) for c in (plain, other))
        assert [s.reason for s in made.skipped] == [s.reason for s in expected.skipped]
        for pair, same in zip(made, expected, strict=True):
            assert spelled(pair.perturbed) == same.perturbed
            assert spelled(pair.term or "") == (same.term or "")


# --- @perturbation ----------------------------------------------------------------------------


class Prepend:
    def __init__(self, word):
        self.word = word

    def __call__(self, document):
        return f"{self.word} {document}"

    def with_query(self, document, query):
        return f"{query} {document}"


def suffixed(document, suffix="!"):
    """Add a suffix."""
    return document + suffix


def queried(document, query=None):
    return f"{document} {query}"


@pytest.mark.parametrize(
    ("function", "expected", "name"),
    [
        (lambda document: document + "?", "sea?", "<lambda>"),
        (lambda document, query: query + document, "reefsea", "<lambda>"),
        (suffixed, "sea!", "suffixed"),
        (queried, "sea reef", "queried"),
        (functools.partial(suffixed, suffix="..."), "sea...", "suffixed"),
        (Prepend("MechIR!"), "MechIR! sea", "Prepend"),
        (Prepend("x").with_query, "reef sea", "with_query"),
        (str.upper, "SEA", "upper"),
    ],
)
def test_any_callable_can_be_a_perturbation(function, expected, name):
    marked = perturbation(function)
    assert marked("sea", "reef") == expected
    assert marked.__name__ == name


def test_a_perturbation_keeps_its_docstring_and_works_without_a_query():
    marked = perturbation(suffixed)
    assert marked.__doc__ == "Add a suffix."
    assert marked("sea") == "sea!"


def test_a_missing_query_is_named():
    with pytest.raises(TypeError, match="reads the query"):
        perturbation(lambda document, query: query)("sea")


def test_a_perturbation_must_return_text():
    @perturbation
    def forgetful(document):
        document.upper()

    with pytest.raises(TypeError, match="forgetful must return the edited document"):
        forgetful("sea")


def test_an_own_perturbation_makes_pairs(collection):
    @perturbation(expected_sign=-1)
    def drop_first_word(document):
        return document.partition(" ")[2]

    pairs = make_pairs(collection, drop_first_word, n=20)
    assert {(p.axiom, p.expected_sign) for p in pairs} == {("drop_first_word", -1)}
    assert all(holds(pair) for pair in pairs)
    assert all(pair.edit.perturbed == (0, 0) for pair in pairs)


def test_a_bare_function_makes_pairs_without_a_prediction(collection):
    pair = make_pairs(collection, suffixed, n=1)[0]
    assert (pair.axiom, pair.expected_sign, pair.term) == ("suffixed", 0, None)


# --- difference -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("baseline", "perturbed", "edit"),
    [
        ("reef", "reef reef", Edit((4, 4), (4, 9))),
        ("reef is", "reef reef is", Edit((0, 0), (0, 5))),
        ("a reef here", "a coral here", Edit((2, 6), (2, 7))),
        ("a reef here", "a here", Edit((2, 7), (2, 2))),
        ("aa", "aaa", Edit((2, 2), (2, 3))),
        ("abc", "xyz", Edit((0, 3), (0, 3))),
    ],
)
def test_a_difference_is_found_where_a_reader_would(baseline, perturbed, edit):
    assert difference(baseline, perturbed) == edit


@given(TEXT, TEXT)
def test_outside_a_difference_two_texts_are_equal(baseline, perturbed):
    edit = difference(baseline, perturbed)
    (start, end), (p_start, p_end) = edit.baseline, edit.perturbed
    assert 0 <= start <= end
    assert 0 <= p_start <= p_end
    assert baseline[:start] == perturbed[:p_start]
    assert baseline[end:] == perturbed[p_end:]


def test_a_pair_list_remembers_what_was_skipped():
    pairs = PairList([], skipped=[])
    assert list(pairs) == []
    assert pairs.skipped == []


# --- real data --------------------------------------------------------------------------------


@pytest.mark.usefixtures("trec_dl")
def test_real_tdc_terms_are_the_rarest_of_their_query():
    dl = load_collection(*(f"msmarco-passage/trec-dl-{year}/judged" for year in (2019, 2020)))
    statistics = dl.statistics()
    pairs = make_pairs(dl, "TDC", n=200)
    assert len(pairs) == 200
    idf = statistics.idf
    assert all(idf(terms(p.term)[0]) == max(map(idf, terms(p.query))) for p in pairs)


def test_judged_texts_reach_an_own_axiom_unchanged():
    seen = []
    make_pairs(toy(), lambda document, query: seen.append((document, query)) or "other text")
    assert seen == [(Judged("q", "d", "coral reefs", "Fish live here.", 3).text, "coral reefs")]
