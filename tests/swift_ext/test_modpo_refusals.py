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


def refuse(margins, store=None, packing=False, padding_free=False, **arguments) -> None:
    arguments = SimpleNamespace(**{"loss_type": ["sigmoid"], "reference_free": False, "ref_adapter_name": None} | arguments)
    template = SimpleNamespace(packing=packing, padding_free=padding_free)
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
    ],
)
def test_what_works_is_let_through(case):
    refuse(**case)
