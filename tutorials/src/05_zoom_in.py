# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Zoom in on what moves the score
#
# **What you will do.** We take one edit that raises a passage's score and follow it through the
# ranker: which block holds it, at which tokens, which heads pass it on, and where those heads look.
#
# **What you will learn**
#
# - to patch whole blocks (`resid_pre`, `attn_out`, `mlp_out`) as well as heads;
# - to patch position by position, and to pool positions by their **role**, so that documents of
#   different length can be averaged;
# - to tell *where a head looks* from *what it reads there*;
# - why a picture of attention is a question and not an answer.
#
# **What you need.** 45 minutes, and notebooks 02 (pairs, alignment) and 03 (the three runs,
# recovery). No GPU, no network.

# %% [markdown]
# We follow the cross-encoder, in which the change has a way to go. The form below takes the
# bi-encoder (`dot`), whose results come with the package, too, and any other ranker: a folder, or an
# id of the Hugging Face hub. With a network it also takes TREC DL by its id, for example
# `msmarco-passage/trec-dl-2019/judged`.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import mechir_edu as me

kind = "cat"  # @param ["dot", "cat"]
ranker_name = "embedded"  # @param {type:"string"}
collection_name = "embedded"  # @param {type:"string"}
ranker = {"dot": me.Dot, "cat": me.Cat}[kind](ranker_name)
collection = me.load_collection(collection_name)
print(ranker)

# %% [markdown]
# ## Start with one toy pair
#
# One query, a passage that answers it, and a passage that only shares words with it. We append one
# query term to the first: this is the axiom TFC1, "one more query term, a higher score".

# %%
query = "why do coral reefs turn pale"
answer = "When the sea stays too warm, the animals that build them expel the algae they feed on."
lookalike = "Our shop sells a pale coral paint, and turns the shade to your liking."
texts = [answer, f"{answer} coral", lookalike]
for text, score in zip(texts, ranker.score(query, texts), strict=True):
    print(f"{score:+.3f}  {text}")

# %% [markdown]
# The lookalike scores highest: this cross-encoder is moved by words that match. We follow one such
# word.
#
# Alignment makes both versions equally long (a filler takes the missing term's place) and gives
# each position a **role**: what it is there for. There are six: `[CLS]`, query, `[SEP]`, other
# document, edited span, and other occurrences of the edited term.

# %%
toy = me.Pair("toy", "answer", query, texts[0], texts[1], axiom="TFC1", expected_sign=1)
(aligned,) = me.align([toy], ranker.tokenizer, kind=ranker.kind).aligned
name_tokens = ranker.tokenizer.convert_ids_to_tokens
tokens = name_tokens(aligned.perturbed_ids.tolist())
edited = aligned.roles == me.Role.EDIT
print(" ".join(f"*{token}*" if mark else token for token, mark in zip(tokens, edited, strict=True)))
print("The filler in the baseline:", *name_tokens(aligned.baseline_ids[edited].tolist()))

# %% [markdown]
# ## Follow the edit through the residual stream
#
# The **residual stream** is what one block hands to the next: a vector at each position.
# `resid_pre` of layer 3 is the input of layer 3. We take it from one run and put it into the other,
# one position at a time; recovery is again the share of the score change carried over.
#
# **Predict.** At which positions does the score change live in layer 0, and in the last layer?
# (a) at the edit all the way; (b) at the edit first, at other tokens later; (c) spread evenly from
# the start. Write it down.

# %% tags=["figure"] alt="Heat map of recovery for the toy pair: rows are layers, columns tokens; the edited tokens are marked in red."
by_pos = me.patch(ranker, [toy], site="resid_pre", by="pos")
change = by_pos.donor[0] - by_pos.recipient[0]
in_stream = (by_pos.rows_of(0) - by_pos.recipient[0]) / change
me.plots.plot_positions(in_stream, tokens, edited=edited)
plt.show()

