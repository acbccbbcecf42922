import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import save_model
from small_tokenizers import ALL, WORDS, byte_level_bpe, wordpiece
from tokenizers import normalizers

import mechir_edu as me
from mechir_edu.alignment import tokendiff
from mechir_edu.alignment.aligned import ROLE_NAMES, Role
from mechir_edu.alignment.aligner import align
from mechir_edu.alignment.encoding import Pieces, read_template
from mechir_edu.alignment.fillers import NEUTRAL_WORDS
from mechir_edu.alignment.given import check_given, check_room
from mechir_edu.alignment.occurrences import find_occurrences
from mechir_edu.collection.terms import terms
from mechir_edu.perturb.edits import Edit
from mechir_edu.perturb.own import difference
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Prompts

SPECIAL = [Role.CLS, Role.SEP]
tokenizers = st.sampled_from(sorted(ALL)).map(lambda name: ALL[name]())
words = st.sampled_from(WORDS)
queries = st.lists(words, min_size=1, max_size=6).map(" ".join)
texts = st.one_of(
    st.lists(words, min_size=1, max_size=40).map(" ".join),
    st.tuples(words, st.integers(1, 40)).map(lambda drawn: " ".join([drawn[0]] * drawn[1])),
    st.text(min_size=1, max_size=60),
)
insertions = st.one_of(
    st.just(""), words, st.text(max_size=8), st.lists(words, max_size=4).map(" ".join)
)


def make_pair(baseline, perturbed, query="coral reef", edit=None, **more):
    return Pair("1", "2", query, baseline, perturbed, "mine", 1, edit=edit, **more)


@st.composite
def edited_pairs(draw):
    """Any edit of any text, in one place, which may be known, known roughly, or unknown."""
    text, new = draw(texts), draw(insertions)
    start = draw(st.sampled_from([0, len(text)]) | st.integers(0, len(text)))
    end = draw(st.just(start) | st.integers(start, len(text)))
    perturbed = text[:start] + new + text[end:]
    exact = Edit((start, end), (start, start + len(new)))
    edit = draw(st.sampled_from([None, exact, difference(text, perturbed)]))
    return make_pair(text, perturbed, draw(queries), edit, term=draw(st.none() | words))


@st.composite
def several_edits(draw):
    """Words of a text dropped, doubled and replaced, in several places at once."""
    old = draw(st.lists(words, min_size=1, max_size=30))
    new = [draw(st.sampled_from([w, w, w, "", "reef", f"{w} {w}"])) for w in old]
    return make_pair(" ".join(old), " ".join(w for w in new if w), draw(queries))


any_pairs = st.one_of(edited_pairs(), several_edits())
thorough = settings(max_examples=150)


def align_one(pair, tokenizer, kind="dot", filler="pad", **options):
    """Align one pair; None where it was skipped."""
    result = align([pair], tokenizer, kind=kind, filler=filler, **options)
    assert len(result.aligned) + len(result.skipped) == 1
    return result.aligned[0] if result.aligned else None


def reason(pair, tokenizer, kind="dot", **options):
    (skipped,) = align([pair], tokenizer, kind=kind, **options).skipped
    return skipped.reason


def tokens(tokenizer, ids):
    return tokenizer.convert_ids_to_tokens(list(ids))


def changed(aligned):
    """The positions at which a run of one version differs from a run of the other."""
    return (aligned.baseline_ids != aligned.perturbed_ids) | (
        aligned.baseline_mask != aligned.perturbed_mask
    )


# What holds for any text and any edit


@thorough
@given(pair=any_pairs, tokenizer=tokenizers, kind=st.sampled_from(["dot", "cat"]))
def test_without_its_filler_each_version_is_what_the_tokenizer_makes_of_it(pair, tokenizer, kind):
    aligned = align_one(pair, tokenizer, kind)
    if aligned is not None:
        before = [] if kind == "dot" else [pair.query]
        for text, ids, mask in (
            (pair.baseline, aligned.baseline_ids, aligned.baseline_mask),
            (pair.perturbed, aligned.perturbed_ids, aligned.perturbed_mask),
        ):
            assert ids[mask == 1].tolist() == tokenizer(*before, text)["input_ids"]


