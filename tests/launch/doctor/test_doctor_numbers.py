"""Sizes, memory, disk and the chance of equal rewards: worked numbers, and independent counts."""

import itertools
import json
from argparse import Namespace
from pathlib import Path

import pytest

from launch.doctor import disk, memory, sizes, spread
from launch.doctor.machine import _left_out, _vllm
from launch.doctor.methods import METHODS
from launch.doctor.reference import check_reference
from launch.doctor.run_file import Run, read_accelerate, read_left_out, read_run
from launch.doctor.setup import Setup
from launch.doctor.weights import Part, parts_of
from tests.conftest import REPOSITORY
from tests.tiny import write_rows

# A model of 1000 frozen and 100 trained parameters.
LORA = [Part("base", "b", 1000, False), Part("adapter of the policy", "", 100, True)]
FULL = [Part("base", "b", 1000, True), Part("copy of the reference", "b", 1000, False)]


def setup_of(method: str = "modpo", processes: int = 1, **values) -> Setup:
    given = {"model": None, "torch_dtype": "bfloat16", "per_device_train_batch_size": 1, **values}
    return Setup(Run(None, METHODS[method], given, processes=processes), Namespace(**given))


@pytest.mark.parametrize(
    ("parts", "zero", "processes", "weights", "gradients", "optimiser"),
    [
        (LORA, None, 1, 2 * 1000 + 4 * 100, 4 * 100, 8 * 100),
        (FULL, None, 1, 2 * 2000, 2 * 1000, 4 * 1000),
        (FULL, "zero1", 4, 2 * 2000, 2 * 1000, 12 * 1000 / 4),
        (FULL, "zero2", 4, 2 * 2000, 2 * 1000 / 4, 12 * 1000 / 4),
        (FULL, "zero3", 4, 2 * 2000 / 4, 2 * 1000 / 4, 12 * 1000 / 4),
        (FULL, "zero2_offload", 4, 2 * 2000, 2 * 1000 / 4, 0),
        (FULL, "zero3_offload", 4, 0, 2 * 1000 / 4, 0),
        (LORA, "zero3", 2, (2 * 1000 + 4 * 100) / 2, 4 * 100 / 2, 12 * 100 / 2),
    ],
)
def test_bytes_a_parameter(parts, zero, processes, weights, gradients, optimiser):
    need = memory.need_of(setup_of(processes=processes), parts, memory.zero_of(zero))
    assert (need.weights, need.gradients, need.optimiser) == (weights, gradients, optimiser)


def test_zero_stage_of_the_pack_s_files_and_of_names():
    folder = Path(memory.__file__).parents[1] / "deepspeed"
    stages = {path.stem: memory.zero_of(str(path)) for path in folder.glob("*.json")}
    assert {name: zero.stage for name, zero in stages.items()} == {
        "zero1": 1,
        "zero2": 2,
        "zero3": 3,
        "zero3_offload": 3,
    }
    assert stages["zero3_offload"].offload_optimizer and not stages["zero3"].offload_optimizer
    assert memory.zero_of(None).stage == -1 and memory.zero_of("zero0").stage == 0
    with pytest.raises(ValueError, match="deepspeed 'zero4' is neither zero0"):
        memory.zero_of("zero4")


@pytest.mark.parametrize(
    ("name", "processes", "zero"),
    [
        ("cpu", 1, memory.Zero()),
        ("multi_gpu", 8, memory.Zero()),
        ("deepspeed_zero1", 8, memory.Zero(1)),
        ("deepspeed_zero3", 8, memory.Zero(3)),
        ("zero3_offload", 8, memory.Zero(3, True, True)),
        ("fsdp1", 8, memory.Zero(3)),
        ("fsdp2", 8, memory.Zero(3)),
    ],
)
def test_engine_and_processes_of_accelerate_s_files(name, processes, zero, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    found, nodes, engine = read_accelerate(Path("launch/accelerate", f"{name}.yaml"))
    assert (found, nodes, memory.zero_of(engine)) == (processes, 1, zero)


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("distributed_type: MULTI_CPU\nuse_cpu: true\ndeepspeed_config: {zero_stage: 2}", "deepspeed_config with distributed_type MULTI_CPU"),
        ("distributed_type: 'NO'\nfsdp_config: {fsdp_version: 2}", "fsdp_config with distributed_type NO"),
        ("distributed_type: FSDP\nuse_cpu: true\nfsdp_config: {fsdp_version: 2}", "distributed_type FSDP with use_cpu: true"),
        ("distributed_type: DEEPSPEED\nuse_cpu: false\ndeepspeed_config: {zero_stage: 2}", ""),
        ("distributed_type: MULTI_CPU\nuse_cpu: true\nfsdp_config: {}", ""),
    ],
)  # fmt: skip
def test_what_accelerate_leaves_out_in_silence_is_a_warning(text, left_out, tmp_path):
    path = tmp_path / "accelerate.yaml"
    path.write_text(text)
    assert read_left_out(path) == left_out
    run = read_run(None, [], "modpo-trl", None, path)
    found = _left_out(Setup(run, Namespace()))
    assert [one.level for one in found] == (["warning"] if left_out else []) and left_out in "".join(
        one.found for one in found
    )


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "launch" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_files_of_the_pack_hold_nothing_that_accelerate_leaves_out(path):
    assert read_left_out(path) == ""


