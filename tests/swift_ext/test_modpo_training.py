"""MODPO through the real `swift rlhf`: equal to stock DPO in the limit, right at step 0, resumable, and loud about mistakes.

About 25 runs of a tiny model, three of them in two processes. One of one and one of two processes are started by the
command line itself; as the others are compared with them, all have its numbers.
"""

import json
import math

import pytest
import torch

from tests import fsdp
from tests.conftest import REPOSITORY, swift_flags
from tests.engines.record import apart, record
from tests.tiny import build_adapter, build_classifier, build_model, preference_rows, write_rows

pytest.importorskip("swift")
pytestmark = pytest.mark.integration

BETA, ROWS, BATCH = 0.1, 8, 2
IN_ORDER = {"dataset_shuffle": False, "train_dataloader_shuffle": False}


@pytest.fixture(scope="module")
def rows():
    return preference_rows(ROWS, seed=11)


@pytest.fixture(scope="module")
def data(rows, tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("training") / "pairs.jsonl", rows)


@pytest.fixture(scope="module")
def train(tiny, data, run_swift, tmp_path_factory):
    """train(environment, plugin=True, processes=1, command_line=False, **flags), four batches an epoch as in the file."""
    folder = tmp_path_factory.mktemp("runs")
    count = iter(range(1000))

    def run(environment, plugin=True, processes=1, succeed=True, command_line=False, **flags):
        run_folder = folder / str(next(count))
        options = swift_flags(tiny, data, run_folder, **IN_ORDER | flags)
        how = {"command_line": command_line, "sharded": "fsdp" in flags}
        done = run_swift(run_folder, options, environment, plugin, processes, **how)
        assert (done.returncode == 0) == succeed, done.output[-3000:]
        return done

    return run


def modpo(w=0.5, **margin) -> dict:
    return {"MODPO_W": w, **({"MODPO_MARGINS": json.dumps([margin])} if margin else {})}


@pytest.fixture(scope="module")
def stock(train):
    return train({}, plugin=False, max_steps=8, save_strategy="steps", save_steps=8)


@pytest.fixture(scope="module")
def with_adapter(train, adapter):
    """Two epochs with one adapter as a reward, w = 0.5, a checkpoint in the middle of the first."""
    return train(modpo(adapter=str(adapter)), max_steps=8, save_strategy="steps", save_steps=3, command_line=True)


# --- the limit of plain DPO -------------------------------------------------------------------------------------------

PACKAGES = ("ms-swift", "trl", "transformers", "torch")
SERIES = ("loss", "grad_norm", "rewards/chosen", "rewards/margins", "logps/rejected")
PLAIN = {"MODPO_SHARED_PREFIX": "off"}  # to the last digit; shared prefixes round otherwise: tests/shared_prefix


def test_w_one_without_margins_is_stock_dpo_lora(train, stock):
    run = train(modpo(1) | PLAIN, max_steps=8)
    assert len(stock.steps) == len(run.steps) == 8
    for name in SERIES:
        assert run.series(name) == stock.series(name), name
    assert stock.steps[0].keys() == run.steps[0].keys()
    losses = apart(run.series("loss"), stock.series("loss"))
    seen = f"LoRA in fp32: with w = 1 and no margin {len(SERIES)} series of 8 steps of ms-swift's DPO, losses {losses} apart"
    record("MODPO (ms-swift)", "transformers", "ran", seen, PACKAGES)


def test_w_one_without_margins_is_stock_dpo_full(train):
    full = {"tuner_type": "full", "learning_rate": 1e-4}
    stock, run = train({}, plugin=False, **full), train(modpo(1) | PLAIN, **full)
    for name in SERIES:
        assert run.series(name) == stock.series(name), name