@thorough
@given(pair=any_pairs, tokenizer=tokenizers, filler=st.sampled_from(["a", "mask", "pad"]))
def test_positions_outside_the_edit_hold_equal_tokens(pair, tokenizer, filler):
    aligned = align_one(pair, tokenizer, "cat", filler)
    if aligned is not None:
        assert changed(aligned).any()
        assert not changed(aligned)[aligned.roles != Role.EDIT].any()


@thorough
@given(pair=any_pairs, tokenizer=tokenizers)
def test_query_and_special_tokens_stand_as_in_the_unedited_pair(pair, tokenizer):
    aligned = align_one(pair, tokenizer, "cat")
    if aligned is not None:
        plain = tokenizer(pair.query, pair.baseline)
        special = [i for i, s in enumerate(plain.sequence_ids(0)) if s is None]
        query = [plain["input_ids"][i] for i, s in enumerate(plain.sequence_ids(0)) if s == 0]
        ids = aligned.perturbed_ids
        assert ids[np.isin(aligned.roles, SPECIAL)].tolist() == [
            plain["input_ids"][i] for i in special
        ]
        assert ids[aligned.roles == Role.QUERY].tolist() == query


@thorough
@given(pair=any_pairs, tokenizer=tokenizers, room=st.integers(1, 30))
def test_a_shortened_pair_keeps_its_edit_whole(pair, tokenizer, room):
    whole = align_one(pair, tokenizer, "cat")
    limit = len(tokenizer([pair.query], [""])["input_ids"][0]) + room
    short = align_one(pair, tokenizer, "cat", max_length=limit)
    if short is not None:
        assert len(short.roles) == min(len(whole.roles), limit)
        for version in ("baseline_ids", "perturbed_ids"):
            long_edit, short_edit = (
                getattr(a, version)[a.roles == Role.EDIT].tolist() for a in (whole, short)
            )
            assert short_edit == long_edit


@thorough
@given(pair=any_pairs, tokenizer=tokenizers)
def test_only_a_pair_without_a_difference_in_tokens_is_skipped(pair, tokenizer):
    aligned = align_one(pair, tokenizer)
    ids = [
        tokenizer(t, add_special_tokens=False)["input_ids"] for t in (pair.baseline, pair.perturbed)
    ]
    assert (aligned is None) == (ids[0] == ids[1] or not all(ids))


@thorough
@given(
    text=st.lists(words, min_size=1, max_size=30),
    new=st.lists(words, min_size=1, max_size=3).map(" ".join),
    tokenizer=tokenizers,
)
def test_appended_words_edit_nothing_but_the_end(text, new, tokenizer):
    baseline = " ".join(text)
    pair = make_pair(baseline, f"{baseline} {new}", edit=difference(baseline, f"{baseline} {new}"))
    aligned = align_one(pair, tokenizer)
    n_new = len(tokenizer(f" {new}", add_special_tokens=False)["input_ids"])
    assert np.flatnonzero(aligned.roles == Role.EDIT).tolist() == list(
        range(len(aligned.roles) - 1 - n_new, len(aligned.roles) - 1)
    )


@thorough
@given(text=st.lists(words, min_size=2, max_size=30), new=words, data=st.data())
def test_an_inserted_word_edits_exactly_the_place_where_it_was_put(text, new, data):
    at = data.draw(st.integers(1, len(text) - 1))
    head, tail = " ".join(text[:at]), " ".join(text[at:])
    place = Edit((len(head), len(head)), (len(head), len(head) + 1 + len(new)))
    pair = make_pair(f"{head} {tail}", f"{head} {new} {tail}", edit=place)
    aligned = align_one(pair, wordpiece())
    n_before, n_new = (
        len(wordpiece()(t, add_special_tokens=False)["input_ids"]) for t in (head, new)
    )
    assert np.flatnonzero(aligned.roles == Role.EDIT).tolist() == list(
        range(1 + n_before, 1 + n_before + n_new)
    )


