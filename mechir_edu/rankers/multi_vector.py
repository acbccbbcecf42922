"""Multi-vector rankers (ColBERT): each token is a vector, each query token takes its best match."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from tokenizers import AddedToken
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from mechir_edu.collection.given import checked_number, checked_text
from mechir_edu.rankers.apart import EncodesApart
from mechir_edu.rankers.base import BATCH_SIZE, Inputs, Prompts
from mechir_edu.rankers.checkpoint import loading
from mechir_edu.rankers.checkpoint.late_settings import (
    TOKEN_DENSE,
    LateSettings,
    is_stanford,
    read_late_settings,
)
from mechir_edu.rankers.checkpoint.settings import encoder_folder, stated_modules
from mechir_edu.rankers.checkpoint.stored import obey, read_object
from mechir_edu.rankers.checkpoint.tokenizer import load_tokenizer
from mechir_edu.rankers.pooling import Hidden, Mask
from mechir_edu.rankers.readout import read_dense, read_tensors
from mechir_edu.rankers.texts import listed
from mechir_edu.rankers.verification import wrap

Vectors = Float[Tensor, "text token d_token"]  # rows of zeros do not count


class Matches(NamedTuple):
    """Of each query token the largest cosine with a document token, and which token that is."""

    cosine: Float[Tensor, "pair query_token"]
    place: Int[Tensor, "pair query_token"]


@dataclass(frozen=True)
class LateHead:
    """What becomes of hidden states: projections of every token, to unit length.

    Attributes
    ----------
    settings : markers, lengths, expansion and skipped words, as stored.
    projections : modules applied to every token, in order.
    """

    settings: LateSettings
    projections: tuple[nn.Module, ...]

    def vectors(self, hidden: Hidden) -> Vectors:
        """One vector of unit length for each token."""
        for project in self.projections:
            hidden = project(hidden)
        return F.normalize(hidden, dim=-1)


class MultiVectorEncoder(EncodesApart):
    """Multi-vector ranker (ColBERT): each query token takes its best match in the document.

    Every token becomes a vector of unit length. The score is MaxSim: for each query token the
    largest cosine with any document token, summed over query tokens. Queries are filled up with
    mask tokens where the checkpoint says so; these count as query tokens although attention may not
    see them. Punctuation in documents does not count, where the checkpoint says so, although
    attention sees it. See `me.matches_moved`.

    Parameters
    ----------
    name : a local folder, or a hub id, saved by Stanford's ColBERT, PyLate or
        sentence-transformers.
    max_length : longest document in tokens, special ones and the marker counted; the checkpoint's
        by default.
    device, verify : as for `me.Dot`.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError, RuntimeError
        As for `me.Dot`.

    Sources
    -------
    O. Khattab, M. Zaharia: ColBERT. SIGIR 2020, arXiv:2004.12832.
    """

    kind, kind_name = "multi-vector", "multi-vector ranker"
    takes_edited_queries = keeps_documents = False

    def __init__(
        self,
        name: str | Path,
        *,
        max_length: int | None = None,
        device: str = "auto",
        verify: bool = True,
    ) -> None:
        name = loading.checked_name(name)
        folder = loading.model_folder(name, "multi-vector")
        settings, encoder = read_late_settings(folder), encoder_folder(folder)
        self.head = LateHead(settings, read_projections(folder))
        model = loading.load_encoder(encoder, says_how=True, beside=("linear",))
        tokenizer = load_tokenizer(encoder)
        if settings.has_markers:
            add_markers(tokenizer, (settings.query, settings.document))
        self.prompts = Prompts(settings.query, settings.document)
        checksum = loading.checkpoint_sha256(folder)
        stated = tokenizer.model_max_length
        if settings.document_length is not None:
            tokenizer.model_max_length = settings.document_length
        super().__init__(
            name, model, tokenizer, checksum=checksum, max_length=max_length, device=device
        )
        most = self.family.longest(self.hf_model.config)
        self.longest_query = settings.query_length or min(stated, most)
        for projection in self.head.projections:
            projection.to(self.device)
        known = tokenizer.convert_tokens_to_ids(list(settings.skipped))
        ids = [i for i in known if i is not None and i != tokenizer.unk_token_id]
        self.skipped_ids = torch.tensor(ids, dtype=torch.long, device=self.device)
        wrap(self, verify=verify)

    def counts(self, inputs: Inputs) -> Mask:
        """Tokens of documents that count in the score: real ones, but no skipped words."""
        is_skipped = torch.isin(inputs["input_ids"], self.skipped_ids)
        return inputs["attention_mask"] * ~is_skipped

    def output(self, hidden: Hidden, attention_mask: Mask) -> Vectors:
        """Vectors of a document's tokens, zero where a token does not count."""
        return self.head.vectors(hidden) * attention_mask.unsqueeze(-1)

    def publisher_output(self, inputs: Inputs) -> Vectors:  # noqa: D102
        return self.output(self.hf_model(**inputs)[0], self.counts(inputs))

    def match(
        self, hidden: Hidden, mask: Mask, fixed: Float[Tensor, "pair query_token d_token"]
    ) -> Matches:
        """Best match of each query token, from a document's hidden states and query vectors."""
        cosines = fixed @ self.head.vectors(hidden).transpose(1, 2)
        return Matches(*cosines.masked_fill(mask.unsqueeze(1) == 0, float("-inf")).max(dim=-1))

    def relevance(
        self,
        hidden: Hidden,
        attention_mask: Mask,
        fixed: Float[Tensor, "pair query_token d_token"],
    ) -> Float[Tensor, " pair"]:
        """Relevance scores from documents' hidden states and query vectors."""
        return self.match(hidden, attention_mask, fixed).cosine.sum(dim=-1)

    def query_tokens(self, ids: Sequence[int]) -> list[int]:
        """A query's tokens as they are read: cut where the checkpoint cuts, and filled up."""
        expansion, ids = self.head.settings.expansion, list(ids)
        longest = expansion.length if expansion and expansion.cuts else self.longest_query
        if len(ids) > longest:
            ids = [*ids[: longest - 1], ids[-1]]
        n_added = 0 if expansion is None else max(0, expansion.length - len(ids))
        return ids + [self._expansion_id] * n_added

    @property
    def _expansion_id(self) -> int:
        expansion, tokenizer = self.head.settings.expansion, self.tokenizer
        if expansion is not None and expansion.token is not None:
            return tokenizer.convert_tokens_to_ids(expansion.token)
        given = tokenizer.mask_token_id
        return tokenizer.eos_token_id if given is None else given

    def encode_tokens(self, ids: np.ndarray | Sequence[int]) -> Float[Tensor, "token d_token"]:
        """Vectors of a query's tokens, added ones included, by its token ids."""
        tokens = torch.tensor([self.query_tokens([int(i) for i in ids])])
        mask, expansion = torch.ones_like(tokens), self.head.settings.expansion
        if expansion is not None and not expansion.attends:
            mask[:, len(ids) :] = 0
        inputs = self.model_inputs(tokens, mask)
        return self.head.vectors(self.hidden(inputs))[0]

    @torch.no_grad()
    def encode_query(self, query: str) -> Vectors:
        """Vectors of a query's tokens, marker and added tokens included."""
        text = self.prompts.query + checked_text(query, "query")
        ids = self.tokenizer(text, truncation=False, verbose=False)["input_ids"]
        return self.encode_tokens(ids).unsqueeze(0)

    @torch.no_grad()
    def embed(self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE) -> Vectors:
        """Vectors of documents' tokens, without any prompt; zero where a token does not count."""
        batch_size, texts = checked_number(batch_size, "batch_size", least=1), listed(texts)
        if not texts:
            raise ValueError("needed at least one text to score, got none")
        parts = [texts[i : i + batch_size] for i in range(0, len(texts), batch_size)]
        return self.stacked([row for part in parts for row in self.forward(part)])

    @staticmethod
    def stacked(encoded: Sequence[Tensor]) -> Vectors:
        """Texts' vectors side by side; behind a shorter text stand rows of zeros."""
        return pad_sequence(list(encoded), batch_first=True)

    def compare(
        self, query: Float[Tensor, "1 query_token d_token"], documents: Vectors
    ) -> Float[np.ndarray, " text"]:
        """Relevance scores of encoded documents for an encoded query."""
        cosines = query @ documents.transpose(1, 2)
        counted = documents.any(dim=-1).unsqueeze(1)
        best = cosines.masked_fill(~counted, float("-inf")).amax(dim=-1)
        return best.sum(dim=-1).cpu().numpy()