# %% [markdown]
# **Read.** Rows are layers, layer 0 at the bottom; columns are tokens; red carries the change, blue
# works against it. Look first at the bottom row, then at the columns with red labels.
#
# <details><summary>What we see</summary>
#
# (b). In layer 0 only the edited token differs between the runs, so nothing else can carry anything:
# every other cell of the row is exactly 0. Up to layer 2 the change stays where it was put. In layer
# 3 a part of it stands at the query's own *coral*, and at *reefs* next to it. Higher up the whole
# query knows, and in the last layer `[CLS]` holds more than half. It has to move: a cross-encoder
# scores from `[CLS]` alone. A bi-encoder that averages all its tokens can leave the change at the
# edit; for that, switch the form above to `dot`.
#
# </details>
#
# **Could this be an artefact?** One pair is an anecdote. But the empty part of the bottom row
# follows from arithmetic. It makes a good test of any patching code, so we assert it.

# %%
assert np.abs(in_stream[0, ~edited]).max() < 1e-3
top = sorted(np.ndenumerate(in_stream), key=lambda cell: -abs(cell[1]))[:3]
listed = [(layer, tokens[pos], value) for (layer, pos), value in top]
pd.DataFrame(listed, columns=["layer", "token", "recovery"]).round(2)

# %% [markdown]
# ## Exercise 1: patch some positions
#
# *Difficulty 2/5, importance 5/5, 10 minutes. Every zoom in this notebook calls this one function
# at another hook point.*
#
# Write the body of a hook: the recipient's activation, with the donor's at some positions.


# %% tags=["stub"]
def patch_positions(recipient, donor, positions):
    """Put some positions of the donor into the recipient.

    recipient, donor : float tensors [text, pos, d_model], not to be changed.
    positions : list of int.
    Returns a new tensor [text, pos, d_model].
    """
    raise NotImplementedError


# %% tags=["solution"]
def patch_positions(recipient, donor, positions):
    """Put some positions of the donor into the recipient."""
    patched = recipient.clone()
    patched[:, positions] = donor[:, positions]
    return patched


# %%
me.checks.check_patch_positions(patch_positions)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# The run that continues is the recipient's. You only replace its values at a few positions. The
# hook receives the tensor that the model itself uses, so never write into it.
#
# </details>
#
# <details><summary>Hint 2: what to use</summary>
#
# `tensor.clone()`, and indexing with a list on the second axis.
#
# </details>
#
# <details><summary>Hint 3: almost the code</summary>
#
# `patched = recipient.clone()`, then assign `donor[:, positions]` to the same places of `patched`.
#
# </details>

# %% [markdown]
# ## Pool positions by role
#
# Token 17 of one passage has nothing to do with token 17 of another, so maps over positions cannot
# be averaged. Maps over roles can: patch *all* positions of a role together, and a cell means the
# same in every pair. A pair without a role (no other occurrence, say) counts as 0 there.
#
# `me.tutorial.patch` is `me.patch` with the results that the package brings along: it loads what was
# computed before and computes the rest (`me.tutorial.recompute = True` computes everything, some
# three minutes for the maps of this notebook). Is 72 enough? By `me.stats.minimum_detectable_effect`
# (four times in five, with the level divided by the number of cells), a typical cell of the map is
# found from a recovery of 0.03 on, and the largest, which varies most, from 0.47 on.
#
# **Predict.** Averaged over real pairs, how much will "other document" carry in the last layer:
# (a) almost nothing; (b) less than the edited span; (c) more than the edited span?

# %% tags=["figure"] alt="Heat map of recovery of the residual stream: rows are layers, columns the six roles of positions."
pairs = me.make_pairs(collection, "TFC1", n=72, seed=0)
stream = me.tutorial.patch(ranker, pairs, site="resid_pre", by="role")
me.plots.plot_roles(stream.recovery())
plt.show()

# %%
print(me.plots.alt_text(stream.recovery(), title="Residual stream by role"))
me.plots.top_heads(stream.recovery()).round(2)

# %% [markdown]
# **Read.** One column per role. Go up the column "edited span" to see what it loses, then look for
# the column that gains it.
#
# <details><summary>What we see</summary>
#
# (c): the edited span has nothing left there, and half of the change is in the rest of the document.
# It starts at 1, by construction, and passes a part on at each layer: first to the query, which holds
# four tenths from layer 3 to 6, then to the rest of the document. In the last layer `[CLS]` and the
# document have about half each, since its attention reads the document once more; query and edit are
# read no longer.
#
# </details>
#
# **Could this be an artefact?** "Other document" is many tokens and the edited span one or two. A
# role's value is the effect of all its positions *together*; per token the document does far less
# than its column suggests. Before you compare roles, count their tokens:

