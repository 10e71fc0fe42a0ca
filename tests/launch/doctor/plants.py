"""Mistakes, each planted into a clean set-up of one method: what is changed, and what the doctor must say."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.launch.doctor import planting
from tests.launch.doctor.clean_runs import clean_runs
from tests.launch.doctor.planting import Place, Run, flags, setting, variable


@dataclass(frozen=True)
class Plant:
    """A mistake.

    Attributes:
        name: as in the table of docs/doctor.md.
        method: of the clean run it is planted into.
        plant: changes the place and returns further flags of the doctor.
        check: the one check that must find an error; no other may.
        found: pattern of the finding, with its number.
        fix: pattern of the fix.
        level: an error, or a warning for what may be meant.
    """

    name: str
    method: str
    plant: Callable[[Place], list[str] | None]
    check: str
    found: str
    fix: str = ""
    level: str = "error"


PLANTS = [
    Plant(
        "misspelt key", "modpo", setting(per_device_train_batchsize=2), "keys",
        r"'per_device_train_batchsize' .* 1 of 20 keys", "did you mean 'per_device_train_batch_size'",
    ),
    Plant(
        "misspelt setting", "modpo", variable(MODPO_MARGIN_ROL="cost"), "settings",
        r"unknown setting MODPO_MARGIN_ROL; did you mean 'MODPO_MARGIN_ROLE'",
    ),
    Plant(
        "settings without their plugin", "modpo", setting(external_plugins=None), "plugin",
        r"3 settings MODPO_\*.*plain DPO would be trained", r"external_plugins: .*plugins/modpo\.py",
    ),
    Plant(
        "a batch that cuts pairs", "bt_grpo", setting(generation_batch_size=12, num_generations=4), "batches",
        r"generates 12 completions at a time .* no multiple of 8 .* valid: --generation_batch_size 8 or 16 with",
    ),
    Plant(
        "rows without a rejected answer", "modpo", planting.three_rows_without_an_answer, "rows",
        r"3 of 24 rows are unusable: 3 x no rejected_response \(first: .*pairs.jsonl:1\)", "check-pairs",
    ),
    Plant(
        "rows that are all too long", "modpo", setting(max_length=16), "lengths",
        r"24 of 24 rows are longer than max_length 16 \(median \d+, longest \d+\) and would be left out", r"max_length: \d+",
    ),
    Plant("half a pair", "bt_grpo", planting.half_a_pair, "pairs", r"1 of 8 pairs have a fault \(1 incomplete\)", "pointwise"),
    Plant(
        "a reward without its column", "pairwise_judge", planting.rows_without_labels, "rewards",
        r"all of 16 rows have them but for preference_strength", "helpsteer2-pairwise",
    ),
    Plant(
        "a misspelt reward", "bt_grpo", setting(reward_funcs=["bt_pointwise_baseline", "bt_pointwise_gradd"]), "rewards",
        r"no reward 'bt_pointwise_gradd' among \d+", "bt_pointwise_graded",
    ),
    Plant(
        "a margin adapter of another base", "modpo",
        lambda place: place.run.update(model=str(place.world / "other_model")), "margin base",
        r"was trained on base model .*model.* and its weights differ", "train the margin adapter on this base",
    ),
    Plant(
        "a margin adapter that is not there", "modpo", variable(MODPO_MARGIN_ADAPTER="runs/no_margin"), "margin base",
        r"margin adapter 'runs/no_margin' is not a folder", "name the folder of a checkpoint",
    ),
    Plant(
        "a margin that prefers the rejected answers", "modpo", planting.contrary_margin, "margin direction",
        r"ranks 0 of 24 pairs .* \(0.00 \[0.00, 0.1\d\]\): it prefers the REJECTED", "unswapped",
    ),
    *[
        Plant(
            "margins that count more than the labels", method, plant, "margin share",
            r"w is 0.2 and the margins' weights are 0.8: they count 4 times", "pairs of the objective with the larger weight",
            level="warning",
        )
        for method, plant in (("modpo", variable(MODPO_W="0.2")), ("modpo-trl", setting(w=0.2)))
    ],
    Plant(
        "a reference that LoRA refuses", "modpo", lambda place: place.run.update(ref_model=str(place.world / "model")),
        "reference", r"ref_model .* with tuner_type lora: ms-swift refuses it, 1 of 2", "leave ref_model out",
    ),
    Plant(
        "an unfinished margin store", "modpo", planting.unfinished_store, "reference",
        r"no manifest.json there \(it is unfinished", "precompute-margins",
    ),
    Plant(
        "groups without spread", "bt_grpo", planting.equal_samples, "zero variance",
        r"97% \[9\d%, 100%\] of groups of 2 would have equal scores \(20 prompts, 8 or more", "warm-up",
    ),
    Plant(
        "a model that does not fit", "bt_grpo", planting.huge_model, "memory",
        r"weights 4e\+03 GB .* but the CPU has [\d.]+ GB", "zero3",
    ),
    Plant(
        "checkpoints that fill the disk", "modpo", setting(max_steps=10**9, save_steps=1), "disk",
        r"1000000000 checkpoints x 0.0492 MB = 4.92e\+04 GB", "save_total_limit",
    ),
    Plant(
        "a TRL that ms-swift does not allow", "modpo", planting.other_trl, "versions",
        r"ms-swift 4.6.0 needs trl<1.0.*, found 1.5.0", "constraints-swift.txt",
    ),
    Plant(
        "an upstream without a seam", "modpo", planting.lost_seam, "seams",
        r"takes no batch|no swift.rlhf_trainers.DPOTrainer.compute_ref_log_probs", "constraints-swift.txt",
    ),
    Plant(
        "NCCL on the CPU", "modpo", flags("--num_processes", "2"), "machine",
        r"2 processes on the CPU with ddp_backend None", "--ddp_backend gloo",
    ),
    Plant(
        "no module to train", "modpo", setting(target_modules=["q_projection"]), "trainability",
        r"0 parameters are trained: no module of the model is one of q_projection", "target modules",
    ),
    Plant(
        "a window that does not divide", "d2po", flags("--num_processes", "3"), "batches",
        r"3 processes: --window_pairs is 8: a multiple of 12 is valid", "^window_pairs: 12$",
    ),
    Plant(
        "no room for weights and answer", "moodpo", setting(max_length=64), "rows",
        r"--max_length is 64: a prompt of 64 tokens .* need \d+",
    ),
    Plant(
        "a reward function that is not there", "moodpo",
        setting(reward_models=["brevity", "polite=trl_ext.objectives.text:brevitty"]), "settings",
        r"reward 'polite': .* cannot be imported: .*; did you mean 'brevity'", "names the setting",
    ),
    Plant(
        "a judge that nothing names", "moodpo", setting(reward_models=["brevity", "x=launch.judge.reward:judge_win_rate"]),
        "settings", r"set PAIRWISE_JUDGE_CONFIG to a YAML file that names the judge", "names the setting",
    ),
    Plant(
        "a judge whose folder is not there", "moodpo", planting.judge_without_a_folder, "settings",
        r"judge\.yaml: .*model: \./nowhere does not exist", "names the setting",
    ),
    Plant(
        "a gold function that is not there", "d2po", setting(gold="trl_ext.objectives.text:brevitty"), "settings",
        r"gold function .* cannot be imported: .*; did you mean 'brevity'", "names the setting",
    ),
    Plant(
        "a file where TRL takes a folder", "modpo-trl",
        lambda place: place.run.pop("w") and place.run.pop("margins") and None, "rows",
        r"trl.jsonl is a file: TRL's own scripts take a data set's name, or a folder", "dataset_name: a folder",
    ),
    Plant(
        "a key of the other stack", "modpo-trl", setting(lora_rank=8), "keys", r"'lora_rank' .* 1 of 20 keys", "here it is called 'lora_r'",
    ),
    Plant(
        "DeepSpeed without the launcher of several machines", "modpo-trl", planting.two_machines_by_pdsh, "machine",
        r"deepspeed_multinode_launcher is pdsh: with 2 machines", "deepspeed_multinode_launcher: standard",
    ),
    Plant(
        "a tag that the tokenizer swallows", "bt_grpo", planting.special_tags, "rewards",
        r"takes .*<s>.* for its own special tokens", "writes the tag as text",
    ),
    Plant(
        "scaling that cancels a reward", "pairwise_judge", setting(scale_rewards="group"), "rewards",
        r"--scale_rewards group undoes \d+% of the bonus", "the flag that keeps it", "warning",
    ),
    Plant(
        "a sampling flag that is lost", "bt_grpo", setting(min_p=0.1), "rewards",
        r"--min_p 0\.1 has no effect without --use_vllm true", "names the flag",
    ),
    Plant(
        "sampling that cuts", "pairwise_judge", setting(top_k=50, top_p=0.9), "rewards",
        r"--top_k 50, --top_p 0\.9: answers are drawn from less than the softmax", "top_k: -1", "warning",
    ),
    Plant("a prompt without content", "d2po", planting.prompt_without_content, "rows", r"content"),
    Plant("mixed prompt types", "d2po", planting.mixed_prompts, "rows", r"is asked as a .*, row \d+ is not: prompts of one kind"),
    Plant(
        "mixed prompt types", "moodpo", planting.transcript_among_texts, "rows",
        r"row 1 is asked as a text, row 2 is not: prompts of one kind",
    ),
    Plant(
        "no scored token", "modpo", setting(max_length=4, truncation_strategy="right"), "lengths",
        r"24 of 24 pairs have a side without a scored token", "max_length",
    ),
    Plant(
        "no scored token", "modpo-trl", setting(max_length=4), "lengths",
        r"24 of 24 pairs have a side without a scored token", "max_length",
    ),
    Plant(
        "a vLLM server for a CPU", "bt_grpo", setting(use_vllm=True, vllm_mode="server", vllm_server_host="127.0.0.1"), "machine",
        r"vllm_mode server and use_cpu: .* by NCCL", "vllm_mode: colocate",
    ),
    Plant(
        "TensorBoard is missing", "modpo-trl", planting.no_tensorboard, "machine",
        r"report_to names 1 of 1 trackers that are not installed: tensorboard", "pip install tensorboard",
    ),
]  # fmt: skip


def planted(plant: Plant, world: Path, folder: Path, patch: Any) -> tuple[Run, list[str]]:
    """The run with the mistake in it, and flags of the doctor."""
    place = Place(copy.deepcopy(clean_runs(world)[plant.method]), world, folder, patch)
    return place.run, plant.plant(place) or []
