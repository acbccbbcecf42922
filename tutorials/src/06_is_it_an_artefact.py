# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Ask whether it is an artefact
#
# **What you will do.** We take the finding of notebook 04, that some heads carry the score change
# of an added query term, and try to make it go away. Each section shows one way in which such a
# picture can come from nothing, and the control that would reveal it.
#
# **What you will learn**
#
# - to separate *a query term was added* from *a word was added*, and a match from its position;
# - to say how much a result depends on the filler and on the kind of mean;
# - to count how many heads look important by chance;
# - to read published grids, and to notice when pairs were chosen by their outcome.
#
# **What you need.** 60 minutes, and notebooks 02 to 04. No GPU, no network.

# %% [markdown]
# Everything works for another ranker or collection: change the form. TREC DL, by its id, needs a
# network and has many more queries than this notebook.

# %% tags=["parameters"]
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import mechir_edu as me

kind = "dot"  # @param ["dot", "cat"]
ranker_name = "embedded"  # @param {type:"string"}
collection_name = "embedded"  # @param {type:"string"}
ranker = {"dot": me.Dot, "cat": me.Cat}[kind](ranker_name)
collection = me.load_collection(collection_name)

# %% [markdown]
# ## Start with one passage and four edits
#
# TFC1 says: one more query term, a higher score. But appending a query term also appends *a word*,
# and at *the end*. Four edits separate these; the first of them is TFC1's.

# %%
query = "how do bees find flowers"
text = "A worker that has found nectar dances on the comb, and the dance tells the others where."
edits = [f"{text} flowers", f"{text} bottles", f"flowers {text}", f"bottles {text}"]
print(*(f"{edit[:24]} ... {edit[-24:]}" for edit in edits), sep="\n")
before, after = ranker.score(query, [text, edits[0]])
print(f"The first one changes the score by {after - before:+.3f}.")

# %% [markdown]
# A **neutral control** is an edit of the same shape without the axiom's ingredient: a word in
# neither query nor document, as long and as rare as the word that the axiom adds, at the same
# place. Here are all four edits for many documents; with the same seed, the axiom and its control
# use the same documents. To score them one by one takes twenty to fifty seconds.
#
# We score the texts as a search engine would meet them: an edit makes the text longer. Notebooks 02
# and 04 put a filler into the baseline, at the word's place, so that only the word differs; their
# control's change is therefore not quite the one below.

# %%
n_pairs, draw = me.tutorial.pick(72, 16), {"seed": 0, "length": ranker.n_pieces}
pairs = {
    (axiom, place): me.make_pairs(collection, axiom, n_pairs, place=place, **draw)
    for axiom in ("TFC1", "TFC1-control")
    for place in ("end", "start")
}


# %%
def score_change(pairs):
    """Perturbed minus baseline score of each pair."""
    scores = [ranker.score(pair.query, [pair.baseline, pair.perturbed]) for pair in pairs]
    return np.diff(scores)[:, 0]


change = {name: score_change(drawn) for name, drawn in pairs.items()}

# %% [markdown]
# ## Separate the match from the word, and from its place
#
# **Predict.** Where does a query term raise the score more: (a) at the end, (b) at the start, (c) the
# same? And a neutral word: does it (d) raise or (e) lower the score, if anything?

# %% tags=["figure"] alt="Four rows of score changes: query term and neutral word, each at the end and at the start, with means and intervals."
rows = [
    (f"{axiom}, {place}", change[axiom, place], [pair.query_id for pair in pairs[axiom, place]])
    for axiom, place in pairs
]
me.plots.plot_score_change(rows)
plt.show()


# %%
def say(what, estimate):
    """Print an estimate as a sentence."""
    print(f"{what}: {estimate.value:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]")


match = {}
for place in ("end", "start"):
    sides = [("TFC1", place), ("TFC1-control", place)]
    options = {"first_pairs": pairs[sides[0]], "second_pairs": pairs[sides[1]]}
    match[place] = me.stats.mean_difference(change[sides[0]], change[sides[1]], **options)
    say(f"Match at the {place} (query term minus neutral word)", match[place])

# %% [markdown]
# **Read.** Dots are means, bars their intervals over queries. Compare the query term with the
# neutral word *at the same place*; their difference, printed below the figure, is the **contrast**.
#
# <details><summary>What we see</summary>
#
# (b) and (e), for the embedded bi-encoder: the query term gains at both places, and more at the
# start; the neutral word costs a little, more so at the start. So matching and position both matter,
# and neither explains the other away.
#
# </details>
#
# **Could this be an artefact?** The contrast is itself a difference, and it is only fair when both
# sides use the same documents. That is the first exercise.
#
# ## Exercise 1: contrast on the same documents
#
# *Difficulty 2/5, importance 5/5, 10 minutes. A control drawn from other documents controls
# nothing.*
#
# Write the mean difference between an edit and its control, document by document.


