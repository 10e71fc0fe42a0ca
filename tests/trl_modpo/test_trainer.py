"""MODPO through TRL's own trainer, in both versions: stock DPO in the limit, the worked numbers, the direct formula.

The trainers run in a process of their own (see conftest.py); about 40 runs of a tiny model, half a second each.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.tiny import build_adapter, build_classifier, preference_rows, write_rows

from .conftest import JobFailed, trl_rows

pytest.importorskip("trl")
pytestmark = pytest.mark.integration
CASES = json.loads((Path(__file__).parents[1] / "vectors" / "modpo.json").read_text())["modpo_loss"]
BETA, BATCH = 0.1, 2
LORA, FULL = {"lora": {}}, {"learning_rate": 1e-4}
TUNERS = {"lora": LORA, "full": FULL}


@pytest.fixture(scope="module")
def train(worker, tiny, data, tmp_path_factory):
    """train(**options of worker.train); the result has `folder` and `printed` beside what the worker tells."""
    parent, count = tmp_path_factory.mktemp("runs"), iter(range(1000))

    def run(**options):
        folder = parent / str(next(count))
        result = worker("train", **{"folder": folder, "model": tiny, "data": data} | options)
        return result | {"folder": folder, "printed": worker.printed}

    return run


def series(run, name) -> list[float]:
    return [row[name] for row in run["steps"]]


@pytest.fixture(scope="module")
def margins(adapter, second_adapter, tmp_path_factory):
    """Two adapters, a function and a classifier, mixed roles."""
    classifier = build_classifier(tmp_path_factory.mktemp("classifier") / "model")
    return [
        {"adapter": str(adapter), "name": "a", "weight": 0.2},
        {"function": "negative_response_tokens", "name": "short", "weight": 0.05},
        {"adapter": str(second_adapter), "name": "b", "weight": 0.3, "role": "cost"},
        {"classifier": str(classifier), "head": 1, "name": "judge", "weight": 0.1},
    ]


@pytest.fixture(scope="module")
def with_margins(train, margins):
    """Two epochs of LoRA, live, with a checkpoint in the first and evaluation on the training rows."""
    return train(w=0.4, margins=margins, max_steps=8, save_strategy="steps", save_steps=3, watch=True, **LORA)


# --- the limit of plain DPO -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [["sigmoid"], ["hinge"], ["ipo"], ["robust"], ["aot"], ["apo_zero"], ["sigmoid", "bco_pair", "sft"]],
    ids="-".join,
)
def test_w_one_without_margins_is_stock_dpo_to_the_last_bit(loss, train):
    stock, ours = (
        train(method=method, loss_type=loss, label_smoothing=0.1, **w, **LORA)
        for method, w in (("dpo", {}), ("modpo", {"w": 1.0, "shared_prefix": "off"}))
    )
    assert ours["losses"] == stock["losses"] and len(set(stock["losses"])) > 2
    assert ours["steps"] == stock["steps"]
    assert ours["tags"] == stock["tags"] == ["trl", "dpo"]


@pytest.mark.parametrize(
    "options", [{}, {"precompute_ref_log_probs": True}, {"ld_alpha": 0.5}], ids=lambda o: "-".join(o) or "plain"
)
def test_w_one_without_margins_is_stock_dpo_in_full_fine_tuning(options, train, data):
    evaluation = {"eval_data": data, "eval_strategy": "steps", "eval_steps": 2}
    stock, ours = (
        train(method=method, **options, **w, **FULL, **evaluation)
        for method, w in (("dpo", {}), ("modpo", {"w": 1.0, "shared_prefix": "off"}))
    )
    assert (
        ours["losses"] == stock["losses"]
        and ours["steps"] == stock["steps"]
        and ours["evaluations"] == stock["evaluations"]
    )


def test_a_margin_of_weight_zero_is_stock_dpo_too(train, adapter):
    """Through the whole machinery this time: the shifted reference handed to the parent is its own."""
    stock = train(method="dpo", **LORA)
    ours = train(w=1.0, margins=[{"adapter": str(adapter), "weight": 0.0}], **LORA)
    assert ours["losses"] == pytest.approx(stock["losses"], abs=1e-6)
    assert ours["tags"] == [*stock["tags"], "modpo"] == ["trl", "dpo", "modpo"]
    assert ours["passes_in_training"] == 8  # a step: reference and adapter, the base is not run again


@pytest.mark.parametrize(
    "loss",
    [
        "sigmoid",
        "hinge",
        "ipo",
        "exo_pair",
        "nca_pair",
        "robust",
        "bco_pair",
        "sppo_hard",
        "aot",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "discopop",
    ],
)
def test_every_loss_type_is_stock_dpo_with_another_beta_and_reference(loss, train, adapter):
    """With the margin adapter itself as the reference, beta_m = beta and weight 1 the shift is log pi_adapter - log pi_base:
    MODPO's first step is then stock DPO's, with beta / w and a reference model into which that adapter is merged.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = adapter.parent / "merged"
    if not folder.is_dir():
        base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
        PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(base), adapter
        ).merge_and_unload().save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    options = {"loss_type": [loss], "label_smoothing": 0.1, **FULL}
    stock = train(method="dpo", beta=BETA / 0.5, ref_model=str(folder), **options)
    ours = train(w=0.5, margins=[{"adapter": str(adapter), "weight": 1.0}], **options)
    assert ours["losses"] == pytest.approx(stock["losses"], rel=1e-5, abs=1e-5)
    assert ours["steps"][0]["rewards/chosen"] == pytest.approx(stock["steps"][0]["rewards/chosen"], abs=1e-5)
    assert abs(ours["steps"][0]["rewards/chosen"]) > 1e-2


