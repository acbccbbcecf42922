# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Set TFC1 against TDC
#
# **What you will do.** Run the demonstration of the MechIR paper: two architectures, two axioms,
# every attention head, by relevance grade, with intervals. Then read it against the paper's Figure 2.
#
# **What you will learn.** To read such a panel without fooling yourself: what moved at all, which
# heads are significant after correction, whether two maps differ by more than their noise.
#
# **What you need.** 60 minutes; recovery and directions from [03](03_patch_by_hand.ipynb). The
# collection in the package is small. With a network, enter `msmarco-passage/trec-dl-2019/judged
# msmarco-passage/trec-dl-2020/judged` in the first of the three lines with `# @param` and a larger
# number of pairs in the last; the middle line takes other models, such as
# `sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco`.

# %% tags=["parameters"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import rankdata

import mechir_edu as me

datasets = "embedded"  # @param {type:"string"}
bi_encoder, cross_encoder = "embedded", "embedded"  # @param
n = 288  # @param {type:"raw"}
collection = me.load_collection(*datasets.split())
rankers = {"Dot": me.Dot(bi_encoder), "Cat": me.Cat(cross_encoder)}

# %% [markdown]
# ## Run the demonstration
#
# From the judged passages it draws as many of each grade, and within a grade evenly over queries.
# It edits every passage three ways: TFC1 adds a random query term, TDC the rarest one, the control
# an unrelated word of about the same length and rarity. Then it patches each head alone, in the
# paper's way: into the run with the lower mean score. `me.demonstrate` does all of this in one
# call, as `mechir-edu demo` does.
#
# Every head of two rankers, for 288 pairs of two axioms: that takes about half an hour on two cores
# without a graphics card. So the package brings these results along, and the cell takes some
# seconds. `me.tutorial.patch` is `me.patch`, but where it is asked for the very same thing (ranker,
# pairs, options), it loads the result; `me.tutorial.score_pairs` does the same for the controls'
# scores. Change the number of pairs or a model, and they compute, with a bar. To compute the same
# results here, run `me.tutorial.recompute = True` first.
#
# Why 288? By `me.stats.minimum_detectable_effect`, such a study finds (four times in five, with the
# level divided by the number of heads) a typical head's recovery from 0.01 on. The leading heads
# vary more between queries: TFC1's from 0.06 on in the bi-encoder, from 0.10 on in the cross-encoder.

# %%
at_hand = {"patch": me.tutorial.patch, "score": me.tutorial.score_pairs}
demonstration = me.demonstrate(rankers, collection, n=n, seed=0, **at_hand)
results, panel = demonstration.results(), demonstration.recoveries()
scored = {name: demonstration.scored(name) for name in rankers}
for (_, name), result in results.items():
    sizes = (rankers[name].n_layers, rankers[name].n_heads, len(result.pairs))
    assert result.scores.shape == sizes

# %% [markdown]
# ## Look at the pairs
#
# Before any result, see what was edited.

# %%
axioms = ("TFC1", "TDC", "TFC1-control", "TDC-control")
pairs = {axiom: scored["Dot"][axiom].pairs for axiom in axioms}
skipped = {axiom: demonstration[axiom, "Dot"].unperturbed.total() for axiom in axioms[:2]}
n_queries = len({pair.query_id for pair in pairs["TFC1"]})
print(f"{len(pairs['TFC1'])} pairs of {n_queries} queries; skipped: {skipped}")

# %%
words = {axiom: [pair.term for pair in drawn] for axiom, drawn in pairs.items()}
shown = {name: [getattr(pair, name) for pair in pairs["TFC1"]] for name in ("query", "relevance")}
print(f"TFC1 and TDC add the same word in {np.mean(np.equal(words['TFC1'], words['TDC'])):.0%}.")
pd.DataFrame(shown | words).head(4)

# %% [markdown]
# ## See what moved
#
# First the outcome, before any head: if the scores do not move, there is nothing to explain.
#
# **Predict.** Which raises scores more, (a) TFC1, (b) TDC, or (c) neither? In both rankers?

# %% tags=["figure"] alt="Two panels of score-change distributions, bi-encoder above and cross-encoder below: in each one row for TFC1, TDC and the control word of each, with mean and interval; a dotted line marks zero."
figure, axes = plt.subplots(2, 1, figsize=(8, 6.4), layout="constrained")
for ax, (name, scores) in zip(axes, scored.items(), strict=True):
    rows = [(axiom, scores[axiom].score_change(), scores[axiom].query_ids) for axiom in axioms]
    me.plots.plot_score_change(rows, ax=ax).set_title(name)
