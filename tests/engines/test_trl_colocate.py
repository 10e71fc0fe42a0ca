"""MOODPO and D2PO with `--use_vllm true --vllm_mode colocate`: what vLLM answers with is the policy of that step."""

import json
import shutil
from importlib.metadata import version
from importlib.util import find_spec

import pytest
import torch
from packaging.version import Version

from tests.engines.record import record
from tests.engines.seen import calls, load, logprob_differences, losses, steps
from tests.tiny import SENTENCES, build_classifier, build_model, write_rows

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed in this environment"),
    pytest.mark.skipif(
        find_spec("trl") is None or Version(version("trl")) < Version("1.16"),
        reason="TRL's side is in the other environment",
    ),
]
STEPS, HALF = 20, 10
PACKAGES = ("trl", "transformers", "vllm")
# bfloat16 has 8 bits: a weight is rounded by up to 1/256 of itself. Neighbouring steps are further apart than that.
ROUNDING = {"float32": 1e-5, "bfloat16": 1 / 255}
# How far the engine's log-prob of a sampled token may be from that of the policy in fp32.
LOGPROBS = {"float32": 1e-4, "bfloat16": 0.15}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colocate")
    build_model(folder / "model", end_gain=1.5, head_dim=32)  # vLLM's attention on a CPU has no smaller one
    build_classifier(folder / "rm", labels=1)
    write_rows(folder / "prompts.jsonl", [{"prompt": f"{SENTENCES[i % 8]} ({i})"} for i in range(12)])
    return folder


def shared_flags(folder, **more):
    flags = {
        "output_dir": folder, "max_steps": STEPS, "per_device_train_batch_size": 4, "bf16": "false", "use_cpu": "true",
        "max_new_tokens": 8, "max_length": 160, "temperature": 1.0, "beta": 0.1, "logging_steps": 1, "report_to": "none",
        "gradient_checkpointing": "false", "save_strategy": "steps", "save_steps": 1, "seed": 5, "disable_tqdm": "true",
        "lr_scheduler_type": "constant", "use_vllm": "true", "vllm_mode": "colocate", "eval_strategy": "steps",
        "eval_steps": HALF, "eval_prompts": 4, "per_device_eval_batch_size": 4,
    } | more  # fmt: skip
    return [
        text
        for name, value in flags.items()
        for text in (f"--{name}", *(value if isinstance(value, list) else [value]))
    ]


def moodpo_flags(world, name, lora, **more):
    rewards = ["vowels=tests.engines.tastes:vowels", "tall=tests.engines.tastes:tall"]
    return shared_flags(
        world / name, csv_path=world / "prompts.jsonl", sft_model_path=world / "model", reward_models=rewards,
        min_prompt_tokens=1, max_prompt_tokens=60, use_lora=str(lora).lower(), lora_rank=4, disable_wandb="true",
        per_device_train_batch_size=8, learning_rate=1e-2 if lora else 3e-3, **more,
    )  # fmt: skip


def d2po_flags(world, name, lora, **more):
    adapter = {"use_peft": "true", "lora_r": 4, "lora_alpha": 8, "lora_target_modules": ["q_proj", "v_proj"]}
    return shared_flags(
        world / name, model_name_or_path=world / "model", dataset_name=world / "prompts.jsonl", mode="d2po",
        gold="tests.engines.tastes:gold", discriminator=world / "rm", discriminator_learning_rate=1e-3, window_pairs=8,
        labels_per_window=4, learning_rate=1e-2 if lora else 1e-3, **(adapter if lora else {}), **more,
    )  # fmt: skip


METHODS = {"MOODPO": ("trl_ext.moodpo.script", moodpo_flags), "D2PO": ("trl_ext.d2po.script", d2po_flags)}


@pytest.fixture(scope="module")
def train(world, run_beside_vllm):
    """train(method, lora, dtype, name) -> (output, the run's folder, what the witness wrote); each run once."""
    kept = {}

    def run(method, lora, dtype, name=None, **more):
        name = name or f"{method}-{lora}-{dtype}"
        if name not in kept:
            module, flags = METHODS[method]
            log = world / f"{name}-log"
            output = run_beside_vllm(module, flags(world, name, lora, **more), log, dtype)
            kept[name] = output, world / name, log
        return kept[name]

    return run


def evaluations(folder, step):
    state = json.loads((folder / f"checkpoint-{step}" / "trainer_state.json").read_text())
    return [row["step"] for row in state["log_history"] if any(name.startswith("eval_") for name in row)]


def mean(values):
    return sum(values) / len(values)