# %% tags=["stub"]
def matched_contrast(axiom, control):
    """Mean of axiom minus control over the documents that both have.

    axiom, control : dict from (query_id, doc_id) to a score change.
    """
    raise NotImplementedError


# %% tags=["solution"]
def matched_contrast(axiom, control):
    """Mean of axiom minus control over the documents that both have."""
    shared = axiom.keys() & control.keys()
    return np.mean([axiom[key] - control[key] for key in shared])


# %%
me.checks.check_matched_contrast(matched_contrast)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Some documents are long, some dull; each shifts both edits equally. First subtract within the
# document, then average.
#
# </details>
#
# <details><summary>Hint 2: what to use</summary>
#
# The keys of a dict are a set: `axiom.keys() & control.keys()`.
#
# </details>
#
# <details><summary>Hint 3: almost the code</summary>
#
# Take the mean of `axiom[key] - control[key]` for each shared key.
#
# </details>

# %% [markdown]
# ## Settle the footnote
#
# The MechIR paper saw its bi-encoder penalise appended query terms, and a footnote leaves open
# whether the cause is matching or position. The four edits separate three explanations: a penalty
# for any word (the neutral rows are below zero), a penalty for matching (the contrast is below zero
# at both places), or a position where matches count less (the contrast differs by place).

# %%
places = {"first_pairs": pairs["TFC1", "end"], "second_pairs": pairs["TFC1", "start"]}
shift = me.stats.mean_difference(change["TFC1", "end"], change["TFC1", "start"], **places)
say("The same query term, end minus start", shift)
for place in ("end", "start"):
    say(f"Match at the {place}", match[place])
    query_ids = [pair.query_id for pair in pairs["TFC1-control", place]]
    word = me.stats.mean_change(change["TFC1-control", place], query_ids=query_ids)
    say(f"Any word at the {place}", word)

# %% [markdown]
# For the embedded bi-encoder and these data: a match is worth twice as much at the start as at the
# end, but its contrast is above zero at both places, so the ranker does not penalise matching; and a
# neutral word costs little compared with what a match gains. Position *scales* the value of a
# match. It does not change its sign. Does the paper's own bi-encoder differ? Enter its hub id in
# the form, and the same cells answer. For the cross-encoder, enter `cat`.
#
# ## Subtract the control from the map of heads
#
# The same applies to heads. The axiom's result is that of notebook 04, with its 288 pairs. We
# patch the control's pairs, too, and take the difference document by document: the remainder is what
# each head carries of *the match*. Both results come with the package (`me.tutorial.patch`; to
# compute them takes some twelve minutes). Their 288 pairs are as many as 04 needed: a typical head is
# found from a recovery of 0.01 on, the leading one from 0.06 on.
#
# **Predict.** Will the map of the contrast show (a) the same heads, (b) fewer, (c) others?

# %%
result = me.tutorial.patch(ranker, me.make_pairs(collection, "TFC1", n=288, **draw))
neutral_pairs = me.make_pairs(collection, "TFC1-control", n=288, **draw)
control = me.tutorial.patch(ranker, neutral_pairs, direction=result.direction)
contrast = result.contrast(control)

# %% tags=["figure"] alt="Two heat maps of recovery per head on one scale: TFC1 above, TFC1 minus control below."
figure, axes = plt.subplots(2, 1, figsize=(8, 7.6), layout="constrained")
limit = np.abs(result.recovery().value).max()
me.plots.plot_heads(result.recovery(), ax=axes[0], limit=limit).set_title("TFC1")
me.plots.plot_heads(contrast.recovery, ax=axes[1], limit=limit).set_title("TFC1 minus control")
plt.show()

# %% [markdown]
# **Read.** One scale. A head that fades in the lower map carried "a word was added"; one that stays
# carries the match.

# %%
for title, part in {"TFC1": result.recovery(), "TFC1 minus control": contrast.recovery}.items():
    print(f"{title}: {part.significant().sum()} of {part.q.size} heads are significant.")
me.plots.top_heads(contrast.recovery).round(3)