# --- the worked numbers -----------------------------------------------------------------------------------------------


def test_the_worked_cases_through_the_trainers_loss(worker, tiny, data, tmp_path):
    """Loss, gradient, h of both sides: fp32, so to 1e-5 of the terms that are summed."""
    assert len(CASES) == 19
    for case, found in zip(
        CASES, worker("loss_cases", folder=tmp_path, model=tiny, data=data, cases=CASES), strict=True
    ):
        logps = [
            abs(v) for side in ("chosen", "rejected") for who in ("policy", "ref") for v in case[f"{who}_{side}_logps"]
        ]
        shifts = [
            sum(abs(w * m) for w, m in zip(case["w"][1:], row, strict=True))
            for s in ("chosen", "rejected")
            for row in case[f"margin_{s}"]
        ]
        tolerance = 1e-5 * max(1.0, (case["beta"] * max(logps) + max(shifts)) / case["w"][0])
        pairs = len(case["losses"])
        assert found["loss"] == pytest.approx(case["loss_mean"], abs=tolerance), case["id"]
        gradient = case["d_sumloss_d_policy_chosen"] + case["d_sumloss_d_policy_rejected"]
        assert [g * pairs for g in found["gradient"]] == pytest.approx(gradient, abs=1e-4), case["id"]
        for metric, key in {
            "rewards/chosen": "chosen_rewards",
            "rewards/rejected": "rejected_rewards",
            "rewards/margins": "reward_margins",
        }.items():
            assert found["metrics"][metric] == pytest.approx(sum(case[key]) / pairs, abs=tolerance), (
                case["id"],
                metric,
            )
        for k in range(case["n_margins"]):
            for side in ("chosen", "rejected"):
                raw = sum(row[k] for row in case[f"margin_{side}"]) / pairs
                assert found["metrics"][f"margin_rewards/m{k}/{side}"] == pytest.approx(raw, rel=1e-5, abs=1e-5)


# --- the direct formula -----------------------------------------------------------------------------------------------