# Each method once with a LoRA and once with all weights, each dtype of the engine with both.
CASES = [
    ("MOODPO", True, "float32"), ("MOODPO", False, "bfloat16"), ("D2PO", True, "bfloat16"), ("D2PO", False, "float32"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "lora", "dtype"), CASES)
def test_the_engine_has_the_policy_of_each_step_and_moodpos_loss_falls(train, world, method, lora, dtype):
    output, folder, log = train(method, lora, dtype)
    found = losses(output)
    # D2PO's pairs are fresh and its labels those of a discriminator that learns meanwhile: its loss need not fall in 20 steps.
    assert len(found) == STEPS and (method == "D2PO" or mean(found[-5:]) < mean(found[:5]) - 0.02), found
    loss[method, lora] = (
        f"mean loss {mean(found[:5]):.3f} in the first five steps, {mean(found[-5:]):.3f} in the last five"
    )
    seen = steps(log, world / "model", folder, ROUNDING[dtype])
    assert seen == sorted(seen) and seen[0] == 0
    answered = set(range(STEPS)) if method == "MOODPO" else set(range(0, STEPS, 2))  # D2PO: once in a window of two
    assert answered | {HALF, STEPS} == set(seen)
    assert evaluations(folder, STEPS)[:2] == [HALF, STEPS]


@pytest.mark.parametrize(("method", "lora", "dtype"), CASES)
def test_logprobs_of_sampled_tokens_are_those_of_the_policy(train, world, method, lora, dtype):
    _, folder, log = train(method, lora, dtype)
    policies = {0: load(world / "model", None)}
    policies |= {step: load(world / "model", folder / f"checkpoint-{step}") for step in range(1, STEPS + 1)}
    order = steps(log, world / "model", folder, ROUNDING[dtype])
    differences = torch.cat(
        [logprob_differences(call, policies[step]) for call, step in zip(calls(log), order, strict=True)]
    )
    wrong = logprob_differences(calls(log)[-1], policies[0])  # what a stale engine would look like
    assert differences.max() < LOGPROBS[dtype] < wrong.max()
    engine = "the engine's log-probs of sampled tokens are the policy's in fp32 to"
    kept[method, lora] = (
        f"{'LoRA' if lora else 'all weights'}, engine in {dtype}: {engine} {differences.mean():.1g} on average, "
        f"{differences.max():.1g} at most, of {len(differences)} tokens"
    )


kept: dict[tuple[str, bool], str] = {}
loss: dict[tuple[str, bool], str] = {}


@pytest.mark.parametrize(("method", "lora", "dtype"), [CASES[0], CASES[2]])
def test_a_resumed_run_starts_the_engine_with_the_checkpoint(train, world, method, lora, dtype):
    _, whole, _ = train(method, lora, dtype)
    folder = world / f"{method}-later"
    shutil.copytree(whole / f"checkpoint-{HALF}", folder / f"checkpoint-{HALF}")
    if (ledger := whole / "d2po_ledger.jsonl").is_file():
        bought = [line for line in ledger.read_text().splitlines() if json.loads(line)["step"] < HALF]
        (folder / ledger.name).write_text("".join(f"{line}\n" for line in bought))
    output, _, log = train(method, lora, dtype, name=folder.name, resume_from_checkpoint="true")
    assert len(losses(output)) == STEPS - HALF
    seen = steps(log, world / "model", folder, ROUNDING[dtype])
    assert seen[0] == HALF and seen[-1] == STEPS
    if all((method, one) in kept for one in (True, False)):
        text = f"{STEPS} steps, the engine has the policy's weights in each, evaluated, resumed; "
        seen_of = [f"{kept[method, one]}, {loss[method, one]}" for one in (True, False) if (method, one) in loss]
        record(method, "vLLM colocate", "ran", text + "; ".join(seen_of), PACKAGES)


@pytest.mark.parametrize("method", METHODS)
def test_a_server_is_refused_on_a_cpu(world, run_beside_vllm, method):
    """Before the model is looked for: there is none, and no server either."""
    module, flags = METHODS[method]
    gone = {"MOODPO": {"sft_model_path": "nowhere"}, "D2PO": {"model_name_or_path": "nowhere"}}[method]
    argv = [*flags(world, f"{method}-server", True), "--vllm_mode", "server"]
    argv += [text for name, value in gone.items() for text in (f"--{name}", value)]
    output = run_beside_vllm(module, argv, world / f"{method}-server-log", code=2)
    assert "the policy's weights reach the server by NCCL, which needs a GPU on both sides" in output
    reason = "on a CPU, before a model is loaded: weights reach a server by NCCL, which needs a GPU on both sides"
    record(method, "vLLM server", "refused", reason, PACKAGES)
