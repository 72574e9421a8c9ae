"""The trie of the tokens that spell every allowed answer, end token included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from socrates.model.jagged import Ints
from socrates.model.tokenisation import Ids, ended_ids
from socrates.survey.prompts import answer_part
from socrates.survey.scales import scale

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


@dataclass(frozen=True)
class Trie:
    """A token trie of N nodes and E edges; the end token is an edge that leads to no node. The tokens "1", "0", "0" of
    100 pass the nodes of 1 and 10, where those answers end: that is how 1, 10 and 100 are told apart."""

    tokens: Ids  # of each node, [N]; parents stand before children
    depth: Ints  # levels below the prompt, from 1, [N]
    mask: NDArray[np.bool_]  # [N, N]: a node attends to itself and to the nodes above it
    edge_parent: (
        Ints  # where an edge's token is predicted, [E]: 0 is the prompt's last token, i + 1 is node i
    )
    edge_token: Ints  # [E]
    paths: NDArray[np.float32]  # which edges spell each option, [options, E]

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.tokens)


def answer_trie(tokenizer: Tokenizer, notation: str) -> Trie:
    """The trie of the options of a scale, in the order of its options."""
    return build_trie(option_ids(tokenizer, notation))


def option_ids(tokenizer: Tokenizer, notation: str) -> list[Ids]:
    """Token ids of each option of a scale, the end token included."""
    return ended_ids(tokenizer, [answer_part(option) for option in scale(notation).options])


def build_trie(answers: Sequence[Ids]) -> Trie:
    """The trie of token sequences, each ending in the end token and none a prefix of another: an edge is a beginning
    of an answer, a node one that is not the whole answer."""
    beginnings = [[tuple(ids[:length].tolist()) for length in range(1, len(ids) + 1)] for ids in answers]
    parts = dict.fromkeys(part for path in beginnings for part in path)
    whole = {path[-1] for path in beginnings}
    nodes = {part: i for i, part in enumerate(part for part in parts if part not in whole)}
    edges = {part: i for i, part in enumerate(parts)}
    mask = np.zeros((len(nodes), len(nodes)), dtype=bool)
    paths = np.zeros((len(answers), len(edges)), dtype=np.float32)
    for option, path in enumerate(beginnings):
        paths[option, [edges[part] for part in path]] = 1
        above = [nodes[part] for part in path[:-1]]
        for level, node in enumerate(above, 1):
            mask[node, above[:level]] = True
    return Trie(
        np.array([part[-1] for part in nodes], dtype=np.int32),
        mask.sum(axis=1),
        mask,
        np.array([nodes.get(part[:-1], -1) + 1 for part in edges], dtype=np.int64),
        np.array([part[-1] for part in edges], dtype=np.int64),
        paths,
    )