def encode(tokenizer, row) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, response ids) of both sides in ChatML; the response ends with the end token and a newline."""
    prompt = f"<|im_start|>user\n{row['messages'][0]['content']}<|im_end|>\n<|im_start|>assistant\n"
    responses = row["messages"][1]["content"], row["rejected_response"]
    return [
        tuple(tokenizer.encode(text, add_special_tokens=False) for text in (prompt, f"{response}<|im_end|>\n"))
        for response in responses
    ]


@pytest.fixture(scope="module")
def logps_by_hand(tiny, rows):
    """logps_by_hand(folder of an adapter or a model, or None) -> (rows, 2) summed log-probs, one sequence at a time, float64."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)

    def compute(folder=None):
        if folder is None or (Path(folder) / "adapter_config.json").is_file():
            model = AutoModelForCausalLM.from_pretrained(tiny)
            model = model if folder is None else PeftModel.from_pretrained(model, folder)
        else:
            model = AutoModelForCausalLM.from_pretrained(folder)
        sums = []
        for row in rows:
            for prompt, response in encode(tokenizer, row):
                with torch.no_grad():
                    logits = model.eval()(input_ids=torch.tensor([prompt + response])).logits[0].double()
                logps = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
                sums.append(logps.gather(-1, torch.tensor(response)[:, None]).sum().item())
        return torch.tensor(sums, dtype=torch.float64).view(-1, 2)

    compute.tokens = torch.tensor([[len(r) for _, r in encode(tokenizer, row)] for row in rows]).double()
    return compute


@pytest.fixture(scope="module")
def margins_by_hand(margins, logps_by_hand, rows):
    """Each margin's values (rows, 2), by ways that share no code with the trainer but the classifier's forward."""
    from trl_ext.modpo.classifier import ClassifierReward

    reference = logps_by_hand()
    a, b = (BETA * (logps_by_hand(margins[k]["adapter"]) - reference) for k in (0, 2))
    score = ClassifierReward(margins[3]["classifier"], head=1)
    prompts = [row["messages"][:1] for row in rows]
    sides = [row["messages"][1]["content"] for row in rows], [row["rejected_response"] for row in rows]
    judge = torch.stack([score(prompts, side) for side in sides], 1).double()
    return {"a": a, "short": -logps_by_hand.tokens, "b": b, "judge": judge}


SIGNED = {"a": 0.2, "short": 0.05, "b": -0.3, "judge": 0.1}


def direct_loss(batch: slice, policy, reference, margins, w=0.4) -> float:
    """-log sigma(h_chosen - h_rejected), h = (beta (log pi - log ref) - sum_j w_j m_j) / w, arXiv 2310.03708."""
    h = (BETA * (policy - reference) - sum(SIGNED[name] * value for name, value in margins.items())) / w
    return -torch.nn.functional.logsigmoid(h[batch, 0] - h[batch, 1]).mean().item()


@pytest.mark.parametrize("precomputed", [False, True], ids=["live", "precomputed"])
@pytest.mark.parametrize("tuner", TUNERS)
def test_the_loss_is_the_direct_formula(tuner, precomputed, train, margins, logps_by_hand, margins_by_hand):
    """At the first step, where the policy is the reference, and at the fourth, from the weights of the checkpoint before it."""
    run = train(
        w=0.4,
        margins=margins,
        precompute_ref_log_probs=precomputed,
        save_strategy="steps",
        save_steps=3,
        **TUNERS[tuner],
    )
    reference = logps_by_hand()
    assert run["losses"][0] == pytest.approx(direct_loss(slice(0, 2), reference, reference, margins_by_hand), abs=1e-5)
    policy = logps_by_hand(run["folder"] / "checkpoint-3")
    assert (policy - reference)[6:8].abs().max() > 1e-2
    assert run["losses"][3] == pytest.approx(direct_loss(slice(6, 8), policy, reference, margins_by_hand), abs=1e-5)
    for name, values in margins_by_hand.items():
        for side, found in zip(("chosen", "rejected"), values[:BATCH].mean(0).tolist(), strict=True):
            assert run["steps"][0][f"margin_rewards/{name}/{side}"] == pytest.approx(found, abs=1e-5), (name, side)
        gap = (values[:BATCH, 0] - values[:BATCH, 1]).mean().item()
        assert run["steps"][0][f"margin_rewards/{name}/gap"] == pytest.approx(gap, abs=1e-5)
    if precomputed:  # four batches, three passes each (reference = base, adapter a, adapter b), none in training
        assert (run["passes_before"], run["passes_in_training"]) == (12, 0)
    else:
        assert (run["passes_before"], run["passes_in_training"]) == (0, 12)


