"""The tree of tokens that spells every allowed answer, end token included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Trie:
    """A token trie over N nodes; the end token is an edge that leads to no node.

    The tokens "1", "0", "0" of 100 pass the nodes of 1 and 10, where those answers end: that is how
    1, 10 and 100 are told apart.

    Attributes:
        tokens: the token of each node, ``[N]``; parents stand before children.
        depth: levels below the prompt, from 1, ``[N]``.
        sees: ``[N, N]``, whether node i has node j on its path (itself included).
        edge_parent: position the token of an edge is predicted at, ``[E]``: 0 is the prompt's last
            token, i + 1 is node i.
        edge_token: ``[E]``.
        on_path: ``[options, E]``, the edges that spell each option.
    """

    tokens: Ids
    depth: NDArray[np.int64]
    sees: NDArray[np.bool_]
    edge_parent: NDArray[np.int64]
    edge_token: NDArray[np.int64]
    on_path: NDArray[np.float32]

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.tokens)


def build(answers: Sequence[Ids]) -> Trie:
    """The trie of token sequences, each ending in the end token and none a prefix of another."""
    node_of_prefix: dict[tuple[int, ...], int] = {(): -1}
    edges: dict[tuple[int, int], int] = {}  # (parent position, token) -> edge
    tokens: list[int] = []
    parents: list[int] = []
    paths = []
    for answer in answers:
        path: list[int] = []
        prefix: tuple[int, ...] = ()
        for place, token in enumerate(map(int, answer)):
            position = node_of_prefix[prefix] + 1
            path.append(edges.setdefault((position, token), len(edges)))
            prefix = (*prefix, token)
            if place < len(answer) - 1 and prefix not in node_of_prefix:
                node_of_prefix[prefix] = len(tokens)
                tokens.append(token)
                parents.append(position - 1)
        paths.append(path)
    sees = np.eye(len(tokens), dtype=bool)
    depth = np.ones(len(tokens), dtype=np.int64)
    for node, parent in enumerate(parents):
        if parent >= 0:
            sees[node] |= sees[parent]
            depth[node] = depth[parent] + 1
    on_path = np.zeros((len(answers), len(edges)), dtype=np.float32)
    for option, path in enumerate(paths):
        on_path[option, path] = 1
    return Trie(
        np.array(tokens, dtype=np.int32),
        depth,
        sees,
        np.array([position for position, _ in edges], dtype=np.int64),
        np.array([token for _, token in edges], dtype=np.int64),
        on_path,
    )