# Edits by example


def test_a_repeated_word_is_edited_where_the_axiom_put_it():
    for place, position in ((0, 1), (4, 2), (9, 3), (14, 4)):
        # "reef" added before the first of three, behind the first, the second, the third
        edit = Edit((place, place), (place, place + 5))
        aligned = align_one(
            make_pair("reef reef reef", "reef reef reef reef", edit=edit), wordpiece()
        )
        assert np.flatnonzero(aligned.roles == Role.EDIT).tolist() == [position]


def test_without_a_known_place_a_repeated_word_counts_as_added_at_the_end():
    aligned = align_one(make_pair("reef reef", "reef reef reef"), wordpiece())
    assert np.flatnonzero(aligned.roles == Role.EDIT).tolist() == [3]


def test_a_deleted_word_leaves_a_filler_in_the_perturbed_version():
    edit = Edit((5, 10), (5, 5))
    aligned = align_one(
        make_pair("reef reef reef", "reef reef", edit=edit), wordpiece(), filler="a"
    )
    assert tokens(wordpiece(), aligned.perturbed_ids[1:-1]) == ["reef", "a", "reef"]
    assert tokens(wordpiece(), aligned.baseline_ids[1:-1]) == ["reef", "reef", "reef"]


def test_the_shorter_side_of_a_replacement_is_filled_behind_what_it_holds():
    pair = make_pair("a reef here", "a bleaching anchovy here")
    aligned = align_one(pair, wordpiece(), filler="mask")
    n_new = len(wordpiece().tokenize("bleaching anchovy"))
    assert tokens(wordpiece(), aligned.baseline_ids[2:-2]) == ["reef"] + ["[MASK]"] * (n_new - 1)


def test_an_edit_that_changes_how_neighbours_split_grows_over_them():
    edit = Edit((4, 4), (4, 8))
    aligned = align_one(make_pair("fish reef", "fishable reef", edit=edit), wordpiece())
    edited = aligned.roles == Role.EDIT
    assert "".join(tokens(wordpiece(), aligned.perturbed_ids[edited])).replace("##", "") in (
        "fishable",
        "able",
    )
    assert tokens(wordpiece(), aligned.baseline_ids)[-2] == "reef"


def test_what_a_coarse_edit_span_covers_without_changing_it_is_not_edited():
    whole = Edit((0, 24), (0, 25))
    pair = make_pair("warm water bleaches reef", "cold water bleaches reefs", edit=whole)
    aligned = align_one(pair, wordpiece())
    edited = tokens(wordpiece(), aligned.perturbed_ids[aligned.roles == Role.EDIT])
    assert edited == ["cold", "reefs"]


# Shortening


def test_an_appended_term_is_never_cut_off():
    text = "water " * 600
    aligned = align_one(make_pair(text, text + "reef"), wordpiece())
    assert len(aligned.roles) == 512
    assert tokens(wordpiece(), aligned.perturbed_ids)[-3:] == ["water", "reef", "[SEP]"]


def test_an_unedited_stretch_is_shortened_as_the_tokenizer_would():
    text = "reef " + "water fish " * 60
    pair = make_pair(text, "coral " + text[5:], query="warm sea")
    aligned = align_one(pair, wordpiece(), "cat", max_length=40)
    plain = wordpiece()("warm sea", text, truncation="only_second", max_length=40)
    assert aligned.baseline_ids.tolist() == plain["input_ids"]
    assert aligned.token_type_ids.tolist() == plain["token_type_ids"]


# Fillers


def test_a_filler_word_is_repeated_and_cut_to_the_length_of_the_gap():
    pair = make_pair("a reef", "a reef made of sea water")
    aligned = align_one(pair, wordpiece(), filler="trinket")
    assert tokens(wordpiece(), aligned.baseline_ids[3:-1]) == ["tri", "##nk", "##et", "tri"]


