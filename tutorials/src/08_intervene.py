# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Intervene and measure the ranking
#
# **What you will do.** So far we asked what a head does to the score of a pair. Now we change heads
# for every text that the ranker reads, and ask what happens to its *rankings*: would a searcher
# notice?
#
# **What you will learn**
#
# - to knock out, scale and steer heads, for a whole collection;
# - to measure nDCG@10 before and after, with a paired interval over queries;
# - to compare with heads drawn at random, and with a gentler knockout;
# - to choose on some queries and report on others; and to measure what repairing one failure costs
#   elsewhere.
#
# **What you need.** 45 minutes, and notebooks 03 and 06. No GPU, no network.

# %% [markdown]
# An evaluation re-ranks all judged passages of the queries. Those of this notebook come with the
# package: `me.tutorial.evaluate` loads the scores, and computes them (with a bar) for another ranker
# or collection. TREC DL (by its id, online) takes a GPU or some patience.

# %% tags=["parameters"]
import matplotlib.pyplot as plt
import numpy as np

import mechir_edu as me

kind = "cat"  # @param ["dot", "cat"]
ranker_name = "embedded"  # @param {type:"string"}
collection_name = "embedded"  # @param {type:"string"}
ranker = {"dot": me.Dot, "cat": me.Cat}[kind](ranker_name)
collection = me.load_collection(collection_name)

# %% [markdown]
# ## Start with one query and two passages
#
# The first passage answers without a word of the query, the second has the words and no answer. An
# **intervention** is a small frozen object; `ranker.under(...)` is the same ranker under that
# intervention. Here it silences head 5 of the last layer, picked for the example (factor 0), leaves
# it unchanged (1), or amplifies it (2).

# %%
query = "how to stop hiccups"
texts = [
    "Hold your breath and swallow three times; the spasm of the diaphragm usually ends.",
    "How to stop a train: hiccups in the signal are reported to the driver.",
]
for factor in (0, 1, 2):
    scaled = ranker.under(me.Scale([(ranker.n_layers - 1, 5)], factor))
    print(f"one head times {factor}: answer and lookalike", scaled.score(query, texts).round(3))

# %% [markdown]
# This ranker puts the lookalike above the answer, with every factor; we come back to such failures. A
# factor of 1 changes nothing, and the hooks are removed afterwards. Always test that an
# instrument reads zero when it should:

# %%
plain_scores = ranker.score(query, texts)
unchanged = ranker.under(me.Scale([(0, 0)], 1.0)).score(query, texts)
assert np.allclose(unchanged, plain_scores, atol=1e-5)

# %% [markdown]
# ## Measure the ranker as it is
#
# **nDCG@10** rewards relevant passages near the top: 1 for the best possible order. We split the
# queries in two: **learn**, where we choose heads and factors, and **test**, where we report. If
# you choose heads and report results on the same queries, you are reporting luck.

# %%
query_ids = list(collection.queries)[:36]
is_learn = np.arange(len(query_ids)) % 2 == 0
learn = {query_id for query_id, chosen in zip(query_ids, is_learn, strict=True) if chosen}
print(f"{len(learn)} queries to learn from, {len(query_ids) - len(learn)} to test on.")

# %%
plain = me.tutorial.evaluate(ranker, collection, query_ids=query_ids)
plain.summary().round(3)

# %% [markdown]
# The interval is over queries: it says how much the mean would differ with other queries of this
# kind. It is wide, and yet we can detect small effects below, because we compare *the same* queries
# before and after. A hard query pulls both sides down equally.
#
# ## Choose heads
#
# We look for the heads that carry TFC1's added term, on the learning queries alone. A gradient is
# enough to choose (notebook 07). So are 80 pairs: by `me.stats.minimum_detectable_effect` they find
# (four times in five, with the level divided by the number of heads) a typical head from a recovery
# of 0.02 on, and the leading one, which varies more, from 0.17 on.

# %%
drawn = me.make_pairs(collection, "TFC1", n=324, seed=0)
pairs = [pair for pair in drawn if pair.query_id in learn][:80]
estimate = me.tutorial.patch(ranker, pairs, method="gradient")
table = me.plots.top_heads(estimate.recovery(), k=6)
heads = [(int(layer), int(head)) for layer, head in zip(table["layer"], table["head"], strict=True)]
table.round(3)

