# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bring your own
#
# **What you will do.** We go through a study of your own from end to end: a collection in three
# files, a ranker of your choice, an untested axiom, its control, the patching, a run too long for a
# notebook, and the report.
#
# **What you will learn**
#
# - to read your own queries, passages and judgments;
# - to load another ranker, and to know that you can trust its hooks;
# - to write an axiom and, before anything else, its control;
# - to plan how many queries you need, and to run for hours without losing them;
# - to write down what others need to believe you.
#
# **What you need.** An hour or a week: the time is open. Notebooks 02, 03 and 06. No GPU and no
# network for the notebook as it is; a hub model or TREC DL needs a network.

# %% [markdown]
# Everything below follows the form. Leave it unchanged the first time, so that you know what should
# happen; then enter your own.

# %% tags=["parameters"]
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import mechir_edu as me

kind = "guessed"  # @param ["guessed", "dot", "cat", "sparse", "multi-vector", "monot5"]
ranker_name = "embedded"  # @param {type:"string"}
collection_name = "embedded"  # @param {type:"string"}

# %% [markdown]
# ## Bring a collection
#
# Three files are enough: queries and passages as `id<TAB>text` (or JSON lines), judgments in TREC's
# four columns. Here is a very small collection, from a library's help desk; write yours in the same
# format. All that this notebook writes goes into one folder, `my-work`.

# %%
desk = {
    "renew a book": ("Loans can be extended twice on the web page.", "We sell new books in May."),
    "wifi password": ("Ask at the counter for access to the network.", "Passwords need a number."),
    "late return fee": ("Each day overdue costs ten cents.", "Return tickets for the late train."),
    "quiet study room": ("Silent places are on the third floor.", "We study quiet rooms."),
}
query_rows = [f"q{i}\t{query}" for i, query in enumerate(desk)]
doc_rows = [f"d{i}{j}\t{text}" for i, two in enumerate(desk.values()) for j, text in enumerate(two)]
judgments = [f"q{i} 0 d{i}{j} {3 - 3 * j}" for i in range(len(desk)) for j in range(2)]

