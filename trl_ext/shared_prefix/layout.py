"""Rows that begin alike, laid out so that a token stands once. Shapes: B rows of T columns; S streams of N places.

Rows of a stream form a prefix tree. A token is a node, and what causal attention lets it see are its ancestors. Nodes are
numbered depth first, so the descendants of a node are an interval of numbers, and visibility is two comparisons.

Two rows of one stream, whose logits are read where a token of the answer is predicted:

    row 0   p q x y        number       0 1 2 3 4        place         0 1 2   3 4
    row 1   p q z -        token        p q x y z        token         p y z   q x
                           from         0 1 2 3 4        position      0 3 2   1 2
                           up to        5 5 4 4 5

    places of row 0: 0 3 4 1; of row 1: 0 3 2 -1 (padding)

A query sees a key when the query's number is in [key's number, key's "up to"): z (4) sees p (0..5), q (1..5) and itself,
not x (2..4). Places whose logits are read come last, so that upstream's `logits_to_keep` cuts the others off. The first
token of both answers, x and z, is predicted at one place, that of q.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class SharedLayout:
    """B rows as S streams of N places; shorter streams are padded on the left.

    `number` and `until` are the depth-first interval of a place's descendants, its own number first. A place of padding
    has an interval of its own, so that it sees itself alone and no softmax is empty.
    """

    input_ids: torch.Tensor  # (S, N)
    position_ids: torch.Tensor  # (S, N), from 0 at the first token of a row
    number: torch.Tensor  # (S, N)
    until: torch.Tensor  # (S, N)
    place: torch.Tensor  # (B, T) of a row's token among all S * N, -1 on padding
    kept: int  # last places of a stream among which every logit stands that is read
    tokens: int  # of all rows, without padding

    @property
    def share(self) -> float:
        """Places that are computed over tokens that the rows have: the work that is left, at most about 1."""
        return self.input_ids.numel() / max(self.tokens, 1)

    def visible(self, window: int | None = None) -> torch.Tensor:
        """(S, 1, N, N) bool, True where the query (third axis) sees the key (last axis): its ancestors and itself.

        Args:
            window: how many tokens of its row, itself among them, a query sees; None for all.
        """
        query, key = self.number[:, :, None], self.number[:, None, :]
        seen = (key <= query) & (query < self.until[:, None, :])
        if window is not None:
            seen &= self.position_ids[:, :, None] - self.position_ids[:, None, :] < window
        return seen[:, None]


def shared_layout(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    stream: torch.Tensor,
    read: torch.Tensor | None = None,
    next_labels: torch.Tensor | None = None,
) -> SharedLayout:
    """The layout of a padded batch.

    Args:
        input_ids: (B, T).
        attention_mask: (B, T), 1 on tokens; padding at either end of a row, never inside.
        stream: (B,) the stream of each row, from 0 without gaps. Only rows of one stream share.
        read: (B, T) bool, columns whose logits are read; None for all.
        next_labels: (B, T), given where a place is scored with one label: then two rows share a token only if they
            agree on the label of the next one too.

    Raises:
        ValueError: padding inside a row, or an empty row.
    """
    ids, real = input_ids.cpu().numpy(), attention_mask.cpu().numpy().astype(bool)
    keys = ids.astype(np.int64)
    if next_labels is not None:
        keys = keys + (next_labels.cpu().numpy().astype(np.int64) << 32)
    is_read = real if read is None else real & read.cpu().numpy().astype(bool)
    lengths = real.sum(1)
    spans = [slice(begin, begin + length) for begin, length in zip(real.argmax(1), lengths, strict=True)]
    for row, span in enumerate(spans):
        if not lengths[row] or not real[row, span].all():
            raise ValueError(f"row {row} of the batch is empty or has padding inside: its tokens cannot be laid out")

    of_stream: list[list[int]] = [[] for _ in range(int(stream.max()) + 1)]
    for row, number in enumerate(stream.tolist()):
        of_stream[number].append(row)
    trees = [_tree([keys[row, spans[row]] for row in rows]) for rows in of_stream]
    width = max(len(tree.until) for tree in trees)
    tables: np.ndarray = np.zeros((4, len(trees), width), np.int64)
    place, kept = np.full(ids.shape, -1), 1
    for number, (rows, tree) in enumerate(zip(of_stream, trees, strict=True)):
        size = len(tree.until)
        late: np.ndarray = np.zeros(size, bool)
        for row, path in zip(rows, tree.paths, strict=True):
            late[path[is_read[row, spans[row]]]] = True
        kept = max(kept, int(late.sum()))
        order = np.argsort(late, kind="stable")  # numbers by place: those that are read come last
        at: np.ndarray = np.empty(size, np.int64)
        at[order] = np.arange(width - size, width)
        padding = np.arange(size, width)
        tables[2:, number, : width - size] = padding, padding + 1
        tables[2:, number, width - size :] = order, tree.until[order]
        for row, path in zip(rows, tree.paths, strict=True):
            place[row, spans[row]] = number * width + at[path]
            tables[0, number, at[path]] = ids[row, spans[row]]
            tables[1, number, at[path]] = np.arange(len(path))
    tokens, positions, numbers, until = torch.from_numpy(tables).to(input_ids.device)
    at_place = torch.from_numpy(place).to(input_ids.device)
    return SharedLayout(tokens, positions, numbers, until, at_place, kept, int(lengths.sum()))


@dataclass(frozen=True)
class _Tree:
    """The nodes of one stream: (nodes,) the number after each one's last descendant, and the nodes of every row."""

    until: np.ndarray
    paths: list[np.ndarray]


def _tree(rows: list[np.ndarray]) -> _Tree:
    """The prefix tree of a stream's rows, (length,) each. In sorted order a row shares most with the row before it."""
    until: np.ndarray = np.zeros(sum(map(len, rows)), np.int64)
    paths: list[np.ndarray] = [rows[0][:0]] * len(rows)
    size, last, last_path = 0, rows[0][:0], rows[0][:0]
    for index in sorted(range(len(rows)), key=lambda one: rows[one].tolist()):
        row = rows[index]
        shortest = min(len(row), len(last))
        differs = row[:shortest] != last[:shortest]
        common = int(differs.argmax()) if differs.any() else shortest
        until[last_path[common:]] = size  # no later row comes through these
        path = np.concatenate([last_path[:common], np.arange(size, size + len(row) - common)])
        size += len(row) - common
        last, last_path, paths[index] = row, path, path
    until[last_path] = size
    return _Tree(until[:size], paths)