def read_projections(folder: Path) -> tuple[nn.Module, ...]:
    """Modules that a checkpoint applies to every token.

    Raises
    ------
    ValueError
        For weights that are missing or do not fit.
    """
    if not is_stanford(folder):
        parts = [part.folder for part in stated_modules(folder) if part.name == "Dense"]
        for part in parts:
            stated = read_object(part / "config.json")
            obey(f"{part.name}/config.json of {folder.name}", stated, TOKEN_DENSE)
        return tuple(read_dense(part) for part in parts)
    weight = read_tensors(folder).get("linear.weight")
    if weight is None:
        raise ValueError(f"{folder.name} lacks linear.weight, the projection of every token")
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.load_state_dict({"weight": weight.float()})
    return (linear.eval().requires_grad_(False),)


def add_markers(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> None:
    """Make the markers before query and document one token each, wherever they stand.

    In training they were put in as tokens; as text, "[unused0]" would fall apart.
    """
    vocabulary = tokenizer.get_vocab()
    for prompt in prompts:
        forms = [prompt, *prompt.split()[:1]] if prompt.split() else []
        marker = next((form for form in forms if form in vocabulary), None)
        if marker is not None and tokenizer.tokenize(marker) != [marker]:
            special = [AddedToken(marker, normalized=False, special=True)]
            tokenizer.add_special_tokens({"additional_special_tokens": special})
