"""Every exercise's check: it accepts the right answer, and names each mistake that people make."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control, kendalltau, rankdata, spearmanr

from mechir_edu import checks
from mechir_edu.checks import _record, checks_03
from mechir_edu.collection.terms import surface_terms


@dataclass(frozen=True)
class Exercise:
    """A check's name, right answers, and wrong ones by a part of the sentence that they get."""

    check: str
    right: tuple[Callable, ...]
    wrong: Mapping[str, Callable]


@pytest.fixture(autouse=True)
def _own_record(monkeypatch, tmp_path):
    monkeypatch.setattr(_record, "FILE", tmp_path / "work" / "exercises.json")
    monkeypatch.setattr(_record, "_here", {})


# 01: what a head adds, and what it does to the score


def head_outputs(z, W_O, b_O):
    return torch.einsum("phd,hdm->hpm", z, W_O)


HEAD_OUTPUTS = {
    "added b_O to every head": lambda z, W, b: head_outputs(z, W, b) + b,
    "spread b_O": lambda z, W, b: head_outputs(z, W, b) + b / 3,
    "summed over the heads": lambda z, W, b: head_outputs(z, W, b).sum(0),
    "attn_out itself": lambda z, W, b: head_outputs(z, W, b).sum(0) + b,
    "heads come first": lambda z, W, b: torch.einsum("phd,hdm->phm", z, W),
    "the first head's W_O": lambda z, W, b: torch.einsum("phd,dm->hpm", z, W[0]),
    "the last head's W_O": lambda z, W, b: torch.einsum("phd,dm->hpm", z, W[-1]),
    "the first head's z": lambda z, W, b: torch.einsum("pd,hdm->hpm", z[:, 0], W),
    "the shape is right, the numbers are not: 60 of 60 differ, first at [0, 0, 0]": (
        lambda z, W, b: head_outputs(z, W, b) + 7
    ),
    "the shape is (3, 5), and should be (3, 5, 4)": lambda z, W, b: head_outputs(z, W, b)[..., 0],
}


def silence(z, head):
    z[:, :, head] = 0


def effect_by(edit=silence, *, hands_back=True, sign=1, off=1):
    """Make an effect_of_head that edits z in some way and reports in some way."""

    def effect_of_head(ranker, query, text, layer, head):
        def hook(z, hook):
            z = z.clone()
            edit(z, head)
            return z if hands_back else None

        hooks = [(f"blocks.{layer}.attn.hook_z", hook)]
        without = ranker.run_with_hooks(query, text, fwd_hooks=hooks)
        return sign * (without - off * ranker(query, text)).item()

    return effect_of_head


def by_position(ranker, query, text, layer, head):
    return ranker.run_with_hooks(query, text, [(f"blocks.{layer}.attn.hook_z", None)])


def leaves_a_hook(ranker, query, text, layer, head):
    point = ranker.hook_dict[f"blocks.{layer}.attn.hook_z"]
    point.add_hook(lambda z, hook: z * 0)
    return 0.0


EFFECTS = {
    "at [CLS] only": effect_by(lambda z, head: z[:, 0, head].zero_()),
    "turned the head round": effect_by(lambda z, head: z[:, :, head].neg_()),
    "fwd_hooks=hooks": by_position,
    "leaves the ranker changed": leaves_a_hook,
    "wrong for 3 of the 3 heads tried, first for layer 0, head 0": lambda *given: 7.0,
    "nothing changed": effect_by(hands_back=False),
    "sign is reversed": effect_by(sign=-1),
    "take off the score with it": effect_by(off=0),
    "all heads of the layer": effect_by(lambda z, head: z.zero_()),
    "a position, not a head": effect_by(lambda z, head: z[:, head].zero_()),
}


# 02: the rarest term, and the gap


def rarest(query, idf):
    return max(surface_terms(query), key=lambda term: idf(term[0]))


def words_of(query):
    return [word for _, word in surface_terms(query)]


def rarest_missing(document, query, idf):
    lacking = [term for term in surface_terms(query) if term[1] not in document.lower()]
    return f"{document} {max(lacking, key=lambda term: idf(term[0]))[1]}"


