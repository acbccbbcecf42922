# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Start here
#
# **What you will do.** Run a first notebook, let two rankers score one query and two passages,
# take both scores apart, and change a passage by one word to see what that does.
#
# **What you will learn.** How a bi-encoder and a cross-encoder turn a query and a passage into a
# relevance score, and what a score can and cannot tell you. A single word can move a score; the
# other notebooks set out to explain how.
#
# **What you need.** 15 minutes and a little Python. No network and no graphics card: rankers and
# texts come with the package. Run the cells from top to bottom, with Shift+Enter or *Run all*.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import mechir_edu as me

profile = "fast profile: few pairs" if me.tutorial.fast() else "full profile"
print(f"MechIR-Edu is here ({profile}).")

# %% [markdown]
# If that printed a sentence, all is well. The *full profile* is the default; the *fast* one takes
# fewer pairs, so that each notebook runs within a minute (set `MECHIR_EDU_FAST=1` before you start
# Jupyter). The notebooks are the same in all three places:
#
# | where | what to know |
# |---|---|
# | **Colab** | run the setup cell above first: it installs the package and leaves what Colab brings as it is |
# | **Binder** | everything is installed; a session has 2 GB of memory and ends after ten idle minutes |
# | **your laptop** | install once (see [the README](../README.md)), after that no network is needed |
#
# <details><summary>When something does not work</summary>
#
# `ModuleNotFoundError: mechir_edu` means that the notebook runs in another Python than the one with
# the package: choose the kernel of the environment that you installed into. If a cell seems to
# hang, look for the `[*]` beside it: the first load of a model takes some seconds. A line that ends
# in `# @param` is a *form field* on Colab; anywhere else, edit the value in the line. [The
# glossary](../docs/glossary.md) explains unfamiliar words.
#
# </details>
#
# ## Meet one query and two passages
#
# A **ranker** orders passages for a query. Ours are models like BERT: they read text as **tokens**,
# whole words or pieces of words. We begin with the smallest case: one query, a passage that answers
# it, and a passage that does not.

# %%
query = "how do bats find prey in the dark"
passages = {
    "relevant": "Bats hunt by echolocation: they call and listen for echoes from an insect.",
    "not relevant": "Our maple bat has a thin handle and a dark walnut stain that hides scuffs.",
}
texts = list(passages.values())

# %% [markdown]
# Two kinds of ranker can score them. Read the drawing from the bottom, where the texts go in; a
# line between two tokens means that one can look at the other.

# %%
me.plots.draw_architectures()

# %% [markdown]
# ## Follow a bi-encoder
#
# A **bi-encoder**, here `Dot`, encodes the query and each passage *alone*. Each becomes one vector,
# its **embedding**, and the relevance score says how well two embeddings agree.

# %%
dot = me.Dot("embedded")
for text in (query, *texts):
    print(dot.tokenizer.decode(dot.tokenize(text)["input_ids"][0]))

# %% [markdown]
# `[CLS]` and `[SEP]` are special tokens that BERT expects at the beginning and at the end. Each
# line is read alone: while it reads a passage, this ranker does not know the query.

# %%
query_vector = dot.encode_query(query)
passage_vectors = dot.encode_documents(texts)
print(f"query {tuple(query_vector.shape)}, passages {tuple(passage_vectors.shape)}")

# %% [markdown]
# Inside, each token has a vector of 384 numbers, and the embedding is their mean. The score is the
# **cosine** of the angle between two embeddings: 1 for the same direction, 0 for none in common.
# That is easy to compute by hand.

# %%
by_hand = torch.nn.functional.cosine_similarity(query_vector, passage_vectors).numpy()
dot_scores = dot.score(query, texts)
assert np.allclose(by_hand, dot_scores, atol=1e-5)
print(f"The relevant passage scores {dot_scores[0]:.3f}, by hand and by the package.")

# %% [markdown]
# ## Follow a cross-encoder
#
# A **cross-encoder**, here `Cat`, reads query and passage *together*, as one sequence. Every token
# of the passage can attend to every token of the query while the model computes.

# %%
cat = me.Cat("embedded")
print(cat.tokenizer.decode(cat.tokenize(query, texts[0])["input_ids"][0]))

# %% [markdown]
# There is no embedding to compare. A small classifier reads the final vector of `[CLS]` and outputs
# one number, a **logit**: any number, larger for "more relevant".

# %%
cat_scores = cat.score(query, texts)
print(f"The relevant passage scores {cat_scores[0]:+.3f}.")

# %% [markdown]
# **Predict.** We swap the roles: the passage becomes the query and the query becomes the text.
# Which score stays the same? (a) the bi-encoder's, (b) the cross-encoder's, (c) both. Write it
# down, then run.

# %%
swapped = {type(ranker).__name__: ranker.score(texts[0], query)[0] for ranker in (dot, cat)}
print(f"Dot {dot_scores[0]:+.3f} becomes {swapped['Dot']:+.3f}")
print(f"Cat {cat_scores[0]:+.3f} becomes {swapped['Cat']:+.3f}")
assert np.isclose(swapped["Dot"], dot_scores[0], atol=1e-5)