def test_masked_padding_is_the_only_filler_that_attention_cannot_see():
    for filler in ("a", "mask", "pad", "neutral"):
        aligned = align_one(make_pair("a reef", "a reef of anchovy"), wordpiece(), filler=filler)
        hidden = aligned.baseline_mask == 0
        assert hidden.tolist() == ((aligned.roles == Role.EDIT) & (filler == "pad")).tolist()
        assert aligned.perturbed_mask.all()


@pytest.mark.parametrize("gap", range(1, 12))
def test_neutral_words_fill_the_gap_exactly_and_avoid_query_and_document(gap):
    pair = make_pair(
        "a thing of beauty", "a thing of beauty" + " reef" * gap, query="strange items"
    )
    aligned = align_one(pair, wordpiece(), filler="neutral")
    filled = wordpiece().decode(aligned.baseline_ids[aligned.roles == Role.EDIT])
    assert len(wordpiece().tokenize(filled)) == gap
    assert set(filled.split()) <= set(NEUTRAL_WORDS) - {"thing", "item"}


def test_every_neutral_word_has_one_term_of_its_own():
    stems = [stem for word in NEUTRAL_WORDS for stem in terms(word)]
    assert len(set(stems)) == len(NEUTRAL_WORDS) == len(stems)


# Kinds of ranker, and the query as what is perturbed


def test_a_bi_encoder_reads_the_query_by_itself():
    aligned = align_one(make_pair("a reef", "a reef fish", query="warm sea"), wordpiece())
    assert aligned.fixed_ids.tolist() == wordpiece()("warm sea")["input_ids"]
    assert aligned.fixed_is_query
    assert Role.QUERY not in aligned.roles


def test_a_perturbed_query_is_what_a_bi_encoder_aligns():
    pair = make_pair("a reef", "a reef", query="warm sea", perturbed_query="warm sea water")
    aligned = align_one(pair, wordpiece())
    assert aligned.fixed_ids.tolist() == wordpiece()("a reef")["input_ids"]
    assert not aligned.fixed_is_query
    assert [Role(r).name for r in aligned.roles] == ["CLS", "QUERY", "QUERY", "EDIT", "SEP"]


def test_a_perturbed_query_leaves_a_cross_encoders_document_alone():
    pair = make_pair("a reef", "a reef", query="sea", perturbed_query="sea reef", term="reef")
    aligned = align_one(pair, byte_level_bpe(), "cat")
    names = [Role(r).name for r in aligned.roles]
    assert names[-3:] == ["DOCUMENT", "OCCURRENCE", "SEP"]
    assert names.count("EDIT") == 1
    assert aligned.perturbed_ids.tolist() == byte_level_bpe()("sea reef", "a reef")["input_ids"]


@pytest.mark.parametrize("kind", ["dot", "cat"])
def test_a_long_fixed_document_is_shortened_and_an_edited_query_never(kind):
    pair = make_pair("reef " * 50, "reef " * 50, query="sea", perturbed_query="sea water")
    aligned = align_one(pair, wordpiece(), kind, max_length=20)
    assert len(aligned.fixed_ids if kind == "dot" else aligned.roles) == 20
    assert "water" in tokens(wordpiece(), aligned.perturbed_ids)


# Roles


def test_other_occurrences_of_the_edited_term_are_found_by_their_stem():
    pair = make_pair("Reefs and the reef's fish", "Reefs and the reef's fish reef", term="reef")
    aligned = align_one(pair, wordpiece())
    occurrences = aligned.roles == Role.OCCURRENCE
    assert tokens(wordpiece(), aligned.perturbed_ids[occurrences]) == ["reefs", "reef"]


def test_other_occurrences_of_a_stop_word_are_found_by_their_token_ids():
    text = "the reef there, The sea"
    aligned = align_one(make_pair(text, f"{text} the", term="the"), wordpiece())
    assert np.flatnonzero(aligned.roles == Role.OCCURRENCE).tolist() == [1, 5]