RAREST_TERMS = {
    "among the terms that the document lacks": rarest_missing,
    "twice": lambda d, q, idf: f"{d} {rarest(q, idf)[1]} {rarest(q, idf)[1]}",
    "the whole query": lambda d, q, idf: f"{d} {q}",
    "unreduced word; the table": lambda d, q, idf: f"{d} {max(words_of(q), key=idf)}",
    "stop word": lambda d, q, idf: f"{d} {max(q.split(), key=idf)}",
    "commonest": lambda d, q, idf: f"{d} {min(surface_terms(q), key=lambda t: idf(t[0]))[1]}",
    "added the stem": lambda d, q, idf: f"{d} {rarest(q, idf)[0]}",
    "the other way round": lambda d, q, idf: (
        f"{d} {max(surface_terms(q), key=lambda t: idf(t[1]))[0]}"
    ),
    "all terms": lambda d, q, idf: " ".join([d, *words_of(q)]),
    "merged": lambda d, q, idf: d + rarest(q, idf)[1],
    "at the start": lambda d, q, idf: f"{rarest(q, idf)[1]} {d}",
    "the word alone": lambda d, q, idf: rarest(q, idf)[1],
    "nothing changed": lambda d, q, idf: d,
}


def fill_gap(baseline, perturbed, start, filler):
    return baseline[:start] + (len(perturbed) - len(baseline)) * [filler] + baseline[start:]


GAPS = {
    "behind [SEP]": lambda b, p, start, f: [*b, f, f],
    "before the last [SEP]": lambda b, p, start, f: [*b[:-1], f, f, b[-1]],
    "one filler is not enough": lambda b, p, start, f: [*b[:start], f, *b[start:]],
    "before [CLS]": lambda b, p, start, f: [f, f, *b],
    "the perturbed version": lambda b, p, start, f: p,
    "a filler took the place": lambda b, p, start, f: [*b[:start], f, *b[start + 1 :]],
    "fillers took the place": lambda b, p, start, f: [*b[:start], f, f, *b[start + 2 :]],
    "not one token behind": lambda b, p, start, f: fill_gap(b, p, start + 1, f),
    "nothing was filled in": lambda b, p, start, f: b,
}


# 03: three runs, recovery, and the loop over heads


def put_head(z, given, head):
    z[:, :, head] = given[:, :, head]


def patched(ranker, recipient, donor, layer, head, *, put=put_head, hands_back=True):
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = ranker.run_with_cache(**donor, names_filter=name)

    def hook(z, hook):
        z = z.clone()
        put(z, cache[name], head)
        return z if hands_back else None

    return ranker.run_with_hooks(**recipient, fwd_hooks=[(name, hook)]).item()


def three_runs(ranker, recipient, donor, layer, head, *, swap=lambda r, d: (r, d), **options):
    scores = [ranker(**tokens).item() for tokens in (recipient, donor)]
    return *scores, patched(ranker, *swap(recipient, donor), layer, head, **options)


def as_third(scores):
    low, high, third = scores
    return low, high, (third - low) / (high - low)


def three_runs_with(**options):
    return lambda *arguments: three_runs(*arguments, **options)


THREE_RUNS = {
    "with = and not +=": three_runs_with(put=checks_03.add_head),
    "[CLS] only": three_runs_with(put=checks_03.put_at_cls),
    "not zero": three_runs_with(put=checks_03.silence_head),
    "that is the third run's effect": lambda *runs: np.subtract(
        three_runs(*runs), [0, 0, three_runs(*runs)[0]]
    ),
    "that is the third run's recovery": lambda *runs: as_third(three_runs(*runs)),
    "the recipient's score is wrong": lambda *runs: np.add(three_runs(*runs), [1, 0, 0]),
    "wrong for 5 of the 5 heads tried, first for layer 0, head 0": lambda *runs: np.add(
        three_runs(*runs), [0, 0, 7]
    ),
    "you gave 2": lambda *runs: three_runs(*runs)[:2],
    "fwd_hooks=hooks": lambda ranker, *_: ranker.run_with_hooks("a", "b", []),
    "the perturbed run into itself": three_runs_with(swap=lambda r, d: (d, d)),
    "equals the first": three_runs_with(swap=lambda r, d: (r, r)),
    "let the hook hand it back": three_runs_with(hands_back=False),
    "are exchanged": three_runs_with(swap=lambda r, d: (d, r)),
    "all heads of the layer": three_runs_with(put=checks_03.put_layer),
    "a position, not a head": three_runs_with(put=checks_03.put_position),
    "the edited position only": three_runs_with(put=checks_03.put_at_edit),
    "the order is": lambda *runs: [three_runs(*runs)[i] for i in (1, 0, 2)],
}


def recovery(patched, recipient, donor):
    return (patched - recipient).mean(axis=-1) / (donor - recipient).mean()


