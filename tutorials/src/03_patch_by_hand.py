# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Patch by hand
#
# **What you will do.** Write activation patching yourself: three runs, a measure, a loop over all
# heads. First in a ranker whose answer is known, then in a trained one, where your numbers have to
# equal the package's.
#
# **What you will learn.** To say what a patched run is, to define **recovery** and its sign, to
# read a map of heads, why shares need not add up to one, and why the other direction answers
# another question.
#
# **What you need.** 60 minutes; hooks and caches from [01](01_look_inside.ipynb), pairs and fillers
# from [02](02_perturb_with_an_axiom.ipynb). No network.

# %% tags=["parameters"]
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import mechir_edu as me

bi_encoder = "embedded"  # @param {type:"string"}
planted, dot = me.Cat("planted"), me.Dot(bi_encoder)
print(f"Planted heads (layer, head): {sorted(planted.planted_heads)} of {planted}")

# %% [markdown]
# ## Set the question
#
# The planted ranker is a cross-encoder that we built: one head *matches* words of the passage with
# equal words of the query, one looks up their **idf** (how rare they are), one *aggregates* both at
# `[CLS]`. Adding a query word raises its score. Which heads carry the rise? We know; let us see
# whether patching finds out.

# %%
query = "why does salt melt ice on roads"
text = "Brine keeps a surface wet when it would freeze."
pair = me.Pair("toy", "toy", query, text, f"{text} salt", axiom="TFC1", expected_sign=1)
(aligned,) = me.align([pair], planted.tokenizer, kind="cat").aligned
for ids in (aligned.baseline_ids, aligned.perturbed_ids):
    print(" ".join(planted.tokenizer.convert_ids_to_tokens(ids.tolist())))

# %% [markdown]
# Both versions are equally long: where the perturbed one has *salt*, the baseline has the filler
# "a". A ranker takes them as tensors of token ids, `[batch, pos]`, with the type of each token
# (0 query, 1 passage).


# %%
def tokens_of(ids: np.ndarray) -> dict[str, torch.Tensor]:
    """One sequence as input of the ranker."""
    types = torch.from_numpy(aligned.token_type_ids)
    return {"input_ids": torch.from_numpy(ids)[None], "token_type_ids": types[None]}


baseline, perturbed = tokens_of(aligned.baseline_ids), tokens_of(aligned.perturbed_ids)
low, high = planted(**baseline).item(), planted(**perturbed).item()
print(f"baseline {low:+.4f}, perturbed {high:+.4f}: the score changes by {high - low:+.4f}")

# %% [markdown]
# ## Run three times
#
# **Activation patching** needs three runs.
#
# 1. The **recipient** run, here the baseline: its score is where we start.
# 2. The **donor** run, here the perturbed version: we keep its activations.
# 3. The **patched** run: the recipient's tokens again, but one activation is replaced by the
#    donor's. All that follows is computed anew.
#
# If the patched score moves towards the donor's, what we replaced *carries* some of the change. This
# is the matching head of our pair; the package made the three runs, and you will make them yourself
# below. *Next step* goes through them; the arrow keys choose a step, too.

# %%
three = me.patch(planted, [pair], direction="perturbed_to_baseline")
me.plots.step_three_runs(three, head=(0, 0))

# %% [markdown]
# All at once:

# %%
me.plots.draw_three_runs(three, head=(0, 0))

# %% [markdown]
# Squares are heads, layer 0 at the bottom. What lies below the patch stays as it was in the recipient
# run; what lies above is computed anew, and may pass the change on to the score. Put another head
# into the cell and run it again, such as `head=(2, 1)`, which does nothing.
#
# Now step by step in code. From the donor run we keep z, what each head gathered, for all layers:

# %%
_, cache = planted.run_with_cache(**perturbed, names_filter=lambda name: name.endswith("hook_z"))
for name, z in cache.items():
    print(name, tuple(z.shape), "= batch, pos, head, d_head")

# %% [markdown]
# ## Exercise 1: three runs
#
# *Difficulty 3/5, importance 5/5, 15 minutes. Why: this is the method; all else is bookkeeping.*
#
# Use `run_with_cache` on the donor and `run_with_hooks` on the recipient, and patch one head at all
# positions. `recipient` and `donor` are inputs like `baseline` and `perturbed` above, so
# `ranker(**recipient)` gives its score. Return plain numbers.


# %% tags=["stub"]
def three_runs(ranker, recipient, donor, layer: int, head: int) -> tuple[float, float, float]:
    """Scores of the recipient, of the donor, and of the recipient with one head's z patched."""
    raise NotImplementedError


