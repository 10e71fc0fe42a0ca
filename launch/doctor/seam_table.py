"""What the pack's subclasses override or call in the upstreams: the places where a new version can break it.

The same facts as docs/hooks.md, typed. A test compares the table with the overrides of the trainer classes themselves.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Seam:
    """One method, function or registry of an upstream.

    Attributes:
        path: dotted path; `module:Class.method`, `module:function` or `module:REGISTRY`.
        parameters: names that our code hands over or takes over by name.
        entry: for a registry, the key that has to be there.
        why: what it is used for.
        until: the first version of the upstream that does without it; None: every one has it.
    """

    path: str
    parameters: tuple[str, ...] = ()
    entry: str | None = None
    why: str = ""
    until: str | None = None


def _methods(owner: str, **methods: tuple[str, str]) -> list[Seam]:
    return [Seam(f"{owner}.{name}", tuple(names.split()), why=why) for name, (names, why) in methods.items()]


_PEFT = [
    Seam("peft:PeftModel.load_adapter", ("adapter_name", "is_trainable"), why="margin adapters beside the policy"),
    Seam("peft:PeftModel.set_adapter", ("adapter_name", "inference_mode"), why="a margin adapter scores"),
    Seam("peft:PeftModel.disable_adapter", why="the base as reference"),
]
_FACTORY = "swift.trainers.trainer_factory:TrainerFactory"
_SWIFT_DPO = "swift.rlhf_trainers:DPOTrainer"
_SWIFT_GRPO = "swift.rlhf_trainers:GRPOTrainer"
_TRL_DPO = "trl:DPOTrainer"
_ONLINE = "trl.experimental.online_dpo:OnlineDPOTrainer"

MODPO = [
    Seam(f"{_FACTORY}.TRAINER_MAPPING", entry="dpo", why="registration"),
    Seam(f"{_FACTORY}.TRAINING_ARGS_MAPPING", entry="dpo", why="refusals before a model is loaded"),
    Seam("swift.dataset:LazyLLMDataset", ("dataset", "encode_func"), why="texts of the row that is encoded"),
    Seam("swift.template:TemplateInputs.from_dict", ("inputs",), why="both sides of a row as upstream reads them"),
    *_methods(
        _SWIFT_DPO,
        __init__=("model ref_model", "margins are loaded before any engine is built"),
        compute_ref_log_probs=("batch", "the shifted reference"),
        concatenated_forward=(
            "model batch is_ref_model",
            "columns are taken out, and a pair's prompt is computed once",
        ),
        get_per_token_logps=("logits labels label_pad_token_id reduction", "fp32 log-probs of bf16 logits"),
        get_batch_loss_metrics=("model batch train_eval", "metrics of the margins"),
        set_initial_training_values=("args dataloader", "a finished run takes no further step"),
        create_model_card=("model_name dataset_name tags", "objectives, data and claim in the card"),
        train=("", "settings compared on resume"),
        _load_from_checkpoint=("resume_from_checkpoint", "trainable set restored after loading"),
        _save_checkpoint=("", "settings saved beside a checkpoint"),
    ),
    Seam("swift.utils:disable_deepspeed_zero3", why="classifier margins are loaded whole"),
    *_PEFT,
]
_SHARED_GRPO = [
    *_methods(
        _SWIFT_GRPO,
        _get_per_token_logps_and_entropies_single=(
            "model model_inputs grpo_batch compute_entropy",
            "rows that begin alike are handed to the model as one stream",
        ),
        _get_per_token_logps_and_entropies=("model", "old log-probs that nobody reads are left out"),
        _prepare_batch_inputs=("samples", "old log-probs that nobody reads are left out"),
        null_ref_context=("", "the policy without its adapter is no old policy"),
    ),
    Seam("swift.rlhf_trainers:GRPOTrainer.old_policy", why="whether a step is on its policy"),
    Seam(
        "swift.infer_engine:TransformersEngine._infer_full",
        ("inputs", "generation_config", "adapter_request"),
        why="a prompt is prefilled once for its answers, and FSDP2's weights are gathered outside inference mode",
    ),
]
PAIRED = [
    Seam(f"{_FACTORY}.TRAINER_MAPPING", entry="grpo", why="registration"),
    Seam(f"{_FACTORY}.TRAINING_ARGS_MAPPING", entry="grpo", why="refusals before a model is loaded"),
    Seam("swift.rewards:orms", why="rewards by name"),
    Seam("swift.infer_engine.utils:prepare_generation_config", why="what a model's own defaults cut from the draws"),
    Seam("swift.rlhf_trainers:GRPOConfig._init_generation_batch_params", why="divisibility by whole pairs"),
    Seam("swift.rlhf_trainers:GRPOConfig.__post_init__", why="sampling flags that are lost, before a model is loaded"),
    *_methods(
        _SWIFT_GRPO,
        __init__=("model ref_model reward_model reward_funcs", "rows and rewards checked first"),
        _get_train_sampler=("train_dataset", "whole pairs"),
        _get_eval_sampler=("eval_dataset", "whole pairs"),
        _compute_rewards_per_func=("samples", "metrics of the rewards"),
        _compute_advantages=("samples rewards_per_func batch_encoded_inputs", "floor under the spread, pair weights"),
        compute_std=("samples rewards_per_func", "dynamic sampling replaces whole pairs"),
        set_initial_training_values=("args dataloader", "a finished run takes no further step"),
        create_model_card=("model_name dataset_name tags", "objectives, data and claim in the card"),
        train=("", "a resume in the middle of a generation batch"),
    ),
    *_SHARED_GRPO,
]
MODPO_TRL = [
    *_methods(
        _TRL_DPO,
        __init__=("model ref_model args", "beta / w and the margins"),
        compute_ref_log_probs=("inputs", "the reference in a step"),
        compute_loss=("model inputs return_outputs num_items_in_batch", "the shifted reference"),
        _compute_loss=("model inputs return_outputs", "the prompt of a pair is computed once"),
        _precompute_ref_logps=("dataset name batch_size", "reference and margins computed once"),
        _prepare_dataset=("dataset processing_class args dataset_name", "rows that tokenisation drops are counted"),
        set_initial_training_values=("args dataloader", "a finished run takes no further step"),
        create_model_card=("model_name dataset_name tags", "objectives, data and claim in the card"),
        _set_signature_columns_if_needed=("", "texts and stored columns reach the batch"),
        _prepare_inputs=("inputs", "reference columns stay fp32"),
        train=("resume_from_checkpoint", "settings compared on resume"),
        _load_from_checkpoint=("resume_from_checkpoint", "trainable set restored after loading"),
        save_model=("output_dir _internal_call", "FSDP leaves a whole model"),
        _save=("output_dir state_dict", "a checkpoint holds the policy alone"),
        _save_checkpoint=("model trial", "settings saved beside a checkpoint"),
    ),
    Seam(
        f"{_TRL_DPO}._truncate_inputs",
        ("input_ids", "attention_mask", "completion_mask"),
        why="logits of the columns that are scored",
        until="1.0",
    ),
    Seam("trl.models:prepare_deepspeed", why="the reference under DeepSpeed"),
    Seam("trl.trainer.utils:create_model_from_path", why="a reference of its own under full training"),
    Seam("trl.trainer.utils:get_config_model_id", ("config",), why="the base of the margin adapters"),
    Seam("trl.trainer.utils:use_adapter", why="the reference adapter"),
    *_PEFT,
]
ONLINE = [
    *_methods(
        _ONLINE,
        __init__=("model ref_model reward_funcs args", "scores come from the pack"),
        training_step=("model inputs num_items_in_batch", "prompts are annotated or served"),
        _calculate_rewards_from_functions=("prompts completions completion_ids_list", "one score a pair"),
        _forward=(
            "model prompt_ids prompt_mask completion_ids completion_mask vision_inputs",
            "loss weight of a pair; the prompt of two answers is computed once",
        ),
        _generate=("model prompts images", "stored answers are served"),
        _generate_vllm=("prompts images", "stored answers are served"),
        train=("resume_from_checkpoint", "state restored"),
        evaluate=("eval_dataset ignore_keys metric_key_prefix", "evaluation by generation"),
        set_initial_training_values=("args dataloader", "a finished run takes no further step"),
        create_model_card=("model_name dataset_name tags", "objectives, data and claim in the card"),
        get_train_dataloader=("", "a window of prompts"),
        log=("logs", "metrics of the judge"),
        _load_from_checkpoint=("resume_from_checkpoint", "trainable set restored after loading"),
        save_model=("output_dir _internal_call", "FSDP leaves a whole model"),
        _save=("output_dir state_dict", "the reference adapter is left out"),
        _save_checkpoint=("model trial", "state saved last"),
    ),
    *_PEFT[1:],
]
SEAMS: dict[str, list[Seam]] = {
    "modpo": MODPO, "bt_grpo": PAIRED, "pairwise_judge": PAIRED, "modpo-trl": MODPO_TRL, "moodpo": ONLINE, "d2po": ONLINE,
}  # fmt: skip