# %% [markdown]
# <details><summary>What we see</summary>
#
# (a). The same encoder made both embeddings, and an angle has no direction. The cross-encoder was
# trained on "query first", and order is part of what it reads. Encoding both apart pays off: a
# bi-encoder can encode all passages once, before any query arrives. The cross-encoder has to read
# every passage anew for every query, so in practice it re-ranks the top hundred of a cheaper
# system.
#
# </details>
#
# ## Compare the two rankers
#
# Each ranker has scored the other passage, too; we have not looked at that score yet.
#
# **Predict.** Which ranker puts the relevant passage first? (a) both, (b) only the bi-encoder,
# (c) only the cross-encoder.


# %% tags=["figure"] alt="Two panels side by side, one for each ranker: a point at the relevance score of the relevant passage, and below it one for the other passage. The bi-encoder's axis is a cosine, the cross-encoder's a logit."
figure, axes = plt.subplots(1, 2, figsize=(8, 2), layout="constrained", sharey=True)
units = {"Dot": "cosine", "Cat": "logit"}
for ax, scores, (name, unit) in zip(axes, (dot_scores, cat_scores), units.items(), strict=True):
    ax.scatter(scores, list(passages), s=90, color=["#2166ac", "0.6"])
    ax.set(title=name, xlabel=f"relevance score ({unit})", ylim=(1.6, -0.6))
plt.show()

# %%
pd.DataFrame({"Dot": dot_scores, "Cat": cat_scores}, index=list(passages)).round(3)

# %% [markdown]
# **Read.** Further right is more relevant. Compare within a panel, never across: a cosine ends at
# 1, a logit has no limit, and its zero means nothing. Only the *order* of two passages within one
# ranker can be compared with the order within the other.
#
# **Could this be an artefact?** Perhaps a ranker just counts the words that query and passage share.
# We count them ourselves.

# %%
for name, text in passages.items():
    shared = set(query.split()) & set(text.lower().strip(".").split())
    print(f"{name} passage and query share {len(shared)}: {', '.join(sorted(shared))}")

# %% [markdown]
# <details><summary>What we see</summary>
#
# (a): in both panels the relevant passage lies further right. Each passage shares one word with the
# query, "bats" and "dark": a count would call it a tie, and an exact count does not even notice that
# *bat* is *bats* in the singular. So both rankers do more than count. No formula says what they do
# instead; the weights do. These notebooks look for *where* in the weights.
#
# </details>
#
# ## Ask people
#
# People, not rankers, decide whether a passage is relevant. In a **test collection**, assessors
# have given passages a grade for each query: here 3 for a full answer, 2 for a good one, 1 for
# related, 0 for none. These grades are called **qrels**. The collection that comes with this
# package contains our query about bats, with nine judged passages.

# %%
collection = me.load_collection("embedded")
query_id = next(key for key, text in collection.queries.items() if text == query)
qrels = collection.qrels[query_id]
judged = collection.texts(qrels)
print(f"{query_id}: {len(judged)} passages with grades {sorted(qrels.values(), reverse=True)}")

# %%
table = pd.DataFrame({"grade": qrels, "passage": {key: judged[key][:60] for key in qrels}})
for ranker in (dot, cat):
    table[type(ranker).__name__] = ranker.score(query, [judged[key] for key in table.index])

# %% [markdown]
# **Predict.** There are two passages of grade 3. Will both be among a ranker's first three?
# (a) with both rankers, (b) with one, (c) with none.

# %% tags=["figure"] alt="Two scatter plots side by side, one for each ranker: nine passages, their grade from 0 to 3 on the horizontal axis and their relevance score on the vertical one."
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for ax, (name, unit) in zip(axes, units.items(), strict=True):
    ax.scatter(table["grade"], table[name], color="#2166ac")
    ax.set(title=name, xlabel="grade", ylabel=f"relevance score ({unit})", xticks=range(4))
plt.show()

# %%
for name in units:
    print(f"{name} ranks first:")
    first = table.nlargest(3, name)
    print(first[["grade", name, "passage"]].round(3).to_string())
    print(f"Among these three, of grade 3: {(first['grade'] == 3).sum()}.\n")

# %% [markdown]
# **Read.** Columns of points are grades, points are passages. A perfect ranker would have all points
# of a column above all points of the columns to its left. Look first at the two points above grade 3.
#
# <details><summary>What we see</summary>
#
# (c). In both rankers one full answer is ahead, and the other is not among the first three. The lost
# one begins "Pipistrelles, horseshoes and their night-flying cousins hunt by ear": it contains
# neither *bat* nor *prey* nor *dark*. So both rankers miss the words, and we have a suspicion to
# test: how much of a score depends on the query terms being there at all?
#
# </details>
#
# **Could this be an artefact?** It could: this is *one* query. Another might look quite different,
# and nine points cannot tell. From here on we use many queries, and every number gets an interval
# that says how far it would move if we drew other queries.
#
# ## Change one word
#
# To learn what a score depends on, we change one thing and nothing else. We append a query term
# that the passage lacks, *prey*, and look at the **score change**: the score of the **perturbed**
# passage minus that of the **baseline**. Beside it we append a word that has nothing to do with the
# query.
#
# **Predict.** Which edits raise the bi-encoder's score? (a) both, (b) only *prey*, (c) none.

