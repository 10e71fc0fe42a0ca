"""The layout of rows that begin alike: exact round trips, and every token sees what it saw in its row."""

import random

import pytest
import torch

from trl_ext.shared_prefix.layout import shared_layout


def padded(rows, left=False, more=0):
    """(B, T) ids and mask of rows of tokens."""
    columns = max(map(len, rows)) + more
    ids, mask = torch.zeros(2, len(rows), columns, dtype=torch.long)
    for row, tokens in enumerate(rows):
        begin = columns - len(tokens) if left else 0
        ids[row, begin : begin + len(tokens)] = torch.tensor(tokens)
        mask[row, begin : begin + len(tokens)] = 1
    return ids, mask


def random_rows(draw):
    """Rows of a few streams with prefixes of any depth: each begins with a piece of an earlier one. Few words, so that
    equal beginnings also come by chance."""
    rows, streams = [], []
    for stream in range(draw.randint(1, 3)):
        first = len(rows)
        for _ in range(draw.randint(1, 6)):
            earlier = rows[draw.randrange(first, len(rows))] if len(rows) > first else []
            begin = earlier[: draw.randint(0, len(earlier))]
            rows.append(begin + [draw.randint(0, 3) for _ in range(draw.randint(0 if begin else 1, 8))])
            streams.append(stream)
    order = list(range(len(rows)))
    draw.shuffle(order)
    return [rows[i] for i in order], torch.tensor([streams[i] for i in order])


def test_the_example_of_the_module():
    ids, mask = padded([[10, 11, 12, 13], [10, 11, 14]])
    layout = shared_layout(ids, mask, torch.zeros(2, dtype=torch.long), torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0]]))
    assert layout.input_ids.tolist() == [[10, 13, 14, 11, 12]]
    assert layout.position_ids.tolist() == [[0, 3, 2, 1, 2]]
    assert layout.number.tolist() == [[0, 3, 4, 1, 2]]
    assert layout.until.tolist() == [[5, 4, 5, 5, 4]]
    assert layout.place.tolist() == [[0, 3, 4, 1], [0, 3, 2, -1]]
    assert (layout.kept, layout.tokens, layout.share) == (2, 7, 5 / 7)
    assert layout.visible()[0, 0, 2].tolist() == [True, False, True, True, False]  # z sees p, itself and q


@pytest.mark.parametrize("seed", range(60))
def test_every_token_sees_exactly_what_it_saw_in_its_row(seed):
    draw = random.Random(seed)
    rows, stream = random_rows(draw)
    window = draw.choice([None, 1, 3])
    ids, mask = padded(rows, left=draw.random() < 0.5, more=draw.randint(0, 2))
    read = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    layout = shared_layout(ids, mask, stream, read)
    width, visible = layout.input_ids.shape[1], layout.visible(window)[:, 0]
    for row, tokens in enumerate(rows):
        places = layout.place[row][mask[row].bool()]
        assert layout.input_ids.flatten()[places].tolist() == tokens
        assert layout.position_ids.flatten()[places].tolist() == list(range(len(tokens)))
        assert (places // width == stream[row]).all()
        for index, place in enumerate(places.tolist()):
            seen = visible[place // width, place % width].nonzero()[:, 0]
            expected = (places[max(0, index + 1 - (window or len(tokens))) : index + 1] % width).sort().values
            assert seen.tolist() == expected.tolist()
    assert (layout.place[~mask.bool()] == -1).all()
    assert (layout.place[read & mask.bool()] % width >= width - layout.kept).all(), "a logit that is read is cut off"
    used = {
        (int(one), tuple(tokens[: k + 1])) for one, tokens in zip(stream, rows, strict=True) for k in range(len(tokens))
    }
    assert len(layout.place[mask.bool()].unique()) == len(used), "a token that rows share stands once, others do not"
    padding = torch.ones(layout.input_ids.numel(), dtype=torch.bool)
    padding[layout.place[mask.bool()]] = False
    padding = padding.view_as(layout.input_ids)
    assert (visible[padding].sum(-1) == 1).all(), "padding sees itself, so that no softmax is empty"
    assert not visible[~padding][:, :].logical_and(padding[torch.where(~padding)[0]]).any(), "no token sees padding"


def test_rows_of_other_streams_share_nothing():
    ids, mask = padded([[1, 2, 3], [1, 2, 3]])
    assert shared_layout(ids, mask, torch.tensor([0, 1])).share == 1
    assert shared_layout(ids, mask, torch.tensor([0, 0])).share == 0.5


def test_with_labels_a_token_is_shared_only_where_the_next_label_agrees():
    ids, mask = padded([[1, 2, 3, 4], [1, 2, 5]])
    labels = torch.tensor([[-100, 3, 4, -100], [-100, 5, -100, -100]])
    layout = shared_layout(ids, mask, torch.zeros(2, dtype=torch.long), None, labels)
    assert layout.place[0, 0] == layout.place[1, 0] and layout.place[0, 1] != layout.place[1, 1]
    assert layout.tokens - layout.input_ids.numel() == 1


@pytest.mark.parametrize("mask", [[[1, 0, 1], [1, 1, 1]], [[0, 0, 0], [1, 1, 1]]])
def test_rows_that_are_empty_or_have_holes_are_refused(mask):
    with pytest.raises(ValueError, match="row 0 of the batch is empty or has padding inside"):
        shared_layout(torch.ones(2, 3, dtype=torch.long), torch.tensor(mask), torch.zeros(2, dtype=torch.long))


def test_the_share_is_what_is_computed_with_its_padding():
    prefix, tails = list(range(300)), [[300 + k] * 12 for k in range(8)]
    ids, mask = padded([prefix + tail for tail in tails])
    assert shared_layout(ids, mask, torch.zeros(8, dtype=torch.long)).share == (300 + 96) / (8 * 312)
    ids, mask = padded([[1, 2], [1, 3], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7]])
    assert shared_layout(ids, mask, torch.tensor([0, 0, 1, 1])).share == 14 / 16  # 3 tokens padded to 7
