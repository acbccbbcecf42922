"""Pairs, small rankers of every family, and tolerances that tests of patching share."""

import numpy as np
import torch
from few import few
from small_models import FAMILIES, save_model

import mechir_edu as me
from mechir_edu.rankers.hook_names import BLOCK_SITES, HEAD_SITES
from mechir_edu.rankers.stacks import Stack

SITES = (*HEAD_SITES, *BLOCK_SITES)
KINDS = {"dot": (me.Dot, "Model"), "cat": (me.Cat, "ForSequenceClassification")}


def a_pair(baseline, term, i=0, query="coral reef bleaching", at="end"):
    perturbed = f"{baseline} {term}" if at == "end" else f"{term} {baseline}"
    return me.Pair(f"q{i}", f"d{i}", query, baseline, perturbed, "mine", 1, term=term)


PAIRS = [
    a_pair("Warm water makes corals lose their algae.", "bleaching", 0),
    a_pair("The reef is a reef of many reef fish and one shark.", "reef", 1, at="start"),
    a_pair("Trains run late.", "coral", 2),
    a_pair("Warm oceans make corals eject their algae.", "bleaching", 3),
]

# What patching does with a family, it does by the family's adapter, and test_adapters holds every
# site of each. Those of these three families are BERT's and RoBERTa's.
LIKE_OTHERS = ("electra", "electra-narrow", "xlm-roberta")
EACH_FAMILY = few(FAMILIES, [family for family in FAMILIES if family not in LIKE_OTHERS])

# Every site at all positions; and at some, by role or position in turn. make test takes half of
# each.
ALL_POSITIONS = [(site, None) for site in SITES]
SOME_POSITIONS = [(site, ("role", "pos")[k // 2 % 2]) for k, site in enumerate(SITES)]
SITES_BY = few(ALL_POSITIONS + SOME_POSITIONS, ALL_POSITIONS[::2] + SOME_POSITIONS[1::2])

# One term each of four different queries.
APPENDED = [
    a_pair("Warm water makes corals lose their algae.", "bleaching", 0),
    a_pair("The city hall is built of limestone.", "granite", 1, "granite in a city"),
    a_pair("Bread rises because gas forms in the dough.", "yeast", 2, "yeast bread"),
    a_pair("The lighthouse keeper wrote of cold winters.", "fish", 3, "fish of the sea"),
]


def hook_name(site, layer):
    """Name of a hook point of an encoder."""
    return Stack(1, 1, 1).hook_name(site, layer)


def load_small(family, kind, folder):
    """A random ranker of a family, saved in a folder and loaded from it."""
    ranker_class, suffix = KINDS[kind]
    return ranker_class(str(save_model(family, suffix, folder)))


def patched(ranker, pairs=PAIRS, **options):
    return me.patch(ranker, pairs, progress=False, **options)


def assert_same(scores, reference):
    """Equal to 1e-5 of the scores' own size (a random bi-encoder's are in the tens)."""
    size = max(1.0, float(np.abs(reference).max()))
    np.testing.assert_allclose(scores, reference, atol=1e-5 * size, rtol=0)


def assert_same_bits(first, second):
    """Two results with the same pairs, the same bits in every array, the same provenance."""
    for name, value in vars(first).items():
        other = getattr(second, name)
        if isinstance(value, np.ndarray):
            assert value.dtype == other.dtype, name
            np.testing.assert_array_equal(value, other, err_msg=name)
        else:
            assert value == other, name


class Wrapped:
    """A wrapped model with its bridge, and the inputs that it is run on by default."""

    @torch.no_grad()
    def run(self, *hooks, **inputs):
        with self.bridge.hooks(fwd_hooks=list(hooks)):
            return self.wrapped(**{**self.inputs, **inputs})[0]

    def cache(self, *names, **inputs):
        kept = {}
        self.run(*[(n, lambda x, hook, n=n: kept.update({n: x.clone()})) for n in names], **inputs)
        return [kept[name] for name in names]
