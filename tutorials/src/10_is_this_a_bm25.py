# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Ask whether a cross-encoder is a BM25
#
# **What you will do.** Lu, Chen and Eickhoff (EMNLP 2025) found that a cross-encoder computes
# something like BM25, the classical formula: for each query term a frequency in the passage, times
# the rarity of the term, summed. We test the three parts of this claim on another cross-encoder, on
# words and queries that had no say in what we fitted. Each part can fail.
#
# **What you will learn**
#
# - to look for a quantity (here idf) in embeddings, and to tell *there* from *there first*;
# - to read a soft term frequency off attention, and to cut the attention that carries it;
# - to fit a small model of a ranker, and to compare it with BM25 and with random heads;
# - to find the faults of an analysis that prints plausible numbers.
#
# **What you need.** 60 minutes, and notebooks 03, 06 and 08. No GPU, no network.

# %% [markdown]
# Any other cross-encoder will do: enter its name in the form. The number of heads and the direction
# of attention below were chosen for our ranker after looking at all of its queries, so its own figure
# is slightly flattered; on another ranker nothing is tuned.

# %% tags=["parameters"]
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np

import mechir_edu as me

ranker_name = "embedded"  # @param {type:"string"}
collection_name = "embedded"  # @param {type:"string"}
ranker = me.Cat(ranker_name)
collection = me.load_collection(collection_name)

# %% [markdown]
# ## Start with BM25 itself
#
# BM25 scores a passage by three ingredients: how often each query term occurs in it (its **term
# frequency**, tf, with diminishing returns), how rare the term is (**idf**), and how long the passage
# is. We count on the ranker's own word pieces, so that both see the same units.

# %%
query_ids = list(collection.queries)[: me.tutorial.pick(36, 6)]
docs = {query_id: list(collection.qrels[query_id]) for query_id in query_ids}
texts = collection.texts(sorted({d for judged in collection.qrels.values() for d in judged}))
pieces = {
    doc_id: ranker.tokenizer(text, add_special_tokens=False)["input_ids"]
    for doc_id, text in texts.items()
}
df = Counter(piece for ids in pieces.values() for piece in set(ids))
mean_length = np.mean([len(ids) for ids in pieces.values()])


# %% [markdown]
# The two ingredients of the collection, and the formula:


# %%
def idf(piece):
    """Rarity of a word piece in the collection: 0 for one in every passage."""
    return np.log(1 + (len(texts) - df[piece] + 0.5) / (df[piece] + 0.5))


def bm25(query_pieces, doc_id, k=0.9, b=0.4):
    """BM25 of one passage, on word pieces."""
    counts = Counter(pieces[doc_id])
    norm = k * (1 - b + b * len(pieces[doc_id]) / mean_length)
    tf = [counts[p] * (k + 1) / (counts[p] + norm) for p in query_pieces]
    return float(np.dot([idf(p) for p in query_pieces], tf))


# %% [markdown]
# ## Look for idf in the embeddings
#
# A cross-encoder sees no collection, so rarity has to be in its weights. The paper finds it in the
# word embeddings: the first left singular vector of the matrix follows idf. A **singular vector** is
# a direction along which the rows (here: words) differ most; the first one is the largest.
#
# **Predict.** Is the correlation of the first singular vector with idf, in size, (a) above 0.8,
# (b) between 0.2 and 0.8, (c) below 0.2? And which of the first five is the most correlated?

# %%
embeddings = ranker.hf_model.base_model.get_input_embeddings().weight.numpy()
names = ranker.tokenizer.convert_ids_to_tokens(list(df))
words = np.array([i for i, name in zip(df, names, strict=True) if name.strip("Ġ▁").isalpha()])
word_idf = np.array([idf(i) for i in words])
_, axes = np.linalg.eigh(embeddings.T @ embeddings)

