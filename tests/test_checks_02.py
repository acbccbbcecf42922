import pytest

from mechir_edu.checks.checks_02 import check_add_rarest_term, check_fill_gap
from mechir_edu.collection.terms import surface_terms


def rarest(query, idf):
    return max(surface_terms(query), key=lambda term: idf(term[0]))


def add_rarest_term(document, query, idf):
    return f"{document} {rarest(query, idf)[1]}"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            lambda d, q, idf: f"{d} {max((word for _, word in surface_terms(q)), key=idf)}",
            "unreduced",
        ),
        (lambda d, q, idf: f"{d} {max(q.split(), key=idf)}", "stop word"),
        (
            lambda d, q, idf: f"{d} {min(surface_terms(q), key=lambda t: idf(t[0]))[1]}",
            "commonest",
        ),
        (lambda d, q, idf: f"{d} {rarest(q, idf)[0]}", "added the stem"),
        (
            lambda d, q, idf: f"{d} {max(surface_terms(q), key=lambda t: idf(t[1]))[0]}",
            "the other way round",
        ),
        (lambda d, q, idf: " ".join([d, *(word for _, word in surface_terms(q))]), "all terms"),
        (lambda d, q, idf: d + rarest(q, idf)[1], "merged"),
        (lambda d, q, idf: f"{rarest(q, idf)[1]} {d}", "at the start"),
        (lambda d, q, idf: rarest(q, idf)[1], "the word alone"),
        (lambda d, q, idf: d, "nothing changed"),
        (lambda d, q, idf: ..., "Not attempted yet"),
    ],
)
def test_each_mistake_about_the_rarest_term_is_named(capsys, wrong, sentence):
    check_add_rarest_term(wrong)
    assert sentence in capsys.readouterr().out


def test_the_word_whose_stem_is_rarest_is_right():
    check_add_rarest_term(add_rarest_term, strict=True)


def fill_gap(baseline, perturbed, start, filler):
    return baseline[:start] + (len(perturbed) - len(baseline)) * [filler] + baseline[start:]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda b, p, start, f: b + [f, f], "behind [SEP]"),
        (lambda b, p, start, f: [*b[:-1], f, f, b[-1]], "before the last [SEP]"),
        (lambda b, p, start, f: [*b[:start], f, *b[start:]], "one filler is not enough"),
        (lambda b, p, start, f: [f, f, *b], "before [CLS]"),
        (lambda b, p, start, f: p, "the perturbed version"),
        (lambda b, p, start, f: [*b[:start], f, *b[start + 1 :]], "took the place"),
        (lambda b, p, start, f: [*b[:start], f, f, *b[start + 2 :]], "took the place"),
        (lambda b, p, start, f: fill_gap(b, p, start + 1, f), "not one token behind"),
        (lambda b, p, start, f: b, "nothing was filled in"),
        (lambda b, p, start, f: None, "Not attempted yet"),
    ],
)
def test_each_mistake_about_the_filler_is_named(capsys, wrong, sentence):
    check_fill_gap(wrong)
    assert sentence in capsys.readouterr().out


def test_fillers_where_the_edit_starts_are_right():
    check_fill_gap(fill_gap, strict=True)
