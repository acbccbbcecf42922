"""Which words are related to a word, by the input embeddings of the embedded model.

Each row of all-MiniLM-L6-v2's table of input embeddings is one word piece before it has met any
context. Of two word pieces that are whole words, the cosine of their rows says how related the
model takes them to be: "ocean" and "sea" 0.62, "fix" and "repair" 0.52; of random pairs, half lie
below 0.02 and one in a hundred above 0.22.

Why these and not the model's sentence embeddings of single words: they are read off the weights in
a fraction of a second, with no forward pass, and they are not what the bi-encoder scores with. A
bi-encoder whose own document embeddings decided what is "related" would obey by construction. The
price is that a word of several word pieces has no vector and is related to nothing.
"""

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from safetensors import safe_open

from mechir_edu.collection.terms import terms
from mechir_edu.collection.words import plain
from mechir_edu.files import embedded_folder

# More than 99.5 % of the pairs of words of the embedded collection lie below.
RELATED = 0.35


@dataclass(frozen=True)
class WordVectors:
    """Unit vectors of words in lower case."""

    words: tuple[str, ...]
    vectors: Float32[np.ndarray, "word d_model"]

    @cached_property
    def row(self) -> dict[str, int]:
        """Where in `vectors` a word is."""
        return {word: row for row, word in enumerate(self.words)}


def read_word_vectors(folder: Path) -> WordVectors:
    """Read the input embeddings of the words that a BERT checkpoint has as one word piece."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ids = vocabulary["model"]["vocab"]
    words = tuple(word for word in ids if len(word) > 2 and word.isascii() and word.isalpha())
    with safe_open(folder / "model.safetensors", "np") as weights:
        table = weights.get_tensor("embeddings.word_embeddings.weight")
    vectors = table[[ids[word] for word in words]].astype(np.float32)
    return WordVectors(words, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@lru_cache(maxsize=1)
def embedded_vectors() -> WordVectors:
    """Word vectors of the embedded model, read once.

    Raises
    ------
    ImportError
        When the package with its weights is not installed; names the extra that brings it.
    """
    return read_word_vectors(embedded_folder())


@lru_cache(maxsize=4096)
def related_words(word: str) -> tuple[str, ...]:
    """List the words whose cosine with a word is at least `RELATED`, the closest first.

    Inflections of the word (those with its stem) are left out. Empty for a word that is no single
    word piece.

    Examples
    --------
    >>> related_words("ocean")[0]
    'sea'
    """
    known = embedded_vectors()
    row = known.row.get(plain(word).lower())
    if row is None:
        return ()
    cosines = known.vectors @ known.vectors[row]
    order = np.argsort(-cosines, kind="stable")[: int((cosines >= RELATED).sum())]
    return tuple(w for w in (known.words[i] for i in order) if terms(w) not in ([], terms(word)))


def similarity(word: str, other: str) -> float | None:
    """Cosine of two words' vectors; None where either is no single word piece."""
    known = embedded_vectors()
    rows = [known.row.get(plain(w).lower()) for w in (word, other)]
    return None if None in rows else float(known.vectors[rows[0]] @ known.vectors[rows[1]])