# %% [markdown]
# ## Exercise 1: draw heads to compare with
#
# *Difficulty 2/5, importance 5/5, 10 minutes. Knocking out any six heads may hurt. The question is
# whether these six hurt more.*
#
# The six carry TFC1's score change beyond doubt: look at q in the table. That says what they do to a
# score. Whether rankings need them is another question, and it needs a comparison.


# %% tags=["stub"]
def random_heads(heads, n_heads, rng):
    """As many other heads as there are in `heads`, each in the same layer, none twice.

    heads : list of (layer, head).
    n_heads : heads of a layer.
    rng : a numpy Generator.
    Returns a list of (layer, head).
    """
    raise NotImplementedError


# %% tags=["solution"]
def random_heads(heads, n_heads, rng):
    """As many other heads as there are in `heads`, each in the same layer, none twice."""
    drawn = []
    for layer in sorted({layer for layer, _ in heads}):
        taken = {head for at, head in heads if at == layer}
        free = [head for head in range(n_heads) if head not in taken]
        drawn += [(layer, int(head)) for head in rng.choice(free, len(taken), replace=False)]
    return drawn


# %%
me.checks.check_random_heads(random_heads)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Heads of late layers matter more than heads of early ones, whatever they do. So the comparison
# must keep the layers and replace only the heads.
#
# </details>
#
# <details><summary>Hint 2: what to use</summary>
#
# `rng.choice(free, size, replace=False)` for each layer.
#
# </details>
#
# <details><summary>Hint 3: almost the code</summary>
#
# For each layer: `taken` are its heads in `heads`, `free` the others below `n_heads`; draw `len(taken)`
# of `free`, and add `(layer, head)` for each.
#
# </details>

# %% [markdown]
# ## Knock the heads out
#
# A **knockout** replaces a head's output (its z) by zeros, at every position and for every text.
# Zeros are far from anything the next layer has seen, so they overstate the damage; replacing z by
# the head's own **mean** removes only what differs between texts.
#
# The package draws the heads to compare with, as in the exercise.

# %%
others = me.tutorial.random_heads(heads, ranker.n_heads, np.random.default_rng(0))
usual = tuple(collection.sample(32, seed=1).judged)
tried = {
    "chosen heads, zero": me.Knockout(heads),
    "chosen heads, mean": me.Knockout(heads, to="mean", over=usual),
    "other heads, zero": me.Knockout(others),
    "chosen heads, half": me.Scale(heads, 0.5),
    "chosen heads, twice": me.Scale(heads, 2.0),
}

# %% [markdown]
# `me.Comparison` pairs the queries: whatever makes a query hard is the same before and after, and
# cancels out. For a single intervention, `me.compare(ranker, collection, intervention)` does both
# evaluations at once; we have five, and evaluate the plain ranker only once.

# %%
compared = {}
for name, changed in tried.items():
    after = me.tutorial.evaluate(ranker, collection, intervention=changed, query_ids=query_ids)
    compared[name] = me.Comparison(plain, after)

# %% [markdown]
# We report on the test queries, which had no say in the choice of heads.
#
# **Predict.** Without its term-matching heads, does nDCG@10 (a) collapse, (b) lose a few hundredths,
# (c) rise?

# %% tags=["figure"] alt="Change of nDCG at ten for each intervention on the test queries, with paired intervals over queries; zero is no change."
test_ids = np.array(query_ids)[~is_learn]
changes = {}
for name, comparison in compared.items():
    on_test = comparison.change("nDCG@10")[~is_learn]
    changes[name] = me.stats.mean_change(on_test, query_ids=test_ids)
plt.figure(figsize=(7, 2.8), layout="constrained")
for place, mean in enumerate(changes.values()):
    plt.plot([mean.low, mean.high], [place, place], color="0.4", linewidth=3)
    plt.plot(mean.value, place, "o", color="black")