# %%
work = Path("my-work")
work.mkdir(exist_ok=True)
files = {"queries.tsv": query_rows, "docs.tsv": doc_rows, "qrels.txt": judgments}
for name, lines in files.items():
    (work / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

# %% [markdown]
# The toolkit needs nothing more:

# %%
queries, docs, qrels = (work / name for name in files)
own = me.load_collection(queries=queries, docs=docs, qrels=qrels)
sample = own.sample(8)
print(
    f"{len(own.queries)} queries, grades {own.grades()}, {len(sample.judged)} judged passages "
    f"at hand, {len(sample.skipped)} skipped."
)

# %% [markdown]
# A qrel whose passage is missing is skipped *and counted*. Look at that number before anything
# else: if many are missing, you study another collection than you think.
#
# Four queries show only the file format. From here on we use the collection named in the form.

# %%
collection = me.load_collection(collection_name)
judged = sum(len(docs) for docs in collection.qrels.values())
print(
    f"{collection.name}: {len(collection.queries)} queries, {judged} judgments, "
    f"grades {collection.grades()}"
)

# %% [markdown]
# ## Bring a ranker
#
# Five classes take a folder or a hub id: `me.Dot` (one vector for each text), `me.Cat` (query and
# document together), `me.Sparse` (a weight for each word of the vocabulary, SPLADE),
# `me.MultiVector` (a vector for each token, ColBERT) and `me.MonoT5` (T5 that answers with a word).
# Which of them reads a checkpoint, its files say; choose the kind in the form where they do not, or
# where a name has several: "embedded" is also a `Cat` and a `Sparse`. [A
# table](../docs/kinds.md) says what each kind takes, and names checkpoints to start with.
#
# Loading *verifies* the ranker: its scores equal
# the Hugging Face model's, an edit at each hook point changes the output, and the heads add up to
# their block. If a check fails, the error names the hook point and the reason. This takes a second,
# and spares you maps that are zero because a hook does nothing.

# %%
classes = {"dot": me.Dot, "cat": me.Cat, "sparse": me.Sparse}
classes |= {"multi-vector": me.MultiVector, "monot5": me.MonoT5}
chosen = me.guess_kind(ranker_name) if kind == "guessed" else kind
ranker = classes[chosen](ranker_name)
print(f"{ranker_name!r} is read as a {ranker.kind_name}: {ranker}")
print(f"{len(ranker.hook_dict)} hook points, for example {list(ranker.hook_dict)[5]!r}")
print(f"weights {ranker.checksum[:12]}..., at most {ranker.max_length} tokens")

# %%
(work / "my-model").mkdir(exist_ok=True)  # a folder without a model
try:
    me.Dot(str(work / "my-model"))
except (FileNotFoundError, ValueError) as error:
    print(f"{type(error).__name__}: {error}")

# %% [markdown]
# Before you explain a ranker, check that it ranks: nobody needs an explanation of a broken one. The
# table has the mean over queries with its interval; compare it with what the model's card reports.
# If it is far lower, look first at the tokenizer, the pooling and the prompt; a checkpoint may not
# specify them.

# %%
query_ids = list(collection.queries)[: me.tutorial.pick(18, 6)]
quality = me.evaluate(ranker, collection, query_ids=query_ids, measures=["nDCG@10"])
assert (quality.values["nDCG@10"] <= 1).all()
quality.summary().round(3)

# %% [markdown]
# ## Bring an axiom
#
# An axiom is a function that edits a document, and the sign that the score change should have. Ours
# says that *a headline that repeats the query raises the score*. Write yours in the same way; the
# query is an optional argument.


# %%
@me.perturbation(expected_sign=1)
def headline(document, query):
    """Put the query above the document, as a headline."""
    return f"{query.capitalize()}. {document}"


print(headline("Loans can be extended twice on the web page.", "renew a book"))

# %% [markdown]
# Now the control, *before* you see any result. What else does the edit change? It adds a headline.
# So the control is also a headline, from another query: same form, same place, about as long,
# unrelated to this query. If you cannot think of a control, the axiom is not yet clear.

# %%
names = list(collection.queries.values())
of_another = dict(zip(names, names[7:] + names[:7], strict=True))


@me.perturbation(expected_sign=0)
def other_headline(document, query):
    """Put another query above the document."""
    return f"{of_another[query].capitalize()}. {document}"


# %%
n = me.tutorial.pick(60, 16)
pairs, controls = (
    me.make_pairs(collection, edit, n, seed=0) for edit in (headline, other_headline)
)
print(f"{len(pairs)} pairs, {len(pairs.skipped)} skipped")
print(pairs[0].perturbed[:70], "...")
print(controls[0].perturbed[:70], "...")

# %% [markdown]
# The pairs are drawn evenly over grades, and with the same seed the control uses the same
# documents. Scoring them one by one takes some fifteen seconds.
#
# ## Look at the scores first
#
# **Predict.** How much of the headline's effect will the other headline have: (a) none; (b) half;
# (c) the opposite sign?

# %% tags=["figure"] alt="Two rows of score changes: the query as headline, and another query as headline, with means and intervals."
change = {}
for name, drawn in (("query as headline", pairs), ("another query", controls)):
    scores = [ranker.score(pair.query, [pair.baseline, pair.perturbed]) for pair in drawn]
    change[name] = np.diff(scores)[:, 0]
ids = [pair.query_id for pair in pairs]
me.plots.plot_score_change([(name, values, ids) for name, values in change.items()])
plt.show()

# %%
sides = {"first_pairs": pairs, "second_pairs": controls}
over_control = me.stats.mean_difference(*change.values(), **sides)
print(
    f"Headline minus control: {over_control.value:+.3f} [{over_control.low:+.3f}, {over_control.high:+.3f}]"
)

# %% [markdown]
# **Read.** The axiom's claim is about the difference and its interval; the first row alone is not
# enough.
#
# <details><summary>What we see</summary>
#
# (c): the headline raises the embedded bi-encoder's score, and a headline about something else
# lowers it: the headline pulls the document's single vector towards its own topic. The contrast is
# therefore larger than the effect itself.
#
# </details>
#
# **Could this be an artefact?** Headlines of other queries differ in length and rarity. The
# built-in controls (`me.AXIOMS`, names that end in `-control`) match both; your own control should
# match as closely as possible, and the report should say where it does not.
#
# ## Plan the size
#
# How many queries does it take to detect a difference of a given size (with a probability of 80 %)?
# A pilot shows how much queries differ, and documents of one query; that determines the answer.

# %%
pilot = np.subtract(*change.values())  # the same documents on both sides, in the same order
assert [pair.doc_id for pair in pairs] == [pair.doc_id for pair in controls]
for n_queries in (12, 43, 97):
    size = {"n_pairs": 10 * n_queries, "n_queries": n_queries}
    smallest = me.stats.minimum_detectable_effect(pilot, query_ids=ids, **size)
    print(f"{n_queries} queries with 10 pairs each: differences from {smallest:.3f} on")

# %% [markdown]
# More pairs of the same queries help little; more queries help. (TREC DL 2019 has 43 queries and
# TREC DL 2020 has 54, 97 together.)
#
# ## Patch
#
# Patch axiom and control in the same direction, so that you can subtract them.

# %% tags=["figure"] alt="Heat map of recovery per head for the headline axiom: rows are layers, columns heads."
few = me.tutorial.pick(16, 2)
options = {"direction": "perturbed_to_baseline"}
result = me.patch(ranker, pairs[:few], **options)
me.plots.plot_heads(result.recovery())
plt.show()

# %%
print(me.plots.alt_text(result.recovery(), title="Headline"))
me.plots.top_heads(result.recovery()).round(3)

# %% [markdown]
# **Read.** Dots mark heads that are significant after false-discovery control over the whole map. The
# darkest cell need not have one: a head's effect can be large on average and differ much from query
# to query. Name only heads with a dot; if there are none, say so.
#
# **Could this be an artefact?** Subtract the control, and repeat with another filler: the gap here
# is several words long, and the filler "a a a a" is a strange headline.

# %%
control = me.patch(ranker, controls[:few], **options)
contrast = result.contrast(control).recovery
me.plots.top_heads(contrast).round(3)

# %% [markdown]
# These are shares of the headline's effect *over its control*, another headline. Then the filler,
# by gradient:

# %%
neutral = me.patch(ranker, pairs[:few], method="gradient", filler="neutral", **options)
plain = me.patch(ranker, pairs[:few], method="gradient", **options)
shared = np.corrcoef(plain.effect().mean(-1).ravel(), neutral.effect().mean(-1).ravel())[0, 1]
print(f'Maps with the fillers "a" and "neutral" correlate by {shared:.2f} over all heads.')

# %% [markdown]
# ## Compare kinds of ranker
#
# What you find in a ranker may belong to the axiom, or to the kind of ranker. So patch the same
# pairs in several kinds. Here TFC1 adds a query term to the end of a document, for a bi-encoder, a
# cross-encoder and a learned-sparse ranker of four heads. The first two results travel with the
# package, as does the third.
#
# **Predict.** Where does the strongest head recover least: (a) Dot; (b) Cat; (c) Sparse?

# %%
tfc1 = me.make_pairs(collection, "TFC1", 60, seed=0)
loaded = {type(ranker): ranker} if ranker_name == "embedded" else {}  # no ranker is loaded twice
kinds = {
    of_kind.__name__: loaded[of_kind] if of_kind in loaded else of_kind("embedded")
    for of_kind in (me.Dot, me.Cat, me.Sparse)
}
# A trained multi-vector ranker does not travel with the package; where there is a network, add it:
# kinds["MultiVector"] = me.MultiVector("answerdotai/answerai-colbert-small-v1")
compared = {name: me.tutorial.patch(of_kind, tfc1) for name, of_kind in kinds.items()}
heads = {name: done.recovery() for name, done in compared.items()}

# %% tags=["figure"] alt="Three heat maps of recovery per head with one colour scale, one above the other for Dot, Cat and Sparse: rows are layers, columns heads."
limit = max(np.abs(recovery.value).max() for recovery in heads.values())
figure, axes = plt.subplots(len(heads), 1, figsize=(8, 4 * len(heads)), layout="constrained")
for ax, (name, recovery) in zip(axes, heads.items(), strict=True):
    me.plots.plot_heads(recovery, ax=ax, limit=limit).set_title(name)
plt.show()

# %% [markdown]
# The same in numbers:

# %%
rows = {}
for name, recovery in heads.items():
    first, second = np.sort(recovery.value.ravel())[::-1][:2]
    marked = f"{int(recovery.significant().sum())} of {recovery.value.size}"
    rows[name] = {"strongest": first, "next": second, "sum": recovery.value.sum(), "dots": marked}
strongest = {name: row["strongest"] for name, row in rows.items()}
most, least = max(strongest, key=strongest.get), min(strongest, key=strongest.get)
print(f"One head recovers most in {most} ({strongest[most]:.0%}),")
print(f"least in {least} ({strongest[least]:.0%}).")
pd.DataFrame(rows).T

# %% [markdown]
# **Read.** *Strongest* and *next* are what one head recovers alone. The *sum* adds such single
# patches; it is not what all heads recover together, and above 1 it says that heads repeat or undo
# each other's work.
#
# In the learned-sparse ranker, all four heads together are nearly without effect, and yet the score
# moves. By which way? Patch the residual stream instead, by role of the position:

# %%
sparse = kinds["Sparse"]
stream = me.tutorial.patch(sparse, tfc1, site="resid_pre", by="role").recovery().value
own = stream[-1, me.Role.EDIT]
print(f"Before the last of {sparse.n_layers} blocks, the added token's own position")
print(f"recovers {own:.0%} of the change; all other positions, each alone, at most", end=" ")
print(f"{np.delete(stream[-1], me.Role.EDIT).max():.0%}.")

# %% [markdown]
# <details><summary>What we see</summary>
#
# (c), by far. One head of the cross-encoder stands out: it recovers twice as much as the next. In the bi-encoder
# the effect is spread: no head stands out, because every token's vector is a part of the mean.
# Sparse's heads recover next to nothing. They need not: a SPLADE weighs each word of the vocabulary
# by its largest logit at any position, so the added token goes straight through the head for masked
# words, at its own position, and adds its own term to the document's. Nothing has to be moved
# there by attention. *A map of heads without a dark cell is not a failure of patching*: it says that
# the effect takes another way, and the residual stream by role says which.
#
# </details>
#
# **Could this be an artefact?** The three differ in more than their kind: size, training, number of
# heads. To say that a kind does it, take several rankers of each.
#
# ## Run for hours
#
# A thousand pairs do not belong in a notebook. The command line writes a folder, shard by shard;
# stop it, and the same command resumes after the last finished shard. For one of the package's
# axioms it is one line, here with the planted ranker and few pairs, twice in some thirty seconds:

# %%
command = (
    "patch --kind cat --model planted --axiom TFC1 --pairs 24 --shard-size 8 --out my-work/run"
)
for attempt in ("first", "again"):
    done = subprocess.run(
        [sys.executable, "-m", "mechir_edu", *command.split()], capture_output=True
    )
    print(
        f"{attempt}: exit code {done.returncode}, files:", len(list((work / "run").rglob("*.npz")))
    )
stored = me.PatchingResult.load(work / "run")
print(stored.scores.shape, stored.axes)

# %% [markdown]
# The second call found all shards finished and computed nothing; so does the first, if you run the
# notebook again in the same folder. Your own collection and axiom go there as well, the axiom as a
# function in a file: `--queries q.tsv --docs d.tsv --qrels qrels.txt --axiom my_axioms.py:headline`.
# Here, in a notebook, split the pairs and save each part:

# %%
result.save(work / "headline.npz")
again = me.PatchingResult.load(work / "headline.npz")
assert np.array_equal(again.scores, result.scores)
assert [pair.doc_id for pair in again.pairs] == [pair.doc_id for pair in result.pairs]

# %% [markdown]
# ## Report
#
# A result records how it was made. Publish it together with the table; nobody can check a picture
# alone.

# %%
result.heads_table().round(4).to_csv(work / "heads.csv", index=False)
recovery, versions = result.recovery(), result.provenance["versions"]
facts = {
    "ranker": f"{ranker.name}, weights {ranker.checksum[:12]}",
    "pairs": f"{recovery.n_pairs} of {recovery.n_queries} queries, {len(result.skipped)} skipped",
    "direction, filler, method": f"{result.direction}, {result.filler!r}, {result.method}",
    "recovery": f"{recovery.how}, {recovery.interval:.0%} intervals over queries",
    "heads with q < 0.05": f"{int(recovery.significant().sum())} of {recovery.q.size}",
    "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
}
for name, fact in facts.items():
    print(f"{name}: {fact}")

# %% [markdown]
# **The checklist.** Before you show anybody a map, answer these in writing:
#
# 1. *Question.* Which axiom, which sign, from which source? Was it fixed before you looked?
# 2. *Ranker.* Which weights (checksum), which pooling and similarity, does it rank well (nDCG@10)?
# 3. *Pairs.* How were they drawn? Never by their score change. How many, of how many queries, how many
#    were skipped and why?
# 4. *Edit.* What was added, and what fills the gap (filler)? Show three pairs in full.
# 5. *Control.* What is the control, and what is left of the result after subtracting it?
# 6. *Scores.* Mean score change with an interval over queries, before any map. If the interval
#    includes zero, there is nothing to recover.
# 7. *Map.* Direction, site, exact or estimated; ratio of means; intervals; corrected for all cells.
# 8. *Robustness.* Another filler, the other direction, start and end, the other half of the queries,
#    another collection. What changed?
# 9. *Use.* Does an intervention on the named heads change a ranking (notebook 08), more than random heads
#    do?
# 10. *Limits.* What could you not conclude? How small an effect could you have detected?
#
# ## What you saw
#
# - You read a collection from three files and counted what was missing.
# - You loaded a ranker whose hooks are verified, and measured how well it ranks.
# - You patched the same pairs in three kinds of ranker, and saw an effect that no head carries.
# - You wrote an axiom and its control, and printed the contrast with an interval before any map.
# - You ran a study that can be stopped and resumed, and wrote down what it depends on.
#
# ## On your own
#
# - Enter your model's id in the form. If it is refused, read why: the error names the hook point.
# - Test *a headline at the end of the document*. Is it the query or the place?
# - Write a one-page report of your study that follows the checklist.
#
# ## Further reading
#
# - [The built-in axioms](../docs/axioms.md), with sources and controls.
# - Geiger, Lu, Icard and Potts, *Causal Abstractions of Neural Networks* (NeurIPS 2021).
#   [arXiv:2106.02997](https://doi.org/10.48550/arXiv.2106.02997)
# - Fang, Tao and Zhai, *Diagnostic Evaluation of Information Retrieval Models* (TOIS 2011).
#   [doi:10.1145/1961209.1961210](https://doi.org/10.1145/1961209.1961210)