RECOVERIES = {
    "median of each pair's ratio": lambda p, r, d: np.median((p - r) / (d - r), axis=-1),
    "ratio of medians": lambda p, r, d: np.median(p - r, axis=-1) / np.median(d - r),
    "absolute values": lambda p, r, d: abs(p - r).sum(-1) / abs(d - r).sum(),
    "missing above the line": lambda p, r, d: p.mean(-1) - r.mean() / (d - r).mean(),
    "missing below the line": lambda p, r, d: (p - r).mean(-1) / d.mean() - r.mean(),
    "brackets are missing": lambda p, r, d: p.mean(-1) - r.mean() / d.mean() - r.mean(),
    "that is the mean effect": lambda p, r, d: (p - r).mean(-1),
    "upside down": lambda p, r, d: 1 / recovery(p, r, d),
    "percentage": lambda p, r, d: 100 * recovery(p, r, d),
    "the shape is right, the numbers are not: 2 of 2": lambda p, r, d: recovery(p, r, d) + 7,
    "mean of each pair's ratio": lambda p, r, d: ((p - r) / (d - r)).mean(-1),
    "sign is reversed": lambda p, r, d: recovery(p, r, 2 * r - d),
    "from the patched one": lambda p, r, d: p.mean(-1) / (d - r).mean(),
    "below the line": lambda p, r, d: (p - r).mean(-1) / d.mean(),
    "1 minus recovery": lambda p, r, d: (d - p).mean(-1) / (d - r).mean(),
    "one number for each cell": lambda p, r, d: (p - r).mean() / (d - r).mean(),
    "keep the sign": lambda p, r, d: (p - r).mean(-1) / abs(d - r).mean(),
    "mean over cells": lambda p, r, d: (p - r).mean(0) / (d - r).mean(),
}


def every_head(score):
    def patch_every_head(ranker, recipient, donor):
        grid = (ranker.n_layers, ranker.n_heads)
        scores = [score(ranker, recipient, donor, layer, head) for layer, head in np.ndindex(grid)]
        return np.reshape(scores, grid)

    return patch_every_head


patch_every_head = every_head(patched)


def as_effects(ranker, recipient, donor):
    return patch_every_head(ranker, recipient, donor) - ranker(**recipient).item()


def as_recovery(ranker, recipient, donor):
    change = ranker(**donor).item() - ranker(**recipient).item()
    return as_effects(ranker, recipient, donor) / change


def without(place, fill=None, *, axis=0):
    """Make a loop that leaves out a layer or head, and leaves or cuts its place."""

    def loop(*runs):
        scores = patch_every_head(*runs)
        if fill is None:
            return np.delete(scores, place, axis)
        np.moveaxis(scores, axis, 0)[place] = fill
        return scores

    return loop


LOOPS = {
    "a position, not a head": every_head(lambda *runs: patched(*runs, put=checks_03.put_position)),
    "the edited position": every_head(lambda *runs: patched(*runs, put=checks_03.put_at_edit)),
    "[CLS] only": every_head(lambda *runs: patched(*runs, put=checks_03.put_at_cls)),
    "added the donor's z": every_head(lambda *runs: patched(*runs, put=checks_03.add_head)),
    "not zero": every_head(lambda *runs: patched(*runs, put=checks_03.silence_head)),
    "one score for each layer": lambda *runs: patch_every_head(*runs).mean(axis=1),
    "layer 0 was left out": without(0, 0.0),
    "layer 0 was left out;": without(0),
    "the last layer was left out": without(-1, 1e-300),
    "head 0 was left out": without(0, np.nan, axis=1),
    "the last head was left out": without(-1, axis=1),
    "the shape is right, the numbers are not: 16 of 16 differ, first at [0, 0]": lambda *runs: (
        patch_every_head(*runs) + 7
    ),
    "into itself": every_head(lambda ranker, r, d, *at: patched(ranker, d, d, *at)),
    "nothing was patched": every_head(lambda ranker, r, d, *at: patched(ranker, r, r, *at)),
    "are exchanged": every_head(lambda ranker, r, d, *at: patched(ranker, d, r, *at)),
    "the axes are [layer, head]": lambda *runs: patch_every_head(*runs).T,
    "all heads of a layer at once": every_head(
        lambda *runs: patched(*runs, put=checks_03.put_layer)
    ),
    "those are effects": as_effects,
    "recovery already": as_recovery,
}


# 04: significant heads, and the correlation of two maps