plt.axvline(0, color="0.6", linestyle=":")
plt.yticks(range(len(changes)), changes)
plt.xlabel("change of nDCG@10 (after minus before)")
plt.gca().invert_yaxis()
plt.show()

# %%
for name, mean in changes.items():
    told = "rises" if mean.low > 0 else "falls" if mean.high < 0 else "may rise or fall"
    print(f"{name}: nDCG@10 {told}, {mean.value:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}]")
gap = me.Comparison(compared["other heads, zero"].after, compared["chosen heads, zero"].after)
beyond = me.stats.mean_change(gap.change("nDCG@10")[~is_learn], query_ids=test_ids)
print(f"The six beyond six others: {beyond.value:+.3f} [{beyond.low:+.3f}, {beyond.high:+.3f}].")

# %% [markdown]
# **Read.** One row per intervention; the bar is the interval of the mean difference over queries. A bar
# that crosses the dotted line leaves the question open.
#
# <details><summary>What we see</summary>
#
# (c): without its term-matching heads the embedded cross-encoder ranks *better*. Silencing six other
# heads of the same layers does not help, and doubling the six does harm: the more this ranker matches
# terms, the worse it ranks. Zeros and means agree, so the gain does not come from a strange
# activation.
#
# The bi-encoder (switch `kind` to `dot`) ranks about as well without its six as with them: on 24
# queries nDCG@10 changed by -0.002 [-0.027, +0.016]. Raising all candidates equally changes no order,
# and other heads can carry the rest.
#
# </details>
#
# **Could this be an artefact?** Yes, of the collection. It was written to separate matching from
# answering: each query has a full answer without one query term, and near misses with two or more
# ([its card](../mechir_edu/assets/mini/README.md)). A ranker that matches less wins here. On the web,
# where the answer usually has the words, it may lose: try TREC DL 2019. Nine candidates a query make ranking
# easy, too. And with five intervals of 95 %, about one such figure in four has a bar that misses the
# true value; the interval of the six *beyond six others* is the claim to keep.
#
# ## Exercise 2: choose without peeking
#
# *Difficulty 2/5, importance 5/5, 10 minutes. On the queries that chose it, the best of many
# factors always looks better than none.*
#
# Write the honest procedure: some queries choose the factor, the others show its value.


# %% tags=["stub"]
def choose_factor(change, factors, is_chosen_on):
    """The best factor on some queries, and its mean change on the others.

    change : float array [factor, query], change of nDCG@10.
    factors : the factors tried, along the first axis.
    is_chosen_on : bool array [query], True where the factor may be chosen.
    Returns (factor, mean change on the other queries).
    """
    raise NotImplementedError


# %% tags=["solution"]
def choose_factor(change, factors, is_chosen_on):
    """The best factor on some queries, and its mean change on the others."""
    best = change[:, is_chosen_on].mean(axis=1).argmax()
    return factors[best], change[best, ~is_chosen_on].mean()


# %%
me.checks.check_choose_factor(choose_factor)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Compute two means for each factor, over two sets of queries. One decides, you report the other.
#
# </details>
#
# <details><summary>Hint 2: what to use</summary>
#
# A boolean mask on the second axis, its opposite `~mask`, and `argmax`.
#
# </details>
#
# <details><summary>Hint 3: almost the code</summary>
#
# `best = change[:, mask].mean(axis=1).argmax()`, then `factors[best]` and the mean of that row where the
# mask is False.
#
# </details>

# %% [markdown]
# Here the package's own answer chooses among the three factors that we have tried.

# %%
by_factor = {0.0: "chosen heads, zero", 0.5: "chosen heads, half", 2.0: "chosen heads, twice"}
change = {factor: compared[name].change("nDCG@10") for factor, name in by_factor.items()}
best, on_learn, honest = me.tutorial.choose_best(change, is_learn)
print(
    f"Best factor on the learning queries: {best} ({on_learn:+.4f}); on the others {honest:+.4f}."
)