def test_truncated_responses(train, margins, logps_by_hand, tiny, rows):
    """Margins see the tokens that the loss sees: counts and log-probs of the first max_length tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    longest = 60
    run = train(w=0.4, margins=margins, max_length=longest, max_steps=1, **LORA)
    kept = [[min(longest, len(p) + len(r)) - len(p) for p, r in encode(tokenizer, row)] for row in rows[:BATCH]]
    whole = logps_by_hand.tokens[:BATCH].tolist()
    assert kept != whole and min(map(min, kept)) > 0
    assert run["steps"][0]["margin_rewards/short/chosen"] == -sum(chosen for chosen, _ in kept) / BATCH
    assert run["steps"][0]["margin_rewards/short/rejected"] == -sum(rejected for _, rejected in kept) / BATCH
    again = train(w=0.4, margins=margins, max_length=longest, max_steps=1, precompute_ref_log_probs=True, **LORA)
    assert again["losses"] == pytest.approx(run["losses"], abs=1e-6)


def test_plain_text_rows_lose_their_end_token_again(train, rows, tmp_path):
    plain = [
        {
            "prompt": row["messages"][0]["content"],
            "chosen": row["messages"][1]["content"],
            "rejected": row["rejected_response"],
        }
        for row in rows
    ]
    run = train(
        data=write_rows(tmp_path / "plain.jsonl", plain),
        w=0.5,
        margins=[{"function": "tests.trl_modpo.functions.letters"}],
        max_steps=1,
        **LORA,
    )
    for side in ("chosen", "rejected"):
        expected = sum(len(row[side]) + len(row["prompt"]) / 1000 for row in plain[:BATCH]) / BATCH
        assert run["steps"][0][f"margin_rewards/letters/{side}"] == pytest.approx(expected, abs=1e-4)


def test_a_reference_that_is_not_the_base(train, adapter, second_adapter, tiny, logps_by_hand):
    """The policy starts from an adapter, which is then the reference too; the margin is still against the bare base."""
    run = train(
        policy_adapter=str(second_adapter), w=0.5, margins=[{"adapter": str(adapter), "name": "a"}], max_steps=2
    )
    base, start, expert = (logps_by_hand(x) for x in (None, second_adapter, adapter))
    margin = BETA * (expert - base)
    z = (0.5 * (margin[:BATCH, 1] - margin[:BATCH, 0])) / 0.5
    assert run["losses"][0] == pytest.approx(-torch.nn.functional.logsigmoid(z).mean().item(), abs=1e-5)
    assert run["steps"][0]["margin_rewards/a/chosen"] == pytest.approx(margin[:BATCH, 0].mean().item(), abs=1e-5)
    assert run["steps"][0]["logps/chosen"] == pytest.approx(start[:BATCH, 0].mean().item(), abs=1e-3)
    assert run["passes_in_training"] == 6  # reference, base, adapter
    assert all(".default." in name for name in run["trainable"])


def test_a_separate_reference_model_beside_a_lora_policy(train, adapter, tmp_path, rows, logps_by_hand):
    from tests.tiny import build_model

    other = build_model(tmp_path / "other", seed=4)
    run = train(ref_model=str(other), w=0.5, margins=[{"adapter": str(adapter), "name": "a"}], max_steps=1, **LORA)
    base, reference = logps_by_hand(), logps_by_hand(other)
    h = (BETA * (base - reference) - 0.5 * BETA * (logps_by_hand(adapter) - base)) / 0.5
    assert run["losses"][0] == pytest.approx(
        -torch.nn.functional.logsigmoid(h[:2, 0] - h[:2, 1]).mean().item(), abs=1e-5
    )


# --- roles, weights, one precomputation for a grid --------------------------------------------------------------------


def test_a_cost_is_a_reward_of_negative_beta(train, adapter):
    cost = train(w=0.5, margins=[{"adapter": str(adapter), "name": "m", "role": "cost"}], **LORA)
    negative = train(w=0.5, margins=[{"adapter": str(adapter), "name": "m", "beta": -BETA}], **LORA)
    reward = train(w=0.5, margins=[{"adapter": str(adapter), "name": "m"}], **LORA)
    assert cost["losses"] == negative["losses"] and cost["losses"][0] != reward["losses"][0]
    gaps = [series(run, "margin_rewards/m/gap") for run in (cost, negative, reward)]
    assert gaps[0] == gaps[2] == [-value for value in gaps[1]]
    assert (
        "pushes AWAY FROM what the adapter" in cost["printed"] and "pushes TOWARD what the adapter" in reward["printed"]
    )
    assert "(by a raw negative beta)" in negative["printed"]


def test_one_precomputation_serves_every_weight_and_beta_and_never_another_source(
    train, adapter, second_adapter, data, tmp_path
):
    """The stored values are raw. Whatever they depend on gives them another name: adapter weights, scale, rows, max_length."""
    moved = shutil.copytree(adapter, tmp_path / "expert")
    precomputed = {"precompute_ref_log_probs": True, "max_steps": 1, **LORA}

    def passes(**options):
        return train(**{"w": 0.5, "margin_adapter": str(moved), **precomputed, **options})["passes_before"]

    assert passes() == 8
    for options in ({}, {"w": 0.2}, {"beta": 0.3}, {"margin_role": "cost"}, {"margin_beta": 0.7}, {"seed": 9}):
        assert passes(**options) == 0, options
    live = train(w=0.2, margin_adapter=str(moved), margin_beta=0.7, max_steps=1, **LORA)
    stored = train(w=0.2, margin_adapter=str(moved), margin_beta=0.7, **precomputed)
    assert stored["passes_before"] == 0 and stored["losses"] == pytest.approx(live["losses"], abs=1e-6)
    for options in (
        {"max_length": 60},
        {"ld_alpha": 0.5},
        {"reverse": True},
        {"data": write_rows(tmp_path / "other.jsonl", trl_rows(preference_rows(8, seed=12)))},
    ):
        assert passes(**options) == 8, options
    config = (moved / "adapter_config.json").read_text()
    (moved / "adapter_config.json").write_text(config.replace('"lora_alpha": 8', '"lora_alpha": 16'))
    assert passes() == 8
    (moved / "adapter_config.json").write_text(config)
    assert passes() == 0
    shutil.copy(second_adapter / "adapter_model.safetensors", moved / "adapter_model.safetensors")
    assert passes() == 8


def test_another_base_is_never_served_from_the_cache(train, tiny, tmp_path):
    """Same rows, same function margin, other weights of the base: in its folder, or in memory alone."""
    from tests.tiny import build_model

    other = build_model(tmp_path / "other", seed=4)
    options = {"w": 0.5, "margin_function": "brevity", "precompute_ref_log_probs": True, "max_steps": 1, **LORA}
    passes = [
        train(**options, **changes)["passes_before"]
        for changes in ({}, {}, {"model": str(other)}, {"nudged": True}, {})
    ]
    assert passes == [4, 0, 4, 4, 0]


# --- what training leaves behind --------------------------------------------------------------------------------------


def test_nothing_but_the_policy_trains(with_margins):
    assert with_margins["trainable"] and all(".default." in name for name in with_margins["trainable"])
    assert set(with_margins["moved"]) == set(with_margins["trainable"])
    for name in ("margin_a", "margin_b"):
        assert any(f".{name}." in parameter for parameter in with_margins["names"])
    for metric in ("margin_rewards/a/chosen", "margin_rewards/b/rejected", "margin_rewards/judge/gap"):
        values = series(with_margins, metric)  # the second epoch sees the first one's batches
        assert values[:4] == values[4:] and len(set(values)) == 4
    assert sum(with_margins["losses"][4:]) < sum(with_margins["losses"][:4]) - 0.05


def test_full_fine_tuning_leaves_the_margin_host_alone(train, adapter):
    run = train(w=0.5, margin_adapter=str(adapter), max_steps=8, watch=True, **FULL)
    assert set(run["moved"]) == set(run["trainable"]) == set(run["names"]) and not any(
        "lora" in name for name in run["names"]
    )
    values = series(run, "margin_rewards/margin/chosen")
    assert values[:4] == values[4:] and len(set(values)) == 4


def test_the_model_card_names_the_paper_the_objectives_the_data_and_the_claim(train, with_margins):
    card = (with_margins["folder"] / "README.md").read_text("utf-8")
    assert "Multi-Objective Direct Preference Optimization](https://huggingface.co/papers/2310.03708)" in card
    assert "@article{zhou2023beyond," in card and "modpo" in card.partition("\n---\n")[0]
    assert "| the preference in the training pairs | 0.4 | reward, DPO with beta 0.1 |" in card
    assert "| short | 0.05 | reward, function `negative_response_tokens`, beta 1 |" in card
    assert "| b | 0.3 | cost, adapter `" in card and str(with_margins["folder"].parents[1]) not in card
    assert "rows, digest `" in card and "`python -m launch reproduce modpo-front`" in card
    stored = train(
        w=0.5, margin_function="brevity", precompute_ref_log_probs=True, save_strategy="steps", max_steps=1, **LORA
    )
    digests = [
        text.partition("digest `")[2][:16] for text in (card, (stored["folder"] / "README.md").read_text("utf-8"))
    ]
    assert digests[0] == digests[1]  # stored log-probs are no data


def test_the_checkpoint_holds_the_policy_alone_and_the_settings(train, with_margins):
    from safetensors.torch import load_file

    stock = train(method="dpo", save_strategy="steps", save_steps=3, max_steps=3, **LORA)["folder"] / "checkpoint-3"
    ours = with_margins["folder"] / "checkpoint-3"
    names = {path.relative_to(ours).as_posix() for path in ours.rglob("*")}
    assert names == {path.relative_to(stock).as_posix() for path in stock.rglob("*")} | {"modpo_settings.json"}
    assert load_file(ours / "adapter_model.safetensors").keys() == load_file(stock / "adapter_model.safetensors").keys()
    settings = json.loads((ours / "modpo_settings.json").read_text())
    assert settings["w"] == 0.4 and settings["beta"] == BETA and settings["start"] == "reference"
    assert [(m["name"], m["role"], m["weight"], m["beta"]) for m in settings["margins"]] == [
        ("a", "reward", 0.2, BETA), ("short", "reward", 0.05, 1.0), ("b", "cost", 0.3, BETA), ("judge", "reward", 0.1, 1.0)
    ]  # fmt: skip


@pytest.mark.parametrize("tuner", TUNERS)
def test_resuming_continues_the_uninterrupted_run(tuner, train, margins, with_margins):
    whole = with_margins
    if tuner == "full":
        whole = train(w=0.4, margins=margins, max_steps=8, save_strategy="steps", save_steps=3, **FULL)
    resumed = train(w=0.4, margins=margins, max_steps=8, resume=str(whole["folder"] / "checkpoint-3"), **TUNERS[tuner])
    assert resumed["losses"] == whole["losses"][3:]
    assert [row["grad_norm"] for row in resumed["steps"][3:]] == series(whole, "grad_norm")[3:]
    assert resumed["trainable"] == whole["trainable"]


def test_a_finished_run_that_is_resumed_takes_no_step(train, margins, with_margins):
    """Its last step lies within an epoch, where the parent would take one more."""
    done = train(w=0.4, margins=margins, max_steps=3, resume=str(with_margins["folder"] / "checkpoint-3"), **LORA)
    assert done["losses"] == [] and len(done["steps"]) == 3


def test_resuming_with_other_weights_is_refused(train, margins, with_margins):
    with pytest.raises(JobFailed, match=r"modpo_settings\.json: the run had w = 0\.4, this one has 0\.6"):
        train(w=0.6, margins=margins, max_steps=8, resume=str(with_margins["folder"] / "checkpoint-3"), **LORA)


@pytest.mark.parametrize("precomputed", [False, True], ids=["live", "precomputed"])
def test_evaluation_reports_margins_and_leaves_training_as_it_is(precomputed, train, margins, with_margins, data):
    """The evaluation rows are the training rows: their margins average to those of the first epoch."""
    run = train(
        w=0.4,
        margins=margins,
        max_steps=4,
        eval_data=data,
        eval_strategy="steps",
        eval_steps=2,
        precompute_ref_log_probs=precomputed,
        **LORA,
    )
    assert series(run, "loss") == pytest.approx(series(with_margins, "loss")[:4], abs=1e-6)
    assert len(run["evaluations"]) == 2
    for name in ("a", "short", "b", "judge"):
        for part in ("chosen", "rejected", "gap"):
            expected = sum(series(with_margins, f"margin_rewards/{name}/{part}")[:4]) / 4
            for evaluation in run["evaluations"]:
                assert evaluation[f"eval_margin_rewards/{name}/{part}"] == pytest.approx(expected, abs=1e-5)
    assert not any(name.startswith("eval_") for name in run["steps"][0])


def test_gradient_checkpointing_and_policy_dropout_do_not_touch_the_margins(train, adapter):
    """lora_dropout acts on the policy (other losses), never on reference or margin (same values)."""
    plain, wild = (
        train(
            w=0.5,
            margin_adapter=str(adapter),
            lora={"lora_dropout": rate},
            disable_dropout=False,
            gradient_checkpointing=rate > 0,
        )
        for rate in (0.0, 0.5)
    )
    assert series(wild, "margin_rewards/margin/chosen") == pytest.approx(
        series(plain, "margin_rewards/margin/chosen"), abs=5e-6
    )
    assert wild["losses"][1:] != pytest.approx(plain["losses"][1:], abs=1e-6)


def test_low_precision_weights_keep_their_margins(train, adapter, logps_by_hand):
    """bf16 weights: log-probs are summed from fp32 logits, so a margin of 0.1 is right within bf16's own forward error."""
    run = train(w=0.5, margin_adapter=str(adapter), model_init_kwargs={"dtype": "bfloat16"}, max_steps=1, **LORA)
    margin = (BETA * (logps_by_hand(adapter) - logps_by_hand()))[:BATCH].mean(0).tolist()
    found = [run["steps"][0][f"margin_rewards/margin/{side}"] for side in ("chosen", "rejected")]
    assert found == pytest.approx(margin, abs=0.01)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def marked(rows, tmp_path_factory):
    """The fourth row, the second pair of the second batch, carries a mark."""
    copy = json.loads(json.dumps(rows))
    copy[3]["messages"][0]["content"] += " MARK"
    return write_rows(tmp_path_factory.mktemp("marked") / "rows.jsonl", trl_rows(copy))