def where(mask):
    return {(int(layer), int(head)) for layer, head in np.argwhere(mask)}


def corrected(recovery, level, **options):
    q = false_discovery_control(recovery.p.ravel(), **options).reshape(recovery.p.shape)
    return where(q < level)


SIGNIFICANT_HEADS = {
    "Bonferroni": lambda recovery, level: where(recovery.p < level / recovery.p.size),
    "Bonferroni's": lambda recovery, level: where(recovery.p * recovery.p.size < level),
    "Benjamini and Hochberg's rule": corrected,
    "corrected twice": lambda recovery, level: where(recovery.q < level / recovery.q.size),
    "interval is free of zero": lambda recovery, level: where(
        (recovery.low > 0) | (recovery.high < 0)
    ),
    "of the 1 that you list, 1 are wrong; 4 are missing": lambda recovery, level: {(0, 2)},
    "went by p": lambda recovery, level: where(recovery.p < level),
    "raise the score only": lambda recovery, level: where(
        (recovery.q < level) & (recovery.value > 0)
    ),
    "not significant": lambda recovery, level: where(recovery.q >= level),
    "size of the recovery": lambda recovery, level: where(abs(recovery.value) > level),
    "a mask": lambda recovery, level: recovery.q < level,
}


def correlate(first, second):
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


CORRELATIONS = {
    "Kendall's": lambda a, b: kendalltau(a, b).statistic,
    "and its p": lambda a, b: spearmanr(a.ravel(), b.ravel()),
    "the whole matrix": lambda a, b: np.corrcoef(rankdata(a), rankdata(b)),
    "one of the maps only": lambda a, b: correlate(rankdata(a), b),
    "7.0 is not the answer": lambda a, b: 7.0,
    "Pearson's": correlate,
    "apply it twice": lambda a, b: correlate(a.ravel().argsort(), b.ravel().argsort()),
    "the sign matters": lambda a, b: correlate(rankdata(abs(a)), rankdata(abs(b))),
    "row by row": lambda a, b: correlate(rankdata(a, axis=1), rankdata(b, axis=1)),
}


# 05: some positions, and attention to a role


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


POSITIONS = {
    "clone it": written_in_place,
    "into itself": lambda recipient, donor, positions: recipient.clone(),
    "every position": lambda recipient, donor, positions: donor,
    "or exchanged recipient": lambda recipient, donor, positions: patch_positions(
        donor, recipient, positions
    ),
    "the first axis": first_axis,
    "every position but the chosen ones": lambda r, d, at: patch_positions(r, d, [0, 2]),
    "you added": lambda r, d, at: patch_positions(r, r + d, at),
    "to zero": lambda r, d, at: patch_positions(r, 0 * d, at),
    "the first text only": lambda r, d, at: torch.cat([patch_positions(r, d, at)[:1], r[1:]]),
    "not these alone": lambda r, d, at: d[:, at],
    "the shape is right, the numbers are not: 32 of 32": lambda r, d, at: r + 7,
}


def attention_to_role(pattern, roles, source, target):
    return pattern[np.ix_(roles == source, roles == target)].sum(axis=1).mean()


SHARES = {
    "the sum over its positions": lambda p, r, s, t: p[np.ix_(r == s, r == t)].mean(),
    "take the mean over them": lambda p, r, s, t: p[np.ix_(r == s, r == t)].sum(),
    "the axes are exchanged": lambda p, r, s, t: p[np.ix_(r == s, r == t)].sum(axis=0).mean(),
    "rows and columns": lambda p, r, s, t: attention_to_role(p, r, t, s),
    "a maximum": lambda p, r, s, t: p[np.ix_(r == s, r == t)].max(axis=1).mean(),
    "a median": lambda p, r, s, t: np.median(p[np.ix_(r == s, r == t)].sum(axis=1)),
    "divide by no other": lambda p, r, s, t: p[np.ix_(r == s, r == t)].sum() / p[:, r == t].sum(),
    "take their mean": lambda p, r, s, t: p[np.ix_(r == s, r == t)].sum(axis=1),
    "only those of role source": lambda p, r, s, t: p[:, r == t].sum(axis=1).mean(),
}


# 06: a contrast with a control, and a null


def matched_contrast(axiom, control):
    return np.mean([axiom[key] - control[key] for key in axiom if key in control])


def means(axiom, control):
    return [np.mean([*side.values()]) for side in (axiom, control)]


def differences(axiom, control):
    return [axiom[key] - control[key] for key in axiom if key in control]