# %% [markdown]
# <details><summary>What we see</summary>
#
# (a). The two maps nearly agree: the neutral word moves the score so little that there is not much
# to subtract. There are nearly as many dots as before, and the dark cells of the last layer stay. That
# is the good case, and now we know it instead of hoping for it: what 04 found is about the match.
#
# </details>
#
# **Could this be an artefact?** The filler may still cause it: the baseline has the word "a" where
# the term is missing. So we try other fillers. Gradient estimates are enough to compare maps
# (notebook 07 says why), and cheap enough for four of them.

# %%
maps, first = {}, list(result.pairs[:72])
for filler in ("a", "mask", "pad", "neutral"):
    how = {"method": "gradient", "filler": filler, "direction": result.direction}
    maps[filler] = me.tutorial.patch(ranker, first, **how)
for filler, other in maps.items():
    where = {"first_queries": maps["a"].query_ids, "second_queries": other.query_ids}
    r = me.stats.profile_correlation(maps["a"].effect(), other.effect(), **where)
    print(
        f"{filler:<8} mean score change {other.score_change().mean():+.4f}, "
        f'map agrees with "a" by {r.value:.2f} [{r.low:.2f}, {r.high:.2f}]'
    )

# %% [markdown]
# The number is Spearman's correlation of the two maps over all heads. `pad`, which hides the position
# from attention, and a neutral word give nearly the same change and nearly the same map. `mask` does
# not: it is a token that BERT was trained to fill in, the score changes by nearly twice as much, and
# other heads carry that. It asks another question. Always report the filler.
#
# ## Change the kind of mean
#
# Recovery can be averaged in two ways: the **ratio of means** (mean effect over mean change), and the
# **mean of ratios** (one ratio for each pair, then their mean), which is the paper's. For a pair whose score
# hardly moved, the ratio divides by almost nothing.
#
# The first takes one line by hand:

# %%
by_hand = result.effect().mean(axis=-1) / (result.donor - result.recipient).mean()
assert np.allclose(by_hand, result.recovery().value, atol=1e-4)

# %% [markdown]
# **Predict.** Which of the two is more stable when half the queries are left out: (a) the ratio of
# means; (b) the mean of ratios; (c) neither?

# %% tags=["figure"] alt="Two heat maps of the same patches: ratio of means above, mean of ratios below, each on its own scale."
moved = result.select(result.score_change() != 0)
figure, axes = plt.subplots(2, 1, figsize=(8, 7.6), layout="constrained")
for kind_of_mean, ax in zip(["ratio_of_means", "mean_of_ratios"], axes, strict=True):
    title = kind_of_mean.replace("_", " ")
    me.plots.plot_heads(moved.recovery(kind_of_mean), ax=ax).set_title(title)
plt.show()

# %%
ratios = moved.effect() / (moved.donor - moved.recipient)
moved_ratios = ratios.mean(axis=-1)
for what, values in [("ratio of means", moved.effect()), ("mean of ratios", ratios)]:
    half = me.stats.split_half_reliability(values, query_ids=moved.query_ids)
    span = f"{half.low:.2f} to {half.high:.2f}"
    print(f"{what}: two halves of the queries agree by {half.value:.2f} (splits: {span})")
# Of the cell that looks largest, how much comes from a single pair?
flat = ratios.reshape(-1, len(moved.pairs))
largest = np.abs(flat[np.abs(flat.mean(axis=1)).argmax()])
print(f"{largest.max() / largest.sum():.0%} of its ratios come from one of {len(largest)} pairs.")
me.plots.top_heads(moved.recovery("mean_of_ratios")).round(3)

# %% [markdown]
# **Read.** The same patches, the same scores; only the arithmetic differs. Look for heads that are
# dark in only one map, and at the width of their intervals in the table.
#
# <details><summary>What we see</summary>
#
# (a). For the ratio of means the halves agree by nearly 0.9, for the mean of ratios by about 0.2. Its
# darkest cells have q = 1, and one pair of 288 supplies nearly half of the largest. How unstable it
# is depends on whether the sample happens to contain a pair with a tiny change, and a statistic
# should not depend on that. On 64 pairs of TREC DL with this bi-encoder, single pairs supplied up to
# 91 % of a map's largest cell.
#
# </details>
#
# **Could this be an artefact?** Yes: that is the point.
#
# ## Count the heads that chance would show
#
# A map has dozens of cells. With a 5 % test for each, one in twenty looks significant although
# nothing is there. **False-discovery control** raises the bar so that few of the heads we *name*
# are wrong. To see it work we need data without any effect. If it made no difference which run is
# the donor, effects would have either sign equally often. So we flip the signs for a random half of
# the queries: now no head has an effect on average, and everything else (sizes, correlations
# between heads) is unchanged.
#
# ## Exercise 2: build that null
#
# *Difficulty 3/5, importance 4/5, 15 minutes. What you shuffle decides what you test.*
#
# Write the function that makes such data: one coin flip for each query, applied to all its pairs
# and all heads.


