import gzip
import hashlib
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechir_edu.collection.terms import (
    STOP_WORDS,
    TermStatistics,
    cache_folder,
    count_terms,
    fingerprint,
    read_statistics,
    surface_terms,
    term_spans,
    terms,
    write_statistics,
)


def test_words_of_one_stem_are_one_term():
    assert terms("bleaching bleached bleaches") == ["bleach"] * 3


def test_stop_words_and_question_words_are_no_terms():
    assert terms("what is the cause of this") == ["caus"]


def test_contractions_and_possessives_leave_no_fragments():
    assert terms("don't tell what's wrong with the ship's engine") == terms(
        "tell wrong ship engine"
    )


def test_numbers_and_single_letters_stay():
    assert terms("vitamin c 3.5 mg U.S.") == ["vitamin", "c", "3.5", "mg", "u", "s"]


def test_the_surface_word_is_kept_as_written():
    assert surface_terms("Running shoes")[0] == ("run", "Running")


def test_hyphenated_words_are_two_terms():
    assert terms("long-term") == ["long", "term"]


@pytest.mark.parametrize("word", sorted(STOP_WORDS))
def test_every_stop_word_is_taken_out(word):
    assert terms(word) == []


def test_a_document_counts_once_for_a_term_it_repeats():
    assert count_terms(["reef reef reefs", "sand"]).df == {"reef": 1, "sand": 1}


def test_idf_falls_with_document_frequency_and_stays_positive():
    statistics = TermStatistics(n_docs=10, df={"all": 10, "half": 5, "one": 1})
    idfs = [statistics.idf(stem) for stem in ("unseen", "one", "half", "all")]
    assert idfs == sorted(idfs, reverse=True)
    assert idfs[-1] > 0


def test_the_surface_of_a_stem_is_its_commonest_word_and_needs_two_documents():
    statistics = count_terms(["coral", "corals", "Coral once"])
    assert statistics.surface == {"coral": "coral"}


def test_statistics_survive_the_disk(tmp_path):
    statistics = count_terms(["coral reef", "coral sand"])
    write_statistics(statistics, tmp_path / "deep" / "df.json.gz")
    assert read_statistics(tmp_path / "deep" / "df.json.gz") == statistics


@pytest.mark.parametrize(
    "content",
    # A compressed file holds the time, which as a test's name would differ between two workers.
    [b"", b"garbage", gzip.compress(b"[1]", mtime=0), gzip.compress(b"{", mtime=0)],
)
def test_a_damaged_file_is_read_as_absent(tmp_path, content):
    (tmp_path / "df.json.gz").write_bytes(content)
    assert read_statistics(tmp_path / "df.json.gz") is None


def test_a_truncated_file_is_read_as_absent(tmp_path):
    path = tmp_path / "df.json.gz"
    write_statistics(count_terms(["coral reef " * 50]), path)
    path.write_bytes(path.read_bytes()[:-12])
    assert read_statistics(path) is None