# %%
aligned_pairs = me.align(pairs, ranker.tokenizer, kind=ranker.kind).aligned
counts = np.mean(
    [np.bincount(pair.roles, minlength=len(me.Role)) for pair in aligned_pairs], axis=0
)
last = stream.recovery().value[-1]
for role in list(me.Role)[: len(last)]:
    print(f"{role.name:<11}{counts[role]:5.1f} tokens on average, recovery {last[role]:+.2f}")
print(f"Together: {last.sum():.2f}")

# %% [markdown]
# The sum need not be 1. Patches interact: attention and LayerNorm are not linear, so the effects of
# the parts do not add up to the effect of the whole.
#
# ## Ask which sublayer writes it
#
# A block adds to the stream twice: what attention gathered (`attn_out`) and what the MLP computed
# from it (`mlp_out`). Patching the stream shows what has arrived so far; patching a sublayer's
# output shows what is *added* at that layer. Both are taken before the residual sum and before
# LayerNorm.
#
# **Predict.** Which of the two moves the change from the edit to other tokens: (a) attention; (b)
# the MLP; (c) both equally?

# %% tags=["figure"] alt="Two heat maps of recovery by layer and role: outputs of attention above, outputs of the MLP below, on one scale."
figure, axes = plt.subplots(2, 1, figsize=(8, 7.6), layout="constrained")
written = {}
for site, ax in zip(["attn_out", "mlp_out"], axes, strict=True):
    written[site] = me.tutorial.patch(ranker, pairs, site=site, by="role").recovery()
    me.plots.plot_roles(written[site], ax=ax, limit=0.6).set_title(site)
plt.show()

# %%
print(me.plots.alt_text(written["attn_out"], title="Attention outputs by role"))
me.plots.top_heads(written["attn_out"]).round(2)

# %% [markdown]
# **Read.** One scale for both maps. A value in "other document" means: this sublayer told the rest of
# the document about the edit.
#
# <details><summary>What we see</summary>
#
# (a): only attention moves information between positions; an MLP sees one token at a time. The map
# adds *when*. In layers 1 to 5 attention writes it at the query's words, in layers 4 to 6 at the rest
# of the document, and in the last two at `[CLS]`, which is all that the score is read from. MLPs work
# on what has arrived, most of all at the query's words in layers 2 and 3.
#
# </details>
#
# **Could this be an artefact?** The filler may be one: "the edit" is the term *in place of the word
# "a"*. Notebook 06 replaces it. The number of pairs is another: cells without a dot did not pass
# false-discovery control, and with a handful of queries few cells can.
#
# ## Zoom into single heads
#
# Now heads. A gradient estimates all of them at once (notebook 07 says how far to trust it); we use
# it only to choose three heads, and patch these exactly: role by role on the real pairs, and token
# by token on the toy pair, where we can name every token.
#
# **Predict.** A head that carries the term: does it write (a) at the edited token, (b) at the query's
# words, or (c) at `[CLS]`?

# %%
estimate = me.tutorial.patch(ranker, pairs, method="gradient")
best = me.plots.top_heads(estimate.recovery(), k=3)
heads = [(int(layer), int(head)) for layer, head in zip(best["layer"], best["head"], strict=True)]
by_role = me.tutorial.patch(ranker, pairs, heads=heads, by="role")
by_role.heads_table().pivot_table("recovery", ["layer", "head"], "role", sort=False).round(3)

# %% [markdown]
# The same three heads on the toy pair:

# %% tags=["figure"] alt="Heat map of recovery for the toy pair: rows are three heads, columns tokens; the edited tokens are marked in red."
toy_heads = me.patch(ranker, [toy], heads=heads, by="pos")
by_head = (toy_heads.rows_of(0) - toy_heads.recipient[0]) / change
ax = me.plots.plot_positions(by_head, tokens, edited=edited, rows="layer.head")
ax.set_yticks(range(len(heads)), [f"{layer}.{head}" for layer, head in heads])
plt.show()