# %% tags=["solution"]
def three_runs(ranker, recipient, donor, layer: int, head: int) -> tuple[float, float, float]:
    """Scores of the recipient, of the donor, and of the recipient with one head's z patched."""
    name = f"blocks.{layer}.attn.hook_z"
    donor_score, cache = ranker.run_with_cache(**donor, names_filter=name)

    def put_in(z, hook):
        z = z.clone()
        z[:, :, head] = cache[name][:, :, head]
        return z

    patched_score = ranker.run_with_hooks(**recipient, fwd_hooks=[(name, put_in)])
    return ranker(**recipient).item(), donor_score.item(), patched_score.item()


# %%
me.checks.check_three_runs(three_runs)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# The third run reads the *recipient's* tokens. The donor enters only inside the hook, and only for
# one head.
#
# </details>
# <details><summary>Hint 2: the names</summary>
#
# `name = f"blocks.{layer}.attn.hook_z"`. `ranker.run_with_cache(**donor, names_filter=name)` gives
# the score and a cache; `ranker.run_with_hooks(**recipient, fwd_hooks=[(name, hook)])` a score.
#
# </details>
# <details><summary>Hint 3: almost code</summary>
#
# The hook: clone z, set `z[:, :, head]` to `cache[name][:, :, head]`, return z. Then the scores in
# the order recipient, donor, patched, each with `.item()`.
#
# </details>
#
# ## Measure what was carried over
#
# For many pairs we express it as a share, **recovery**: the mean effect of the patch over the mean
# change,
#
# $$\text{recovery} = \frac{\overline{\text{patched} - \text{recipient}}}
# {\overline{\text{donor} - \text{recipient}}}.$$
#
# 0 means that the patch changed nothing, 1 that it carried over the whole change. Negative: it
# moved the score away from the donor's. The paper takes each pair's ratio first and then their
# mean. Three pairs show why we do not:

# %%
effect, change = np.array([0.10, 0.12, 0.02]), np.array([0.50, 0.60, 0.001])
print(f"ratios of the pairs: {(effect / change).round(2)}")
print(
    f"mean of ratios {(effect / change).mean():.2f}, ratio of means {effect.mean() / change.mean():.2f}"
)

# %% [markdown]
# The third pair's score hardly moved, so its ratio is enormous, and it dominates the mean of
# ratios.
#
# ## Exercise 2: recovery
#
# *Difficulty 1/5, importance 5/5, 5 minutes. Why: the number in every figure from here on.*
#
# A *cell* is one square of the map below, here a head.


# %% tags=["stub"]
def recovery(patched: np.ndarray, recipient: np.ndarray, donor: np.ndarray) -> np.ndarray:
    """Ratio of means; patched is [cell, pair], recipient and donor are [pair]; returns [cell]."""
    raise NotImplementedError


# %% tags=["solution"]
def recovery(patched: np.ndarray, recipient: np.ndarray, donor: np.ndarray) -> np.ndarray:
    """Ratio of means; patched is [cell, pair], recipient and donor are [pair]; returns [cell]."""
    return (patched - recipient).mean(axis=-1) / (donor - recipient).mean()


# %%
me.checks.check_recovery(recovery)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Two differences, both from the recipient; two means, both over pairs; one division, at the end.
#
# </details>
# <details><summary>Hint 2: the function</summary>
#
# `.mean(axis=-1)` takes the mean over the last axis. `[cell, pair] - [pair]` subtracts for each pair.
#
# </details>
# <details><summary>Hint 3: almost code</summary>
#
# `(patched - recipient).mean(axis=-1)` over `(donor - recipient).mean()`.
#
# </details>
#
# ## Exercise 3: every head
#
# *Difficulty 3/5, importance 5/5, 15 minutes. Why: you will not trust a fast engine unless you
# could have written the slow one.*
#
# Use your `three_runs` for every head of every layer. Return the patched scores, not yet recovery.


# %% tags=["stub"]
def patch_every_head(ranker, recipient, donor) -> np.ndarray:
    """Score of the recipient with one head patched from the donor, [layer, head]."""
    raise NotImplementedError


# %% tags=["solution"]
def patch_every_head(ranker, recipient, donor) -> np.ndarray:
    """Score of the recipient with one head patched from the donor, [layer, head]."""
    scores = np.empty((ranker.n_layers, ranker.n_heads))
    for layer, head in np.ndindex(scores.shape):
        scores[layer, head] = three_runs(ranker, recipient, donor, layer, head)[2]
    return scores


