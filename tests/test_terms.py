import gzip

import pytest

from mechir_edu.collection.terms import (
    STOP_WORDS,
    TermStatistics,
    cache_folder,
    count_terms,
    fingerprint,
    read_statistics,
    surface_terms,
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
