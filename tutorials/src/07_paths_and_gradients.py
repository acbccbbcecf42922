# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Follow paths, and trust gradients as far as they go
#
# **What you will do.** First we find out how heads work *together*, on a ranker whose mechanism was
# built by hand, so that the answer is known; then on a real one. After that we estimate all patches
# at once from a gradient, and look for the case where the estimate is wrong.
#
# **What you will learn**
#
# - the difference between everything a head does (its **total effect**) and what it does by itself
#   (its **direct effect**);
# - to patch a single path from one head to another, or to the score, and to read a circuit off it;
# - **attribution patching**: one gradient for all heads, and what it assumes;
# - why to distrust small estimates, and how to check them.
#
# **What you need.** 60 minutes, and notebook 03 (the three runs). No GPU, no network.

# %% [markdown]
# `Cat("planted")` is an ordinary BERT cross-encoder, except that nobody trained it: we wrote every
# weight so that it matches terms by a known mechanism. The second ranker is a real one; the form
# takes any other post-LN ranker.

# %% tags=["parameters"]
import matplotlib.pyplot as plt
import numpy as np
import torch

import mechir_edu as me

kind = "cat"  # @param ["dot", "cat"]
ranker_name = "embedded"  # @param {type:"string"}
collection_name = "embedded"  # @param {type:"string"}
planted = me.Cat("planted")
ranker = {"dot": me.Dot, "cat": me.Cat}[kind](ranker_name)
collection = me.load_collection(collection_name)

# %% [markdown]
# ## Start with one toy pair
#
# The planted ranker in action: a query word raises the score, a word of the same shape does not.

# %%
query, passage = "how do volcanoes erupt", "Molten rock rises until the pressure breaks the crust."
texts = [passage, f"{passage} volcanoes", f"{passage} violinists"]
for text, score in zip(texts, planted.score(query, texts), strict=True):
    print(f"{score:+.4f}  {text}")

# %% [markdown]
# ## Patch its heads, in both directions
#
# **Predict.** Putting the perturbed run's heads into the baseline asks what is *sufficient* to
# raise the score; the reverse asks what is *necessary*. Will the two maps be (a) equal, (b)
# different?

# %% tags=["figure"] alt="Two heat maps of the planted ranker's heads: perturbed into baseline above, baseline into perturbed below."
pairs = me.make_pairs(collection, "TFC1", n=16, seed=0)
directions = ["perturbed_to_baseline", "baseline_to_perturbed"]
figure, axes = plt.subplots(2, 1, figsize=(6.5, 6), layout="constrained")
total = {}
for direction, ax in zip(directions, axes, strict=True):
    total[direction] = me.patch(planted, pairs, direction=direction).recovery()
    me.plots.plot_heads(total[direction], ax=ax, limit=1).set_title(direction.replace("_", " "))
plt.show()

# %%
print(me.plots.alt_text(total[directions[1]], title="Baseline into perturbed"))
me.plots.top_heads(total[directions[1]]).round(2)

# %% [markdown]
# **Read.** Three heads matter, the others are at exactly 0. Compare the lowest of the three in the two
# maps.
#
# <details><summary>What we see</summary>
#
# (b): the maps differ. One head in the first layer recovers less than half when its output is put
# *in*, and everything when it is taken *out*. It is not sufficient, but it is necessary. Something
# after it must depend on it.
#
# </details>
#
# **Could this be an artefact?** The direction is a choice, and here it doubles a head's importance.
# That is why a result always carries its direction.
#
# ## Follow one path
#
# **Path patching** changes one edge and nothing else: the **sender**'s new output reaches the
# **receiver** through the residual stream, while every other head keeps its old output. Here are
# the paths between the three heads, baseline into perturbed: what breaks when only this path is
# taken out?
#
# **Predict.** Three heads in three layers: (a) a chain A→B→C; (b) a chain and a shortcut A→C; (c) no
# paths between them, each goes to the score by itself?