def test_a_nan_margin_names_function_and_response(train, marked, rows):
    text = rows[3]["messages"][1]["content"]
    with pytest.raises(JobFailed) as caught:
        train(data=marked, w=0.5, margin_function="tests.trl_modpo.functions.nan_for_one", **LORA)
    assert f"function 'tests.trl_modpo.functions.nan_for_one' returned nan for response 1: {text!r}" in str(
        caught.value
    )


def test_an_infinite_margin_names_margin_side_pair_and_step_or_row(train):
    huge = {"w": 0.5, "margins": [{"function": "tests.trl_modpo.functions.too_large", "name": "huge"}], **LORA}
    with pytest.raises(JobFailed, match="margin 'huge' is inf for the chosen side of pair 0 of step 0: "):
        train(**huge)
    with pytest.raises(JobFailed, match="margin 'huge' is inf for the chosen side of pair 0 of train"):
        train(**huge, precompute_ref_log_probs=True)


def test_an_adapter_of_another_base(train, tmp_path):
    from tests.tiny import build_model

    other = build_model(tmp_path / "other", seed=8)
    strange = build_adapter(other, tmp_path / "strange")
    for options in (LORA, FULL):
        with pytest.raises(JobFailed, match=r"strange was trained on base model .*its weights differ"):
            train(w=0.5, margin_adapter=str(strange), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_type": ["sft"]}, r"loss_type \['sft'\] has no reference term"),
        ({"sync_ref_model": True}, "sync_ref_model moves the reference"),
        ({"margin_adapter": "nowhere"}, "margin adapter 'nowhere' is not a folder"),
        ({"method": "dpo", "w": None}, None),
    ],
    ids=["sft", "sync", "missing", "stock"],
)
def test_setups_in_which_margins_would_have_no_effect(options, message, train, adapter):
    if message is None:
        train(method="dpo", max_steps=1, **LORA)
        return
    with pytest.raises(JobFailed, match=message):
        train(**{"w": 0.5, "margin_adapter": str(adapter), **FULL, **options})


