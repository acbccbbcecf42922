# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Look inside a ranker
#
# **What you will do.** Load a bi-encoder and a cross-encoder, score one query against two passages,
# open both models at their hook points, cache what flows through them, and silence single heads.
#
# **What you will learn.** To name the places in a BERT-like ranker where something can be read or
# changed, to cache only what you need, to read an attention pattern, and to test whether a place is
# *causal*: whether the relevance score depends on it.
#
# **What you need.** 45 minutes; Python, a little PyTorch, and a rough idea of what attention is. No
# network: the rankers come with the package. To use another Hugging Face encoder, name it in the
# lines with `# @param` below (form fields on Colab).

# %% tags=["parameters"]
import matplotlib.pyplot as plt
import pandas as pd
import torch

import mechir_edu as me

bi_encoder = "embedded"  # @param {type:"string"}
cross_encoder = "embedded"  # @param {type:"string"}
dot, cat, planted = me.Dot(bi_encoder), me.Cat(cross_encoder), me.Cat("planted")
print(dot, cat, planted, sep="\n")

# %% [markdown]
# ## Read ten lines of PyTorch
#
# These notebooks need no more PyTorch than this. Skip it if you know it.

# %%
x = torch.arange(6.0).reshape(2, 3)  # a tensor: an array with a shape, here [pos, d]
print(x.shape, x[0], x[:, -1])  # index as in NumPy: the first row, the last column
y = x.clone()  # a copy; without it, writing to y would change x
y[:, 0] = 0
print(x.sum(-1), y.sum(-1))  # the last axis is summed away
W = torch.ones(3, 2, 4)  # [d, head, m]
print(torch.einsum("pd,dhm->phm", x, W).shape)  # letters missing from the result are summed over
print(torch.zeros(6, 4).unflatten(0, (2, 3)).shape)  # split the first axis of six into 2 x 3
print(x.sum().item())  # a tensor of one element as a number
print(torch.allclose(x, x + 1e-9))  # equal but for rounding

# %% [markdown]
# ## Score two passages
#
# A **relevance score** is the number by which a ranker orders passages for a query. A
# **bi-encoder** (`Dot`) encodes query and passage separately and compares the two vectors. A
# **cross-encoder** (`Cat`) reads both in one sequence, `[CLS] query [SEP] passage [SEP]`, and
# classifies it. The third ranker, `Cat("planted")`, was not trained but *built*: we wrote its
# weights so that three of its sixteen heads do the work. We know which, so we can tell whether a
# method finds them.
#
# Two of the query's words, *salt* and *ice*, occur in both passages below, so counting words is not
# enough.

# %%
query = "why does salt melt ice on roads"
relevant = "Salt lowers the freezing point of water, so ice on roads can melt below zero."
off_topic = "Crush the ice, add a pinch of salt, and shake the drink until it is cold."
for ranker in (dot, cat, planted):
    good, bad = ranker.score(query, [relevant, off_topic])
    print(f"{type(ranker).__name__} {ranker.name}: {good:+.3f} relevant, {bad:+.3f} off topic")

# %% [markdown]
# Scores of different rankers are on different scales: a cosine lies between -1 and 1, a logit
# anywhere. Only differences *within* a ranker mean something.
#
# ## Name the places
#
# A **hook point** is a named place in a model where the value that passes by, an **activation**,
# can be read or replaced. The names are TransformerLens's.

# %%
in_block_0 = [name.removeprefix("blocks.0.") for name in cat.hook_dict if "blocks.0." in name]
print(f"{len(cat.hook_dict)} hook points, {len(in_block_0)} of them in block 0, such as")
print(", ".join(name for name in in_block_0 if name.count("hook") and "." not in name))

# %% [markdown]
# BERT and its relatives are **post-LN**: LayerNorm comes *after* each sum, not before each part as
# in GPT. This is one block, from the bottom to the top:

# %%
me.plots.draw_block()