# %%
projections = embeddings[words] @ axes[:, ::-1][:, :5]  # the largest first
r_axes = [float(np.corrcoef(column, word_idf)[0, 1]) for column in projections.T]
for number, r in enumerate(r_axes):
    print(f"singular vector {number}: |r| with the idf of {len(words)} words {abs(r):.2f}")

# %% [markdown]
# (The sign of a singular vector means nothing, so only the size counts.)
#
# <details><summary>What we see</summary>
#
# (b) for the embedded cross-encoder, whose word embeddings are MiniLM's. With document frequencies of
# 27,170 web passages, it was 0.55 over 14,123 words, and the next four at most 0.25; with those of
# this small collection it is about 0.33, because most of its words occur once, and a frequency of one
# is hardly measured.
#
# </details>
#
# So the first singular vector has something to do with idf. Is it *the* idf direction? A direction that
# differs most between words need not be the one that tells their rarity best.
#
# ## Exercise 1: find the best direction, honestly
#
# *Difficulty 3/5, importance 5/5, 15 minutes. With 384 dimensions, some direction fits any numbers.*
#
# Fit a linear direction on some words, and correlate it with idf on the others.


# %% tags=["stub"]
def held_out_correlation(x, y, is_learn, ridge=1.0):
    """Correlation with y, on the other rows, of a direction that is fitted on the rows of a mask.

    x : float array [word, dimension]. y : float array [word]. is_learn : bool array [word].
    ridge : solve (x'x + ridge * identity) w = x'y, with means of the learning rows taken off first.
    """
    raise NotImplementedError


# %% tags=["solution"]
def held_out_correlation(x, y, is_learn, ridge=1.0):
    """Correlation with y, on the other rows, of a direction that is fitted on the rows of a mask."""
    centred, target = x - x[is_learn].mean(axis=0), y - y[is_learn].mean()
    inner = centred[is_learn].T @ centred[is_learn] + ridge * np.eye(x.shape[1])
    w = np.linalg.solve(inner, centred[is_learn].T @ target[is_learn])
    return np.corrcoef(centred[~is_learn] @ w, y[~is_learn])[0, 1]


# %%
me.checks.check_held_out_correlation(held_out_correlation)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Everything that is fitted, the means included, sees the rows of the mask alone. The correlation sees
# the others alone.
#
# </details>
#
# <details><summary>Hint 2: what to use</summary>
#
# `np.linalg.solve` for the direction, and `np.corrcoef(...)[0, 1]`.
#
# </details>
#
# <details><summary>Hint 3: almost the code</summary>
#
# Centre `x` and `y` by the means of the learning rows; solve `(x'x + ridge * np.eye(n)) w = x'y` on
# these rows; correlate `x[~is_learn] @ w` with `y[~is_learn]`.
#
# </details>

# %%
is_learn_word = np.random.default_rng(0).permutation(len(words)) % 2 == 0
best = me.tutorial.held_out_correlation(embeddings[words], word_idf, is_learn_word)
shuffled = np.random.default_rng(1).permutation(word_idf)
nothing = me.tutorial.held_out_correlation(embeddings[words], shuffled, is_learn_word)
print(
    f"Best direction, on words that it was not fitted on: {best:.2f}; idf shuffled: {nothing:.2f}."
)
print(f"First singular vector: {abs(r_axes[0]):.2f}.")

# %% [markdown]
# The twist: *there is an idf direction* holds, and *it is the first singular vector* does not. Half of
# the claim survives, and a fit on the same words would not have told the halves apart. (With web
# frequencies, the best direction reached 0.80 on held-out words.) Shuffled idf gives nothing: our
# control reads zero.
#
# ## Read a term frequency off attention
#
# Let query token *i* give 0.3 of its attention to the passage, in some head. If that head looks at
# occurrences of *i*, the **attention mass** grows with their number: a *soft* term frequency, soft
# because near synonyms may count, too. `me.term_attention` gives it for every head,
# here for all queries in some twenty-five seconds.