# %%
for word in ("prey", "spoon"):
    good, bad = dot.score(query, [f"{text} {word}" for text in texts]) - dot_scores
    print(f"Dot + {word}: {good:+.3f} relevant, {bad:+.3f} not relevant")

# %% [markdown]
# <details><summary>What we see</summary>
#
# (b), and for both passages: even an advertisement for a wooden bat gains from the word *prey*. The
# unrelated word lowers both scores, so not just *any* extra word brings the gain; that would have
# been the artefact to fear. A word that is added only for comparison is called a **control**.
#
# </details>
#
# Now let the advertisement alone have the word.
#
# **Predict.** In which ranker does "wooden bat, plus *prey*" beat the real answer without it?
# (a) in neither, (b) in the bi-encoder, (c) in the cross-encoder, (d) in both.

# %%
for ranker in (dot, cat):
    real, wooden = ranker.score(query, [texts[0], f"{texts[1]} prey"])
    outcome = "beats" if wooden > real else "stays behind"
    print(f"{type(ranker).__name__}: the advertisement, {wooden:+.3f},", end=" ")
    print(f"{outcome} the real answer, {real:+.3f}.")

# %%
for word in ("prey", "spoon"):
    good, bad = cat.score(query, [f"{text} {word}" for text in texts]) - cat_scores
    print(f"Cat + {word}: {good:+.3f} relevant, {bad:+.3f} not relevant")

# %% [markdown]
# <details><summary>What we see</summary>
#
# (c). In the cross-encoder one word is worth more than the whole difference between an answer and an
# advertisement; in the bi-encoder it is not. The changes explain it: the advertisement gains twice
# what the answer gains. And the control? In the cross-encoder, *spoon* does not lower both scores: it
# raises that of the advertisement a little. Part of what a word does can come from there being a
# word at all, so every later notebook has a control.
#
# </details>
#
# The next notebooks compare, position by position, what the two versions do inside a ranker, so
# both have to be equally long. The picture shows them **aligned**: where the perturbed passage has
# the new word, the baseline gets a **filler**, the word "a".


# %% tags=["figure"] alt="Two lines of tokens above each other, baseline and perturbed passage. They are equal but for the last word, marked in red: the filler in the baseline, prey in the perturbed passage. The title gives both scores."
pairs = [
    me.Pair("toy", name, query, text, f"{text} prey", axiom="mine", expected_sign=1)
    for name, text in passages.items()
]
me.plots.plot_pair(me.read_pair(dot, pairs[0]))
plt.show()

# %% [markdown]
# **Read.** The title's score change differs a little from the one above, because here the baseline
# contains the filler. Now it is your turn: choose a passage, edit the text, press *Apply*, and watch
# scores and tokens. Can you make the wooden bat beat the real one in the bi-encoder, too? The panel
# names the score to beat.

# %% tags=["widget"]
me.widgets.explore_pair(dot, pairs, axioms=["TFC1", "TFC1-control", "LNC1"])

# %% [markdown]
# ## What you saw
#
# - The bi-encoder encoded query and passages separately and compared directions; we computed its
#   score by hand. The cross-encoder read both at once, and its score was a logit that depends on
#   the order.
# - Scores of different rankers are on different scales; orders can be compared. Both rankers put
#   the relevant passage first although each passage shared one word with the query, and both missed
#   a full answer that used other words.
# - One appended query term raised the bi-encoder's score of both passages, and an unrelated word
#   did not. In the cross-encoder the same term lifted an advertisement above the answer. The next
#   notebooks ask *which part of the network* carries that gain.
#
# ## On your own
#
# - Put a query and two passages of your own into the cell below *Meet one query and two passages*,
#   and run the cells from there down to *Ask people* (the judged passages are about bats).
# - Append *prey* twice, five times, ten times. Does the score grow without end?
# - Put the word at the start of the passage instead. Should it matter to a ranker? Does it?
#
# ## Further reading
#
# - Nogueira and Cho, *Passage Re-ranking with BERT* (2019): the cross-encoder.
#   [arXiv:1901.04085](https://doi.org/10.48550/arXiv.1901.04085)
# - Reimers and Gurevych, *Sentence-BERT* (2019): the bi-encoder. [arXiv:1908.10084](https://doi.org/10.48550/arXiv.1908.10084)
# - How the collection was made: [its card](../mechir_edu/assets/mini/README.md).