CONTRASTS = {
    "of one side alone": lambda a, c: np.mean([a.get(k, 0) - c.get(k, 0) for k in {**a, **c}]),
    "a median": lambda a, c: np.median(differences(a, c)),
    "absolute differences": lambda a, c: np.mean(np.abs(differences(a, c))),
    "take their mean": differences,
    "divided by all documents": lambda a, c: sum(differences(a, c)) / len(a),
    "all documents of one side": lambda a, c: np.mean(np.subtract([*a.values()], [*c.values()])),
    "leave it out": lambda a, c: np.mean([a[key] - c.get(key, 0) for key in a]),
    "other way round": lambda a, c: -matched_contrast(a, c),
    "take the control's off": lambda a, c: np.mean([a[key] for key in a if key in c]),
    "a sum; take the mean": lambda a, c: 3 * matched_contrast(a, c),
    "a ratio": lambda a, c: np.divide(*means(*({k: s[k] for k in a if k in c} for s in (a, c)))),
}


def flip_by_query(effect, query_ids, rng):
    queries, place = np.unique(query_ids, return_inverse=True)
    return effect * rng.choice([-1, 1], size=len(queries))[place]


def flipped_in_place(effect, query_ids, rng):
    effect *= -1
    return effect


def flip_by(coins):
    """Make a flip_by_query of a function (rng, number of queries) -> -1 or 1 for each query."""

    def flip(effect, query_ids, rng):
        queries, place = np.unique(query_ids, return_inverse=True)
        return effect * coins(rng, len(queries))[place]

    return flip


FLIPS = {
    "the coin is not fair": flip_by(lambda rng, n: rng.choice([-1, 1], n, p=[0.1, 0.9])),
    "is not fair": flip_by(lambda rng, n: rng.choice([-1, 1], n, p=[0.4, 0.6])),
    "do not come from rng": flip_by(lambda rng, n: np.random.default_rng().choice([-1, 1], n)),
    "come from rng, the": flip_by(lambda rng, n: np.random.default_rng(1).choice([-1, 1], n)),
    "with no quota": flip_by(lambda rng, n: rng.permutation(np.resize([-1, 1], n))),
    "return a new array": flipped_in_place,
    "should keep it": lambda effect, queries, rng: effect.mean(axis=1),
    "only signs should": lambda effect, queries, rng: rng.permuted(effect, axis=1),
    "no sign was turned": lambda effect, queries, rng: effect.copy(),
    "all signs are turned": lambda effect, queries, rng: -effect,
    "a coin of its own": lambda effect, queries, rng: effect * rng.choice([-1, 1], effect.shape),
    "one coin turned everything": lambda effect, queries, rng: effect * rng.choice([-1, 1]),
    "pairs of one query": lambda effect, queries, rng: effect * rng.choice([-1, 1], len(queries)),
}


# 07: a circuit read off a matrix, and attribution


def read_circuit(matrix, senders, receivers, at_least):
    cells = zip(product(senders, receivers), np.ravel(matrix), strict=True)
    return {edge for edge, value in cells if abs(value) >= at_least}


CIRCUITS = {
    "turn the comparison round": lambda m, s, r, t: set(product(s, r)) - read_circuit(m, s, r, t),
    "only the paths that work against": lambda m, s, r, t: read_circuit(np.minimum(m, 0), s, r, t),
    "of the 1 that you list, 1 are wrong; 3 are missing": lambda m, s, r, t: {((9, 9), (9, 9))},
    "compare absolute values": lambda m, s, r, t: read_circuit(np.maximum(m, 0), s, r, t),
    "exactly at_least": lambda m, s, r, t: read_circuit(m, s, r, t + 1e-9),
    "a mask of the matrix": lambda m, s, r, t: np.abs(m) >= t,
    "rows are senders": lambda m, s, r, t: {(b, a) for a, b in read_circuit(m, s, r, t)},
    "look the heads up": lambda m, s, r, t: {tuple(place) for place in np.argwhere(abs(m) >= t)},
    "all paths": lambda m, s, r, t: read_circuit(m, s, r, 0),
}


def attribution(recipient_z, donor_z, gradient):
    return ((donor_z - recipient_z) * gradient).sum(dim=(0, 2))