# %%
me.checks.check_patch_every_head(patch_every_head)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# One patched run for each head, always from the untouched recipient. Slow is fine.
#
# </details>
# <details><summary>Hint 2: the names</summary>
#
# `ranker.n_layers` and `ranker.n_heads` give the shape; `np.ndindex(shape)` loops over it.
#
# </details>
# <details><summary>Hint 3: almost code</summary>
#
# For each `layer, head` keep the third number of your `three_runs`. It runs recipient and donor
# again each time; to be quicker, keep the donor's cache.
#
# </details>
#
# The check compared your numbers with those of `me.patch`. From here on we use `me.patch`; its
# `method="naive"` is the same slow loop.
#
# ## Look at the map
#
# We built the ranker, so we know which three heads can carry anything; the map has to show them and
# no other.
#
# **Predict.** Do the recoveries of the three add up (a) to 1, (b) to less, or (c) to more?

# %% tags=["figure"] alt="Heat map of recovery for the sixteen heads of the planted ranker, layers by heads, for one pair: the three planted heads are red, the one in the last layer has recovery one, all others are zero."
by_hand = me.patch(planted, [pair], method="naive", direction="perturbed_to_baseline")
share = (by_hand.scores[..., 0] - low) / (high - low)
me.plots.plot_heads(share)
plt.show()

# %%
assert {(int(a), int(b)) for a, b in np.argwhere(abs(share) > 1e-3)} == planted.planted_heads
other_way = me.patch(planted, [pair], direction="baseline_to_perturbed")
back = (other_way.scores[..., 0] - high) / (low - high)
heads = pd.MultiIndex.from_tuples(sorted(planted.planted_heads), names=["layer", "head"])
columns = {"perturbed into baseline": share, "baseline into perturbed": back}
pd.DataFrame({k: [v[at] for at in heads] for k, v in columns.items()}, heads).round(3)

# %% [markdown]
# **Read.** Rows are layers (0 at the bottom), columns heads; red moves the score as the donor did.
# Look first at the top row. The table lists the three planted heads, in both directions.
#
# <details><summary>What we see</summary>
#
# (c), more than 1, and no head but the three. They work *in series*: everything that the first two
# find passes through the aggregating head, so its share contains theirs. Recoveries are not slices
# of a pie.
#
# The other direction takes something *away*. The matching head then has recovery 1: without a match
# the idf head never comes into play. Put *into* the baseline, the match carries over only its own
# part, because there is no word whose idf could be looked up. One direction asks what is sufficient
# to raise the score, the other what is necessary for it.
#
# </details>
#
# **Could this be an artefact?** A map of one pair may describe that pair alone. We take many, and
# ask a question whose answer we can work out beforehand.
#
# ## Predict from the mechanism
#
# We built the planted ranker so that a matched word is worth 0.5 plus its idf, up to a common
# factor: the match itself contributes the 0.5, the idf head the rest. TDC adds the query's *rarest*
# word, TFC1 any of its words.
#
# **Predict.** In which of the two does the idf head have the larger share? (a) TFC1. (b) TDC. (c)
# The same.

# %% tags=["figure"] alt="Two heat maps of recovery, layers by heads, for TFC1 above and TDC below, in the planted ranker over many pairs: the same three heads are red in both; under TDC the idf head has more and the matching head less."
collection = me.load_collection("embedded")
n = me.tutorial.pick(60, 8)
pairs = {name: me.make_pairs(collection, name, n=n, seed=0) for name in ("TFC1", "TDC")}
results = {name: me.patch(planted, drawn) for name, drawn in pairs.items()}
recoveries = {(name, "planted"): result.recovery() for name, result in results.items()}
me.plots.plot_figure2(recoveries)
plt.show()

# %% tags=["widget"]
me.widgets.explore_heads(results)

# %% [markdown]
# **Read.** A dot marks heads whose effect is significant after **false-discovery control**: with
# sixteen tests, some would look significant by chance. Look first at the idf head in both maps. In
# the panel, choose a head and see what it does to each pair, and choose grades to see whether they
# differ.

# %%
tables = {name: me.plots.top_heads(shares) for (name, _), shares in recoveries.items()}
_, idf, _ = sorted(planted.planted_heads)
spans = {
    name: [getattr(shares, end)[idf] for end in ("value", "low", "high")]
    for (name, _), shares in recoveries.items()
}
for name, (value, lowest, highest) in spans.items():
    print(f"{name}: the idf head {idf} has recovery {value:.3f} [{lowest:.3f}, {highest:.3f}].")
apart = spans["TDC"][1] > spans["TFC1"][2]
print(f"The two intervals {'do not overlap' if apart else 'overlap'}.")
pd.concat(tables).round(3)

# %% [markdown]
# <details><summary>What we see</summary>
#
# (b), by a little: rarer words, larger idf, larger share. The two shares are close because both
# axioms add the same word where a query has few terms.
#
# </details>
#
# **Could this be an artefact?** If *any* added word did this, matching would not explain it. The
# control adds an unrelated word:

# %%
control = me.make_pairs(collection, "TFC1-control", n=n, seed=0)
moved = me.score_pairs(planted, control).score_change()
most = "nothing, to five digits" if abs(moved).max() < 5e-6 else f"{abs(moved).max():.5f} at most"
print(f"The control changes scores by {most}; TFC1 by", end=" ")
print(f"{results['TFC1'].score_change().mean():.3f} on average.")
assert abs(moved).max() < abs(results["TFC1"].score_change()).mean()

# %% [markdown]
# ## Do it to a trained ranker
#
# In a bi-encoder the query is encoded alone and does not change: it is the *fixed* side. A run
# returns an embedding, and the score is its similarity to the query's. Nothing else differs. The
# loop below runs the whole model 72 times, about five seconds.

# %%
(real,) = me.align(pairs["TFC1"][:1], dot.tokenizer, kind="dot").aligned
fixed = dot(input_ids=torch.from_numpy(real.fixed_ids)[None])
recipient, donor = (torch.from_numpy(ids)[None] for ids in (real.baseline_ids, real.perturbed_ids))
_, z = dot.run_with_cache(input_ids=donor, names_filter=lambda name: name.endswith("hook_z"))


def patched_score(layer: int, head: int) -> float:
    """Score of the baseline passage with one head's z taken from the perturbed one."""
    given = z[f"blocks.{layer}.attn.hook_z"]
    mask = (torch.arange(dot.n_heads) == head)[:, None]
    hook = (f"blocks.{layer}.attn.hook_z", lambda z, hook: torch.where(mask, given, z))
    return dot.head.compare(fixed, dot.run_with_hooks(input_ids=recipient, fwd_hooks=[hook])).item()


# %%
grid, start = (dot.n_layers, dot.n_heads), time.perf_counter()
slow = np.reshape([patched_score(layer, head) for layer, head in np.ndindex(grid)], grid)
slow_s, start = time.perf_counter() - start, time.perf_counter()
fast = me.patch(dot, pairs["TFC1"][:1], direction="perturbed_to_baseline")
fast_s = time.perf_counter() - start
np.testing.assert_allclose(slow, fast.scores[..., 0], atol=1e-5)
print(f"{slow.size} heads: equal to {abs(slow - fast.scores[..., 0]).max():.0e}.")
print(f"By hand {slow_s:.2f} s, me.patch {fast_s:.2f} s.")

# %% [markdown]
# The same numbers, sooner. The loop runs the whole model for each head. But a patch in layer 4
# leaves layers 0 to 3 unchanged, and all heads of a layer fit into one batch: the package runs only
# what a patch can change.
#
# <details><summary>Aside: in a post-LN model, why not just add the effects?</summary>
#
# A head's part is added to the stream, so you might take the difference in z, multiply it by `W_O`
# and read off the score. But LayerNorm follows the sum, and later layers read the changed stream:
# the effect is not linear, and the rest of the model has to run. (Notebook 07 asks how far a linear
# estimate by gradients gets.)
#
# </details>
#
# ## What you saw
#
# - We wrote the three runs: the third reads the recipient's tokens and takes one activation from the
#   donor.
# - We defined recovery as a ratio of means: 0 none, 1 all, negative the other way.
# - The loop found the planted heads and no others; their shares added up to more than 1, because
#   they work in series.
# - The other direction gave another map: sufficient is not the same as necessary.
# - By hand and by `me.patch`, a trained bi-encoder gave the same numbers.
#
# ## On your own
#
# - Patch `hook_attn_out` of a layer instead of one head's z. Which recovery do you expect in the
#   planted ranker?
# - Patch two heads together: `me.patch(planted, [pair], heads=[...], together=True)`.
# - Patch a run into itself. What must recovery be, and why is that a good test?
#
# ## Further reading
#
# - Vig et al., *Investigating Gender Bias in Language Models Using Causal Mediation Analysis*
#   (NeurIPS 2020), [arXiv:2004.12265](https://doi.org/10.48550/arXiv.2004.12265), and Meng et al.,
#   *Locating and Editing Factual Associations in GPT* (NeurIPS 2022),
#   [arXiv:2202.05262](https://doi.org/10.48550/arXiv.2202.05262): where the method comes from.
# - Heimersheim and Nanda, *How to use and interpret activation patching* (2024): on directions and
#   pitfalls. [arXiv:2404.15255](https://doi.org/10.48550/arXiv.2404.15255)
# - Chen, Merullo and Eickhoff, *Axiomatic Causal Interventions for Reverse Engineering Relevance
#   Computation in Neural Retrieval Models* (SIGIR 2024).
#   [doi:10.1145/3626772.3657841](https://doi.org/10.1145/3626772.3657841)