def test_an_occurrence_of_several_word_pieces_is_marked_whole():
    tokenizer = byte_level_bpe()
    text = "a paraphernalia"
    aligned = align_one(make_pair(text, f"{text} reef", term="paraphernalia"), tokenizer)
    occurrences = tokens(tokenizer, aligned.perturbed_ids[aligned.roles == Role.OCCURRENCE])
    assert "".join(occurrences) == "Ġparaphernalia"


@pytest.mark.parametrize(
    ("text", "term", "marked"),
    [
        ("re\u0301sume\u0301s, sume", "r\u00e9sum\u00e9", "re\u0301sume\u0301s"),
        ("r\u00e9sum\u00e9 sum", "re\u0301sume\u0301", "r\u00e9sum\u00e9"),
        ("co\u00adral, ral", "coral", "co\u00adral"),
        (
            "\u0928\u092e\u0938\u094d\u0924\u0947 \u0938",
            "\u0928\u092e\u0938\u094d\u0924\u0947",
            "\u0928\u092e\u0938\u094d\u0924\u0947",
        ),
        ("o'reilly reilly 3.5 5", "reilly", "reilly"),
    ],
)
def test_an_occurrence_is_a_whole_word_in_any_form(text, term, marked):
    pieces = Pieces(list(range(len(text))), [(i, i + 1) for i in range(len(text))])
    found = np.flatnonzero(find_occurrences(text, pieces, term))
    assert "".join(text[i] for i in found) == marked


def test_a_spelling_is_found_where_no_mark_goes_on():
    text = "e e\u0301 \u0301e co\u00ade e\u0301e"
    pieces = Pieces([7 if c == "e" else 0 for c in text], [(i, i + 1) for i in range(len(text))])
    assert np.flatnonzero(find_occurrences(text, pieces, "the", ([7],))).tolist() == [0]


def test_every_role_has_a_name():
    assert len(ROLE_NAMES) == len(Role)


# What is skipped, and what is an error


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (make_pair("", "reef"), "empty document"),
        (make_pair(" \n", "reef"), "empty document"),
        (make_pair("reef", "sea", query=" "), "empty query"),
        (make_pair("reef", "reef"), "edit changes nothing"),
        (make_pair("a reef", "a  Reef "), "edit changes no token"),
        (make_pair("reef", "reef sea", query="sea " * 600), "query longer than max_length"),
        (make_pair("reef", "reef" + " sea" * 600), "edit longer than max_length"),
        (make_pair("reef", "reef a"), "filler equals the edit"),
        (make_pair("reef", "reef", perturbed_query="sea " * 600), "query longer than max_length"),
    ],
)
@pytest.mark.parametrize("kind", ["dot", "cat"])
def test_a_pair_that_cannot_be_aligned_is_skipped_with_its_reason(pair, expected, kind):
    assert reason(pair, wordpiece(), kind) == expected


def test_a_gap_that_no_neutral_words_fit_is_skipped():
    every_word = " ".join(NEUTRAL_WORDS)
    pair = make_pair("reef", "reef sea", query=every_word)
    assert reason(pair, wordpiece(), filler="neutral") == "no neutral filler of the gap's length"


def test_what_is_aligned_and_what_is_skipped_add_up():
    pairs = [make_pair("reef", "reef sea"), make_pair("reef", "reef"), make_pair("a", "b")]
    result = align(pairs, wordpiece(), kind="dot", filler="mask")
    assert [aligned.pair for aligned in result.aligned] == [pairs[0], pairs[2]]
    assert (len(result.skipped), result.filler, result.kind) == (1, "mask", "dot")
    assert align([], wordpiece(), kind="dot").aligned == ()


@pytest.mark.parametrize("filler", ["", " "])
def test_a_filler_of_no_token_is_an_error(filler):
    with pytest.raises(ValueError, match="'pad', 'mask', 'neutral' or a word"):
        align([], wordpiece(), kind="dot", filler=filler)


