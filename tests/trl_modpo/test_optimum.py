"""MODPO through TRL's trainer at the policy that is known to be its optimum: no gradient is left, the loss is the labels' entropy."""

import pytest

from tests.exact_optimum import BETA, SCALE, build_table, build_table_adapter, labelled, tilt
from tests.tiny import write_rows

pytest.importorskip("trl")
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def at(worker, tmp_path_factory):
    """at(w, margin, w of the policy) -> loss and norm of the gradient of all weights, over all pairs at once."""
    folder = tmp_path_factory.mktemp("optimum")
    reference, (pairs, entropy) = build_table(folder / "reference"), labelled()
    adapter = build_table_adapter(reference, folder / "adapter")
    rows = [
        {
            "prompt": [{"role": "user", "content": "Digits."}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
        for chosen, rejected in pairs
    ]
    data = write_rows(folder / "pairs.jsonl", rows)
    margins = {
        "function": {"function": "tests.exact_optimum.reward_b", "beta": SCALE},
        "adapter": {"adapter": str(adapter), "allow_other_base": True},
    }

    def run(w, margin, of_policy=None, **fields):
        policy = folder / f"policy{of_policy or w}"
        if not policy.is_dir():
            build_table(policy, tilt(of_policy or w, 1 - (of_policy or w)))
        settings = {"max_steps": 1, "learning_rate": 0.0, "per_device_train_batch_size": len(rows)}
        options = {"ref_model": str(reference), "beta": BETA, "w": w, "margins": [margins[margin] | fields]}
        found = worker("train", folder=folder / "run", model=policy, data=data, **settings, **options)
        return found["losses"][0], found["steps"][0]["grad_norm"]

    run.entropy = entropy
    return run


@pytest.mark.parametrize("margin", ["function", "adapter"])
@pytest.mark.parametrize("w", [0.2, 0.5, 0.8])
def test_no_gradient_is_left_at_the_optimum(w, margin, at):
    loss, gradient = at(w, margin)
    assert loss == pytest.approx(at.entropy, abs=1e-5)
    assert gradient < 1e-3


@pytest.mark.parametrize("margin", ["function", "adapter"])
@pytest.mark.parametrize("fault", [{"of_policy": 0.45}, {"role": "cost"}, {"weight": 0.4}], ids=lambda f: next(iter(f)))
def test_another_weight_or_sign_leaves_one(fault, margin, at):
    loss, gradient = at(0.5, margin, **fault)
    assert gradient > 1e-2 and loss > at.entropy + 1e-4
