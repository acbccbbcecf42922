# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Perturb with an axiom
#
# **What you will do.** Change documents by two rules, TFC1 and TDC, line the two versions up token
# by token, and look at what the change does to the scores of two rankers.
#
# **What you will learn.** To build pairs from a judged collection, to say why patching needs
# aligned tokens and what a filler is, to read a distribution of score changes with its interval,
# and to choose the direction of a patch.
#
# **What you need.** 45 minutes; notebook [01](01_look_inside.ipynb), or knowing what a bi-encoder,
# a cross-encoder and a relevance score are. No network: collection and rankers come with the
# package. Name others, such as `msmarco-passage/trec-dl-2019/judged`, in the lines with `# @param`.

# %% tags=["parameters"]
import matplotlib.pyplot as plt
import pandas as pd

import mechir_edu as me

dataset = "embedded"  # @param {type:"string"}
bi_encoder, cross_encoder = "embedded", "embedded"  # @param
collection = me.load_collection(dataset)
dot, cat = me.Dot(bi_encoder), me.Cat(cross_encoder)
print(f"{collection.name}: {len(collection.queries)} queries, grades {collection.grades()}")

# %% [markdown]
# ## Say what should happen
#
# To learn what a ranker computes, we change its input in one way only, and we need to know
# beforehand what a sensible ranker would do. A retrieval **axiom** tells us: a plain rule about two
# documents, from the years when ranking functions were written by hand.

# %%
for name in ("TFC1", "TDC", "LNC1"):
    axiom = me.AXIOMS[name]
    print(f"{name} ({axiom.expected_sign:+d}): {axiom.statement}\n")

# %% [markdown]
# The **baseline** is the document as the collection has it, the **perturbed** version is the same
# document after one edit, and the **score change** is perturbed minus baseline score. TFC1 adds a
# random query term, TDC the most discriminative one, the query's rarest word. +1 means that the
# score should rise. LNC1 penalises mere length: it adds a word unrelated to the query. We return to
# it at the end.
#
# ## Edit one passage
#
# Any function that edits a text can be a perturbation.


# %%
@me.perturbation
def add_salt(document):
    """Add the word salt."""
    return f"{document} salt"


query = "why does salt melt ice on roads"
passage = "The freezing point of water falls when something is dissolved in it."
for ranker in (dot, cat):
    before, after = ranker.score(query, [passage, add_salt(passage)])
    change = after - before
    print(f"{type(ranker).__name__}: {before:+.3f} before, {after:+.3f} after: {change:+.3f}")

# %% [markdown]
# ## Exercise 1: add the rarest term
#
# *Difficulty 2/5, importance 4/5, 10 minutes. Why: TDC looks trivial, and it has gone wrong in
# published data.*
#
# Write TDC's edit. `idf(stem)` gives the **inverse document frequency**: large for a term of few
# documents. It knows *stems* ("bleach" for "bleaching"), as an index does, and returns its largest
# value for a stem that it has never seen. `me.surface_terms(query)` lists `(stem, word)` for each
# term, without stop words.


# %% tags=["stub"]
def add_rarest_term(document: str, query: str, idf) -> str:
    """The document with the query's term of highest idf added at its end, as a word."""
    raise NotImplementedError


# %% tags=["solution"]
def add_rarest_term(document: str, query: str, idf) -> str:
    """The document with the query's term of highest idf added at its end, as a word."""
    stem, word = max(me.surface_terms(query), key=lambda term: idf(term[0]))
    return f"{document} {word}"


# %%
me.checks.check_add_rarest_term(add_rarest_term)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Rarity belongs to the stem; the word is what you add. Keep the two together while you look for the
# largest.
#
# </details>
# <details><summary>Hint 2: the function</summary>
#
# `max(..., key=...)` over `me.surface_terms(query)`.
#
# </details>
# <details><summary>Hint 3: almost code</summary>
#
# `max(me.surface_terms(query), key=lambda term: idf(term[0]))` returns a pair `(stem, word)`. Join
# document and word with a space.
#
# </details>
# <details><summary>Aside: how it went wrong</summary>
#
# For the pairs published with the MechIR paper, whole words were looked up in a table of stems. A
# word that stemming changes was therefore never found, counted as the rarest, and won: "define" in
# "define pareto chart in statistics". About nine in ten of the chosen words are of this kind,
# against half of TFC1's random ones. Queries, documents and counts must be stemmed in the same way.
#
# </details>
#
# ## Make pairs from a collection
#
# `make_pairs` draws judged passages, equally many of each relevance **grade** (3 perfect, 0
# irrelevant), and edits each. `TFC1-control` adds an unrelated word of about the same rarity and of
# as many word pieces (`length` counts them): it shows what adding *any* word does.