# %% [markdown]
# | site | what it is |
# |---|---|
# | `hook_resid_pre` | the **residual stream**, one vector for each token, handed from block to block |
# | `attn.hook_pattern` | for each head, how each token divides its attention among all tokens |
# | `attn.hook_z` | for each head, what it gathered from the tokens it looked at |
# | `hook_attn_out`, `hook_mlp_out` | what attention and MLP *add*, before the sum and the LayerNorm |
#
# <details><summary>Aside: what does not carry over from tutorials on GPT</summary>
#
# In a post-LN model the stream is normalised again after each sum, so the final state is not the
# sum of what all parts wrote. The logit lens and direct logit attribution rest on that sum and mean
# nothing here. Patching works: it runs the model.
#
# </details>
#
# ## Cache what you need
#
# `run_with_cache` runs the model and keeps activations. Select them with `names_filter`: all of
# them at 16 passages of 128 tokens take about half a gigabyte for MiniLM and almost two for
# BERT-base, enough to kill a free notebook.

# %%
sites = ["hook_resid_pre", "attn.hook_pattern", "attn.hook_z", "hook_attn_out"]
score, cache = cat.run_with_cache(query, relevant, names_filter=[f"blocks.0.{s}" for s in sites])
for name, activation in cache.items():
    print(f"{name:28} {tuple(activation.shape)}")

# %% [markdown]
# The axes are `[batch, pos, d_model]` for the stream, `[batch, head, from, to]` for the pattern and
# `[batch, pos, head, d_head]` for z. The drawing above is a claim; we can test it.

# %%
arrows = ["0.hook_resid_pre", "0.hook_attn_out", "0.hook_resid_mid", "0.hook_resid_post"]
names = [f"blocks.{arrow}" for arrow in [*arrows, "1.hook_resid_pre"]]
resid_pre, attn_out, resid_mid, resid_post, following = (
    cat.run_with_cache(query, relevant, names_filter=names)[1][name] for name in names
)
assert torch.allclose(resid_pre + attn_out, resid_mid, atol=1e-4)
assert torch.equal(resid_post, following)
assert torch.allclose(cache["pattern", 0].sum(-1), torch.ones(1), atol=1e-4)
print("The drawing holds: both sums, the way to the next block, and rows that sum to 1.")

# %% [markdown]
# ## Exercise 1: take attention apart
#
# *Difficulty 2/5, importance 4/5, 10 minutes. Why: patching one head only makes sense if its
# contribution can be separated from the others'.*
#
# Each head's z is multiplied by its own slice of `W_O` and added to the stream; the bias `b_O` is
# added once, for the whole layer. Write what each head adds.


# %% tags=["stub"]
def head_outputs(z: torch.Tensor, W_O: torch.Tensor, b_O: torch.Tensor) -> torch.Tensor:
    """What each head adds to the stream.

    z is [pos, head, d_head], W_O [head, d_head, d_model], b_O [d_model];
    returns [head, pos, d_model].
    """
    raise NotImplementedError


# %% tags=["solution"]
def head_outputs(z: torch.Tensor, W_O: torch.Tensor, b_O: torch.Tensor) -> torch.Tensor:
    """What each head adds to the stream, [head, pos, d_model]; b_O belongs to no head."""
    return torch.einsum("phd,hdm->hpm", z, W_O)


# %%
me.checks.check_head_outputs(head_outputs)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Treat each head as if it were the only one: multiply its z at each position by its matrix.
#
# </details>
# <details><summary>Hint 2: the function</summary>
#
# `torch.einsum` names the axes: letters missing from the result are summed over. Which letter has
# to go, and which have to stay?
#
# </details>
# <details><summary>Hint 3: almost code</summary>
#
# `torch.einsum("phd,hdm->...", z, W_O)`, with `p` position, `h` head, `d` d_head, `m` d_model. What
# about `b_O`? It is there even if all heads are silent.
#
# </details>
#
# The same must hold in the real model: the heads' outputs plus one bias make `attn_out`.