def test_a_tokenizer_without_places_is_an_error():
    slow = type("Slow", (), {"is_fast": False, "__call__": None})()
    with pytest.raises(ValueError, match="a fast tokenizer .*, got Slow"):
        align([make_pair("a", "b")], slow, kind="dot")


class HoldsTokenizer:
    tokenizer = wordpiece()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("a text", wordpiece(), "a", ("", "")), "pairs is 'a text' .*needed a list of Pair"),
        ((None, wordpiece(), "a", ("", "")), "pairs is None; needed a list of Pair"),
        ((make_pair("a", "b"), wordpiece(), "a", ("", "")), "needed a list of Pair, in a list"),
        (({"q": make_pair("a", "b")}, wordpiece(), "a", ("", "")), "pairs is a dict of 1"),
        ((pd.DataFrame({"query": []}), wordpiece(), "a", ("", "")), "pairs is a DataFrame"),
        ((align([], wordpiece(), kind="dot"), wordpiece(), "a", ("", "")), "aligned already"),
        (([make_pair("a", "b"), "c"], wordpiece(), "a", ("", "")), r"pairs\[1\] is 'c' .*a Pair"),
        ((wordpiece(), [], "a", ("", "")), "did you exchange pairs and tokenizer"),
        (([], HoldsTokenizer(), "a", ("", "")), "tokenizer is a HoldsTokenizer.*ranker.tokenizer"),
        (([], "bert", "a", ("", "")), "tokenizer is 'bert'"),
        (([], None, "a", ("", "")), "tokenizer is None; needed a fast tokenizer"),
        (([], wordpiece().backend_tokenizer, "a", ("", "")), "tokenizer is a Tokenizer"),
        (([], wordpiece(), None, ("", "")), "filler is None; needed a str"),
        (([], wordpiece(), 3, ("", "")), "filler is 3"),
        (([], wordpiece(), "a", "ab"), "prompts is 'ab' .*needed two texts"),
        (([], wordpiece(), "a", ("", None)), "the prompt before documents is None"),
    ],
)
def test_things_of_the_wrong_kind_are_refused_by_name(given, message):
    with pytest.raises(TypeError, match=message):
        check_given(*given)


@pytest.mark.parametrize("length", [0, -5, 4, True, 2.5, 64.0, float("nan"), float("inf"), "64"])
def test_a_length_without_room_for_texts_is_refused_with_the_least(length):
    with pytest.raises(ValueError, match="max_length is .* a whole number of at least 5"):
        check_room(length, read_template(wordpiece(), n_sequences=2))


def test_the_default_length_is_the_tokenizers():
    pair = make_pair("sea " * 600, "sea " * 600 + "reef")
    (aligned,) = align([pair], wordpiece(), kind="dot").aligned
    assert len(aligned.roles) == wordpiece().model_max_length == 512


# An alignment knows what it was made for


PAIRS = [make_pair("warm water harms the reef", "warm water harms the reef coral")]


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    """A random bi-encoder that reads 128 tokens, with a prompt before documents."""
    loaded = me.Dot(str(save_model("roberta", "Model", tmp_path_factory.mktemp("ranker"))))
    loaded.prompts = Prompts("", "about ")
    return loaded


def align_as_read(ranker, pairs=PAIRS, **options):
    options = {"prompts": ranker.prompts, "kind": ranker.kind, **options}
    return align(pairs, options.pop("tokenizer", ranker.tokenizer), **options)


def test_an_alignment_for_the_ranker_is_read_as_the_pairs_are(ranker):
    scores = [
        me.score_pairs(ranker, given).perturbed
        for given in (
            PAIRS,
            align_as_read(ranker),
            pickle.loads(pickle.dumps(align_as_read(ranker))),
        )
    ]
    assert scores[0] == scores[1] == scores[2] == ranker.score("coral reef", PAIRS[0].perturbed)


def lower(tokenizer):
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


def with_a_token(tokenizer):
    tokenizer.add_tokens(["warm"])