# %%
n, options = 60, {"seed": 0, "length": dot.n_pieces}
names = ("TFC1", "TDC", "TFC1-control")
pairs = {name: me.make_pairs(collection, name, n=n, **options) for name in names}
terms = {name: [pair.term for pair in drawn] for name, drawn in pairs.items()}
queries = {"query": [pair.query for pair in pairs["TFC1"]]}
pd.DataFrame(queries | terms).head(6)

# %%
same = sum(a == b for a, b in zip(terms["TFC1"], terms["TDC"], strict=True))
print(
    f"{len(pairs['TFC1'])} pairs of each. In {same} of them TFC1 and TDC add the same word,",
    end=" ",
)
print("because these queries have few terms.")
print("Skipped:", ", ".join(f"{name} {len(drawn.skipped)}" for name, drawn in pairs.items()))
assert all(pair.perturbed == f"{pair.baseline} {pair.term}" for pair in pairs["TDC"])

# %% [markdown]
# ## Line the tokens up
#
# Later we take an activation from one run and put it into *the same position* of the other. That
# makes sense only if the position holds the same token in both.
#
# **Predict.** We add one word at the *start* of a passage. At how many positions do the two
# versions still hold the same token? (a) All but one. (b) About half. (c) Next to none.

# %%
first = me.make_pairs(collection, "TFC1", n=n, seed=0, place="start")[0]
sides = [dot.tokenizer(text)["input_ids"] for text in (first.baseline, first.perturbed)]
equal = sum(a == b for a, b in zip(*sides, strict=False))
print(f"{equal} of {len(sides[0])} positions hold the same token.")
for ids in sides:
    print(" ".join(dot.tokenizer.convert_ids_to_tokens(ids[:12])))

# %% [markdown]
# <details><summary>What we see</summary>
#
# (c). `[CLS]` agrees, and a token here and there by chance. A patch would put what was computed for
# one word in its neighbour's place, and we would measure the effect of that.
#
# </details>
#
# The remedy is a **filler**: where one version has an extra word, the other gets a token that means
# little, "a" by convention.
#
# ## Exercise 2: fill the gap
#
# *Difficulty 2/5, importance 4/5, 10 minutes. Why: a misaligned patch runs without an error and
# yields a pretty but meaningless map.*
#
# `perturbed` is `baseline` with one or more token ids inserted at position `start`.


# %% tags=["stub"]
def fill_gap(baseline: list[int], perturbed: list[int], start: int, filler: int) -> list[int]:
    """The baseline with fillers put in, so that it lines up with the perturbed version."""
    raise NotImplementedError


# %% tags=["solution"]
def fill_gap(baseline: list[int], perturbed: list[int], start: int, filler: int) -> list[int]:
    """The baseline with fillers put in, so that it lines up with the perturbed version."""
    gap = len(perturbed) - len(baseline)
    return baseline[:start] + gap * [filler] + baseline[start:]


# %%
me.checks.check_fill_gap(fill_gap)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Every token after the edit has moved by as many places as were inserted. Move the baseline's
# tokens by as many.
#
# </details>
# <details><summary>Hint 2: the parts</summary>
#
# The size of the gap is the difference of the two lengths. Slice with `baseline[:start]` and
# `baseline[start:]`.
#
# </details>
# <details><summary>Hint 3: almost code</summary>
#
# The tokens before the edit, then `gap * [filler]`, then the tokens after it.
#
# </details>
#
# `me.align` does this for any edit: added, removed and replaced words, words of several pieces,
# texts that are too long. It also gives each position a **role**: `[CLS]`, query, `[SEP]`, edit,
# another occurrence of the edited term, or the rest of the document. Here is the pair from above, as
# the cross-encoder reads it, before and after:

# %%
(at_start,) = me.align([first], cat.tokenizer, kind="cat").aligned
me.plots.draw_alignment(at_start, cat.tokenizer)

# %% [markdown]
# Only the edited position holds two different tokens now. That can be tested for all pairs:

# %%
aligned = me.align(pairs["TFC1"], cat.tokenizer, kind="cat")
for pair in aligned.aligned:
    differs = pair.baseline_ids != pair.perturbed_ids
    assert (pair.roles[differs] == me.Role.EDIT).all()
print(f"{len(aligned.aligned)} pairs aligned, {len(aligned.skipped)} skipped.", end=" ")
print(f"The filler is {aligned.filler!r}.")