# %%
out = cat.bridge.blocks[0].attn.o  # the linear layer W_O, b_O
W_O = out.weight.T.unflatten(0, (cat.n_heads, -1))
by_head = torch.einsum("phd,hdm->hpm", cache["z", 0][0], W_O)
assert torch.allclose(by_head.sum(0) + out.bias, cache["blocks.0.hook_attn_out"][0], atol=1e-4)
size = by_head[:, 0].norm(dim=-1)  # at [CLS]
print(
    f"Head {int(size.argmax())} of layer 0 writes most at [CLS], a vector of length {size.max():.2f}."
)

# %% [markdown]
# ## Read an attention pattern
#
# In the planted ranker, the first of the planted heads *matches*.
#
# **Predict.** Where does the passage's word *roads* look? Write it down before you run the cell.
# (a) At itself. (b) At the query's *roads*. (c) At `[CLS]`. And where does *freezing* look, a word
# that the query lacks: (d) at itself, or (e) at `[CLS]`?

# %% tags=["figure"] alt="Heat map of one head's attention in the planted ranker: rows are the tokens that look, columns the tokens looked at. Passage words that are in the query put all their attention on the equal query word, all other tokens on [CLS]."
match, idf, aggregate = sorted(planted.planted_heads)  # (layer, head) of each
ids = planted.tokenize(query, relevant)["input_ids"][0].tolist()
tokens = planted.tokenizer.convert_ids_to_tokens(ids)
names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(planted.n_layers)]
_, patterns = planted.run_with_cache(query, relevant, names_filter=names)
pattern = patterns["pattern", match[0]][0, match[1]].numpy()
me.plots.plot_attention(pattern, tokens)
plt.show()


# %%
def looks_at(pattern, tokens: list[str], word: str) -> pd.Series:
    """Where the last occurrence of a word looks most: three tokens and their shares."""
    row = pattern[len(tokens) - 1 - tokens[::-1].index(word)]
    best = row.argsort()[::-1][:3]
    return pd.Series(row[best].round(3), index=[f"{tokens[i]} ({i})" for i in best], name=word)


print(looks_at(pattern, tokens, "roads"), looks_at(pattern, tokens, "freezing"), sep="\n\n")

# %% [markdown]
# **Read.** Rows are the tokens that look, columns what they look at; each row sums to 1. Look first
# at the lower left: passage words (rows) against query words (columns).
#
# <details><summary>What we see</summary>
#
# (b) and (e). *roads* puts all its attention on the query's *roads*; *freezing* puts it on `[CLS]`, the
# place to look when there is nothing to match. That is how we built it.
#
# </details>
#
# **Could this be an artefact?** A pattern says where a head looks, not whether that has any effect.
# Below is a head of the same layer whose rows of `W_O` are zero: everything it gathers is thrown
# away.

# %%
W_O = planted.bridge.blocks[match[0]].attn.o.weight.T.unflatten(0, (planted.n_heads, -1))
inert = int(W_O.flatten(1).norm(dim=1).argmin())
print(f"Head {inert} of layer {match[0]} writes nothing, and yet it looks:")
print(looks_at(patterns["pattern", match[0]][0, inert].numpy(), tokens, "roads"))

# %% [markdown]
# ## Test whether a place is causal
#
# So reading is not enough; we have to *change* something. A place is **causal** for a score if an
# edit there changes the score. `run_with_hooks` runs the model with functions at hook points. Each
# function receives the activation and returns what the model uses instead. Clone before you write:
# the tensor may be needed elsewhere.


# %%
def silence_match(z, hook):
    """Hand on z with the matching head's part set to zero."""
    z = z.clone()
    z[:, :, match[1]] = 0
    return z


before = planted(query, relevant)
after = planted.run_with_hooks(
    query, relevant, fwd_hooks=[(f"blocks.{match[0]}.attn.hook_z", silence_match)]
)
print(f"The score falls from {before.item():+.3f} to {after.item():+.3f}.")

# %% [markdown]
# ## Exercise 2: test any head
#
# *Difficulty 3/5, importance 5/5, 15 minutes. Why: every later notebook builds on this loop of
# hook, run and difference.*
#
# Write it for any head, silenced at all positions. `fwd_hooks` takes a list of pairs: a hook
# point's name and a function.