# %%
for head, values in zip(heads, by_head, strict=True):
    at = np.argsort(-np.abs(values))[:3]
    largest = ", ".join(f"{tokens[i]} {values[i]:+.3f}" for i in at)
    print(
        f"Head {head}: largest at {largest}; all {len(values)} positions add up to {values.sum():+.3f}"
    )

# %% [markdown]
# **Read.** Each row is a head. Patching z at a position changes what the head *writes* there,
# wherever it was looking.
#
# <details><summary>What we see</summary>
#
# (b): by far the most is written at the query's words. Head 2.9 writes at the query's own *coral* and
# at *reefs*: these tokens looked for the term, and found it. The other two write a little at each of
# many positions; no single cell comes near their sum. A map over heads alone would have suggested
# that "the head fires on the term".
#
# </details>
#
# **Could this be an artefact?** We wrote the toy pair ourselves. The table above it uses real pairs
# and says the same: patched at the query alone, head 2.9 recovers 0.33. Trust the table.
#
# ## Separate where a head looks from what it reads
#
# z is attention (**pattern**) times values (**v**). Patching only one of the two splits the head's
# effect into *where it looks* and *what it reads there*.

# %%
parts = {}
for site in ["head", "pattern", "v"]:
    parts[site] = me.tutorial.patch(ranker, pairs, site=site, heads=heads)
    for row in parts[site].heads_table().to_dict("records"):
        print(
            f"{site:<8} head ({row['layer']}, {row['head']}): {row['recovery']:+.3f} "
            f"[{row['low']:+.3f}, {row['high']:+.3f}], q = {row['q']:.3f}"
        )

# %% [markdown]
# An interval is about one head; q allows for the three that are tested together. Where an interval
# leaves out zero and q is above 0.05, q decides: that head is not significant.
#
# Does one half of a head bring most of its effect?

# %%
halves = {"pattern": "where it looks", "v": "what it reads there"}
for at, chosen in enumerate(heads):
    alone = {site: result.recovery().value[at] for site, result in parts.items()}
    most = [what for site, what in halves.items() if alone[site] > alone["head"] / 2]
    answer = (
        f"{most[0]} alone brings most of it" if most else "neither half brings most of it alone"
    )
    print(f"Head {chosen}: {answer}.")

# %% [markdown]
# A head whose `v` alone recovers most looks where it always looked and finds something new there.
# Where neither half does, the two need each other: the head turns to the new term *and* the term is
# worth reading. Be careful with "because" for either half alone. The pattern alone can even work
# against the change: the head turns to the place of the term, and reads the filler there.
#
# ## Look at the attention, last
#
# Only now do we draw a pattern. We know where the leading head writes, so we know what to look for:
# do the query's words look at the edit?

# %% tags=["figure"] alt="Attention pattern of the leading head on the perturbed toy passage: rows are tokens that look, columns tokens that are looked at."
layer, head = heads[0]
seen = me.pair_attention(ranker, toy, layer=layer, head=head)
ax = me.plots.plot_attention(seen.pattern, seen.tokens, edited=seen.edited)
ax.set_title(f"Layer {layer}, head {head}")
plt.show()

# %%
filler = me.pair_attention(ranker, toy, layer=layer, head=head, side="baseline")
to_edit, to_filler = (a.pattern[:, a.edited].sum(axis=1) for a in (seen, filler))
top_token = int(to_edit.argmax())
print(f"An average token pays {to_edit.mean():.0%} of its attention to the edit,", end=" ")
print(f"which is {seen.edited.mean():.0%} of the tokens; {to_filler.mean():.0%} to the filler.")
print(f"Most of all {seen.tokens[top_token]!r} at position {top_token}:", end=" ")
print(f"{to_edit[top_token]:.0%} to the edit, {to_filler[top_token]:.0%} to the filler.")

# %% [markdown]
# **Read.** A bright column is a token that every token looks at. The brightest is often `[CLS]` or
# `[SEP]`, and means nothing: a head looks there when it finds nothing else.
#
# The query's *coral* pays half of this head's attention to the new one, and the average token hardly
# any. That is a matching head, and now the picture adds to what patching has shown.
#
# **Could this be an artefact?** The last word may draw attention whatever it is. That is why we
# also printed the share with the filler in its place: only the difference is due to the term.
#
# ## Exercise 2: measure attention between roles
#
# *Difficulty 2/5, importance 4/5, 10 minutes. "The head attends to the term" is a claim about a
# number; here it is.*
#
# Compute the share of attention that an average position of one role pays to all positions of
# another. Once it is right, draw `seen.pattern` by role: one call for each pair of roles in
# `aligned.roles`.