# --- step 0, computed by hand -----------------------------------------------------------------------------------------


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
    """logps_by_hand(adapter or None) -> (first batch, 2) summed log-probs of (chosen, rejected), one sequence at a time."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)

    def compute(adapter=None):
        model = AutoModelForCausalLM.from_pretrained(tiny).eval()
        model = model if adapter is None else PeftModel.from_pretrained(model, adapter).eval()
        sums = []
        for row in rows[:BATCH]:
            for prompt, response in encode(tokenizer, row):
                with torch.no_grad():
                    logits = model(input_ids=torch.tensor([prompt + response])).logits[0].double()
                logps = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
                sums.append(logps.gather(-1, torch.tensor(response)[:, None]).sum().item())
        return torch.tensor(sums).view(BATCH, 2)

    compute.tokens = torch.tensor([[len(r) for _, r in encode(tokenizer, row)] for row in rows[:BATCH]]).double()
    return compute


def step_zero_loss(shift: torch.Tensor, w: float) -> float:
    """The policy equals the reference, so h = -(1 / w) shift, shift = sum_j w_j m_j: loss = -log sigma((shift_r - shift_c) / w)."""
    z = (shift[:, 1] - shift[:, 0]) / w
    return -torch.nn.functional.logsigmoid(z).mean().item()


@pytest.mark.parametrize("tuner", ["lora", "full"])
def test_step_zero_with_an_adapter_as_reward(tuner, train, with_adapter, adapter, logps_by_hand):
    """m = beta (log pi_adapter - log pi_base), weight 0.5. Full fine-tuning puts the adapter on the reference model."""
    full = {"tuner_type": "full", "max_steps": 2, "learning_rate": 1e-4}
    run = with_adapter if tuner == "lora" else train(modpo(adapter=str(adapter)), **full)
    margins = BETA * (logps_by_hand(adapter) - logps_by_hand())
    first = run.steps[0]
    assert first["loss"] == pytest.approx(step_zero_loss(0.5 * margins, 0.5), abs=1e-5)
    assert abs(first["loss"] - math.log(2)) > 0.02
    assert first["margin_rewards/margin/chosen"] == pytest.approx(margins[:, 0].mean().item(), abs=1e-5)
    assert first["margin_rewards/margin/rejected"] == pytest.approx(margins[:, 1].mean().item(), abs=1e-5)
    assert first["margin_rewards/margin/gap"] == pytest.approx((margins[:, 0] - margins[:, 1]).mean().item(), abs=1e-5)
    assert first["rewards/chosen"] == pytest.approx(-margins[:, 0].mean().item(), abs=1e-5)  # h = -(0.5 / 0.5) m
    assert first["logps/chosen"] == pytest.approx(logps_by_hand()[:, 0].mean().item(), abs=1e-3)
    assert "pushes TOWARD what the adapter" in run.output


def test_step_zero_with_a_cost_of_another_weight_and_beta(train, adapter, logps_by_hand):
    """w 0.8, weight 0.3, margin beta 0.25: shift = -0.3 * 0.25 (log pi_adapter - log pi_base)."""
    run = train(modpo(0.8, adapter=str(adapter), role="cost", weight=0.3, beta=0.25), max_steps=1)
    difference = logps_by_hand(adapter) - logps_by_hand()
    assert run.steps[0]["loss"] == pytest.approx(step_zero_loss(-0.3 * 0.25 * difference, 0.8), abs=1e-5)
    assert run.steps[0]["margin_rewards/margin/chosen"] == pytest.approx(
        0.25 * difference[:, 0].mean().item(), abs=1e-5
    )
    assert "AWAY FROM" in run.output


def test_step_zero_with_adapter_function_and_classifier_together(
    train, adapter, second_adapter, rows, logps_by_hand, tmp_path
):
    """Two adapters, minus the number of response tokens, and logit 1 of a classifier, mixed roles, w = 0.4."""
    from trl_ext.modpo.classifier import ClassifierReward

    folder = build_classifier(tmp_path / "classifier")
    run = train(
        {
            "MODPO_W": 0.4,
            "MODPO_MARGINS": json.dumps(
                [
                    {"adapter": str(adapter), "name": "a", "weight": 0.2},
                    {"function": "negative_response_tokens", "name": "short", "weight": 0.05},
                    {"adapter": str(second_adapter), "name": "b", "weight": 0.3, "role": "cost"},
                    {"classifier": str(folder), "head": 1, "name": "judge", "weight": 0.1},
                ]
            ),
        },
        max_steps=1,
    )
    reference, (first, *_) = logps_by_hand(), run.steps
    a, b = (BETA * (logps_by_hand(x) - reference) for x in (adapter, second_adapter))
    short = -logps_by_hand.tokens
    score, batch = ClassifierReward(str(folder), head=1), rows[:BATCH]
    prompts = [row["messages"][:1] for row in batch]
    judge = torch.stack(
        [score(prompts, [row["messages"][1]["content"] for row in batch]), score(prompts, [row["rejected_response"] for row in batch])], 1
    )  # fmt: skip
    assert first["loss"] == pytest.approx(step_zero_loss(0.2 * a + 0.05 * short - 0.3 * b + 0.1 * judge, 0.4), abs=1e-5)
    for name, values in {"a": a, "short": short, "b": b, "judge": judge}.items():
        for side, found in zip(("chosen", "rejected"), values.mean(0).tolist(), strict=True):
            assert first[f"margin_rewards/{name}/{side}"] == pytest.approx(found, abs=1e-5), (name, side)


def test_step_zero_with_a_function_alone(train, logps_by_hand):
    """The length recipe: weights (1, 0.01), no adapter, so the reference is the only second forward."""
    run = train(modpo(1, function="negative_response_tokens", weight=0.01), max_steps=1)
    assert run.steps[0]["loss"] == pytest.approx(step_zero_loss(-0.01 * logps_by_hand.tokens, 1.0), abs=1e-5)
    counted = run.steps[0][
        "margin_rewards/negative_response_tokens/chosen"
    ]  # the loss does not see what both sides share
    assert counted == pytest.approx(-logps_by_hand.tokens[:, 0].mean().item(), abs=1e-5)
    assert "pushes TOWARD shorter answers" in run.output


def test_a_margin_and_its_mirror_cancel(train, adapter):
    """The same adapter as reward and as cost with equal weights: log 2, as if there were no margin."""
    pair = [{"adapter": str(adapter), "name": role, "role": role, "weight": 0.25} for role in ("reward", "cost")]
    run = train({"MODPO_W": 0.5, "MODPO_MARGINS": json.dumps(pair)}, max_steps=1)
    assert run.steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert abs(run.steps[0]["margin_rewards/cost/gap"]) > 0.01


# --- what training leaves behind --------------------------------------------------------------------------------------


def test_the_checkpoint_holds_the_policy_adapter_alone(stock, with_adapter):
    from safetensors.torch import load_file

    theirs, ours = stock.folder / "checkpoint-8", with_adapter.folder / "checkpoint-6"
    names = {path.relative_to(ours).as_posix() for path in ours.rglob("*")}
    assert names == {path.relative_to(theirs).as_posix() for path in theirs.rglob("*")} | {"modpo_settings.json"}
    weights, stock_weights = (load_file(folder / "adapter_model.safetensors") for folder in (ours, theirs))
    assert weights.keys() == stock_weights.keys()
    states = [torch.load(folder / "optimizer.pt", weights_only=True) for folder in (ours, theirs)]
    assert len(states[0]["state"]) == len(states[1]["state"]) == len(weights)
    settings = json.loads((ours / "modpo_settings.json").read_text())
    assert settings["w"] == 0.5 and settings["beta"] == BETA and settings["margins"][0]["weight"] == 0.5
    assert settings["start"] == "reference"


def test_the_model_card_names_the_paper_the_objectives_the_data_and_the_claim(with_adapter, stock, adapter):
    card = (with_adapter.folder / "README.md").read_text("utf-8")
    assert "trained with MODPO" in card and "https://huggingface.co/papers/2310.03708" in card
    assert "@article{zhou2023beyond," in card and {"- modpo", "- ms-swift", "- dpo"} <= set(card.splitlines())
    assert "| the preference in the training pairs | 0.5 | reward, DPO with beta" in card
    assert f"| 0.5 | reward, adapter `{adapter.name}`, beta" in card
    assert "rows, digest `" in card and "`python -m launch reproduce modpo-front`" in card
    assert "trained with DPO" in (stock.folder / "README.md").read_text("utf-8")


def test_neither_base_nor_margin_moves_while_the_policy_does(with_adapter):
    """The second epoch sees the first one's batches: margins the same to the last digit, the loss lower."""
    for side in ("chosen", "rejected"):
        series = with_adapter.series(f"margin_rewards/margin/{side}")
        assert series[:4] == series[4:] and len(set(series)) == 4
    losses = with_adapter.series("loss")
    assert sum(losses[4:]) < sum(losses[:4]) - 0.05