# %% tags=["stub"]
def effect_of_head(ranker, query: str, text: str, layer: int, head: int) -> float:
    """Score without the head (its z set to zero) minus the score with it."""
    raise NotImplementedError


# %% tags=["solution"]
def effect_of_head(ranker, query: str, text: str, layer: int, head: int) -> float:
    """Score without the head (its z set to zero) minus the score with it."""

    def silence(z, hook):
        z = z.clone()
        z[:, :, head] = 0
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", silence)]
    without = ranker.run_with_hooks(query, text, fwd_hooks=hooks)
    return (without - ranker(query, text)).item()


# %%
me.checks.check_effect_of_head(effect_of_head)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Two runs: one with a hook and one without. The hook is a function inside your function, so it
# knows `head`.
#
# </details>
# <details><summary>Hint 2: the names</summary>
#
# The hook point is `f"blocks.{layer}.attn.hook_z"`, and z is `[batch, pos, head, d_head]`. A
# cross-encoder is called as `ranker(query, text)`.
#
# </details>
# <details><summary>Hint 3: almost code</summary>
#
# Take `silence_match` from above, replace `match[1]` by `head`, and pass `[(name, silence)]` to
# `ranker.run_with_hooks(query, text, fwd_hooks=...)`. `.item()` turns a tensor with one element
# into a number.
#
# </details>
#
# ## Find the heads that matter
#
# `me.ablate` does this for all heads. It takes a `Pair`: a query with two versions of a passage. We
# need the second version only in [the next notebook](02_perturb_with_an_axiom.ipynb).
#
# **Predict.** Three heads are planted. How many of the sixteen change the score when they are
# silenced? (a) 3. (b) More. (c) All.

# %% tags=["figure"] alt="Heat map of sixteen heads of the planted ranker, layers by heads: how much the relevance score changes when a head is set to zero. The planted heads lower it most; one further head in each layer changes it a little."
pair = me.Pair("toy", "toy", query, relevant, relevant + " salt", axiom="mine", expected_sign=1)
zeroed = me.ablate(planted, [pair], how="zero", on="baseline").effect()[..., 0]
me.plots.plot_heads(zeroed, label="score without the head minus score with it")
plt.show()


# %%
def largest(effect) -> pd.DataFrame:
    """Three heads of largest effect, with its size in score units."""
    table = pd.Series(effect.ravel(), pd.MultiIndex.from_product(map(range, effect.shape)))
    best = table.abs().sort_values(ascending=False).index[:3]
    return table[best].rename_axis(["layer", "head"]).rename("effect").round(3).reset_index()


print(
    f"{(abs(zeroed) > 1e-4).sum()} heads change the score; planted are {[match, idf, aggregate]}."
)
largest(zeroed)

# %% [markdown]
# **Read.** Rows are layers (0 at the bottom), columns heads. Blue: the score falls without the
# head. First look for white cells.
#
# <details><summary>What we see</summary>
#
# (b). Silencing any of the three planted heads lowers the score, but one other head in each layer
# changes it too: a *distractor*. It adds a number that depends on the query alone, so it shifts all
# passages of a query equally and changes no ranking. It is causal, but it has nothing to do with
# matching.
#
# </details>
#
# **Could this be an artefact?** A head never outputs zero by itself. A milder edit substitutes the
# head's *average* output over the positions, which keeps whatever it outputs at every position.

# %%
averaged = me.ablate(planted, [pair], how="mean", on="baseline").effect()[..., 0]
left = [at for at in planted.planted_heads if abs(averaged[at]) > 1e-4]
print(f"With the mean put in, {(abs(averaged) > 1e-4).sum()} heads change the score,", end=" ")
print(f"among them {len(left)} of the 3 planted ones.")
assert (abs(zeroed) > 1e-4).sum() >= (abs(averaged) > 1e-4).sum()

# %% [markdown]
# The distractors are gone: what they write is the same at every position, and the mean keeps it.
# What an ablation shows depends on what replaces the head's output, so we always report it. In a trained ranker nobody knows the answer. Here is the same question for the
# cross-encoder's 96 heads; a bar shows how far it is.