ATTRIBUTIONS = {
    "the gradient is missing": lambda r, d, g: (d - r).sum(dim=(0, 2)),
    "you multiplied the recipient's": lambda r, d, g: (r * g).sum(dim=(0, 2)),
    "the first position alone": lambda r, d, g: ((d - r) * g)[0].sum(dim=-1),
    "a product of sums": lambda r, d, g: (d - r).sum(dim=(0, 2)) * g.sum(dim=(0, 2)),
    "the shape is right, the numbers are not: 3 of 3": lambda r, d, g: attribution(r, d, g) + 7,
    "donor minus recipient": lambda r, d, g: attribution(d, r, g),
    "not its difference": lambda r, d, g: attribution(0, d, g),
    "this is a mean": lambda r, d, g: ((d - r) * g).mean(dim=(0, 2)),
    "effects may cancel": lambda r, d, g: ((d - r) * g).abs().sum(dim=(0, 2)),
    "keep the heads": lambda r, d, g: ((d - r) * g).sum(dim=(1, 2)),
    "positions are still apart": lambda r, d, g: ((d - r) * g).sum(dim=2),
    "dimensions of z are still apart": lambda r, d, g: ((d - r) * g).sum(dim=0),
    "one for each head": lambda r, d, g: ((d - r) * g).sum(),
}


# 08: heads to compare with, and a factor that was not chosen on what is reported


def random_heads(heads, n_heads, rng):
    drawn = []
    for layer in {layer for layer, _ in heads}:
        taken = {head for at, head in heads if at == layer}
        free = sorted(set(range(n_heads)) - taken)
        drawn += [(layer, head) for head in rng.choice(free, size=len(taken), replace=False)]
    return drawn


def neighbours(heads, n_heads, step):
    """Take the next free heads of a layer, from a step on."""
    drawn = []
    for layer, head in heads:
        place = (head + step) % n_heads
        while (layer, place) in {*heads, *drawn}:
            place = (place + 1) % n_heads
        drawn.append((layer, place))
    return drawn


def drawn_by(generator):
    return lambda heads, n, rng: random_heads(heads, n, generator())


RANDOM_HEADS = {
    "the same heads for every rng": lambda heads, n, rng: neighbours(heads, n, 1),
    "nothing is drawn": drawn_by(lambda: np.random.default_rng(1)),
    "do not come from rng": drawn_by(np.random.default_rng),
    "was not drawn once": lambda heads, n, rng: neighbours(heads, n, rng.integers(1, 3)),
    "you drew 1": lambda heads, n, rng: [(0, 2)],
    "drawn twice": lambda heads, n, rng: [(0, 2), (2, 1), (2, 1), (5, 0)],
    "a chosen head": lambda heads, n, rng: heads,
    "no such head": lambda heads, n, rng: [(0, 2), (2, 1), (2, 6), (5, 0)],
    "in other layers": lambda heads, n, rng: [(0, 2), (0, 3), (0, 4), (0, 5)],
}


def best_on(change, queries):
    return change[:, queries].mean(axis=1).argmax()


def choose_factor(change, factors, is_chosen_on):
    best = best_on(change, is_chosen_on)
    return factors[best], change[best, ~is_chosen_on].mean()


def reported_on_the_same(change, factors, mask):
    best = best_on(change, mask)
    return factors[best], change[best, mask].mean()


def chosen_on_all(change, factors, mask):
    best = best_on(change, mask | True)
    return factors[best], change[best, ~mask].mean()


def chosen_on_the_others(change, factors, mask):
    best = best_on(change, ~mask)
    return factors[best], change[best, ~mask].mean()


def place_of_the_best(change, factors, mask):
    best = best_on(change, mask)
    return best, change[best, ~mask].mean()


def best_query(change, factors, mask):
    best = change[:, mask].mean(axis=0).argmax()
    return factors[best], change[best, ~mask].mean()


def worst(change, factors, mask):
    place = change[:, mask].mean(axis=1).argmin()
    return factors[place], change[place, ~mask].mean()


def chosen_by(statistic, report=np.mean):
    def choose(change, factors, mask):
        best = statistic(change[:, mask]).argmax()
        return factors[best], report(change[best, ~mask])

    return choose


def mean_of(change):
    return change.mean(axis=1)


