"""Checks of tutorial 05: patch some positions, and read how much attention goes where."""

from collections.abc import Callable

import numpy as np
import torch

from mechir_edu.checks._report import attempt, checker, mistake_in

_POSITIONS = [1, 3]


@checker("the chosen positions come from the donor, in every text of the batch; the rest stays.")
def check_patch_positions(answer: Callable) -> str | None:
    """Check a function ``patch_positions(recipient, donor, positions)``.

    Recipient and donor are activations [text, pos, d_model]; it returns the recipient's with those
    of the donor at some positions, and leaves both as they were.
    """
    recipient, donor = torch.arange(32.0).reshape(4, 4, 2), -torch.ones(4, 4, 2)
    right, swapped, first = recipient.clone(), donor.clone(), recipient.clone()
    right[:, _POSITIONS], swapped[:, _POSITIONS] = donor[:, _POSITIONS], recipient[:, _POSITIONS]
    first[_POSITIONS] = donor[_POSITIONS]
    kept, added, zeroed = recipient.clone(), recipient.clone(), recipient.clone()
    added[:, _POSITIONS] += donor[:, _POSITIONS]
    zeroed[:, _POSITIONS] = 0
    given = attempt(answer, recipient, donor, list(_POSITIONS))
    if not torch.equal(recipient, kept):
        return "you wrote into the recipient's own activation; clone it before you write to it."
    return mistake_in(
        given,
        right,
        {
            "nothing changed: you patched the recipient's run into itself.": recipient,
            "you took every position from the donor; only the chosen ones should change.": donor,
            "you patched every position but the chosen ones, or exchanged recipient and "
            "donor.": swapped,
            "you indexed the first axis, the text; positions are the second.": first,
            "you added the donor's activation; put it in the place of the recipient's.": added,
            "you set the chosen positions to zero; they should become the donor's.": zeroed,
            "you patched the first text only; take the chosen positions in all of them.": (
                torch.cat([right[:1], recipient[1:]])
            ),
            "give the whole activation, with the chosen positions patched, not these alone.": donor[
                :, _POSITIONS
            ],
        },
    )


@checker("a sum over the positions looked at, a mean over the positions that look.")
def check_attention_to_role(answer: Callable) -> str | None:
    """Check a function ``attention_to_role(pattern, roles, source, target)``.

    It gives the share of attention that an average position of role ``source`` pays to all
    positions of role ``target``; the pattern is [from, to], its rows sum to 1.
    """
    pattern = np.random.default_rng(0).dirichlet(np.ones(7), size=7)
    roles, source, target = np.array([0, 3, 3, 3, 4, 4, 2]), 3, 4
    rows, columns = roles == source, roles == target
    block, exchanged = pattern[np.ix_(rows, columns)], pattern[np.ix_(columns, rows)]
    everyone = pattern[:, columns]
    return mistake_in(
        attempt(answer, pattern, roles, source, target),
        block.sum(axis=1).mean(),
        {
            "this is an average over the positions looked at too; attention paid to a role is the "
            "sum over its positions.": block.mean(),
            "this is a sum over the positions that look; take the mean over them, so that long "
            "documents do not count more.": block.sum(),
            "the axes are exchanged: add up over the positions looked at (axis 1), and take the "
            "mean over those that look (axis 0).": block.sum(axis=0).mean(),
            "rows and columns are exchanged: the pattern is [from, to].": exchanged.sum(1).mean(),
            "this is a maximum over the positions looked at; attention to a role is their "
            "sum.": block.max(axis=1).mean(),
            "this is a median over the positions that look; take the mean.": np.median(
                block.sum(axis=1)
            ),
            "this is the share of the role's own attention; rows sum to 1 already, so divide by no "
            "other role.": block.sum() / pattern[:, columns].sum(),
            "this is one number for each position that looks; take their mean.": block.sum(axis=1),
            "this is over all positions; only those of role source should look.": everyone.sum(
                axis=1
            ).mean(),
        },
    )