# %%
trained = me.ablate(cat, [pair], how="mean", on="baseline").effect()[..., 0]
share = (abs(trained) > 0.1 * abs(trained).max()).mean()
print(f"{share:.0%} of its {trained.size} heads have more than a tenth of the largest effect.")
(layer, head), idle = (divmod(int(i), cat.n_heads) for i in abs(trained).ravel().argsort()[[-1, 0]])
print(f"Head {layer}.{head} has the largest effect, head {idle[0]}.{idle[1]} the smallest.")
largest(trained)

# %% [markdown]
# The work is spread over several heads, and one passage says little about others: an interval needs
# many queries. Notebook [04](04_tfc1_versus_tdc.ipynb) uses many.
#
# **Predict.** Where do the passage's words look in the head with the largest effect? (a) At equal
# words. (b) At `[CLS]` and `[SEP]`. (c) At their neighbours.

# %% tags=["figure"] alt="Heat map of the attention pattern of the trained cross-encoder's head with the largest effect: rows are the tokens that look, columns the tokens looked at; the added word is marked in red."
seen = me.pair_attention(cat, pair, layer=layer, head=head)
me.plots.plot_attention(seen.pattern, seen.tokens, edited=seen.edited)
plt.show()

# %% tags=["widget"]
me.widgets.explore_attention(cat, [pair], layer=layer, head=head)

# %% [markdown]
# **Read.** As above; red marks the word that we added. In a running notebook, the panel shows any
# head, and begins with this one. Look first at the passage's rows under the query's columns.

# %%
labels = pd.Series(seen.tokens)
end = seen.tokens.index(cat.tokenizer.sep_token)
equal = labels.to_numpy()[end:, None] == labels.to_numpy()[1:end]
share = (seen.pattern[end:, 1:end] * equal).sum(axis=1)[equal.any(axis=1)].mean()
kind = "a matching head" if share > 0.5 else "not mainly a matching head"
print(
    f"Passage words that the query has, too, put {share:.0%} of their attention on the equal",
    end=" ",
)
print(f"word in the query: {kind}.")
looks_at(seen.pattern, list(seen.tokens), seen.tokens[seen.edited.argmax()])

# %% [markdown]
# <details><summary>What we see</summary>
#
# (a). Training has found a head like the one that we planted: passage words look at the same words
# in the query. The planted head looks there alone; in this one, the added *salt* also looks at the
# passage's own first *salt*, and a little at itself. In another ranker the leading head may do
# something else: the cell above says so.
#
# </details>
#
# **Could this be an artefact?** In the panel, choose the head with the least effect (its number is
# printed above): its pattern may look just as meaningful.
#
# ## What you saw
#
# - We loaded three rankers; scores are comparable within one ranker, not between rankers.
# - We named the sites of a post-LN block, and verified the drawing: `resid_pre + attn_out` is
#   `resid_mid`, and heads plus one bias are `attn_out`.
# - We cached a few activations by `names_filter`, not all.
# - We read a pattern, and saw a head that looks but writes nothing.
# - We found causal heads by silencing them; replacing by zero and by the mean gave different
#   answers.
#
# ## On your own
#
# - Silence heads on the off-topic passage. Are the same heads causal?
# - Hook `hook_pattern` instead of `hook_z`: set the matching head's pattern to equal shares.
# - Try another cross-encoder from the hub in the form field.
#
# ## Further reading
#
# - Elhage et al., [*A Mathematical Framework for Transformer
#   Circuits*](https://transformer-circuits.pub/2021/framework/index.html) (2021): heads as
#   independent parts.
# - Jain and Wallace, *Attention is not Explanation* (NAACL 2019),
#   [arXiv:1902.10186](https://doi.org/10.48550/arXiv.1902.10186), and Wiegreffe and Pinter, *Attention is
#   not not Explanation* (EMNLP 2019), [arXiv:1908.04626](https://doi.org/10.48550/arXiv.1908.04626).
# - [How the planted ranker is built](../mechir_edu/rankers/planted.py) and
#   [what each hook point means](../mechir_edu/rankers/adapters.py).