# %% tags=["stub"]
def flip_by_query(effect, query_ids, rng):
    """Turn the signs of all effects of a query, or of none, by one fair coin for each query.

    effect : float array [head, pair], not to be changed.
    query_ids : the query of each pair.
    rng : a numpy Generator.
    """
    raise NotImplementedError


# %% tags=["solution"]
def flip_by_query(effect, query_ids, rng):
    """Turn the signs of all effects of a query, or of none, by one fair coin for each query."""
    queries, place = np.unique(query_ids, return_inverse=True)
    return effect * rng.choice([-1, 1], size=len(queries))[place]


# %%
me.checks.check_flip_by_query(flip_by_query)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Pairs of a query are correlated, and so are the heads of a pair. A null data set must preserve
# both correlations.
#
# </details>
#
# <details><summary>Hint 2: what to use</summary>
#
# `np.unique(query_ids, return_inverse=True)` numbers the queries; `rng.choice([-1, 1], size=...)`.
#
# </details>
#
# <details><summary>Hint 3: almost the code</summary>
#
# Draw one sign for each query, look up each pair's sign by its query's number, and multiply: the
# signs have the shape [pair], the effects [head, pair].
#
# </details>

# %% [markdown]
# **Predict.** Of all 72 heads, how many will have p < 0.05 in a data set without any effect: (a) none;
# (b) three or four; (c) ten or more?

# %%
rng, counts = np.random.default_rng(0), {"p < 0.05": [], "q < 0.05": []}
queries, effects = result.query_ids, result.effect()
zeros, ones = np.zeros(len(queries)), np.ones(len(queries))
for _ in range(me.tutorial.pick(60, 6)):
    null = me.tutorial.flip_by_query(effects, queries, rng)
    by_chance = me.stats.recovery(null, zeros, ones, query_ids=queries, n_boot=200)
    counts["p < 0.05"].append(int((by_chance.p < 0.05).sum()))
    counts["q < 0.05"].append(int((by_chance.q < 0.05).sum()))

# %% tags=["figure"] alt="Histogram over null data sets: how many heads have p below 0.05 without correction, and how many q below 0.05 with it."
plt.figure(figsize=(7, 2.8), layout="constrained")
bins = np.arange(-0.5, max(map(max, counts.values())) + 1)
plt.hist(list(counts.values()), bins=bins, label=list(counts))
plt.xlabel("heads that look significant although nothing is there")
plt.ylabel("null data sets")
plt.legend()
plt.show()

# %% [markdown]
# The same in numbers, with the real data for comparison:

# %%
for name, values in counts.items():
    in_sets = np.mean(np.array(values) > 0)
    print(f"{name}: {np.mean(values):.1f} heads on average, at least one in {in_sets:.0%} of sets.")
real = result.recovery()
n_p, n_q = (real.p < 0.05).sum(), (real.q < 0.05).sum()
print(f"In the real data: {n_p} and {n_q} of {real.p.size} heads.")

# %% [markdown]
# **Read.** Each count is one data set without any effect. Compare it with the last line.
#
# <details><summary>What we see</summary>
#
# (b), on average. But look at the sets: in nearly nine of ten, at least one head has p < 0.05 though
# nothing is there; with q that happens in one set of sixty. The real data have more than ten times
# as many heads, and the correction leaves most of them.
#
# </details>
#
# The corrected q is never below p:

# %%
assert (real.q >= real.p - 1e-12).all()

# %% [markdown]
# **Could this be an artefact?** A head without a dot may still have an effect: with few queries few
# heads can pass. Say how small an effect you could have detected
# (`me.stats.minimum_detectable_effect`).
#
# ## See how a picture can mislead
#
# The authors of MechIR published their pairs and grids, so that everyone can learn from them. Files
# and code show four things:
#
# - The thousand pairs of each grade are those with the **largest score change**, not a random sample.
# - The grids are means of ratios.
# - TDC's terms were looked up unstemmed in a stemmed lexicon: about nine in ten are words that
#   stemming changes; the lexicon did not contain them, so they counted as rare.
# - The cross-encoder's grids come from a model whose scoring head was wired incorrectly; the grids
#   of its four grades do not resemble each other, while the bi-encoder's do.
#
# Selection on the outcome is easy to try. We take the *control*, which is known to do almost
# nothing, and keep the quarter with the largest change.