def test_the_folders_of_base_and_margin_are_untouched(with_adapter, tiny, adapter, tmp_path):
    from trl_ext.modpo.digest import weights_digest

    assert weights_digest(tiny) == weights_digest(build_model(tmp_path / "base"))
    assert weights_digest(adapter) == weights_digest(build_adapter(tmp_path / "base", tmp_path / "adapter", seed=1))


# --- resuming, evaluation, checkpointing ------------------------------------------------------------------------------


def test_resuming_continues_the_uninterrupted_run(train, with_adapter, adapter):
    """From step 3, the middle of the first epoch."""
    resumed = train(
        modpo(adapter=str(adapter)), max_steps=8, resume_from_checkpoint=with_adapter.folder / "checkpoint-3",
    )  # fmt: skip
    for name in ("loss", "grad_norm", "rewards/margins", "margin_rewards/margin/gap"):
        assert resumed.series(name) == with_adapter.series(name)[3:], name


def test_resuming_with_another_weight_is_refused(train, with_adapter, adapter):
    run = train(
        modpo(0.6, adapter=str(adapter)), succeed=False, max_steps=8,
        resume_from_checkpoint=with_adapter.folder / "checkpoint-3",
    )  # fmt: skip
    assert "modpo_settings.json: the run had w = 0.5, this one has 0.6" in run.output