plt.show()


# %%
def difference(ranker: str, first: str, second: str) -> str:
    """Mean difference of two score changes on the same documents, with its interval."""
    mean = demonstration.difference(first, second, ranker=ranker)
    return f"{mean.value:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}]"


contrasts = [("TFC1", "TFC1-control"), ("TDC", "TDC-control"), ("TDC", "TFC1")]
table = {f"{a} minus {b}": {r: difference(r, a, b) for r in rankers} for a, b in contrasts}
pd.DataFrame(table).T

# %% [markdown]
# The last row in words, since two means that differ need not differ by more than chance:

# %%
for name in rankers:
    mean = demonstration.difference("TDC", "TFC1", ranker=name)
    answer = "cannot tell the two axioms apart"
    if not mean.low <= 0 <= mean.high:
        answer = f"say that {'TDC' if mean.value > 0 else 'TFC1'} raises the score more"
    print(f"{name}: {mean.n_pairs} pairs {answer}.")

# %% [markdown]
# **Read.** Each ranker has its own scale (cosine above, logits below). The table compares edits *of
# the same passage*; look first at whether an interval includes zero.
#
# <details><summary>What we see</summary>
#
# (c), in both rankers. Both axioms raise the scores far more than their controls do. But the last
# row of the table includes zero: 288 pairs cannot tell whether the rarest term raises a score more
# than a random one. The collection's queries are short, so that the two axioms add the same word to
# one passage in four.
#
# </details>
#
# **Could this be an artefact?** The controls answer that: adding just any word does hardly
# anything.
#
# ## See which heads carry it
#
# Now the heads. First the direction that was chosen for each map:

# %%
for (axiom, name), result in results.items():
    print(f"{name}, {axiom}: {result.direction.replace('_', ' ')}")

# %% [markdown]
# **Predict.** In which ranker do single heads carry more of the change: (a) the bi-encoder, which
# never sees query and passage together, (b) the cross-encoder, or (c) no difference? Where will they
# be, in early or late layers?

# %% tags=["figure"] alt="Four heat maps of recovery, layers by heads: TFC1 above and TDC below, bi-encoder left and cross-encoder right; red heads carry the score change, blue ones work against it; a dot marks heads that are significant after correction."
me.plots.plot_figure2(panel)
plt.show()

# %%
tops = {f"{a} {r}": me.plots.top_heads(recovery) for (a, r), recovery in panel.items()}
pd.concat(tops).drop(columns=["n_pairs", "n_queries"]).round(3)

# %% [markdown]
# **Read.** Rows are layers (0 at the bottom), columns heads. Each ranker has one colour scale for
# both axioms. A number is the share of the score change that this head alone brings over; a dot
# marks heads whose effect is significant after **false-discovery control** over the whole map. Look
# first for dots, then for colours.
#
# <details><summary>What we see</summary>
#
# (b). Head 2.9 of the cross-encoder, in layer 2, carries three tenths of the change under both
# axioms; the bi-encoder's largest heads carry about a tenth each, and all of them are in the last
# layer. Only a cross-encoder can *compare* words of query and passage, and it can do so early (01
# showed where such a head looks). The bi-encoder has to wait until its last layers write the
# embedding. A dark cell need not have a dot: where a few queries supply a large share, it is less
# certain than a small share that all queries have in common.
#
# </details>
#
# **Could this be an artefact?** Of the bi-encoder's 72 heads, three or four would pass "p below
# 0.05" by chance alone. You will correct for that yourself.
#
# ## Exercise 1: which heads are significant
#
# *Difficulty 1/5, importance 5/5, 5 minutes. Why: forgetting this is the commonest mistake with
# maps of many cells.*
#
# A `Recovery` has `value`, `p` and `q`, each `[layer, head]`; `q` is `p` after correction for the
# number of heads.


# %% tags=["stub"]
def significant_heads(recovery: me.stats.Recovery, level: float = 0.05) -> set[tuple[int, int]]:
    """The (layer, head) whose effect is significant after false-discovery control."""
    raise NotImplementedError