def from_the_left(tokenizer):
    tokenizer.truncation_side = "left"


def without_special_tokens(tokenizer):
    tokenizer.split_special_tokens = True


@pytest.mark.parametrize("change", [lower, with_a_token, from_the_left, without_special_tokens])
def test_an_alignment_by_another_tokenizer_is_refused(ranker, change):
    other = copy.deepcopy(ranker.tokenizer)
    change(other)
    with pytest.raises(ValueError, match="with another tokenizer than the ranker's"):
        me.patch(ranker, align_as_read(ranker, tokenizer=other), progress=False)


def test_an_alignment_knows_a_tokenizer_that_changed_behind_it(ranker):
    aligned = align_as_read(ranker)
    ranker.tokenizer.truncation_side = "left"
    try:
        with pytest.raises(ValueError, match="with another tokenizer"):
            me.score_pairs(ranker, aligned)
    finally:
        ranker.tokenizer.truncation_side = "right"


def test_what_a_tokenizer_did_last_is_no_part_of_it(ranker):
    aligned = align_as_read(ranker)
    ranker.score("coral", ["a reef", "sea " * 300])  # sets truncation and padding
    assert align_as_read(ranker).made_for == aligned.made_for


def test_an_alignment_with_other_prompts_is_refused(ranker):
    with pytest.raises(ValueError, match=r"prompts \('', ''\), .*'about '.*prompts=ranker.prompts"):
        me.ablate(ranker, align_as_read(ranker, prompts=("", "")), progress=False)


@pytest.mark.parametrize("edited", ["document", "query"])
def test_an_alignment_longer_than_the_ranker_reads_is_refused(ranker, edited):
    long = "sea " * 200
    pairs = {
        "document": make_pair(long, f"{long} reef"),
        "query": make_pair(long, long, query="sea", perturbed_query="sea reef"),
    }
    aligned = align_as_read(ranker, [pairs[edited]], max_length=200)
    with pytest.raises(ValueError, match="max_length=200 and have up to 200 tokens.* reads 128"):
        me.score_pairs(ranker, aligned)


def test_an_alignment_that_was_allowed_more_but_needs_less_is_read(ranker):
    allowed = me.score_pairs(ranker, align_as_read(ranker, max_length=300)).perturbed
    assert allowed == me.score_pairs(ranker, PAIRS).perturbed


def test_a_pair_that_edits_query_and_document_both_is_an_error():
    pair = make_pair("reef", "reef sea", perturbed_query="coral fish")
    with pytest.raises(ValueError, match="make two pairs"):
        align([pair], wordpiece(), kind="cat")


class Counting:
    """A tokenizer that counts how often it is called."""

    def __init__(self, tokenizer):
        self.tokenizer, self.n_calls = tokenizer, 0

    def __call__(self, *texts, **options):
        self.n_calls += 1
        return self.tokenizer(*texts, **options)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


def test_many_pairs_take_no_more_calls_of_the_tokenizer_than_a_few():
    texts = [" ".join(drawn) for drawn in np.random.default_rng(0).choice(WORDS, (100, 20))]
    pairs = [make_pair(text, f"{text} reef", term="reef") for text in texts]
    n_calls = []
    for n in (2, 100):
        tokenizer = Counting(wordpiece())
        align(pairs[:n], tokenizer, kind="cat")
        n_calls.append(tokenizer.n_calls)
    assert n_calls[0] == n_calls[1] < 5


def test_what_a_long_pair_shares_before_and_after_one_edit_is_not_searched(monkeypatch):
    # The general difference takes quadratic time, so it must not see whole documents.
    monkeypatch.setattr(tokendiff, "SequenceMatcher", None)
    text = " ".join(np.random.default_rng(0).choice(WORDS, 200))
    for perturbed in (f"{text} reef", f"reef {text}", f"{text} reef {text}"):
        pair = make_pair(text, perturbed)
        assert align_one(pair, wordpiece(), kind="cat", max_length=1000) is not None
