"""What `refuse_what_cannot_work` refuses, each with the flag or variable that stands in the way."""

from types import SimpleNamespace

import pytest
from datasets import Dataset

pytest.importorskip("swift")

from swift_ext.bt_grpo.checks import refuse_what_cannot_work
from swift_ext.bt_grpo.rewards import REWARDS
from swift_ext.settings import read_settings


class SwallowingTokenizer:
    """As those of Llama-2: `<s>` and `</s>` are its own tokens, and gone once decoded."""

    all_special_tokens = ("<s>", "</s>")

    def encode(self, text, add_special_tokens):
        return text.replace("<s>", "<s> ").replace("</s>", " </s>").split()

    def convert_ids_to_tokens(self, ids):
        return ids

    def decode(self, ids, skip_special_tokens):
        return " ".join(one for one in ids if one not in self.all_special_tokens)


def check(monkeypatch, rewards=("bt_pointwise_baseline",), environment=None, template=None, data=None, **training):
    from swift_ext.bt_grpo.settings import BTSettings

    for name, value in (environment or {}).items():
        monkeypatch.setenv(name, str(value))
    training_args = SimpleNamespace(**{
        "accelerator_config": SimpleNamespace(split_batches=False), "dynamic_sample": False, "scale_rewards": "group",
        "advantage_estimator": "grpo", "multi_turn_scheduler": None,
    } | training)  # fmt: skip
    shape = SimpleNamespace(**{"sequence_parallel_size": 1, "truncation_strategy": "left"} | (template or {}))
    classes = [REWARDS[name] for name in rewards]
    refuse_what_cannot_work(read_settings(BTSettings), classes, training_args, shape, data)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"rewards": ("bt_format",)}, "no reward function of this run compares pairs"),
        ({"data": iter(())}, "--streaming false"),
        ({"template": {"sequence_parallel_size": 2}}, "--sequence_parallel_size 2"),
        ({"template": {"truncation_strategy": "raise"}}, "--truncation_strategy delete"),
        ({"template": {"tokenizer": SwallowingTokenizer()}}, "takes </s>, <s> of '<s>72</s>'"),
        ({"multi_turn_scheduler": "tool"}, "--multi_turn_scheduler"),
        ({"accelerator_config": SimpleNamespace(split_batches=True)}, "split_batches"),
        ({"environment": {"BT_MIN_REWARD_STD": 1}, "scale_rewards": "none"}, "BT_MIN_REWARD_STD_MODE=zero works"),
        ({"environment": {"BT_MIN_REWARD_STD": 1}, "advantage_estimator": "rloo"}, "with rloo"),
        ({"environment": {"BT_SCORE_TEMP": 5}}, "BT_SCORE_TEMP has no effect on BTBaseline"),
        ({"environment": {"BT_PAIR_WEIGHT_ON": "advantage"}}, "one with weights"),
        ({"rewards": ("bt_pointwise_baseline", "bt_hard_margin")}, "set BT_SCORE_PARSER"),
        (
            {
                "environment": {"BT_SCORE_PARSER": "score100_last"},
                "data": Dataset.from_dict({"parser_name": ["score5_last"]}),
            },
            "rows were made for score5_last",
        ),
    ],
)
def test_refused(monkeypatch, case, message):
    with pytest.raises(ValueError, match=message):
        check(monkeypatch, **case)


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"rewards": ("bt_pointwise_baseline", "bt_format")},
        {"environment": {"BT_MIN_REWARD_STD": 1, "BT_MIN_REWARD_STD_MODE": "drop"}, "dynamic_sample": True},
        {"environment": {"BT_MIN_REWARD_STD": 1, "BT_MIN_REWARD_STD_MODE": "zero"}, "scale_rewards": "none"},
        {"rewards": ("bt_hard_margin",), "environment": {"BT_PAIR_WEIGHT_ON": "advantage", "BT_SCORE_TEMP": 5}},
        {"data": Dataset.from_dict({"parser_name": ["score100_first"]})},
    ],
)
def test_accepted(monkeypatch, case):
    check(monkeypatch, **case)