# %% tags=["solution"]
def significant_heads(recovery: me.stats.Recovery, level: float = 0.05) -> set[tuple[int, int]]:
    """The (layer, head) whose effect is significant after false-discovery control."""
    return {(int(layer), int(head)) for layer, head in np.argwhere(recovery.q < level)}


# %%
me.checks.check_significant_heads(significant_heads)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Two fields look alike; one of them accounts for the many tests. Neither the size nor the sign of
# the value matters.
#
# </details>
# <details><summary>Hint 2: the function</summary>
#
# `np.argwhere(mask)` lists the indices where a mask is true.
#
# </details>
# <details><summary>Hint 3: almost code</summary>
#
# `{(int(layer), int(head)) for layer, head in np.argwhere(recovery.q < level)}`
#
# </details>


# %%
def five_largest(result: me.PatchingResult) -> float:
    """Share of all absolute mean effects that the five largest heads have."""
    sizes = np.sort(abs(result.effect().mean(axis=-1)).ravel())[::-1]
    return sizes[:5].sum() / sizes.sum()


for (axiom, name), recovery in panel.items():
    n_heads, share = recovery.value.size, five_largest(results[axiom, name])
    print(f"{name}, {axiom}: {recovery.significant().sum()} of {n_heads} heads are significant.")
    print(f"  The five largest have {share:.0%} of all effect; of equal heads, {5 / n_heads:.0%}.")

# %% [markdown]
# An *effect* is in score units: patched minus recipient score. "Spread out" and "concentrated" are
# claims about all heads, not about the darkest cell. Here the two disagree: the cross-encoder has
# the strongest head, and yet its five largest of 96 have about a quarter of all effect, while the
# bi-encoder's five largest of 72 have nearly four tenths. Part of that is arithmetic, since five
# heads are a larger part of 72 than of 96, but not all. By this measure the *bi-encoder* is the
# more concentrated ranker, in its last layer, and most of the cross-encoder's heads take part.
#
# ## Split by grade
#
# **Predict.** Do relevant and irrelevant passages use (a) the same heads or (b) different ones?

# %% tags=["figure"] alt="Four heat maps of the cross-encoder's recovery under TFC1 below each other, one for each relevance grade from three to zero: in all of them the same head of layer 2 is the darkest."
by_grade = {
    (f"grade {grade}", f"{name}, TFC1"): recovery
    for name in rankers
    for grade, recovery in demonstration["TFC1", name].by_grade.items()
}
drawn = {key: recovery for key, recovery in by_grade.items() if key[1].startswith("Cat")}
me.plots.plot_figure2(drawn, one_column=True)
plt.show()


# %%
def of_grade(name: str, recovery: me.stats.Recovery) -> dict:
    """A grade's score change with its interval, and its largest head."""
    change, largest = recovery.denominator, me.plots.top_heads(recovery, 1).iloc[0]
    span = f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
    head = f"{largest.layer:.0f}.{largest['head']:.0f}: {largest.recovery:+.2f}"
    return {
        "score change": span,
        "largest head": f"{head} [{largest.low:+.2f}, {largest.high:+.2f}]",
        "significant": recovery.significant().sum(),
        "pairs": recovery.n_pairs,
    }


pd.DataFrame({(name, grade): of_grade(name, r) for (grade, name), r in by_grade.items()}).T

# %% [markdown]
# **Read.** As above, but each map rests on a quarter of the pairs, and has fewer dots. We draw those
# of the cross-encoder; the table has both rankers, and names a head layer.head.
#
# In the cross-encoder one number seems to fall with the grade: the share of head 2.9. A difference
# between two grades has an interval, too. The head was chosen on all grades, so that this is one
# test and not one of 96:

# %%
cat = results["TFC1", "Cat"]
leading = np.unravel_index(abs(panel["TFC1", "Cat"].value).argmax(), cat.scores.shape[:2])
relevance = np.array([pair.relevance for pair in cat.pairs])
of_head, of_all = cat.effect()[leading], cat.donor - cat.recipient
sides = [(of_head * (relevance == grade), of_all * (relevance == grade)) for grade in (3, 0)]
gap = me.stats.recovery_difference(*sides, query_ids=cat.query_ids)
print(f"Share of head {leading[0]}.{leading[1]} in grade 3 minus grade 0:", end=" ")
print(f"{gap.value:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}], p = {gap.p:.4f}.")