# --- nothing is scored, nothing is believed ----------------------------------------------------------------------------


def test_responses_that_are_cut_off_whole_are_refused_before_they_train(train, tmp_path):
    """The margin alone would move the loss, and the log would look alive."""
    rows = trl_rows(preference_rows(8))
    for row in rows:
        row["prompt"][0]["content"] *= 4
    long = write_rows(tmp_path / "long.jsonl", rows)
    with pytest.raises(JobFailed, match=r"of \d+ pairs have a side without a scored token|8 of 8 rows are dropped"):
        train(w=0.5, margin_function="brevity", data=long, max_length=48, **LORA)


def test_a_column_of_margins_in_the_data_is_not_believed(train, tmp_path):
    rows = [{**row, "margin_values": [0.0, 9.0]} for row in trl_rows(preference_rows(8))]
    stored = write_rows(tmp_path / "stored.jsonl", rows)
    for options in ({}, {"precompute_ref_log_probs": True}):
        with pytest.raises(JobFailed, match="train_dataset has a column 'margin_values', and nothing says"):
            train(w=0.5, margin_function="brevity", data=stored, **options, **LORA)


@pytest.mark.parametrize("kind", ["function", "classifier"])
def test_margins_beside_the_model_are_computed_once_when_all_weights_train(train, margins, kind):
    chosen = [margin for margin in margins if kind in margin]
    once = train(w=0.5, margins=chosen, precompute_ref_log_probs=True, max_steps=2, **FULL)
    live = train(w=0.5, margins=chosen, max_steps=2, **FULL)
    assert once["losses"] == pytest.approx(live["losses"], abs=1e-5) and once["passes_in_training"] == 0


def test_an_answer_that_only_calls_a_tool_is_an_empty_text():
    from trl_ext.modpo.rows import row_texts

    prompt = [{"role": "user", "content": "q"}]
    call = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]}
    parts = {"role": "assistant", "content": [{"type": "text", "text": "no"}]}
    assert row_texts({"prompt": prompt, "chosen": [call], "rejected": [parts]}, "") == [(prompt, ""), (prompt, "no")]