# %% tags=["figure"] alt="Three rows of score changes of the neutral control: all pairs, the quarter with the largest absolute change, the quarter with the largest rise."
neutral = change["TFC1-control", "end"]
ids = np.array([pair.query_id for pair in pairs["TFC1-control", "end"]])
quarter = max(4, len(neutral) // 4)
kept = {"all pairs": slice(None), "largest |change|": np.argsort(-np.abs(neutral))[:quarter]}
kept["largest rise"] = np.argsort(-neutral)[:quarter]
me.plots.plot_score_change([(name, neutral[at], ids[at]) for name, at in kept.items()])
plt.show()

# %% [markdown]
# This would happen with any data: the largest values exceed the average.

# %%
assert neutral[kept["largest rise"]].mean() >= neutral.mean()

# %% [markdown]
# **Read.** One set of meaningless edits, three "findings". The intervals of the lower rows describe
# the selected pairs correctly and say nothing about how they were selected.
#
# Selection has another, less visible effect: it removes the small denominators, so that even a mean
# of ratios looks stable. Here is a grid made like the published ones: the mean of ratios over the
# half of our pairs that moved most.

# %%
size = np.abs(result.score_change())
grid = result.select(size >= np.median(size)).recovery("mean_of_ratios").value
everything = result.recovery().value
r_all = np.corrcoef(moved_ratios.ravel(), everything.ravel())[0, 1]
r_selected = np.corrcoef(grid.ravel(), everything.ravel())[0, 1]
print(f"Mean of ratios against ratio of means, all pairs: r = {r_all:.2f}.")
print(f"The same with the half that moved most: r = {r_selected:.2f}.")

# %% [markdown]
# So a stable grid does not prove that the sample is sound: it describes the pairs that were kept,
# while a reader would think that it describes the ranker.
#
# The next cell reads the published files themselves. In a clone, `python tools/published.py
# download` downloads them and verifies their checksums; enter their folder in the form. [A page of
# the study](../docs/study/published.md) derives each of the four statements from them.

# %%
published = ""  # @param {type:"string"}
print(f"Reading {published}" if published else "No folder is given, so nothing is read here.")
for path in sorted(Path(published).glob("*_patch_head_all.npy")) if published else []:
    grades = [np.load(str(path).replace("_all", f"_rel_{grade}")).ravel() for grade in range(4)]
    r = np.corrcoef(grades)[np.triu_indices(4, 1)]
    name, largest = path.name[-42:-19], np.abs(grades).max()
    print(f"{name}: largest {largest:.2f}, grades agree by {r.min():+.2f} to {r.max():+.2f}")
for path in sorted(Path(published).glob("*.tsv.gz")) if published else []:
    by_grade = pd.read_csv(path, sep="\t").groupby("relevance")["qid"]
    largest = by_grade.agg(lambda query: query.value_counts(normalize=True).max()).max()
    print(f"{path.name[-30:-7]}: one query supplies up to {largest:.0%} of a grade")

# %% [markdown]
# ## What you saw
#
# - You separated match, word and place with four edits, and answered the footnote's question for
#   this ranker.
# - You subtracted the control from a map, and the heads stayed; you replaced the filler and changed
#   the mean, and with `mask` or with a mean of ratios they did not.
# - You built data without effects and counted the heads that looked significant in them.
# - You made a finding out of nothing by selecting pairs on their outcome.
#
# ## On your own
#
# - Switch `kind` to `cat`. Which of the controls matters more there?
# - Flip signs by pair instead of by query. How many heads look significant now?
# - Select the quarter on half of the queries, and look at the change of the same quarter's documents
#   under another edit. What is left of the effect?
#
# ## Further reading
#
# - Gelman and Loken, [*The garden of forking
#   paths*](http://www.stat.columbia.edu/~gelman/research/unpublished/p_hacking.pdf) (2013).
# - Benjamini and Yekutieli, *The control of the false discovery rate in multiple testing under
#   dependency* (Annals of Statistics 2001). [doi:10.1214/aos/1013699998](https://doi.org/10.1214/aos/1013699998)
# - Zhang and Nanda, *Towards Best Practices of Activation Patching in Language Models* (ICLR 2024).
#   [arXiv:2309.16042](https://doi.org/10.48550/arXiv.2309.16042)