def test_vllm_that_a_flag_turns_off_is_refused_by_ms_swift_alone():
    """Seen before: the doctor passed `--use_vllm false` behind a run file with vllm_mode, and ms-swift stopped."""
    RLHFArguments = pytest.importorskip("swift.arguments").RLHFArguments
    off = {"use_vllm": False, "vllm_mode": "colocate"}
    with pytest.raises(ValueError, match="vllm_mode is not supported when use_vllm is false"):
        RLHFArguments._init_rollout(Namespace(rlhf_type="grpo", **off))
    (found,) = _vllm(setup_of("bt_grpo", **off))
    assert found.level == "error" and "without the line vllm_mode" in found.fix
    assert _vllm(setup_of("d2po", **off)) == _vllm(setup_of("bt_grpo", use_vllm=False)) == []


def test_logits_of_both_sides_of_a_pair(world):
    base = str(world / "model")  # 400 tokens
    assert (
        memory.logits_bytes(setup_of(model=base, max_length=10, per_device_train_batch_size=3), 2)
        == 3 * 2 * 10 * 400 * 10
    )
    shorter = setup_of(model=base, max_length=10, per_device_train_batch_size=3)
    shorter.longest = 5
    assert memory.logits_bytes(shorter, 2) == 3 * 2 * 5 * 400 * 10
    graded = setup_of("bt_grpo", model=base, max_length=10, max_completion_length=4)
    assert memory.logits_bytes(graded, 4) == 1 * 1 * 4 * 400 * 12


def test_header_counts_are_those_of_the_loaded_model(world):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    tensors = sizes.tensors_of(world / "model")
    model = AutoModelForCausalLM.from_pretrained(world / "model")
    assert sizes.parameters(tensors) == model.num_parameters()
    for targets in ("all-linear", ["q_proj", "down_proj"]):
        adapted = get_peft_model(
            AutoModelForCausalLM.from_pretrained(world / "model"), LoraConfig(r=3, target_modules=targets)
        )
        named = None if targets == "all-linear" else targets
        assert sizes.lora_parameters(tensors, 3, named) == adapted.get_nb_trainable_parameters()[0]


def test_a_size_out_of_a_name_is_said_to_be_one():
    values = {"model": "Qwen/Qwen2.5-72B-Instruct", "deepspeed": "zero3", "use_cpu": True, "tuner_type": "full"}
    (found,) = memory.check_memory(setup_of(processes=16, **values))
    # weights of policy and reference 2 x 2 x 72e9 / 16, gradients 2 x 72e9 / 16, optimiser 12 x 72e9 / 16
    assert (
        "about, by the name of a model and without logits: 81 GB per process (ZeRO-3, 16 in all): weights 18 GB + gradients"
        in found.found
    )
    assert "gradients 9 GB + optimiser 54 GB" in found.found
    assert found.level == "error" and "but the CPU has" in found.found  # no machine has 16 times 81 GB to spare


def test_no_card_is_named_for_a_size_out_of_a_name():
    """Its logits are not known, so a card that holds the rest may be too small."""
    (found,) = memory.check_memory(setup_of(model="Qwen/Qwen2.5-0.5B-Instruct", tuner_type="full"))
    assert found.level == "ok" and found.found.startswith("about, ") and "card" not in found.found


@pytest.mark.parametrize(
    ("tokens", "level", "found"),
    [
        (400, "ok", "a frozen copy of other; beta 0.1"),
        (401, "error", "ref_model other has 401 tokens, the model base 400"),
    ],
)
def test_a_reference_counts_the_tokens_of_the_model(tmp_path, monkeypatch, tokens, level, found):
    monkeypatch.chdir(tmp_path)
    for folder, size in (("base", 400), ("other", tokens)):
        Path(folder).mkdir()
        Path(folder, "config.json").write_text(json.dumps({"vocab_size": size}))
    (said,) = check_reference(setup_of(model="base", ref_model="other", tuner_type="full", beta=0.1))
    assert (said.level, said.found) == (level, found)


