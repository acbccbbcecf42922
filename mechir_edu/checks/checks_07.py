"""Checks of tutorial 07: read a circuit off a matrix of paths, and estimate a patch."""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from mechir_edu.checks._report import attempt, checker, mistake_in


@checker("an edge is a sender, a receiver behind it, and a recovery far enough from zero.")
def check_read_circuit(answer: Callable) -> str | None:
    """Check a function ``read_circuit(matrix, senders, receivers, at_least)``.

    The matrix is recovery [sender, receiver]; it gives the set of (sender, receiver) whose recovery
    is ``at_least`` or more in absolute value.
    """
    senders, receivers = [(0, 0), (0, 1), (1, 0)], [(1, 0), (1, 1), (2, 1)]
    matrix = np.array([[0.6, 0.02, 0.3], [0.0, -0.5, 0.1], [0.0, 0.0, 0.05]])
    places = {(int(row), int(column)) for row, column in np.argwhere(abs(matrix) >= 0.3)}
    edges = {(senders[row], receivers[column]) for row, column in places}
    given = attempt(answer, matrix, senders, receivers, 0.3)
    if np.asarray(given).dtype == bool:
        return "this is a mask of the matrix; give the pairs of heads where it is True."
    return mistake_in(
        {_as_edge(edge) for edge in given},
        edges,
        {
            "a path that works against the change is missing; compare absolute values.": edges
            - {((0, 1), (1, 1))},
            "a path of exactly at_least is missing; it counts.": edges - {((0, 0), (2, 1))},
            "sender and receiver are exchanged: rows are senders.": {(b, a) for a, b in edges},
            "these are places in the matrix; look the heads up in senders and receivers.": places,
            "paths of small recovery are listed, and those of large recovery are not; turn the "
            "comparison round.": {
                (senders[row], receivers[column]) for row, column in np.argwhere(abs(matrix) < 0.3)
            },
            "only the paths that work against the change are listed; compare absolute values.": {
                ((0, 1), (1, 1))
            },
            "these are all paths; leave out those with less than at_least.": {
                (sender, receiver) for sender in senders for receiver in receivers
            },
        },
    )


def _as_edge(edge: Iterable) -> tuple:
    """Make lists and arrays inside an edge comparable."""
    return tuple(tuple(head) if np.ndim(head) else int(head) for head in edge)


@checker("a difference times a slope, summed over everything but the head.")
def check_attribution(answer: Callable) -> str | None:
    """Check a function ``attribution(recipient_z, donor_z, gradient)``.

    All are [pos, head, d_head]; it gives the estimated effect of patching each head, [head].
    """
    recipient, donor, gradient = torch.randn(3, 4, 3, 2, generator=torch.manual_seed(0))
    product = (donor - recipient) * gradient
    return mistake_in(
        attempt(answer, recipient, donor, gradient),
        product.sum(dim=(0, 2)),
        {
            "the sign is the other way round: donor minus recipient.": -product.sum(dim=(0, 2)),
            "you multiplied the donor's z, not its difference from the recipient's.": (
                donor * gradient
            ).sum(dim=(0, 2)),
            "the gradient is missing: multiply the difference by it.": (donor - recipient).sum(
                dim=(0, 2)
            ),
            "you multiplied the recipient's z, not the difference.": (recipient * gradient).sum(
                dim=(0, 2)
            ),
            "this is the first position alone; effects of all positions add up.": product[0].sum(
                dim=-1
            ),
            "this is a product of sums; multiply number by number, then add up.": (
                (donor - recipient).sum(dim=(0, 2)) * gradient.sum(dim=(0, 2))
            ),
            "this is a mean; effects of positions and dimensions add up.": product.mean(dim=(0, 2)),
            "this adds absolute values; effects may cancel.": product.abs().sum(dim=(0, 2)),
            "this adds up over heads; sum over positions and d_head, and keep the heads.": (
                product.sum(dim=(1, 2))
            ),
            "positions are still apart; their effects add up too.": product.sum(dim=2),
            "the dimensions of z are still apart; their effects add up too.": product.sum(dim=0),
            "this is one number; keep one for each head.": product.sum(),
        },
    )