# %%
attention = {
    query_id: me.term_attention(
        ranker, collection.queries[query_id], [texts[doc] for doc in docs[query_id]]
    )
    for query_id in query_ids
}
first = attention[query_ids[0]]
print("layer, head, query token, passage:", first.mass.shape)

# %% [markdown]
# We correlate mass with the true count, over query tokens and passages. Some tokens attract passages
# whatever they hold, so we subtract each token's mean over the query's passages first. Queries are
# split in two, as in notebook 08: **learn** chooses, **test** reports.

# %%
learn, test = query_ids[::2], query_ids[1::2]


# %%
def centred_pair(query_id):
    """Mass [layer, head, token and passage] and counts, without each token's mean."""
    read = attention[query_id]
    count = np.array([[pieces[d].count(i) for d in docs[query_id]] for i in read.ids], float)
    mass = read.mass - read.mass.mean(axis=-1, keepdims=True)
    return mass.reshape(*mass.shape[:2], -1), (count - count.mean(axis=1, keepdims=True)).ravel()


# %% [markdown]
# **Predict.** In which layers are the heads that count: (a) the last ones, where the score is made,
# (b) early ones, (c) none at all, since this ranker was built to keep query and passage apart at first
# ([its card](../mechir_edu/assets/cross_encoder.md))?


# %%
def soft_tf_map(queries):
    """Correlation of each head's mass with the count, [layer, head]."""
    masses, counts = zip(*map(centred_pair, queries), strict=True)
    mass, count = np.concatenate(masses, axis=-1), np.concatenate(counts)
    spread = np.sqrt((mass**2).sum(axis=-1) * (count**2).sum())
    return (mass @ count) / np.maximum(spread, 1e-12)


# %% [markdown]
# One map for each half of the queries:

# %%
on_learn, on_test = soft_tf_map(learn), soft_tf_map(test)

# %% tags=["figure"] alt="Heat map of the correlation between attention mass and term count for every head on the test queries; layers are rows, heads columns."
figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
image = ax.imshow(on_test, cmap="RdBu_r", vmin=-1, vmax=1, origin="lower", aspect="auto")
figure.colorbar(image, label="correlation of mass and count")
ax.set(xlabel="head", ylabel="layer", title="Soft term frequency, test queries")
plt.show()

# %% [markdown]
# The six heads that count best on the learning queries:

# %%
order = [divmod(int(i), ranker.n_heads) for i in np.argsort(-on_learn.ravel())]
chosen = order[:6]
for layer, head in chosen:
    r = on_test[layer, head]
    print(f"({layer}, {head}): {on_learn[layer, head]:.2f} on learn, {r:.2f} on test")

# %% [markdown]
# **Read.** Rows are layers, the first at the bottom. Red: the more occurrences, the more attention. Look
# first for single dark cells, then whether the heads chosen on one half keep their numbers on the other.
#
# <details><summary>What we see</summary>
#
# (b). Two heads stand out, in layers 1 and 2, with correlations near 0.6 on both halves; the last layers
# have none. The ranker was built to keep query and passage apart in layers 0 to 5, and training undid
# that where it needed a term match.
#
# </details>
#
# **Could this be an artefact?** Attention says where a head looks, not that the score depends on it. So
# we cut it: no attention between query and passage, in one layer, renormalised over the rest. Eight
# layers take half a minute.

# %%
plain = me.tutorial.evaluate(ranker, collection, query_ids=list(collection.queries)[:36])
few = query_ids[: me.tutorial.pick(6, 2)]
moved = {}
for layer in range(ranker.n_layers):
    cut = ranker.under(me.Cut("query", "document", layers=[layer], both_ways=True))
    changes = [
        cut.score(collection.queries[q], [texts[d] for d in docs[q]])
        - [plain.run[q][d] for d in docs[q]]
        for q in few
    ]
    moved[layer] = np.abs(np.concatenate(changes)).mean()

