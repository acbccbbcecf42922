import pytest

from mechir_edu.checks.checks_08 import check_choose_factor, check_random_heads


def random_heads(heads, n_heads, rng):
    drawn = []
    for layer in {layer for layer, _ in heads}:
        taken = {head for at, head in heads if at == layer}
        free = sorted(set(range(n_heads)) - taken)
        drawn += [(layer, head) for head in rng.choice(free, size=len(taken), replace=False)]
    return drawn


def choose_factor(change, factors, is_chosen_on):
    best = change[:, is_chosen_on].mean(axis=1).argmax()
    return factors[best], change[best, ~is_chosen_on].mean()


def reported_on_the_same(change, factors, mask):
    best = change[:, mask].mean(axis=1).argmax()
    return factors[best], change[best, mask].mean()


def chosen_on_all(change, factors, mask):
    best = change.mean(axis=1).argmax()
    return factors[best], change[best, ~mask].mean()


def chosen_on_the_others(change, factors, mask):
    best = change[:, ~mask].mean(axis=1).argmax()
    return factors[best], change[best, ~mask].mean()


def place_of_the_best(change, factors, mask):
    best = change[:, mask].mean(axis=1).argmax()
    return best, change[best, ~mask].mean()


def best_query(change, factors, mask):
    best = change[:, mask].mean(axis=0).argmax()
    return factors[best], change[best, ~mask].mean()


def worst(change, factors, mask):
    best = change[:, mask].mean(axis=1).argmin()
    return factors[best], change[best, ~mask].mean()


def stub(*arguments):
    raise NotImplementedError


WRONG_HEADS = {
    "you drew 1": lambda heads, n, rng: [(0, 2)],
    "drawn twice": lambda heads, n, rng: [(0, 2), (2, 1), (2, 1), (5, 0)],
    "a chosen head": lambda heads, n, rng: heads,
    "no such head": lambda heads, n, rng: [(0, 2), (2, 1), (2, 6), (5, 0)],
    "in other layers": lambda heads, n, rng: [(0, 2), (0, 3), (0, 4), (0, 5)],
}
WRONG_CHOICES = {
    "it flatters": reported_on_the_same,
    "had their say": chosen_on_all,
    "other way round": chosen_on_the_others,
    "place of the factor": place_of_the_best,
    "best query's place": best_query,
    "the worst": worst,
}


@pytest.mark.parametrize(("sentence", "wrong"), WRONG_HEADS.items())
def test_a_wrong_draw_hears_its_mistake(sentence, wrong, capsys):
    check_random_heads(wrong)
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize(("sentence", "wrong"), WRONG_CHOICES.items())
def test_a_wrong_choice_hears_its_mistake(sentence, wrong, capsys):
    check_choose_factor(wrong)
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize("check", [check_random_heads, check_choose_factor])
def test_an_untouched_stub_is_not_attempted_yet(check, capsys):
    check(stub)
    assert capsys.readouterr().out.startswith("Not attempted yet")


def test_the_solutions_pass():
    check_random_heads(random_heads, strict=True)
    check_choose_factor(choose_factor, strict=True)
