import numpy as np
import pytest

from mechir_edu.checks.checks_05 import check_attention_to_role, check_patch_positions


def patch_positions(recipient, donor, positions):
    patched = recipient.clone()
    patched[:, positions] = donor[:, positions]
    return patched


def written_in_place(recipient, donor, positions):
    recipient[:, positions] = donor[:, positions]
    return recipient


def first_axis(recipient, donor, positions):
    patched = recipient.clone()
    patched[positions] = donor[positions]
    return patched


def attention_to_role(pattern, roles, source, target):
    return pattern[np.ix_(roles == source, roles == target)].sum(axis=1).mean()


def stub(*arguments):
    raise NotImplementedError


WRONG_PATCHES = {
    "clone it": written_in_place,
    "into itself": lambda recipient, donor, positions: recipient.clone(),
    "every position": lambda recipient, donor, positions: donor,
    "exchanged": lambda recipient, donor, positions: patch_positions(donor, recipient, positions),
    "the first axis": first_axis,
}
WRONG_SHARES = {
    "the sum over its positions": lambda p, r, s, t: p[np.ix_(r == s, r == t)].mean(),
    "take the mean over them": lambda p, r, s, t: p[np.ix_(r == s, r == t)].sum(),
    "the axes are exchanged": lambda p, r, s, t: p[np.ix_(r == s, r == t)].sum(axis=0).mean(),
    "rows and columns": lambda p, r, s, t: attention_to_role(p, r, t, s),
    "only those of role source": lambda p, r, s, t: p[:, r == t].sum(axis=1).mean(),
}


@pytest.mark.parametrize(("sentence", "wrong"), WRONG_PATCHES.items())
def test_a_wrong_patch_hears_its_mistake(sentence, wrong, capsys):
    check_patch_positions(wrong)
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize(("sentence", "wrong"), WRONG_SHARES.items())
def test_a_wrong_share_of_attention_hears_its_mistake(sentence, wrong, capsys):
    check_attention_to_role(wrong)
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize("check", [check_patch_positions, check_attention_to_role])
def test_an_untouched_stub_is_not_attempted_yet(check, capsys):
    check(stub)
    assert capsys.readouterr().out.startswith("Not attempted yet")


def test_the_solutions_pass():
    check_patch_positions(patch_positions, strict=True)
    check_attention_to_role(attention_to_role, strict=True)