# %% [markdown]
# One pair as the bi-encoder reads it:

# %% tags=["figure"] alt="The tokens of a passage in two lines, baseline above perturbed: at the end the baseline has the filler a where the perturbed version has the added query term, marked in red; above them both relevance scores."
me.plots.plot_pair(me.read_pair(dot, pairs["TFC1"][0]))
plt.show()

# %% tags=["widget"]
me.widgets.explore_pair(dot, pairs["TFC1"][1:5], collection=collection)

# %% [markdown]
# **Read.** Lines that both versions share are shown once; at the edit there are two, with the
# difference in red. In a running notebook you can edit other passages in the panel yourself.
#
# ## Read the score changes
#
# Now the bi-encoder scores both versions of all pairs. The baseline is scored *with* its filler, so
# that the change shows which word is there, not that there is one more.
#
# **Predict.** For which share of the pairs does a query term raise the score? (a) Half. (b) Nearly
# all. And what does the control word do on average: (c) lower the score by as much, or (d) change it
# by much less?
#
# `me.tutorial.score_pairs` takes the scores from the package if it has just these, and computes them
# if not, in about 10 seconds for 60 pairs.

# %% tags=["figure"] alt="Three distributions of the bi-encoder's score change, one above the other: TFC1, TDC and the control word, each with its mean and interval; a dotted line marks zero."
scored = {name: me.tutorial.score_pairs(dot, drawn) for name, drawn in pairs.items()}
rows = [(name, scores.score_change(), scores.query_ids) for name, scores in scored.items()]
me.plots.plot_score_change(rows)
plt.show()


# %%
def in_numbers(rows, sign=1) -> pd.DataFrame:
    """Mean score change with its interval, and the share of pairs with the expected sign."""
    columns = ["value", "low", "high", "sign_agreement", "n_pairs", "n_queries"]
    lines = {}
    for label, change, ids in rows:
        estimate = me.stats.mean_change(change, query_ids=ids, expected_sign=sign)
        lines[label] = [getattr(estimate, column) for column in columns]
    table = pd.DataFrame.from_dict(lines, orient="index", columns=columns)
    table = table.round(4).astype({"n_pairs": int, "n_queries": int})
    return table.rename(columns=lambda name: name.replace("_", " "))


in_numbers(rows)

# %% [markdown]
# **Read.** Each row is a distribution over pairs. The dot is the mean and the bar its 95 % interval
# *over queries*: passages of one query are alike, so the queries are the independent units.
# *Sign agreement* is the share of pairs whose score rose. The axis ends where the middle 98 % of
# the pairs do, so that one extreme pair cannot squeeze all others. Look first at whether a bar
# crosses the dotted zero.

# %%
query_term, control = (abs(scored[name].score_change().mean()) for name in ("TFC1", "TFC1-control"))
print(f"On average the control changes the score by {control / query_term:.0%} of what TFC1 does.")

# %% [markdown]
# <details><summary>What we see</summary>
#
# (b) and (d). Nine scores in ten rise with TFC1 and TDC, by a few hundredths of cosine. A control
# word lowers the score a little: its bar lies just below zero. So the rise comes from the query term
# and not from a longer text. Two rows cannot tell whether TDC beats TFC1: that takes the difference
# within each pair, which notebook [04](04_tfc1_versus_tdc.ipynb) computes.
#
# </details>
#
# **Could this be an artefact?** We chose the baseline's filler. Let us change it.

# %% tags=["figure"] alt="Four distributions of the bi-encoder's score change under TFC1, one for each filler in the baseline: the word a, masked padding, the mask token, neutral words; each with mean and interval."
fillers = ("a", "pad", "mask", "neutral")
changes = {filler: me.tutorial.score_pairs(dot, pairs["TFC1"], filler=filler) for filler in fillers}
by_filler = [(name, scores.score_change(), scores.query_ids) for name, scores in changes.items()]
me.plots.plot_score_change(by_filler)
plt.show()

# %%
in_numbers(by_filler)

# %% [markdown]
# **Read.** One row for each filler: "a", padding that attention cannot see, the mask token,
# everyday words that fill the gap.
#
# <details><summary>What we see</summary>
#
# "a", padding and everyday words agree, and the sign is the same with all four. The mask token alone
# gives a larger change: it lowers the baseline's score, as if something were missing there. A score
# change is always *relative to something*, so we report the filler with the result and keep "a",
# which the MechIR paper uses.
#
# </details>
#
# ## Compare grades
#
# **Predict.** The cross-encoder now. Does an added query term help (a) relevant passages more, (b)
# irrelevant ones more, or (c) all equally?
#
# Sixty pairs are too few for this question: with 15 for each grade, the interval of a trend holds
# zero. We take every judged passage of the collection. (Their scores come with the package;
# computing them takes about three minutes.)