# %% tags=["figure"] alt="Heat map of recovery per path among the three planted heads: rows are senders, columns receivers."
places = np.argwhere(np.abs(total[directions[0]].value) > 0.05)
heads = [(int(layer), int(head)) for layer, head in places]
taking_out = {"direction": directions[1]}
paths = me.path_patch(planted, pairs, senders=heads, receivers=heads, **taking_out)
me.plots.plot_paths(paths.matrix(), paths.senders, paths.receivers, limit=1)
plt.show()

# %%
# Adding 0 turns a rounded -0.0 into 0.0.
matrix, direct = (recovery.value.round(2) + 0 for recovery in (paths.matrix(), paths.direct()))
for i, sender in enumerate(heads):
    edges = [f"to {heads[j]} {matrix[i, j]:.2f}" for j in range(i + 1, len(heads))]
    print(f"From {sender}: {', '.join([*edges, f'straight to the score {direct[i]:.2f}'])}")

# %% [markdown]
# **Read.** Rows are senders, columns receivers. Look at the lowest row, 0.0: it has two entries.
#
# <details><summary>What we see</summary>
#
# (b): there is a chain and a shortcut. The first head sends to the second and to the third, the second
# to the third, and only the third to the score.
#
# </details>
#
# A head receives in three ways: it uses what it reads to decide where to look (**q**, **k**), or
# passes it on (**v**). A path can enter through one of them alone.

# %%
for via in ("q", "k", "v"):
    only = me.path_patch(planted, pairs, senders=heads, receivers=heads, via=via, **taking_out)
    share = only.matrix(n_boot=200).value
    edges = [f"{heads[i]} to {heads[j]} {share[i, j]:.2f}" for i, j in np.argwhere(share > 0.05)]
    print(f"through {via}:", "; ".join(edges) or "nothing")

# %% [markdown]
# Now look at the answer. The first head (*match*) marks document words that equal a query word; the
# second (*idf*) looks up the word's rarity, but only where the mark tells it to: through its q. The
# third (*aggregate*) lets `[CLS]` collect both: through its v.

# %%
assert set(heads) == planted.planted_heads
print("The planted heads:", sorted(planted.planted_heads))

# %% [markdown]
# **Could this be an artefact?** Here the shortcut and the detour of the first head add up to its
# total effect, because the ranker was built to be nearly linear. Do not expect that elsewhere.
#
# ## Exercise 1: read a circuit
#
# *Difficulty 2/5, importance 3/5, 10 minutes. A circuit is a set of edges; this function extracts
# it.*
#
# Write the function that turns a matrix of paths into the set of edges that are strong enough.


# %% tags=["stub"]
def read_circuit(matrix, senders, receivers, at_least):
    """The set of (sender, receiver) whose recovery is `at_least` or more in absolute value.

    matrix : float array [sender, receiver].
    senders, receivers : lists of (layer, head) along its axes.
    """
    raise NotImplementedError


# %% tags=["solution"]
def read_circuit(matrix, senders, receivers, at_least):
    """The set of (sender, receiver) whose recovery is `at_least` or more in absolute value."""
    places = np.argwhere(np.abs(matrix) >= at_least)
    return {(senders[row], receivers[column]) for row, column in places}


# %%
me.checks.check_read_circuit(read_circuit)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Find the cells that are far enough from zero, on either side, and look up their heads.
#
# </details>
#
# <details><summary>Hint 2: what to use</summary>
#
# `np.argwhere` returns (row, column) of the cells where a condition holds.
#
# </details>
#
# <details><summary>Hint 3: almost the code</summary>
#
# `np.argwhere(np.abs(matrix) >= at_least)`, then `(senders[row], receivers[column])` for each.
#
# </details>

# %% [markdown]
# ## Do the same in a real ranker
#
# We patch every head of the real ranker as in notebook 04 (its total effect), then only its direct path
# to the score. A path is small, so we take 60 pairs. `me.tutorial.patch` and
# `me.tutorial.path_patch` load these results, which come with the package.
#
# **Predict.** How much of their total effect do the heads of the first layers have by themselves:
# (a) all of it; (b) about half; (c) hardly any?