def test_evaluation_and_gradient_checkpointing_leave_training_as_it_is(
    train, with_adapter, adapter, data, logps_by_hand
):
    """The validation rows are the training rows: before the first step their margin is that of the first epoch."""
    run = train(
        modpo(adapter=str(adapter)), max_steps=4, val_dataset=data, eval_strategy="steps", eval_steps=2,
        per_device_eval_batch_size=2, gradient_checkpointing=True,
    )  # fmt: skip
    assert run.series("loss") == pytest.approx(with_adapter.series("loss")[:4], abs=1e-6)
    assert run.series("grad_norm") == pytest.approx(with_adapter.series("grad_norm")[:4], rel=1e-5)
    assert len(run.evaluations) == 2
    for name in ("chosen", "rejected", "gap"):
        expected = sum(with_adapter.series(f"margin_rewards/margin/{name}")[:4]) / 4
        for evaluation in run.evaluations:
            assert evaluation[f"eval_margin_rewards/margin/{name}"] == pytest.approx(expected, abs=1e-5)
    assert run.evaluations[1]["eval_loss"] < run.evaluations[0]["eval_loss"]
    assert not any(name.startswith("eval_") for name in run.steps[0])


# --- several processes ------------------------------------------------------------------------------------------------

TWO_RANKS = {"processes": 2, "per_device_train_batch_size": 1}  # of one pair each