# %% [markdown]
# <details><summary>What we see</summary>
#
# (a), but not to the same degree. In the cross-encoder head 2.9 leads in every grade, and its share is
# about a tenth larger in grade 3 than in grade 0, more than chance explains. It is no staircase:
# grade 2 lies beside grade 0. In the bi-encoder heads of the last layer take turns at the top, and
# their intervals overlap, so nothing here says that its grades use different heads. In both rankers
# the score change itself tends to grow from grade 3 to grade 0: the passage that gains most from an
# added query term is the one that has least to offer.
#
# </details>
#
# **Could this be an artefact?** Grade correlates with the number of query terms in a passage, so
# relevance need not be the cause even of a significant difference.
#
# ## Exercise 2: compare two maps
#
# *Difficulty 2/5, importance 4/5, 10 minutes. Why: "TDC uses other heads" is a claim about two maps;
# two pictures side by side do not support it.*
#
# Write Spearman's rank correlation of two maps: the correlation of their *ranks*.


# %% tags=["stub"]
def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation of two maps [layer, head], from -1 to 1."""
    raise NotImplementedError


# %% tags=["solution"]
def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation of two maps [layer, head], from -1 to 1."""
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


# %%
me.checks.check_rank_correlation(rank_correlation)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# In each map, replace each head's value by its rank among all heads. Then take an ordinary
# correlation.
#
# </details>
# <details><summary>Hint 2: the functions</summary>
#
# `rankdata` ranks all entries of an array; `np.corrcoef(a, b)[0, 1]` correlates two rows.
#
# </details>
# <details><summary>Hint 3: almost code</summary>
#
# `np.corrcoef(rankdata(first), rankdata(second))[0, 1]`
#
# </details>
#
# How high could it be? Noise alone keeps two halves of the *same* pairs from agreeing perfectly. So
# we compare TFC1 with TDC, and one half of TFC1's queries with the other.

# %%
for name in rankers:
    tfc1, tdc = (results[axiom, name] for axiom in ("TFC1", "TDC"))
    queries = {"first_queries": tfc1.query_ids, "second_queries": tdc.query_ids}
    across = me.stats.profile_correlation(tfc1.effect(), tdc.effect(), **queries)
    within = me.stats.split_half_reliability(tfc1.effect(), query_ids=tfc1.query_ids)
    print(
        f"{name}: TFC1 with TDC {across.value:.2f} [{across.low:.2f}, {across.high:.2f}],", end=" "
    )
    print(f"halves of TFC1 {within.value:.2f} [{within.low:.2f}, {within.high:.2f}]")

# %% [markdown]
# In both rankers TFC1 agrees with TDC at least as well as with itself, so nothing here says that
# the axioms use different heads. The agreement is even *better* than between halves, for two reasons
# unrelated to heads: half of the queries make a noisier map than all of them, and the two axioms
# share passages and sometimes the word.
#
# ## Read it against the paper
#
# The paper's Figure 2 has the same layout: heads by layers, TFC1 and TDC, TAS-B as bi-encoder,
# monoELECTRA as cross-encoder. At first sight it agrees with ours: small cells in the bi-encoder,
# large ones in the cross-encoder. Before we call that a confirmation:
#
# | | paper | here |
# |---|---|---|
# | pairs | those with the *largest score change*, 1,000 a grade | a stratified random sample |
# | recovery | mean of each pair's ratio | ratio of means, with intervals |
# | TDC's word | whole words looked up among stems: often not the rarest | same reduction everywhere |
# | cross-encoder | loaded with a mis-wired head: maps of the four grades are uncorrelated | verified at load: scores equal the original's |
# | bi-encoder | maps of TFC1 and TDC correlate at 0.93; TFC1's largest heads (layer, head): (1, 6) and (2, 3) negative, (4, 0) and (4, 6) positive | see above |
#
# So the left half of the published figure can be compared with ours, and the right half cannot.
# What would the paper's measure have shown on *our* pairs?
#
# **Predict.** The bi-encoder's TFC1 map by mean of ratios: (a) nearly the same, or (b) another?

# %% tags=["figure"] alt="Two heat maps of the bi-encoder's recovery under TFC1, layers by heads, on one colour scale: above by ratio of means, below by the paper's mean of ratios."
dot = results["TFC1", "Dot"]
measures = {how: dot.recovery(how) for how in ("ratio_of_means", "mean_of_ratios")}
me.plots.plot_figure2({(how.replace("_", " "), "Dot, TFC1"): r for how, r in measures.items()})
plt.show()