# %% tags=["figure"] alt="Two heat maps of the real ranker's heads on one scale: total effect above, direct effect on the score below."
real_pairs = me.make_pairs(collection, "TFC1", n=60, seed=0)
exact = me.tutorial.patch(ranker, real_pairs)
straight = me.tutorial.path_patch(ranker, real_pairs, receivers=[], direction=exact.direction)
by_head = straight.direct().value.reshape(ranker.n_layers, ranker.n_heads)
figure, axes = plt.subplots(2, 1, figsize=(8, 7.6), layout="constrained")
limit = np.abs(exact.recovery().value).max()
me.plots.plot_heads(exact.recovery(), ax=axes[0], limit=limit).set_title("total")
me.plots.plot_heads(by_head, ax=axes[1], limit=limit).set_title("direct to the score")
plt.show()

# %%
print(me.plots.alt_text(exact.recovery(), title="Total effect"))
print("layer, total, direct:")
for layer, (whole, alone) in enumerate(zip(exact.recovery().value, by_head, strict=True)):
    print(f"{layer}, {whole.sum():+.2f}, {alone.sum():+.2f}")
me.plots.top_heads(exact.recovery()).round(3)

# %% [markdown]
# **Read.** One scale. Compare layer by layer: effects that are only in the upper map work through
# other heads.
#
# <details><summary>What we see</summary>
#
# (c): hardly any. Head 2.9 of the embedded cross-encoder leads the upper map with 0.29, and is empty in
# the lower one. The score is read at [CLS], and what 2.9 finds in the document gets there through
# later heads. Layers 0 to 5 have almost no direct effect; in layer 6 about half of the total is
# direct; in the last layer all of it, because only an MLP follows.
#
# </details>
#
# So which heads read them? We take the head with the largest total effect below the last layer, and
# test all heads above it.

# %%
below = np.abs(exact.recovery().value[:-1])
sender = tuple(int(at) for at in np.unravel_index(below.argmax(), below.shape))
above = [
    (layer, head)
    for layer in range(sender[0] + 1, ranker.n_layers)
    for head in range(ranker.n_heads)
]
from_one = {"senders": [sender], "direction": exact.direction}
heard = me.tutorial.path_patch(ranker, real_pairs, receivers=above, **from_one).matrix()
leading = np.argsort(-np.abs(heard.value[0]))[:3]
for place in leading:
    span = f"[{heard.low[0, place]:+.4f}, {heard.high[0, place]:+.4f}], q = {heard.q[0, place]:.3f}"
    print(f"{sender} to {above[place]}: {heard.value[0, place]:+.4f} {span}")
print(f"{int(heard.significant().sum())} of {len(above)} paths are significant (q < 0.05).")

# %% [markdown]
# The embedded cross-encoder has a chain, too: 2.9 hands what it found to 3.9 and 4.10, the next two
# heads of the table above. These two paths carry 0.09 of its 0.29; the rest takes many small ones, and
# some of them lower the score.
#
# **Could this be an artefact?** A single path is small, and there are many. The intervals are not
# corrected for the number of paths; q is. And "by itself" leaves open what the MLPs in
# between do. By default they keep their old output (`mlps="frozen"`); they can also respond:

# %%
three = [above[place] for place in leading]
for mlps in ("frozen", "recomputed"):
    by_path = me.tutorial.path_patch(ranker, real_pairs, receivers=three, mlps=mlps, **from_one)
    print(f"MLPs {mlps:<10}:", ", ".join(f"{v:+.4f}" for v in by_path.matrix().value[0]))