def test_two_processes_train_as_one(train, with_adapter, adapter):
    """Two ranks of one pair each against one process with two pairs."""
    run = train(modpo(adapter=str(adapter)), max_steps=4, command_line=True, **TWO_RANKS)
    for name in ("loss", "grad_norm", "rewards/margins", "margin_rewards/margin/gap", "margin_rewards/margin/chosen"):
        assert run.series(name) == pytest.approx(with_adapter.series(name)[:4], rel=1e-5, abs=1e-5), name
    seen = f"two CPU ranks, LoRA in fp32: {of_one_process(run, with_adapter)}"
    record("MODPO (ms-swift)", "DDP", "ran", seen, PACKAGES)


def of_one_process(run, one) -> str:
    found = run.series("loss")
    return f"{len(found)} losses of one process, {apart(found, one.series('loss')[: len(found)])} apart at most"


@pytest.mark.parametrize("stage", [pytest.param("zero1", marks=pytest.mark.long), "zero2", "zero3"])
def test_deepspeed_on_two_processes(stage, train, with_adapter, adapter):
    """In bf16: margins within its rounding of weights and activations (about 0.5 % of log-probs that differ by several nats)."""
    pytest.importorskip("deepspeed")
    settings = modpo(adapter=str(adapter)) | {"MODPO_SHARED_PREFIX": "on"}
    run = train(settings, max_steps=3, deepspeed=stage, torch_dtype="bfloat16", **TWO_RANKS)
    assert "shared prefixes: the first batch computes" in run.output
    assert all(math.isfinite(value) for name in ("loss", "grad_norm") for value in run.series(name))
    for name in ("margin_rewards/margin/chosen", "margin_rewards/margin/rejected"):
        assert run.series(name) == pytest.approx(with_adapter.series(name)[:3], abs=0.01), name
    assert run.steps[0]["loss"] == pytest.approx(with_adapter.steps[0]["loss"], abs=0.01)
    first = apart([run.steps[0]["loss"]], [with_adapter.steps[0]["loss"]])
    seen = f"two CPU ranks, LoRA in bf16, upstream's {stage}: 3 steps; the first loss is one fp32 process's to {first}"
    record("MODPO (ms-swift)", f"ZeRO-{stage[-1]}", "ran", seen, (*PACKAGES, "deepspeed"))


def test_fsdp2_on_two_processes(train, with_adapter, adapter):
    """launch/fsdp/fsdp2.json in fp32. Found: 0 in the loss of DDP."""
    sharded = {"fsdp": fsdp.SWIFT_FILE, "fp16": False, "max_steps": 4, "save_strategy": "steps", "save_steps": 4}
    run = train(modpo(adapter=str(adapter)), **sharded, **TWO_RANKS)
    for name in ("loss", "rewards/margins", "margin_rewards/margin/gap", "margin_rewards/margin/chosen"):
        assert run.series(name) == pytest.approx(with_adapter.series(name)[:4], rel=1e-5, abs=1e-5), name
    assert (run.folder / "checkpoint-4" / "adapter_model.safetensors").is_file()
    seen = f"two CPU ranks, LoRA in fp32, launch/fsdp/fsdp2.json: {of_one_process(run, with_adapter)}"
    record("MODPO (ms-swift)", "FSDP2", "ran", seen, PACKAGES)
    preset = train(modpo(adapter=str(adapter)), succeed=False, fsdp="fsdp2", fp16=False, max_steps=1, **TWO_RANKS)
    assert "ValueError: FSDP's state_dict_type is SHARDED_STATE_DICT" in preset.output


def test_fsdp1_would_train_something_else(train, adapter, tmp_path):
    flags = {"fsdp": fsdp.swift_file_of_version_1(tmp_path), "fp16": False, "max_steps": 1, **TWO_RANKS}
    run = train(modpo(adapter=str(adapter)), succeed=False, **flags)
    assert "ValueError: FSDP is version 1, which joins the weights" in run.output
    seen = "with live margins: FSDP is version 1, which joins the weights; FSDP2 is valid, or a store that was computed before"
    record("MODPO (ms-swift)", "FSDP1", "refused", seen, PACKAGES)