# %% [markdown]
# The first number was chosen because it is large, so the second is usually smaller: this is
# *regression to the mean*. If it has the other sign, the choice was noise. With only three factors
# and an effect this large, choosing costs little, and the second number can even be the larger.
#
# ## Steer
#
# Steering adds a direction to a head's output. We take what TFC1 adds to these heads on average
# ("one more query term is here", we hope) and add it to every passage, at five times its size.
#
# **Predict.** Will the scores (a) rise for every query, (b) rise for some and fall for others, (c) stay?

# %%
direction = me.head_direction(ranker, pairs[:12], heads)
side = {"side": "document"} if kind == "dot" else {}
steer = me.Steer(heads, direction, strength=5.0, **side)
steered = me.tutorial.evaluate(ranker, collection, intervention=steer, query_ids=query_ids)

# %%
moved = [
    np.mean([steered.run[query_id][doc] - score for doc, score in run.items()])
    for query_id, run in plain.run.items()
]
gained = me.Comparison(plain, steered).difference("nDCG@10")
told = "rises" if gained.low > 0 else "falls" if gained.high < 0 else "may rise or fall"
print(f"The mean score rises for {np.sum(np.array(moved) > 0)} of {len(moved)} queries.")
print(f"nDCG@10 {told}: {gained.value:+.4f} [{gained.low:+.4f}, {gained.high:+.4f}].")

# %% [markdown]
# <details><summary>What we see</summary>
#
# (a) in the embedded cross-encoder: it reads query and passage together, so a direction in its heads
# can mean "one more query term is here", whichever term that is. Every score rises, and the ranking
# gains nothing that we could tell from zero.
#
# The bi-encoder (`kind = "dot"`) answers (b), and its rankings *lose*: scores rose for 11 of 24
# queries, and nDCG@10 fell by 0.004 [0.001, 0.009]. It reads a passage without the query, so its
# heads cannot know which word is a query term: they add one thing for "salt" and another for
# "chicken", and the mean of both says little.
#
# </details>
#
# A direction that raises all passages equally cannot reorder them. Steering is easy to demonstrate on
# one example, and hard to make useful.
#
# ## Repair one failure
#
# We look for the query where a passage of grade 0 beats the best answer by most (or, if that never
# happens, comes closest), and test every head: does silencing it narrow the gap?

# %%
gaps = {}
for query_id, run in plain.run.items():
    grades = collection.qrels[query_id]
    wrong = max((doc for doc in run if grades[doc] == 0), key=run.get)
    right = max((doc for doc in run if grades[doc] == 3), key=run.get)
    gaps[query_id, right, wrong] = run[wrong] - run[right]
failure, right, wrong = max(gaps, key=gaps.get)

# %%
failed = collection.texts([right, wrong])
print("Query:", collection.queries[failure])
print(f"Grade 3, {plain.run[failure][right]:.3f}: {failed[right][:80]} ...")
print(f"Grade 0, {plain.run[failure][wrong]:.3f}: {failed[wrong][:80]} ...")

# %% [markdown]
# The usual suspect is a lookalike: words of the query in another sense. We silence every head once,
# for these two passages only. That is 96 pairs of runs, some 15 seconds without a progress
# bar.

# %%
gain = np.zeros((ranker.n_layers, ranker.n_heads))
for layer, head in np.ndindex(gain.shape):
    silent = ranker.under(me.Scale([(layer, head)], 0.0))
    a, b = silent.score(collection.queries[failure], [failed[right], failed[wrong]])
    gain[layer, head] = gaps[failure, right, wrong] - (b - a)

# %%
culprits = [divmod(int(i), ranker.n_heads) for i in np.argsort(-gain.ravel())[:4]]
print(f"The lookalike leads by {gaps[failure, right, wrong]:+.3f}. Silencing one of", culprits)
print("narrows that by", [round(float(gain[at]), 3) for at in culprits])

# %% [markdown]
# Note what we are doing: with ninety-six heads and one pair of passages, *some* head will help,
# whether or not it has anything to do with lookalikes. So this is a guess, and it needs a test. We
# silence the best four at once, look at the whole ranking of that query, and then at all the other
# queries.
#
# **Predict.** Does the repair, on the other queries, (a) help too, (b) do nothing, (c) cost something?

