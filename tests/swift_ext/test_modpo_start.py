"""MODPO in ms-swift: no gradient at the known optimum, and `MODPO_START=margins`, where the policy begins as the sum of the margins."""

import json
import math
import os

import pytest

from tests.conftest import REPOSITORY, swift_flags
from tests.exact_optimum import BETA, SCALE, build_table, build_table_adapter, labelled, tilt
from tests.tiny import build_adapter, preference_rows, write_rows

pytest.importorskip("swift")
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("data") / "pairs.jsonl", preference_rows(8, seed=11))


@pytest.fixture(scope="module")
def train(tiny, data, run_swift, tmp_path_factory):
    folder, count = tmp_path_factory.mktemp("starts"), iter(range(100))

    def run(settings, succeed=True, **flags):
        place = folder / str(next(count))
        in_order = {"dataset_shuffle": False, "train_dataloader_shuffle": False}
        model, rows = flags.pop("model", tiny), flags.pop("dataset", data)
        named = {
            f"MODPO_{name}": value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()
        }
        done = run_swift(place, swift_flags(model, rows, place, **in_order | {"max_steps": 1} | flags), named)
        assert (done.returncode == 0) == succeed, done.output[-3000:]
        return done

    return run


@pytest.mark.parametrize("margin", ["function", "adapter"])
def test_no_gradient_is_left_at_the_optimum_and_another_weight_leaves_one(margin, train, tmp_path):
    reference, (pairs, entropy) = build_table(tmp_path / "reference"), labelled()
    source = {"function": "tests.exact_optimum.reward_b", "beta": SCALE}
    if margin == "adapter":
        adapter = build_table_adapter(reference, tmp_path / "adapter")
        source = {"adapter": str(adapter), "allow_other_base": True}
    rows = [
        {
            "messages": [{"role": "user", "content": "Digits."}, {"role": "assistant", "content": chosen}],
            "rejected_response": rejected,
        }
        for chosen, rejected in pairs
    ]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    found = []
    for w in (0.3, 0.45):
        flags = {"tuner_type": "full", "learning_rate": 0, "per_device_train_batch_size": len(rows), "beta": BETA}
        policy = build_table(tmp_path / f"policy{w}", tilt(w, 1 - w))
        run = train({"W": 0.3, "MARGINS": [source]}, model=policy, ref_model=reference, dataset=data, **flags)
        found.append(run.steps[0])
    assert found[0]["loss"] == pytest.approx(entropy, abs=1e-5) and found[0]["grad_norm"] < 1e-3
    assert found[1]["loss"] > entropy + 1e-4 and found[1]["grad_norm"] > 1e-2


def test_one_adapter_by_its_own_beta_leaves_nothing_of_h(train, adapter):
    margin = {"adapter": str(adapter), "weight": 1.0}
    plain, run = (train({"W": 0.5, "MARGINS": [margin], "START": start}) for start in ("reference", "margins"))
    assert run.steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert run.steps[0]["rewards/chosen"] == pytest.approx(0, abs=1e-6)
    assert abs(plain.steps[0]["rewards/chosen"]) > 0.02
    gap = "margin_rewards/margin/gap"
    assert run.steps[0][gap] == pytest.approx(plain.steps[0][gap], abs=1e-6)  # the reference is still the base
    assert "the policy starts where the margins vanish" in run.output


@pytest.fixture(scope="module")
def mixed(tiny, tmp_path_factory):
    """Adapters so small that log-probs are nearly linear in them."""
    folder = tmp_path_factory.mktemp("small")
    one, two = (build_adapter(tiny, folder / str(seed), seed=seed, std=0.06) for seed in (1, 2))
    return [
        {"adapter": str(one), "name": "a", "weight": 0.3},
        {"adapter": str(two), "name": "b", "weight": 0.4, "role": "cost", "beta": 0.05},
    ]


def test_a_store_and_a_resumed_run_start_at_the_same_policy(train, data, tiny, mixed, warm_swift, tmp_path):
    settings = {"W": 0.5, "MARGINS": mixed, "START": "margins"}
    flags = {"lora_rank": 9, "max_steps": 4}
    live = train(settings, save_strategy="steps", save_steps=2, **flags)
    plain = train(settings | {"START": "reference"}, **flags)
    sides = ("chosen", "rejected")
    h, h_plain = (sum(abs(run.steps[0][f"rewards/{side}"]) for side in sides) for run in (live, plain))
    assert h < h_plain / 3 and h_plain > 1e-3
    store, env = tmp_path / "store", {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    argv = [
        "precompute-margins",
        "--store",
        str(store),
        *swift_flags(tiny, data, store, lora_rank=9, dataset_shuffle=False),
    ]
    done = warm_swift.run(
        "launch", argv, env | {"MODPO_MARGINS": json.dumps(mixed), "MODPO_START": "margins"}, tmp_path
    )
    assert done.returncode == 0, done.output
    stored = train(
        settings | {"STORE": str(store)}, dataset=store / "train.jsonl", remove_unused_columns=False, **flags
    )
    assert stored.series("loss") == pytest.approx(live.series("loss"), abs=1e-5)
    resumed = train(settings, resume_from_checkpoint=live.folder / "checkpoint-2", **flags)
    assert resumed.series("loss") == live.series("loss")[2:]
    assert sorted(path.name for path in (live.folder / "checkpoint-4").glob("margin_*")) == []


def test_w_one_starts_at_the_reference(train, adapter):
    runs = [
        train({"W": 1, "MARGIN_ADAPTER": str(adapter), "START": start}, max_steps=3)
        for start in ("margins", "reference")
    ]
    assert runs[0].series("loss") == runs[1].series("loss")


@pytest.mark.parametrize(
    ("settings", "flags", "message"),
    [
        ({"MARGIN_FUNCTION": "brevity"}, {}, "MODPO_START margins: margin 'brevity' is a function"),
        ({"MARGIN_ADAPTER": "ADAPTER"}, {"tuner_type": "full"}, "this run trains no LoRA"),
        ({"MARGIN_ADAPTER": "ADAPTER"}, {"lora_rank": 2}, "the policy's LoRA has rank 2"),
    ],
)
def test_where_it_cannot_hold_it_is_refused(settings, flags, message, train, adapter):
    named = {name: str(adapter) if value == "ADAPTER" else value for name, value in settings.items()}
    assert message in train({"W": 0.5, "START": "margins", **named}, succeed=False, **flags).output