def test_a_folder_that_cannot_be_written_is_a_warning_only(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="MECHIR_EDU_CACHE"):
        write_statistics(count_terms(["coral"]), tmp_path / "file" / "df.json.gz")


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MECHIR_EDU_CACHE", raising=False)
    assert cache_folder() == tmp_path / "mechir-edu"
    monkeypatch.setenv("MECHIR_EDU_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_a_fingerprint_depends_on_every_part_and_its_order():
    prints = {fingerprint(parts) for parts in (["a", "b"], ["b", "a"], ["ab"], ["a"])}
    assert len(prints) == 4


# Unicode: each text in the form in which people type it, and in others that are read alike.

SPELLINGS = {
    "accents": ("how to write a résumé", ["write", "résumé"]),
    "Vietnamese": ("phở Việt Nam", ["phở", "việt", "nam"]),
    "Hindi": ("हिन्दी में लिखना", ["हिन्दी", "में", "लिखना"]),
    "Thai": ("วัดอรุณ ธงไตรรงค์", ["วัดอรุณ", "ธงไตรรงค์"]),
    "Arabic": ("كَتَبَ الكِتاب", ["كَتَبَ", "الكِتاب"]),
    "Hebrew": ("שָׁלוֹם עולם", ["שָׁלוֹם", "עולם"]),
    "Korean": ("한국어 문서", ["한국어", "문서"]),
    "Turkish": ("İstanbul Kadıköy", ["i̇stanbul", "kadıköi"]),
    "Greek": ("Αθήνα ΟΔΟΣ", ["αθήνα", "οδος"]),
    "German": ("Straße Größe", ["straße", "größe"]),
    "a ligature": ("ﬁsh and o\u2019clock", ["ﬁsh", "o'clock"]),
    "Bengali": ("বাংলাে ভাষায়", None),
    "an emoji": ("reef ❤️ 1️⃣ 👩‍🔬 sea", ["reef", "1\u20e3", "sea"]),
    "a struck letter": ("a\u0338b ≠ c", ["a\u0338b", "c"]),
}
ODD = "abéé\u0301\u0323\u00ad\u200b\u200d\u0345िन्ำİﬁﷺ가\u1100\u1161\u11a83.,'\u2019_ \u0338<"
UNSEEN = "\u00ad\u200b\u200c\u200d\u2060\ufeff\u200e\u202e\u2066\u180e\u034f\ufe0f"


@pytest.mark.parametrize(("text", "expected"), SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_one_text_has_one_list_of_terms_in_every_form(text, expected, form):
    normalized = unicodedata.normalize(form, text)
    assert terms(normalized) == terms(text)
    if expected is not None:
        assert terms(normalized) == [unicodedata.normalize("NFC", term) for term in expected]
    assert count_terms([normalized] * 2) == count_terms([text] * 2)


@pytest.mark.parametrize("unseen", UNSEEN, ids=lambda c: f"U+{ord(c):04X}")
def test_what_nobody_sees_is_passed_over(unseen):
    text = f"{unseen}co{unseen}ral, the{unseen} reef{unseen}'s 3{unseen}.5 do{unseen}n't{unseen}"
    assert terms(text) == ["coral", "reef", "3.5"]
    spans = [
        (text.index("co"), text.index("ral") + 3),
        (text.index("reef"), text.index("reef") + 4),
    ]
    assert [span for _, span in term_spans(text)][:2] == spans
    assert count_terms([text] * 2).surface["coral"] == "coral"


@given(
    st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(ODD)), max_size=30)
)
@settings(max_examples=150)
def test_spans_point_into_the_text_as_it_is_written(text):
    spans = term_spans(text)
    assert all(0 <= start < end <= len(text) for _, (start, end) in spans)
    assert all(a[1] <= b[0] for (_, a), (_, b) in pairwise(spans))
    assert [terms(text[start:end]) for _, (start, end) in spans] == [[term] for term, _ in spans]
    for form in ("NFC", "NFD"):
        assert terms(unicodedata.normalize(form, text)) == [term for term, _ in spans]


@given(st.text(st.characters(max_codepoint=127), max_size=60))
@settings(max_examples=100)
def test_of_ascii_the_old_pattern_and_the_one_with_marks_find_the_same(text):
    from mechir_edu.collection import words

    pattern = words._characters().word
    assert pattern.findall(text) == words.readable(text).words.findall(text)


@pytest.mark.parametrize("wrong", [None, b"coral", 3, ["coral"]])
def test_terms_are_those_of_a_text(wrong, as_users_run):
    with pytest.raises(TypeError, match="text is .*needed a str"):
        terms(wrong)


def test_a_statistic_counted_by_an_older_reduction_is_not_read_again():
    old = r"\d+(?:[.,]\d+)+|[^\W_]+(?:['\u2019][^\W_]+)*"
    digest = hashlib.sha256(" ".join([old, *sorted(STOP_WORDS)]).encode())
    digest.update(hashlib.sha256(b"a").digest())
    assert fingerprint(["a"]) != digest.hexdigest()[:16]


def test_half_a_character_in_a_passage_that_is_never_scored_stops_no_count():
    assert fingerprint(["\ud83d"]) != fingerprint(["a"])
    assert count_terms(["a reef \ud83d"]).df == {"reef": 1}