# %% [markdown]
# The lines differ by up to a half: part of each path runs through MLPs. A report has to say which
# version it uses.
#
# ## Estimate all patches from one gradient
#
# Exact patching runs the ranker once for every head. Near the recipient's run the score is almost
# linear in each z, so its gradient predicts every patch:
#
# > estimated effect = (donor's z − recipient's z) · gradient of the score at the recipient
#
# Two forward passes and one backward pass, for all heads together.
#
# ## Exercise 2: write the estimate
#
# *Difficulty 3/5, importance 4/5, 10 minutes. It is one line, and every sign in it matters.*
#
# Write the formula above for all heads of one layer at once.


# %% tags=["stub"]
def attribution(recipient_z, donor_z, gradient):
    """Estimated effect of patching each head, [head].

    All three : float tensors [pos, head, d_head]; the gradient is that of the recipient's score.
    """
    raise NotImplementedError


# %% tags=["solution"]
def attribution(recipient_z, donor_z, gradient):
    """Estimated effect of patching each head, [head]."""
    return ((donor_z - recipient_z) * gradient).sum(dim=(0, 2))


# %%
me.checks.check_attribution(attribution)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# A step times a slope, for each number in z; then add up the products of one head.
#
# </details>
#
# <details><summary>Hint 2: what to use</summary>
#
# Subtraction, `*`, and `.sum(dim=...)` with a tuple of axes.
#
# </details>
#
# <details><summary>Hint 3: almost the code</summary>
#
# `(donor_z - recipient_z) * gradient`, summed over positions (axis 0) and d_head (axis 2).
#
# </details>

# %% [markdown]
# **Predict.** How well will the estimate rank the real ranker's heads? Correlation (a) 0.5; (b)
# 0.8; (c) above 0.95?

# %% tags=["figure"] alt="Scatter plot: exact effect of each head of the real ranker on the horizontal axis, its estimate by gradient on the vertical one, with the diagonal."
estimate = me.tutorial.patch(ranker, real_pairs, method="gradient", direction=exact.direction)
error = me.approximation_error(estimate, exact)
x, y = (result.effect().mean(axis=-1).ravel() for result in (exact, estimate))
plt.figure(figsize=(4.4, 4), layout="constrained")
plt.axline((0, 0), slope=1, color="0.7")
plt.plot(x, y, "o", markersize=4)
plt.xlabel("exact effect of a head (score units)")
plt.ylabel("estimated effect")
plt.show()

# %%
print(
    f"Pearson {error.pearson:.3f}, Spearman {error.spearman:.3f}; the estimate's ten best hold "
    f"{error.overlap:.0%} of the exact ten best."
)
print(
    f"Largest error: {error.largest:.5f} at head {error.worst}, where the exact effect is "
    f"{exact.effect().mean(axis=-1)[error.worst]:+.5f}."
)
me.plots.top_heads(estimate.recovery()).round(3)

# %% [markdown]
# **Read.** On the line: estimate and truth agree.
#
# <details><summary>What we see</summary>
#
# (c): the correlation is 0.99. The largest error is at the leading head, 2.9, which the gradient
# underrates by a tenth: a tangent misses most where the effect is large.
#
# </details>
#
# **Could this be an artefact?** The edit is small: one word among sixty moves every z a little, and a
# tangent fits small steps. So we look where it may not fit.
#
# ## Find where it misleads
#
# The planted ranker again, taking the match *out* (baseline into perturbed).

# %%
estimated = me.patch(planted, pairs, method="gradient", **taking_out).recovery().value
for head in heads:
    print(f"{head}: exact {total[directions[1]].value[head]:.2f}, estimated {estimated[head]:.2f}")

# %% [markdown]
# The first head's estimate is far too small. To see why, we walk from the recipient's z to the
# donor's in small steps, and watch the score. First the two runs of one pair, and the donor's z:

# %%
(layer, head), name = heads[0], f"blocks.{heads[0][0]}.attn.hook_z"
(toy,) = me.align(pairs[:1], planted.tokenizer, kind="cat").aligned
recipient, donor = (torch.tensor(ids)[None] for ids in (toy.perturbed_ids, toy.baseline_ids))
types = torch.tensor(toy.token_type_ids)[None]
_, cache = planted.run_with_cache(input_ids=donor, token_type_ids=types, names_filter=name)
donor_z = cache[name][:, :, head]