FACTORS = {
    "by the best single query": chosen_by(lambda change: change.max(axis=1)),
    "by the worst single query": chosen_by(lambda change: change.min(axis=1)),
    "chose by the median": chosen_by(lambda change: np.median(change, axis=1)),
    "a loss is no gain": chosen_by(lambda change: abs(change.mean(axis=1))),
    "report the best of the other": chosen_by(mean_of, np.max),
    "report the median": chosen_by(mean_of, np.median),
    "report a sum": chosen_by(mean_of, np.sum),
    "you report all queries": lambda c, f, m: (choose_factor(c, f, m)[0], c[best_on(c, m)].mean()),
    "the order is factor": lambda *given: choose_factor(*given)[::-1],
    "two numbers": lambda *given: choose_factor(*given)[0],
    "it flatters": reported_on_the_same,
    "had a say too": chosen_on_all,
    "other way round": chosen_on_the_others,
    "place of the factor": place_of_the_best,
    "best query's place": best_query,
    "the worst": worst,
}


# 10: a direction judged on held-out rows, and bugs


def held_out(fit=lambda mask: mask, judge=lambda mask: ~mask, centre=True, sign=1):
    def correlate_held_out(x, y, is_learn, ridge=1.0):
        on, of = fit(is_learn), judge(is_learn)
        centred = x - centre * x[on].mean(axis=0)
        target = y - centre * y[on].mean()
        inner = centred[on].T @ centred[on] + ridge * np.eye(x.shape[1])
        w = np.linalg.solve(inner, centred[on].T @ target[on])
        return sign * np.corrcoef(centred[of] @ w, y[of])[0, 1]

    return correlate_held_out


HELD_OUT = {
    "the rows that it was fitted on; judge": held_out(judge=lambda mask: mask),
    "judge it on all rows": held_out(judge=np.ones_like),
    "the others had a say": held_out(fit=np.ones_like),
    "the other way round.": held_out(fit=lambda mask: ~mask, judge=lambda mask: mask),
    "means of the learning rows": held_out(centre=False),
    "the sign": held_out(sign=-1),
    "one number": lambda x, y, is_learn, ridge=1.0: np.eye(2),
}
BUGS = {"a": "values", "b": "zeros", "c": "nothing", "d": "right"}
WRONG_BUGS = {
    "hook a stands": BUGS | {"a": "right"},
    "hook b multiplies": BUGS | {"b": "right"},
    "hook c edits": BUGS | {"c": "zeros"},
    "hook d edits": BUGS | {"d": "zeros"},
    "keys": {"a": "values"},
    "is none of": BUGS | {"a": "v"},
}


# 11: two protocols told apart, and heads dropped one by one


def protocols(
    restored=("recipient", False),
    survives=("donor", True),
    change=lambda a, b, r, d: ((a - r) / (d - r), (b - r) / (d - r)),
):
    """The two protocols, each by the run and by whether the rest is taken from the other run."""

    def two_protocols(score, circuit, heads):
        rest = set(heads) - set(circuit)
        a, b = (score(run, rest if of_rest else circuit) for run, of_rest in (restored, survives))
        return change(a, b, score("recipient", []), score("donor", []))

    return two_protocols


PROTOCOLS = {
    "the order is": protocols(("donor", True), ("recipient", False)),
    "took the circuit itself out": protocols(survives=("donor", False)),
    "put the other heads into": protocols(restored=("recipient", True)),
    "the two are exchanged": protocols(("recipient", True), ("donor", False)),
    "both of yours read": protocols(survives=("recipient", True)),
    "what is lost": protocols(change=lambda a, b, r, d: ((a - r) / (d - r), (d - b) / (d - r))),
    "from the donor's score on": protocols(
        change=lambda a, b, r, d: ((a - r) / (d - r), (b - d) / (d - r))
    ),
    "these are scores": protocols(change=lambda a, b, r, d: (a, b)),
    "these are effects": protocols(change=lambda a, b, r, d: (a - r, b - r)),
    "the sign": protocols(change=lambda a, b, r, d: ((a - r) / (r - d), (b - r) / (r - d))),
    "before you divide": protocols(change=lambda a, b, r, d: (a / (d - r), b / (d - r))),
    "give two numbers": protocols(change=lambda a, b, r, d: (a - r) / (d - r)),
    "you asked for 'perturbed'": protocols(survives=("perturbed", True)),
}


def drop(value, heads, n, which=min):
    left = list(heads)
    while len(left) > n:
        left.remove(which(left, key=lambda head: -value(set(left) - {head})))
    return left


def first_of(by):
    return lambda value, heads, n: sorted(heads, key=lambda head: by(value, heads, head))[:n]


def grown(value, heads, n):
    grown = []
    while len(grown) < n:
        rest = [head for head in heads if head not in grown]
        grown.append(max(rest, key=lambda head: value([*grown, head])))
    return grown