# %% tags=["figure"] alt="Distributions of the cross-encoder's score change under TFC1, one row for each relevance grade from three to zero, each with mean and interval."
every = me.make_pairs(collection, "TFC1", n=324, **options)
by_cat = me.tutorial.score_pairs(cat, every)
table = pd.DataFrame({"score_change": by_cat.score_change(), "query_id": by_cat.query_ids})
table["label"] = [f"grade {pair.relevance}" for pair in by_cat.pairs]
me.plots.plot_score_change(table.sort_values("label", ascending=False))
plt.show()


# %%
def slope(scores) -> str:
    """How the score change depends on the grade, in a sentence."""
    grades = [pair.relevance for pair in scores.pairs]
    trend = me.stats.grade_trend(scores.score_change(), grades, query_ids=scores.query_ids)
    says = "this many pairs cannot tell"
    if trend.high < 0 or trend.low > 0:
        says = f"{'irrelevant' if trend.high < 0 else 'relevant'} passages gain more"
    return f"{trend.value:+.4f} [{trend.low:+.4f}, {trend.high:+.4f}] for each grade: {says}"


print("Cat:", slope(by_cat))
print("Dot:", slope(me.tutorial.score_pairs(dot, every)))

# %% [markdown]
# **Read.** Logits now, so compare rows with each other, not with the figures above. The **slope** is
# the difference that one grade more makes to the score change.
#
# <details><summary>What we see</summary>
#
# (b), in both rankers: both slopes lie below zero. A passage that already has the words, and a score
# near the top, has less to gain. The rows do not fall from grade to grade, though; irrelevant
# passages alone stand out.
#
# </details>
#
# **Could this be an artefact?** Yes: grade correlates with the number of query terms in a passage,
# and with its score. A trend over grades is not yet a cause.
#
# ## Choose a direction
#
# Patching takes an activation from the **donor** run and puts it into the **recipient** run. Which
# is which? The MechIR paper patches into the run with the lower expected score, to see what brings
# the score *up*. `direction="auto"` does the same, using the mean score over the set.

# %%
longer = me.make_pairs(collection, "LNC1", n=n, **options)
for name, scores in {**scored, "LNC1": me.tutorial.score_pairs(dot, longer)}.items():
    direction = me.choose_direction(scores.baseline, scores.perturbed, "auto")
    print(f"{name:13} {scores.score_change().mean():+.4f} -> {direction}")

# %% [markdown]
# TFC1 and TDC raise scores, so perturbed activations go into the baseline run. LNC1 adds the same
# word as the control and predicts a fall; the fall is there, and small. **Recovery**, the share of
# the change that a patch carries over, divides by the mean change. Where that mean cannot be told
# from zero, the package says so instead of returning a number that looks like a finding. With eight
# pairs of the control:

# %%
few = me.patch(dot, pairs["TFC1-control"][:8], heads=[(0, 0)], direction="perturbed_to_baseline")
print(f"Mean score change {few.score_change().mean():+.4f}.")
print(few.recovery().warning or "This change differs from zero, so recovery can be read.")

# %% [markdown]
# ## What you saw
#
# - We built TFC1 and TDC pairs and a control from judged passages, evenly over grades.
# - One word at the start put nearly every token out of place; fillers restored the alignment.
# - Query terms raised nine in ten of the bi-encoder's scores, whatever the filler; a control word
#   lowered them by a tenth of that.
# - Irrelevant passages gained more than relevant ones, in both rankers; it took all judged pairs to
#   see it.
# - We chose the direction by the lower mean, and met a change too uncertain to be shared out.
#
# ## On your own
#
# - Write a perturbation of your own with `@me.perturbation(expected_sign=1)` and give it to
#   `make_pairs`.
# - Compare `place="start"` with the end. Which ranker cares?
# - With a network, enter `msmarco-passage/trec-dl-2019/judged` in the form field.
#
# ## Further reading
#
# - Fang, Tao and Zhai, *A Formal Study of Information Retrieval Heuristics* (SIGIR 2004): the
#   axioms. [doi:10.1145/1008992.1009004](https://doi.org/10.1145/1008992.1009004)
# - [All axioms of the package](../docs/axioms.md), with sources, preconditions and controls.