def test_a_damaged_weight_file_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="no safetensors header"):
        sizes.tensors_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "count"),
    [("Qwen/Qwen2.5-7B-Instruct", 7e9), ("HuggingFaceTB/SmolLM2-135M", 135e6), ("a/Qwen3-0.6B", 6e8), ("gpt2", None)],
)
def test_size_in_a_hub_name(name, count):
    assert sizes.size_in_name(name) == count


@pytest.mark.parametrize(
    ("samples", "group"),
    [([1, 1, 2, 2], 2), ([1, 2, 3, None], 3), ([5] * 6, 4), ([1, 1, 1, 1, 2, 2], 3), ([None, None, 1], 2)],
)
def test_equal_chance_is_the_share_of_all_draws(samples, group):
    draws = list(itertools.combinations(range(len(samples)), group))
    equal = sum(len({samples[index] for index in draw}) == 1 for draw in draws)
    assert spread.equal_chance(samples, group) == pytest.approx(equal / len(draws), abs=1e-12)


def test_equal_chance_with_few_samples_draws_again():
    draws = list(itertools.product([1, 1, 2], repeat=4))
    share = sum(len(set(draw)) == 1 for draw in draws) / len(draws)
    assert spread.equal_chance([1, 1, 2], 4) == pytest.approx(share, abs=1e-12)
    with pytest.raises(ValueError, match="a group of at least 2"):
        spread.equal_chance([1], 1)


def test_samples_of_variance_and_of_rewards(tmp_path):
    folder = tmp_path / "hh"
    folder.mkdir()
    write_rows(folder / "pairs.jsonl", [{"index": 0, "preferred": 0, "scores": [[1, 1], [2, None]]}])
    assert spread.read_samples(tmp_path) == [[1, 1], [2, None]]
    bad = write_rows(tmp_path / "bad.jsonl", [{"reward": 1}])
    with pytest.raises(ValueError, match=r"bad.jsonl:1: neither 'scores' .* found \['reward'\]"):
        spread.read_samples(bad)


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"max_steps": 100, "save_steps": 30}, 4),
        ({"max_steps": 100, "save_steps": 30, "save_total_limit": 2}, 2),
        ({"max_steps": 100, "save_steps": 0.25}, 4),
        ({"save_strategy": "no"}, 1),
        ({"save_strategy": "epoch", "num_train_epochs": 3}, 3),
        ({"max_steps": -1, "num_train_epochs": 2, "save_steps": 4, "gradient_accumulation_steps": 2}, 6),  # 24 rows
        ({"max_steps": -1, "dataset": ["hub/name"]}, None),
    ],
)
def test_number_of_checkpoints(world, values, count):
    setup = setup_of(**{"dataset": [str(world / "pairs.jsonl")], "gradient_accumulation_steps": 1, **values})
    assert disk.checkpoints_of(setup) == count


@pytest.mark.parametrize("targets", [{"target_regex": ".*q_proj"}, {"target_modules": ["all-embedding"]}])
def test_targets_that_upstream_finds_are_not_counted(world, targets):
    (_, adapter) = parts_of(setup_of(model=str(world / "model"), lora_rank=4, **targets))
    assert adapter.parameters is None and adapter.trains


def test_a_checkpoint_of_d2po_holds_its_discriminator(world):
    given = {
        "model_name_or_path": str(world / "model"),
        "use_peft": True,
        "lora_r": 4,
        "lora_target_modules": ["q_proj", "v_proj"],
    }
    alone = disk.checkpoint_bytes(setup_of("d2po", **given))
    judged = disk.checkpoint_bytes(setup_of("d2po", **given, discriminator=str(world / "rm")))
    assert alone == 896 * 12  # weights and two states of AdamW, fp32
    assert judged - alone == 12 * sizes.parameters(sizes.tensors_of(world / "rm"))


def test_parts_of_full_training_hold_a_copy_and_a_discriminator(world):
    full = setup_of(model=str(world / "model"), tuner_type="full")
    assert [part.name for part in parts_of(full)] == ["base", "copy of the reference"]
    online = setup_of("d2po", model_name_or_path=str(world / "model"), use_peft=True, discriminator=str(world / "rm"))
    assert [(part.name.split(" (")[0], part.trains) for part in parts_of(online)] == [
        ("base", False), ("adapter of the policy", True), ("discriminator", True),
    ]  # fmt: skip


def test_json_of_a_finding_is_whole(world, doctor):
    code, findings = doctor(None)
    assert code == 0 and json.dumps(findings) and {one["check"] for one in findings} == {"versions", "seams", "machine"}