@pytest.mark.long
def test_fsdp2_with_all_weights_and_the_margin_on_the_reference(train, adapter):
    full = {"tuner_type": "full", "learning_rate": 1e-4, "max_steps": 3, "fp16": False, **TWO_RANKS}
    saved = {"save_strategy": "steps", "save_steps": 3}
    ddp, run = (train(modpo(adapter=str(adapter)), **full, **more) for more in ({}, {"fsdp": fsdp.SWIFT_FILE, **saved}))
    for name in ("loss", "rewards/margins", "margin_rewards/margin/gap"):
        assert run.series(name) == pytest.approx(ddp.series(name), rel=1e-5, abs=1e-5), name
    assert (run.folder / "checkpoint-3" / "model.safetensors").is_file()


# --- mistakes ---------------------------------------------------------------------------------------------------------

NAN_MARGIN = """
def nan_for_one(prompts, responses, *, response_tokens):
    return [float("nan") if "MARK" in prompt and index < len(prompts) // 2 else 1.0 for index, prompt in enumerate(prompts)]


def too_large(prompts, responses, *, response_tokens):
    return [1e39] * len(prompts)  # finite as a float, infinite in fp32
"""


@pytest.fixture
def margin_module(rows, tmp_path):
    (tmp_path / "my_margins.py").write_text(NAN_MARGIN)
    marked = json.loads(json.dumps(rows))
    marked[3]["messages"][0]["content"] += " MARK"
    return {"PYTHONPATH": f"{REPOSITORY}:{tmp_path}"}, write_rows(tmp_path / "marked.jsonl", marked)


def test_a_nan_margin_names_function_and_response(train, margin_module, rows):
    """Row 3 is the second pair of the second batch; the first step still trains."""
    environment, marked = margin_module
    run = train({**environment, **modpo(function="my_margins.nan_for_one")}, succeed=False, dataset=marked)
    assert (
        f"function 'my_margins.nan_for_one' returned nan for response 1: {rows[3]['messages'][1]['content']!r}"
        in run.output
    )
    assert len(run.steps) == 1


def test_an_infinite_margin_names_margin_side_pair_and_step(train, margin_module):
    environment, _ = margin_module
    run = train({**environment, **modpo(function="my_margins.too_large", name="huge")}, succeed=False)
    assert "margin 'huge' is inf for the chosen side of pair 0 of step 0" in run.output


def test_a_missing_adapter_and_an_unknown_setting(train, tmp_path):
    run = train(modpo(adapter=str(tmp_path / "nowhere")), succeed=False)
    assert f"ValueError: margin 'nowhere': adapter: {tmp_path / 'nowhere'} does not exist" in run.output
    run = train({"MODPO_W": 0.5, "MODPO_MARGN_ROLE": "cost"}, succeed=False)
    assert "ValueError: unknown setting MODPO_MARGN_ROLE; did you mean 'MODPO_MARGIN_ROLE'?" in run.output


def test_an_adapter_of_another_base(train, tmp_path):
    other = build_model(tmp_path / "other", seed=8)
    run = train(modpo(adapter=str(build_adapter(other, tmp_path / "strange"))), succeed=False)
    assert f"strange was trained on base model '{other}'" in run.output and "its weights differ" in run.output


def test_settings_through_model_kwargs(train, adapter, with_adapter):
    """`--model_kwargs` reaches the trainer because settings are read when it is built."""
    kwargs = json.dumps({"modpo_w": 0.5, "modpo_margin_adapter": str(adapter)})
    run = train({}, max_steps=1, model_kwargs=kwargs)
    assert run.series("loss") == with_adapter.series("loss")[:1]