# %% tags=["figure"] alt="Ranks of the failed query's passages before and after four heads are silenced, a line for each passage, darker for higher grades."
repair = me.Scale(culprits, 0.0)
judged = collection.texts(plain.run[failure])
before, after = (
    scorer.score(collection.queries[failure], list(judged.values()))
    for scorer in (ranker, ranker.under(repair))
)
grades = [collection.qrels[failure][doc_id] for doc_id in judged]
me.plots.plot_ranking(before, after, list(judged.values()), relevance=grades)
plt.show()

# %%
without = me.tutorial.evaluate(ranker, collection, intervention=repair, query_ids=query_ids)
repaired = me.Comparison(plain, without).change("nDCG@10")
is_rest = np.array(plain.query_ids) != failure
price = me.stats.mean_change(repaired[is_rest], query_ids=np.array(plain.query_ids)[is_rest])
print(f"nDCG@10 of the failed query: {repaired[~is_rest][0]:+.4f}.")
print(f"On the {price.n_queries} others: {price.value:+.4f} [{price.low:+.4f}, {price.high:+.4f}].")

# %% [markdown]
# **Read.** Each line is a passage, darker for more relevant. A rising line is a passage that gained
# ranks; dark ones should rise. The number on the right is the score change: often all scores fall,
# because silencing a head takes something from every passage.
#
# <details><summary>What we see</summary>
#
# (a) in the embedded cross-encoder: the repair helps the other queries too. The first of the four
# heads is the one that leads the table of TFC1, and silencing it alone closes the gap. It raises what
# repeats the query, here a passage about iron in plants; other queries have lookalikes as well. The
# 35 queries that had no say in the choice are the evidence. The repaired query is none: you can
# nearly always find heads whose silence improves one ranking, for there are ninety-six to choose from.
#
# The bi-encoder's repair works on its own query as well (+0.19), and on 23 others we could not tell it
# from nothing: +0.008 [-0.003, +0.029].
#
# </details>
#
# **Could this be an artefact?** The repair was chosen on the query that it repairs. That number is
# not a result; the line below it is. And it is a result about this collection, whose every query has
# near misses.
#
# With the panel you can amplify or weaken heads and watch a ranking; the figure below is its static
# twin. Choose a query, then move the factor away from 1: does any head reorder the first three
# passages?

# %% tags=["figure"] alt="The same ranking with the four heads at double strength instead."
louder = ranker.under(me.Scale(culprits, 2.0))
doubled = louder.score(collection.queries[failure], list(judged.values()))
me.plots.plot_ranking(before, doubled, list(judged.values()), relevance=grades)
plt.show()

# %% tags=["widget"]
me.widgets.explore_intervention(ranker, collection, heads=heads)

# %% [markdown]
# ## What you saw
#
# - You knocked heads out, scaled and steered them, and measured nDCG@10 each time with an interval.
# - You saw a ranking gain from the loss of the heads that carry a score change, and asked how much of
#   that is the collection's doing.
# - You steered every score upwards without a better ranking.
# - You compared with other heads of the same layers and with a mean knockout, and chose a factor
#   without peeking.
# - You repaired one failure and measured what the repair did to other queries.
#
# ## On your own
#
# - Repeat the repair for three other queries. Are the culprits the same heads?
# - Switch `kind` to `dot`. Why do its rankings hardly need the heads that carry the score change? Knock
#   them out on one side only (`side="query"`): which side do they work on?
# - Evaluate on TREC DL 2019. Does this cross-encoder still rank better without its matching heads?
#
# ## Further reading
#
# - Wang et al., *Interpretability in the Wild* (ICLR 2023): mean ablation.
#   [arXiv:2211.00593](https://doi.org/10.48550/arXiv.2211.00593)
# - Turner et al., *Steering Language Models With Activation Engineering* (2023).
#   [arXiv:2308.10248](https://doi.org/10.48550/arXiv.2308.10248)
# - Smucker, Allan and Carterette, *A Comparison of Statistical Significance Tests for Information
#   Retrieval Evaluation* (CIKM 2007). [doi:10.1145/1321440.1321528](https://doi.org/10.1145/1321440.1321528)
# - [How interventions are written](../mechir_edu/interventions/heads.py).