# %% [markdown]
# Then a hook that goes a different share of the way in each row of a batch. The gradient is the
# slope at the start of the walk.

# %%
steps = torch.linspace(0, 1, 41)


def go_over(z, hook):
    z = z.clone()
    z[:, :, head] += steps[:, None, None] * (donor_z - z[:, :, head])
    return z


rows = {"input_ids": recipient.expand(41, -1), "token_type_ids": types.expand(41, -1)}
scores = planted.run_with_hooks(**rows, fwd_hooks=[(name, go_over)]).detach().numpy()

# %% [markdown]
# **Predict.** Will the score (a) follow the tangent to the end, (b) follow it and then drop, (c) leave
# it at once?

# %% tags=["figure"] alt="Score of the planted ranker as the match head goes from recipient to donor: a gentle slope, then a steep drop away from the tangent at the start."
slope = (scores[1] - scores[0]) / steps[1].item()
plt.figure(figsize=(6, 3), layout="constrained")
plt.plot(steps, scores, label="the score")
plt.plot(steps, scores[0] + slope * steps.numpy(), "--", label="what the gradient predicts")
plt.xlabel("share of the way from the recipient's z to the donor's")
plt.ylabel("relevance score")
plt.legend()
plt.show()

# %%
effect = scores[-1] - scores[0]
print(f"Exact effect {effect:+.4f}, predicted {slope:+.4f}: {slope / effect:.0%} of it.")

# %% [markdown]
# **Read.** Follow the line until it leaves the tangent.
#
# <details><summary>What we see</summary>
#
# (b): at first only the shortcut loses anything, in proportion. Then the second head loses the mark that
# told it where to look, and turns away within a few steps: its softmax was **saturated**, and a
# saturated softmax has no slope. The gradient cannot see the drop that follows.
#
# </details>
#
# **Could this be an artefact?** We built a ranker that saturates. Trained ones saturate too, where
# a head attends to one token alone. The remedy costs little: let the gradient rank, patch the
# leaders exactly (`method="screened"`), and check that no head left out could belong to them.

# %%
screened = me.patch(planted, pairs, method="screened", top_k=3, **taking_out)
report = screened.provenance["screening"]
print(
    f"{int(screened.exact.sum())} of {screened.exact.size} heads patched exactly; "
    f"check passed: {report['passed']}."
)
print({head: round(float(screened.recovery().value[head]), 2) for head in heads})

# %% [markdown]
# ## What you saw
#
# - You read a circuit of three heads off a matrix of paths, and the construction agreed.
# - You saw that *sufficient* and *necessary* give two different maps.
# - You split the real ranker's total effects into direct ones and those that other heads pass on.
# - You estimated every patch from one gradient, measured how good that was, and saw where it fails.
#
# ## On your own
#
# - Walk with a head of the real ranker. Is the line straight?
# - Build another planted ranker, `mechir_edu.rankers.planted.build(seed=1)`, and find its circuit blind.
# - Patch `site="pattern"` by gradient and exactly. Is attention the harder case?
#
# ## Further reading
#
# - Wang et al., *Interpretability in the Wild* (ICLR 2023),
#   [arXiv:2211.00593](https://doi.org/10.48550/arXiv.2211.00593), and Goldowsky-Dill et al., *Localizing Model
#   Behavior with Path Patching* (2023), [arXiv:2304.05969](https://doi.org/10.48550/arXiv.2304.05969).
# - Nanda, [*Attribution
#   Patching*](https://www.neelnanda.io/mechanistic-interpretability/attribution-patching) (2023), and
#   Kramár, Lieberum, Shah and Nanda, *AtP\** (2024),
#   [arXiv:2403.00745](https://doi.org/10.48550/arXiv.2403.00745).
# - [How the planted ranker is built](../mechir_edu/rankers/planted.py), and
#   [what exactly a path is](../mechir_edu/patching/paths.py) in a post-LN encoder.