# %%
agreement = me.tutorial.rank_correlation(*(r.value for r in measures.values()))
ratios = abs(dot.effect() / (dot.donor - dot.recipient))
cell = np.unravel_index(abs(measures["mean_of_ratios"].value).argmax(), ratios.shape[:2])
largest = ratios[cell].max() / ratios[cell].sum()
print(f"Rank correlation of the two maps: {agreement:.2f}. In the largest cell by mean of ratios,")
print(f"one pair of {len(dot.pairs)} supplies {largest:.0%} of the sum of absolute ratios.")
tops = {how.replace("_", " "): me.plots.top_heads(recovery) for how, recovery in measures.items()}
pd.concat(tops).drop(columns=["n_pairs", "n_queries"]).round(3)

# %% [markdown]
# **Read.** The two maps share one scale. Look first at cells that are strong below and pale above.
#
# <details><summary>What we see</summary>
#
# (b). Heads trade places, the darkest cells by mean of ratios have no dot, and a single pair supplies
# much of the largest. A pair whose score hardly moved can have a ratio of any size, and the mean of
# ratios gives it the same weight as all others. On 64 pairs of TREC DL, this bi-encoder's maps from
# two halves of the pairs correlated at 0.78 to 0.87 by ratio of means, at -0.17 to 0.71 by mean of
# ratios.
#
# </details>
#
# **Could this be an artefact?** Of two measures of the same runs, one may be stable and the other
# not, so a real pattern should show in both. We can also measure the other difference, choosing
# pairs by their outcome.

# %%
change = dot.score_change()
strong = np.argsort(abs(change))[-len(change) // 4 :]
print(
    f"All pairs: {change.mean():+.3f}; the quarter that moved most: {change[strong].mean():+.3f}."
)
assert abs(change[strong]).mean() >= abs(change).mean()

# %% [markdown]
# What does a head do to each single pair? First the bi-encoder's leading head, then, in the panel,
# any head you choose:

# %% tags=["figure"] alt="What the bi-encoder's leading head under TFC1 does to each pair: effect of the patch against score change, one dot for each pair."
layer, head = np.unravel_index(abs(panel["TFC1", "Dot"].value).argmax(), ratios.shape[:2])
me.plots.plot_head_pairs(dot, int(layer), int(head))
plt.show()

# %% tags=["widget"]
me.widgets.explore_heads({f"{name} {axiom}": result for (axiom, name), result in results.items()})

# %% [markdown]
# ## What you saw
#
# - Both axioms raised the scores of both rankers more than a control did; 288 pairs could not tell
#   whether TDC raises them more than TFC1.
# - The four maps showed which heads carry the change: 2.9 and many more in the cross-encoder, the
#   last layer in the bi-encoder. We named only those that are significant after correction.
# - Head 2.9's share was larger in grade 3 than in grade 0, and we tested that before we said so.
# - The rank correlation with its noise ceiling gave no sign that TDC uses other heads than TFC1.
# - Compared with the paper: the same layout, other pairs, another mean, and one half that cannot be
#   compared.
#
# ## On your own
#
# - Use `me.make_pairs(..., place="start")` and `me.patch`. What happens to the bi-encoder's map?
# - Set `n` to 48 and run the notebook again (some minutes). Which dots are gone?
# - With a network, run TREC DL 2019 and 2020 with 200 pairs, here or with `mechir-edu demo`. (For runs of
#   hours that can be stopped and resumed, see [09](09_your_own.ipynb).)
# - Write down, in three sentences, what your four maps support and what they do not.
#
# ## Further reading
#
# - The paper that this notebook follows is named below; compare its Figure 2 with the one above.
#   [doi:10.1007/978-3-031-88720-8_16](https://doi.org/10.1007/978-3-031-88720-8_16)
# - Benjamini and Yekutieli, *The control of the false discovery rate in multiple testing under
#   dependency* (Annals of Statistics 2001). [doi:10.1214/aos/1013699998](https://doi.org/10.1214/aos/1013699998)
# - [The same panel from the command line](../docs/figure2.png), with more pairs;
#   [06](06_is_it_an_artefact.ipynb) takes such pictures apart.
