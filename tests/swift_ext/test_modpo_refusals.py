"""Setups in which margins would silently have no effect are refused when the trainer is built.

ms-swift lets packing and padding_free through only with a flash attention, which the CPU does not have (stock DPO stops
there too), so these refusals are called directly.
"""

from types import SimpleNamespace

import pytest

from swift_ext.modpo.settings import MODPOSettings, refuse_what_cannot_work
from trl_ext.modpo.margins import Margin

ADAPTER = Margin("a", "adapter", "x", "reward", 0.3, 0.1)
FUNCTION = Margin("f", "function", "brevity", "reward", 0.3, 1.0)
CLASSIFIER = Margin("c", "classifier", "y", "reward", 0.3, 1.0)


STOCK = {
    "loss_type": ["sigmoid"], "reference_free": False, "ref_adapter_name": None, "neftune_noise_alpha": None, "tuner_type": "lora",
}  # fmt: skip


def refuse(margins, store=None, packing=False, padding_free=False, sequence_parallel_size=1, **arguments) -> None:
    arguments = SimpleNamespace(**STOCK | arguments)
    template = SimpleNamespace(
        packing=packing, padding_free=padding_free, sequence_parallel_size=sequence_parallel_size
    )
    refuse_what_cannot_work(MODPOSettings(w=0.5, store=store), margins, arguments, template)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"margins": [ADAPTER], "reference_free": True}, "reference_free drops the reference term"),
        ({"margins": [], "store": "s", "reference_free": True}, "reference_free drops the reference term"),
        ({"margins": [ADAPTER], "loss_type": ["sft"]}, r"loss_type \['sft'\] has no reference term"),
        ({"margins": [ADAPTER], "loss_type": "sft"}, r"loss_type \['sft'\] has no reference term"),
        ({"margins": [FUNCTION], "packing": True}, "--packing false --padding_free false"),
        ({"margins": [ADAPTER, CLASSIFIER], "padding_free": True}, "--packing false --padding_free false"),
        ({"margins": [ADAPTER], "store": "s", "packing": True}, "--packing false --padding_free false"),
        ({"margins": [ADAPTER], "store": "s", "ref_adapter_name": "reference"}, "cannot be used with --ref_adapters"),
        (
            {"margins": [FUNCTION], "streaming": True},
            "use --streaming false, precompute-margins and its store need it too",
        ),
        ({"margins": [ADAPTER, FUNCTION], "sequence_parallel_size": 2}, "--sequence_parallel_size 2 splits the tokens"),
        (
            {"margins": [ADAPTER], "store": "s", "sequence_parallel_size": 2},
            "--sequence_parallel_size 2 splits the tokens",
        ),
        ({"margins": [ADAPTER], "neftune_noise_alpha": 5.0}, "--neftune_noise_alpha 5.0 would put noise"),
    ],
)
def test_what_would_have_no_effect_is_refused(case, message):
    with pytest.raises(ValueError, match=message):
        refuse(**case)


@pytest.mark.parametrize(
    "case",
    [
        {"margins": [ADAPTER, FUNCTION]},
        {"margins": [ADAPTER], "packing": True, "padding_free": True},
        {"margins": [], "reference_free": True},
        {"margins": [], "loss_type": ["sft"]},
        {"margins": [ADAPTER], "loss_type": ["sigmoid", "sft"]},
        {"margins": [ADAPTER], "ref_adapter_name": "reference"},
        {"margins": [ADAPTER], "sequence_parallel_size": 2, "streaming": True},
        {"margins": [FUNCTION], "neftune_noise_alpha": 5.0},
        {"margins": [ADAPTER], "store": "s", "neftune_noise_alpha": 5.0},
        {"margins": [ADAPTER], "tuner_type": "full", "neftune_noise_alpha": 5.0},
    ],
)
def test_what_works_is_let_through(case):
    refuse(**case)


@pytest.mark.parametrize(
    ("variables", "flags", "message"),
    [
        ({"MODPO_MARGIN_FUNCTION": "brevity"}, {"sequence_parallel_size": 2}, "--sequence_parallel_size 2 splits"),
        ({"MODPO_MARGIN_ADAPTER": "a"}, {"neftune_noise_alpha": 5.0}, "--neftune_noise_alpha 5.0 would put noise"),
    ],
)
def test_flags_are_met_before_a_model_is_loaded(modpo_module, tmp_path, monkeypatch, variables, flags, message):
    from swift_ext.modpo import MODPOConfig

    for name, value in ({"MODPO_W": "0.5"} | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        MODPOConfig(output_dir=str(tmp_path), use_cpu=True, **flags)


@pytest.mark.parametrize(("size", "padding_free"), [(2, False), (1, True), (1, False)])
def test_unscored_pairs_are_counted_only_where_a_rank_has_whole_rows(modpo_module, size, padding_free):
    """Under sequence parallelism the first rank may hold prompts alone: sound runs ended at once."""
    import torch

    class OneStep(modpo_module.MODPOTrainer):
        def __init__(self):
            self.template = SimpleNamespace(sequence_parallel_size=size, padding_free=padding_free)
            self.margins, self.store, self.live = [ADAPTER], None, "live"
            self.args, self.label_pad_token_id = SimpleNamespace(beta=0.1), -100
            self._unscored = modpo_module.UnscoredPairs()

        def reference_and_margins(self, batch):
            return torch.zeros(8), torch.zeros(8, 1)

    trainer, batch = OneStep(), {"labels": torch.full((8, 3), -100)}
    if size == 1 and not padding_free:
        with pytest.raises(ValueError, match="4 of 4 pairs have a side without a scored token"):
            trainer.compute_ref_log_probs(batch)
    else:
        trainer.compute_ref_log_probs(batch)
        assert trainer._unscored_share is None and trainer._unscored.seen == 0