DROPS = {
    "that you dropped; give": lambda v, heads, n: set(heads) - set(drop(v, heads, n)),
    "each head alone": first_of(lambda value, heads, head: -value([head])),
    "measured the loss of each head once": first_of(
        lambda value, heads, head: value(set(heads) - {head})
    ),
    "grew the set from nothing": grown,
    "missed most": lambda v, heads, n: drop(v, heads, n, which=max),
    "too early": lambda v, heads, n: drop(v, heads, n + 1),
    "too long": lambda v, heads, n: drop(v, heads, n - 1),
    "three can do better": lambda v, heads, n: [(1, 0), (1, 2), (0, 1)],
    "give the (layer, head)": lambda v, heads, n: len(heads),
}


EXERCISES = [
    Exercise("two_protocols", (protocols(),), PROTOCOLS),
    Exercise("drop_one_by_one", (drop, lambda *a: set(drop(*a))), DROPS),
    Exercise("held_out_correlation", (held_out(),), HELD_OUT),
    Exercise("bugs", (BUGS,), WRONG_BUGS),
    Exercise("head_outputs", (head_outputs,), HEAD_OUTPUTS),
    Exercise("effect_of_head", (effect_by(),), EFFECTS),
    Exercise("add_rarest_term", (lambda d, q, idf: f"{d} {rarest(q, idf)[1]}",), RAREST_TERMS),
    Exercise("fill_gap", (fill_gap,), GAPS),
    Exercise("three_runs", (three_runs,), THREE_RUNS),
    Exercise("recovery", (recovery,), RECOVERIES),
    Exercise("patch_every_head", (patch_every_head,), LOOPS),
    Exercise(
        "significant_heads",
        (
            lambda recovery, level: where(recovery.q < level),
            lambda recovery, level: corrected(recovery, level, method="by"),
            lambda recovery, level: np.argwhere(recovery.q < level),
        ),
        SIGNIFICANT_HEADS,
    ),
    Exercise("rank_correlation", (lambda a, b: correlate(rankdata(a), rankdata(b)),), CORRELATIONS),
    Exercise("patch_positions", (patch_positions,), POSITIONS),
    Exercise("attention_to_role", (attention_to_role,), SHARES),
    Exercise("matched_contrast", (matched_contrast,), CONTRASTS),
    Exercise("flip_by_query", (flip_by_query,), FLIPS),
    Exercise("read_circuit", (read_circuit,), CIRCUITS),
    Exercise("attribution", (attribution,), ATTRIBUTIONS),
    Exercise("random_heads", (random_heads,), RANDOM_HEADS),
    Exercise("choose_factor", (choose_factor,), FACTORS),
]


def check_of(name):
    return getattr(checks, f"check_{name}")


def test_every_check_is_tested():
    offered = {name for name in checks.__all__ if name.startswith("check_")}
    assert {f"check_{exercise.check}" for exercise in EXERCISES} == offered


@pytest.mark.parametrize(
    ("check", "answer"),
    [(exercise.check, answer) for exercise in EXERCISES for answer in exercise.right],
)
def test_a_right_answer_is_accepted(check, answer):
    check_of(check)(answer, strict=True)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.check)
def test_each_mistake_gets_its_name_and_each_name_has_its_mistake(exercise, capsys, monkeypatch):
    named = set()
    for module in modules_of_checks():
        monkeypatch.setattr(module, "mistake_in", spy(module.mistake_in, named))
    said = []
    for name, answer in exercise.wrong.items():
        check_of(exercise.check)(answer)
        said.append(capsys.readouterr().out.splitlines()[-1])
        assert said[-1].startswith("Not yet: ")
        assert name in said[-1]
    assert named - {sentence.removeprefix("Not yet: ") for sentence in said} == set()


def modules_of_checks():
    return [importlib.import_module(f"mechir_edu.checks.checks_{n}") for n in checks.EXERCISES]


def spy(mistake_in, named):
    """Keep the names in a catalogue."""

    def look(given, right, mistakes, **options):
        named.update(mistakes)
        return mistake_in(given, right, mistakes, **options)

    return look


def stub(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("untouched", [stub, lambda *arguments: None, lambda *arguments: ...])
@pytest.mark.parametrize("check", [exercise.check for exercise in EXERCISES])
def test_an_untouched_stub_is_not_attempted_yet(check, untouched, capsys):
    check_of(check)(untouched)
    assert capsys.readouterr().out.splitlines()[-1].startswith("Not attempted yet")