# %% [markdown]
# A layer in which they meet moves the scores when it is cut:

# %%
for layer, by in moved.items():
    print(f"cut in layer {layer}: scores move by {by:.2f} on average")

# %% [markdown]
# For the embedded ranker the scores move where the soft term frequency is, in layers 1 and 2, and hardly
# elsewhere: attention and cause agree. They need not.
#
# ## Put the two together
#
# If the ranker is a BM25, its score should be predictable from *idf times soft tf*, summed over query
# tokens: one number for each head. We fit one weight for each of six heads on half of the queries, and
# correlate prediction and score within each query of the other half.


# %%
def features(query_id, heads):
    """Sum over query tokens of idf times attention mass, [passage, head]."""
    read = attention[query_id]
    rarity = np.array([idf(i) for i in read.ids])
    return np.stack([rarity @ read.mass[layer, head] for layer, head in heads], axis=1)


# %%
scores = {q: np.array([plain.run[q][d] for d in docs[q]]) for q in query_ids}


# %% [markdown]
# Weights come from the learning queries, the correlations from the others.


# %%
def predicted(heads):
    """Correlation of prediction and score in each test query; weights from the learning queries."""
    x, y = (
        np.concatenate([part - part.mean(axis=0) for part in parts])
        for parts in ([features(q, heads) for q in learn], [scores[q] for q in learn])
    )
    scale = x.std(axis=0) + 1e-9
    inner = (x / scale).T @ (x / scale) + 0.01 * len(x) * np.eye(len(heads))
    w = np.linalg.solve(inner, (x / scale).T @ y) / scale
    return np.array([np.corrcoef(features(q, heads) @ w, scores[q])[0, 1] for q in test])


# %% [markdown]
# **Predict.** Which order of the three, from best to worst: (a) soft-tf heads, BM25, random heads;
# (b) BM25, soft-tf heads, random heads; (c) random heads as good as the chosen ones?

# %%
rng = np.random.default_rng(0)
rest = order[6:]
draws = [[rest[i] for i in rng.choice(len(rest), 6, replace=False)] for _ in range(20)]

# %%
formula = [[bm25(attention[q].ids, d) for d in docs[q]] for q in test]
by_query = {
    "idf x soft tf of six heads": predicted(chosen),
    "BM25": np.array([np.corrcoef(f, scores[q])[0, 1] for f, q in zip(formula, test, strict=True)]),
    "six other heads (mean of 20 draws)": np.mean([predicted(heads) for heads in draws], axis=0),
}

# %% [markdown]
# All three on the same test queries:

# %% tags=["figure"] alt="Mean correlation with the ranker's score on the test queries for six soft term frequency heads, BM25 and random heads, with intervals over queries."
means = {name: me.stats.mean_change(r, query_ids=test) for name, r in by_query.items()}
plt.figure(figsize=(7, 2.4), layout="constrained")
for place, mean in enumerate(means.values()):
    plt.plot([mean.low, mean.high], [place, place], color="0.4", linewidth=3)
    plt.plot(mean.value, place, "o", color="black")
plt.yticks(range(len(means)), means)
plt.xlabel("correlation with the ranker's score, within a query")
plt.gca().invert_yaxis()
plt.show()

# %%
for name, mean in means.items():
    print(f"{name}: {mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}]")
gap = by_query["idf x soft tf of six heads"] - by_query["BM25"]
beyond = me.stats.mean_change(gap, query_ids=test)
print(f"Six heads beyond BM25: {beyond.value:+.2f} [{beyond.low:+.2f}, {beyond.high:+.2f}].")