# %% tags=["stub"]
def attention_to_role(pattern, roles, source, target):
    """Share of attention from an average `source` position to all `target` positions.

    pattern : float array [from, to]; rows sum to 1.
    roles : int array [pos].
    source, target : roles, such as me.Role.DOCUMENT.
    """
    raise NotImplementedError


# %% tags=["solution"]
def attention_to_role(pattern, roles, source, target):
    """Share of attention from an average `source` position to all `target` positions."""
    block = pattern[np.ix_(roles == source, roles == target)]
    return block.sum(axis=1).mean()


# %%
me.checks.check_attention_to_role(attention_to_role)

# %% [markdown]
# <details><summary>Hint 1: the idea</summary>
#
# Add up the shares over the tokens looked at, and average over the tokens that look.
#
# </details>
#
# <details><summary>Hint 2: what to use</summary>
#
# Boolean masks `roles == source` and `roles == target`, and `np.ix_` to cut out a block.
#
# </details>
#
# <details><summary>Hint 3: almost the code</summary>
#
# Cut the block `pattern[np.ix_(rows, columns)]`, sum it over axis 1, then take the mean.
#
# </details>
#
# <!-- expected: attention-by-role -->

# %% tags=["figure", "solution", "expected-attention-by-role"] alt="Heat map of the pattern by role: rows are roles that look, columns roles that are looked at; each row adds up to 1."
present = [role for role in me.Role if (aligned.roles == role).any()]
by_roles = np.array(
    [[attention_to_role(seen.pattern, aligned.roles, a, b) for b in present] for a in present]
)
plt.figure(figsize=(5, 4), layout="constrained")
plt.imshow(by_roles, cmap="Blues", vmin=0, vmax=1)
for (row, column), value in np.ndenumerate(by_roles):
    plt.text(column, row, f"{value:.2f}", ha="center", color="white" if value > 0.5 else "black")
names = [role.name for role in present]
plt.xticks(range(len(names)), names)
plt.yticks(range(len(names)), names)
plt.xlabel("to (role that is looked at)")
plt.ylabel("from (role that looks)")
plt.show()

# %% [markdown]
# ## Try it yourself
#
# In a running notebook the panel below patches your choice when you press the button. Try the site
# *residual stream before a layer* at *every role*, then *attention output*: who tells whom, and in
# which layer? The figure of the toy pair's residual stream is its static twin; here it is again.

# %% tags=["figure"] alt="The toy pair's residual stream once more: recovery by layer and token."
me.plots.plot_positions(in_stream, tokens, edited=edited)
plt.show()

# %% tags=["widget"]
me.widgets.explore_patch(ranker, [toy, *pairs[:4]])

# %% [markdown]
# ## What you saw
#
# - You patched blocks as well as heads, and checked the one row of the map that is known in
#   advance.
# - You pooled positions by role and counted tokens before comparing roles.
# - You followed the change from the edit to the query's words, to the rest of the document and to
#   `[CLS]`.
# - You split a head's effect into where it looks and what it reads, with intervals: the matching head
#   2.9 needs both.
# - You drew the attention pattern last, and compared it with the attention that the filler gets.
#
# ## On your own
#
# - Switch `kind` to `dot`. How far does the change travel in a bi-encoder?
# - Make pairs with `place="start"`. Does the rest of the document receive the term earlier?
# - Patch `q` and `k` instead of `pattern`. Which of the two moves the attention?
#
# ## Further reading
#
# - Jain and Wallace, *Attention is not Explanation* (NAACL 2019).
#   [arXiv:1902.10186](https://doi.org/10.48550/arXiv.1902.10186)
# - Meng, Bau, Andonian and Belinkov, *Locating and Editing Factual Associations in GPT* (NeurIPS
#   2022): maps over positions and layers. [arXiv:2202.05262](https://doi.org/10.48550/arXiv.2202.05262)
# - [How the hook points are named](../mechir_edu/rankers/adapters.py), with a drawing of a post-LN block.
