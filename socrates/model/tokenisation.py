"""Texts as token ids: whatever repeats is tokenised once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.core.errors import ModelError
from socrates.model.jagged import JaggedArray, offsets_of

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase as Tokenizer

Ids = NDArray[np.int32]
TEXTS_AT_ONCE = 50_000  # tokenised in one call; what a tokenizer returns takes far more room than the ids
PROBED = 256  # texts that are tokenised both whole and in pieces
CUT = "\0"  # marks the ends of pieces


def end_token(tokenizer: Tokenizer) -> int:
    """The id of the token that ends an answer. Raises :class:`ModelError` where a tokenizer has none: a model would
    never be taught to stop."""
    token = tokenizer.eos_token_id
    if not isinstance(token, int):
        raise ModelError(f"{tokenizer.name_or_path}: tokenizer has no end token; set eos_token in its config")
    return token


def ended_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """Ids of each text, with the end token."""
    end = np.int32(end_token(tokenizer))
    return [np.append(ids, end) for ids in token_ids(tokenizer, texts)]


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> JaggedArray:
    """Ids of each text, without special tokens.

    Texts that come in thousands repeat each other's sentences and fields. These pieces are tokenised once each and
    joined, where a tokenizer splits between them anyway: Qwen's, Llama 3's and every other whose pre-tokenizer
    descends from GPT-2's begins a new word at a space and a letter after punctuation. Whether this one does is tried
    on :data:`PROBED` of the texts.
    """
    column = pl.Series(texts, dtype=pl.String)
    ids_of = _ids_of_texts
    if len(column) > 2 * PROBED and not column.str.contains(CUT, literal=True).any():
        probe = column.gather_every(len(column) // PROBED)
        whole, joined = _ids_of_texts(tokenizer, probe), _ids_of_pieces(tokenizer, probe)
        if all(map(np.array_equal, (whole.values, whole.offsets), (joined.values, joined.offsets))):
            ids_of = _ids_of_pieces
    batches = column.to_frame().iter_slices(TEXTS_AT_ONCE)
    return JaggedArray.concatenate([ids_of(tokenizer, batch.to_series()) for batch in batches], np.int32)


def _ids_of_texts(tokenizer: Tokenizer, texts: pl.Series) -> JaggedArray:
    ids = tokenizer(texts.to_list(), add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return JaggedArray.from_sequences(ids, np.int32)


def _ids_of_pieces(tokenizer: Tokenizer, texts: pl.Series) -> JaggedArray:
    """The ids of texts from those of their distinct pieces."""
    pieces = texts.str.replace_all(r"([.;?!])( [A-Za-z])", f"${{1}}{CUT}${{2}}").str.split(CUT)
    encoded = dictionary_encode(pieces.explode())
    ids = _ids_of_texts(tokenizer, pl.Series(encoded.dictionary)).take(encoded.indices.to_numpy())
    return JaggedArray(ids.values, ids.offsets[offsets_of(pieces.list.len().to_numpy())])


def dictionary_encode(column: pl.Series) -> pa.DictionaryArray:
    """The distinct values of a column, in order of first appearance, and each row's index among them."""
    return column.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