# %% [markdown]
# **Read.** One row for each model of the ranker; the bar is the interval over test queries.
#
# <details><summary>What we see</summary>
#
# (a) for the embedded cross-encoder: idf times soft tf predicts its scores better than BM25 does, and
# both beat heads drawn at random. The heads were chosen and weighted on other queries.
#
# </details>
#
# **Could this be an artefact?** Partly. The six-head model was fitted to this ranker and BM25 was not, so
# the fair rival is the random heads. And a good prediction is no mechanism: the cut above is the evidence
# that the score uses this attention.
#
# ## Look at four hooks
#
# Each of these prints plausible numbers. Three have a fault that has been seen in published code. They
# are said to silence head 2 of layer 1, or to patch it. The first is put at `blocks.1.attn.hook_v`, "to
# patch the head's output z"; the others at `blocks.1.attn.hook_z`.


# %%
def hook_a(v, hook, donor_v):
    """Patch the head's output."""
    v = v.clone()
    v[:, :, 2] = donor_v[:, :, 2]
    return v


def hook_b(z, hook, mean):
    """Ablate to the mean."""
    z = z.clone()
    z[:, :, 2] = 0 * mean
    return z


# %% [markdown]
# And two more:


# %%
def hook_c(z, hook):
    """Silence the head."""
    z = z.clone()
    z[:, :, 2] = 0


def hook_d(z, hook, mean):
    """Ablate to the mean."""
    z = z.clone()
    z[:, :, 2] = mean
    return z


# %% [markdown]
# ## Exercise 2: spot the bugs
#
# *Difficulty 3/5, importance 5/5, 10 minutes. A wrong instrument prints numbers as readily as a right
# one.*
#
# Answer with a dict from the letter to one of `"zeros"` (writes zeros), `"values"` (patches what the head
# reads out, but leaves where it looks), `"nothing"` (changes nothing), `"right"` (does what it says).

# %% tags=["stub"]
bugs = ...

# %% tags=["solution"]
bugs = {"a": "values", "b": "zeros", "c": "nothing", "d": "right"}

# %%
me.checks.check_bugs(bugs)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Follow the tensor that each hook *returns*. What does the run get to see?
#
# </details>
#
# <details><summary>Hint 2: what to use</summary>
#
# z is pattern times v: the attended values. A hook that returns None leaves the activation as it was.
#
# </details>
#
# <details><summary>Hint 3: almost the code</summary>
#
# One multiplies the mean by zero, one forgets its return, one stands at another hook point than it says.
#
# </details>

# %% [markdown]
# An instrument should be tried where the answer is known: a hook that changes nothing gives an effect of
# exactly zero for *every* head, and an ablation to the mean of one single text changes nothing there.
#
# ## What you saw
#
# - You found a direction of idf in the word embeddings, and that it is not the first singular vector.
# - You found heads whose attention counts query terms, on queries that did not choose them, and cut
#   that attention to see the scores move.
# - You predicted the ranker's scores from idf times soft tf, and compared with BM25 and random heads.
# - You told four hooks by what they return, not by what they are called.
#
# ## On your own
#
# - Rank by one head's attention alone: `me.evaluate(me.attention_rankers(ranker)[2, 9], collection)`.
# - Enter `planted` as the ranker. Its match runs from passage to query: what does
#   `way="document_to_query"` show?
# - Download ms-marco-MiniLM-L-6-v2, as in notebook 09. Where do its query and passage meet?
#
# ## Further reading
#
# - Lu, Chen and Eickhoff, *Pathway to Relevance: How Cross-Encoders Implement a Semantic Variant of
#   BM25* (EMNLP 2025). [arXiv:2502.04645](https://doi.org/10.48550/arXiv.2502.04645)
# - Robertson and Zaragoza, *The Probabilistic Relevance Framework: BM25 and Beyond* (2009).
#   [doi:10.1561/1500000019](https://doi.org/10.1561/1500000019)
# - Vast et al., *MICE: Minimal Interaction Cross-Encoders* (2026).
#   [arXiv:2602.16299](https://doi.org/10.48550/arXiv.2602.16299)
