"""The lookup of stored margins: digests of what was scored, and refusal of everything that is stale."""

import json

import pytest
import torch

from swift_ext.modpo.store import FORMAT, MANIFEST, MarginStore, pair_digests
from trl_ext.modpo.digest import describe_margin, describe_model
from trl_ext.modpo.margins import Margin

BREVITY = Margin("brief", "function", "brevity", "reward", 0.4, 1.0)


def batch(width: int = 8) -> dict:
    """Two pairs, chosen half first, right-padded to `width`."""
    ids, labels = torch.zeros(4, width, dtype=torch.long), torch.full((4, width), -100)
    for row in range(4):
        ids[row, : 4 + row % 2] = torch.arange(1 + row, 5 + row + row % 2)
        labels[row, 2 : 4 + row % 2] = ids[row, 2 : 4 + row % 2]
    return {"input_ids": ids, "labels": labels}


def test_a_digest_does_not_depend_on_padding():
    assert pair_digests(batch(8)) == pair_digests(batch(13))
    padded = batch(13)
    padded["input_ids"][:, 9:] = 77
    assert pair_digests(padded) == pair_digests(batch(8))
    assert len(set(pair_digests(batch()))) == 2


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("change", ["prompt", "response", "mask", "end"])
def test_a_digest_depends_on_every_scored_token_and_label_of_its_pair_only(row, change):
    changed = batch()
    if change == "prompt":
        changed["input_ids"][row, 0] += 50
    elif change == "response":
        changed["input_ids"][row, 3] += 50
    elif change == "mask":
        changed["labels"][row, 2] = -100
    else:
        changed["labels"][row, 3 + row % 2] = -100
    before, after = pair_digests(batch()), pair_digests(changed)
    assert [a != b for a, b in zip(after, before, strict=True)] == [row % 2 == 0, row % 2 == 1]


def test_chosen_and_rejected_are_not_exchangeable():
    swapped = {name: torch.cat(value.chunk(2)[::-1]) for name, value in batch().items()}
    assert all(a != b for a, b in zip(pair_digests(swapped), pair_digests(batch()), strict=True))


@pytest.fixture
def store(tiny, tmp_path):
    """Writes a manifest (fields may be overridden) and opens the store."""

    def store(margins=(BREVITY,), reference_dir=tiny, stored=(BREVITY,), **fields) -> MarginStore:
        manifest = {
            "format": FORMAT, "reference": describe_model(str(tiny)), "reference_path": str(tiny),
            "margins": [describe_margin(margin) for margin in stored],
        } | fields  # fmt: skip
        (tmp_path / MANIFEST).write_text(json.dumps(manifest))
        return MarginStore(str(tmp_path), str(reference_dir), margins)

    return store


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"MODPO_STORE=.*nothing: no manifest.json there$"):
        MarginStore(str(tmp_path / "nothing"), "m", [])
    with pytest.raises(ValueError, match="it is unfinished: run precompute-margins again"):
        MarginStore(str(tmp_path), "m", [])


def test_another_format_is_refused(store):
    with pytest.raises(ValueError, match=rf"format 99, this version reads {FORMAT}"):
        store(format=99)


def test_another_reference_model_is_refused_and_a_copy_accepted(store, tiny, tmp_path_factory):
    import shutil

    from tests.tiny import build_model

    other = build_model(tmp_path_factory.mktemp("other") / "model", seed=5)
    with pytest.raises(ValueError, match=r"stale store .* this run's reference is .*other"):
        store(reference_dir=other)
    copy = shutil.copytree(tiny, tmp_path_factory.mktemp("copy") / "model")
    store(reference_dir=copy)


def test_margins_that_the_store_lacks_or_holds_otherwise_are_refused(store, adapter, second_adapter):
    with pytest.raises(ValueError, match=r"no margin 'x', it holds \['brief'\]"):
        store(margins=[Margin("x", "function", "brevity", "reward", 0.4, 1.0)])
    with pytest.raises(
        ValueError,
        match=r"margin 'brief' is another one \(function: brevity stored, rich_vocabulary now\); precompute again",
    ):
        store(margins=[Margin("brief", "function", "rich_vocabulary", "reward", 0.4, 1.0)])
    stored, asked = (Margin("a", "adapter", str(folder), "reward", 0.4, 1.0) for folder in (adapter, second_adapter))
    with pytest.raises(ValueError, match=r"stale store .* margin 'a' is another one \(weights: \w+ stored, \w+ now\)"):
        store([asked], stored=[stored])


def test_weight_role_and_beta_may_change(store):
    """One store serves a whole grid."""
    store(margins=[Margin("brief", "function", "brevity", "cost", 0.9, -3.0)])


def columns() -> dict:
    return {
        "pair_tokens": pair_digests(batch()), "store_ref_chosen": [-1.0, -2.0], "store_ref_rejected": [-3.0, -4.0],
        "margin_brief_chosen": [-301.0, 0.1], "margin_brief_rejected": [-5.0, -6.0],
    }  # fmt: skip


def test_lookup_gives_the_chosen_half_first_in_fp32(store):
    reference, values = store().lookup(batch(), columns())
    assert reference.dtype == values.dtype == torch.float32
    assert reference.tolist() == [-1.0, -2.0, -3.0, -4.0]
    torch.testing.assert_close(values, torch.tensor([[-301.0], [0.1], [-5.0], [-6.0]]), rtol=0, atol=0)


def test_lookup_without_margins_has_no_column(store):
    _, values = store(margins=[]).lookup(batch(), columns())
    assert values.shape == (4, 0)


def test_lookup_refuses_rows_without_columns_and_rows_that_changed(store):
    with pytest.raises(ValueError, match=r"train.jsonl and pass --remove_unused_columns false"):
        store().lookup(batch(), {})
    changed = batch()
    changed["input_ids"][3, 0] += 1  # rejected side of the second pair
    with pytest.raises(ValueError, match="tokens of row 1 of this batch are not those that were scored"):
        store().lookup(changed, columns())
