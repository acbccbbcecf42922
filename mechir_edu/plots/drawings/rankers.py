"""How the two kinds of ranker are built, and what can be read in one block of them."""

from itertools import product

from mechir_edu.plots.drawings.svg import (
    Drawing,
    Number,
    arrow,
    box,
    drawing,
    line,
    rectangle,
    text,
)


def draw_architectures() -> Drawing:
    """A bi-encoder beside a cross-encoder, from their input at the bottom to the score on top."""
    alt = (
        "Two rankers side by side, input at the bottom, relevance score on top. Bi-encoder, Dot: "
        "query and passage go through the same encoder one at a time; lines join tokens within "
        "the query and within the passage, none joins the two. Each becomes one vector, and the "
        "cosine of the two vectors is the score. Cross-encoder, Cat: one sequence, [CLS] query "
        "[SEP] passage [SEP], goes through one encoder; lines join every token with every other. "
        "A classifier reads the vector of [CLS] and returns the score, a logit."
    )
    return drawing(880, 420, alt, [*_bi_encoder(), *_cross_encoder()])


def _bi_encoder() -> list[str]:
    parts = [text(215, 26, "Bi-encoder (Dot): each text alone", size=16, bold=True)]
    for x, name, colour in ((115, "query", "blue"), (315, "passage", "gold")):
        parts += [
            box((x, 390), (180, 36), name, colour),
            arrow((x, 372), (x, 334)),
            *_encoder(x - 90, 180, [(x + at, colour) for at in (-60, -20, 20, 60)]),
            text(x, 208, "mean of the token vectors", size=13),
            arrow((x, 238), (x, 217)),
            arrow((x, 199), (x, 182)),
            box((x, 165), (130, 32), "one vector", colour),
            arrow((x, 149), (x, 128), (215 + (x - 215) * 0.3, 128), (215 + (x - 215) * 0.3, 116)),
        ]
    parts.append(text(215, 353, "the same encoder", size=13))
    parts += [box((215, 99), (190, 32), "cosine of the angle"), arrow((215, 83), (215, 66))]
    return [*parts, text(215, 54, "relevance score", bold=True)]


def _cross_encoder() -> list[str]:
    parts = [text(665, 26, "Cross-encoder (Cat): both together", size=16, bold=True)]
    words = [
        ("[CLS]", "grey", 54, 1),
        ("query", "blue", 100, 3),
        ("[SEP]", "grey", 54, 1),
        ("passage", "gold", 134, 4),
        ("[SEP]", "grey", 54, 1),
    ]
    left, tokens = 463.0, []
    for word, colour, width, n in words:
        parts.append(box((left + width / 2, 390), (width, 36), word, colour))
        tokens += [(left + width * (i + 0.5) / n, colour) for i in range(n)]
        left += width + 2
    cls = tokens[0][0]
    parts += [arrow((665, 372), (665, 334)), *_encoder(463, 404, tokens)]
    parts += [
        arrow((cls, 238), (cls, 182)),
        text(cls + 16, 208, "only the vector of [CLS] is read", size=13, anchor="start"),
        box((cls + 40, 165), (134, 32), "vector of [CLS]"),
        arrow((cls + 107, 165), (600, 165), (600, 116)),
        box((665, 99), (190, 32), "classifier"),
        arrow((665, 83), (665, 66)),
    ]
    return [*parts, text(665, 54, "relevance score", bold=True)]


def _encoder(left: Number, width: Number, tokens: list[tuple[Number, str]]) -> list[str]:
    """Draw an encoder with what its tokens can attend to."""
    top, bottom = 256, 316
    lines = [
        line((x, bottom), (to, top), colour="grey", width=0.5)
        for (x, _), (to, _) in product(tokens, repeat=2)
    ]
    dots = [
        f'<circle class="{colour}" cx="{x:.1f}" cy="{y}" r="5" stroke-width="1.5"/>'
        for x, colour in tokens
        for y in (top, bottom)
    ]
    return [rectangle(left, 238, width, 96, "paper"), *lines, *dots]


def draw_block() -> Drawing:
    """One block of a post-LN encoder such as BERT, with the names of its hook points."""
    alt = (
        "One block of a post-LN encoder, from bottom to top. The stream enters at hook_resid_pre. "
        "A branch goes through attention: q, k and v, scores, pattern, z, then the matrix W_O, and "
        "ends in hook_attn_out, which is added to the stream. The sum is hook_resid_mid; LayerNorm "
        "1 follows it. A second branch goes through the MLP and ends in hook_mlp_out, which is "
        "added, too. LayerNorm 2 follows, and its output is hook_resid_post, the next block's "
        "hook_resid_pre. Boxes with a name in blue are hook points."
    )
    return drawing(880, 540, alt, [*_stream(), *_attention(), *_mlp(), *_key()])


_STREAM = 150


def _hook(x: Number, y: Number, name: str, width: Number) -> str:
    return box((x, y), (width, 30), name, "blue", mono=True, size=13)


def _plus(x: Number, y: Number) -> str:
    circle = f'<circle class="paper" cx="{x}" cy="{y}" r="13" stroke-width="1.5"/>'
    return circle + text(x, y, "+", size=18)


def _stream() -> list[str]:
    x = _STREAM
    stops = [500, 410, 360, 305, 205, 150, 95, 30]
    parts = [
        arrow((x, below - 15), (x, above + 15))
        for below, above in zip(stops, stops[1:], strict=False)
    ]
    parts += [
        _hook(x, 500, "hook_resid_pre", 150),
        _plus(x, 410),
        _hook(x, 360, "hook_resid_mid", 150),
        box((x, 305), (150, 30), "LayerNorm 1"),
        _plus(x, 205),
        box((x, 150), (150, 30), "LayerNorm 2"),
        _hook(x, 95, "hook_resid_post", 150),
    ]
    return [*parts, text(20, 24, "to the next block: its hook_resid_pre", anchor="start")]


def _attention() -> list[str]:
    y, names = 455, [("hook_q, k, v", 118), ("hook_attn_scores", 148), ("hook_pattern", 116)]
    parts, left = [text(235, 503, "attention (attn.), for each head", anchor="start")], 235.0
    before: tuple[Number, Number] = (_STREAM, y)
    for name, width in [*names, ("hook_z", 70)]:
        parts += [arrow(before, (left, y)), _hook(left + width / 2, y, name, width)]
        before, left = (left + width, y), left + width + 22
    parts += [arrow(before, (left, y)), box((left + 29, y), (58, 30), "W_O")]
    parts.append(_hook(520, 410, "hook_attn_out", 136))
    parts += [arrow((left + 29, y - 15), (left + 29, 410), (588, 410))]
    return [*parts, arrow((452, 410), (_STREAM + 13, 410))]


def _mlp() -> list[str]:
    x = 330
    return [
        arrow((_STREAM, 255), (x - 60, 255)),
        box((x, 255), (120, 30), "MLP"),
        arrow((x + 60, 255), (600, 255), (600, 205), (588, 205)),
        _hook(520, 205, "hook_mlp_out", 136),
        arrow((452, 205), (_STREAM + 13, 205)),
    ]


def _key() -> list[str]:
    return [
        _hook(520, 60, "name", 70),
        text(565, 60, "hook point: can be read or replaced", anchor="start", size=13),
        box((520, 100), (70, 30), "part"),
        text(565, 100, "computes; has no name of its own", anchor="start", size=13),
        text(485, 140, "Post-LN: LayerNorm follows each sum.", anchor="start", size=13),
    ]
