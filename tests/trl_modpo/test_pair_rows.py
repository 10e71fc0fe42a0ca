"""Rows of MODPO's TRL script: faults at which TRL stops with a TypeError are named, and UltraFeedback's form is taken."""

import pytest
from datasets import Dataset

from tests.datasets_builders.test_readers import ASKED, BAD, GOOD, SHAPES
from trl_ext.modpo.pair_rows import checked


@pytest.mark.parametrize("shape", ["ultrafeedback", "rejected_response", "question", "prompt messages"])
def test_every_form_becomes_trls_own(shape):
    row = SHAPES[shape]
    for dataset in (Dataset.from_list([row] * 2), Dataset.from_list([row] * 2).to_iterable_dataset()):
        found = next(iter(checked(dataset, "x")))
        assert {name: found[name] for name in ("prompt", "chosen", "rejected")} == {
            "prompt": ASKED, "chosen": GOOD, "rejected": BAD,
        }  # fmt: skip


def test_what_trl_reads_itself_stays_as_it_is():
    for rows in ([SHAPES["conversations"]], [{"chosen": "a b", "rejected": "a c"}], [SHAPES["prompt text"]]):
        data = Dataset.from_list(rows)
        assert checked(data, "x") is data
    assert checked(None, "x") is None
    equal = Dataset.from_list([SHAPES["prompt text"] | {"rejected": "Because."}])
    assert checked(equal, "x") is equal, "nothing is learnt from it, and TRL trains on it"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "x row 2: field 'prompt' must be a text or a list of messages"),
        (
            {"prompt": ASKED, "chosen": [{"role": "assistant", "content": None}], "rejected": BAD},
            "x row 2: .*content None",
        ),
        ({"prompt": ASKED, "chosen": GOOD}, "x row 2: not a pair, found chosen, prompt"),
    ],
)
def test_rows_that_trl_cannot_read_are_named(row, message):
    with pytest.raises(ValueError, match=message):
        checked([SHAPES["prompt messages"], row], "x")
