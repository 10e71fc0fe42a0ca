"""Variants of `swift rlhf --rlhf_type dpo`, each a few public flags on top of `tests.conftest.swift_flags`."""

from .variants import Variant

V = Variant
OTHER_TUNER = {"adapter": "different peft types"}
NO_HOST = {"adapter": "use --tuner_type lora or full"}
LOSSES = (
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "discopop",
    "apo_zero",
    "apo_down",
)
FULL = {"tuner_type": "full", "learning_rate": 1e-4}
EVALUATED = {"val_dataset": "@held_out", "eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 2}
VARIANTS = {
    "plain": V(),
    **{loss: V({"loss_type": loss}) for loss in LOSSES},
    "sft": V({"loss_type": "sft"}, refused=dict.fromkeys(("function", "adapter"), "has no reference term")),
    "label smoothing": V({"label_smoothing": 0.1}),
    "robust": V({"loss_type": "robust", "label_smoothing": 0.1}),
    "mixed losses": V({"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}),
    "rpo": V({"rpo_alpha": 0.5}),
    "length desensitised": V({"ld_alpha": 0.5}),
    "full": V(FULL),
    "full, another reference": V(
        FULL | {"ref_model": "@other", "ref_model_type": "llama"}, refused={"adapter": "its weights differ"}
    ),
    "full, frozen half": V(FULL | {"freeze_parameters_ratio": 0.5}),
    "lora everywhere": V({"target_modules": "all-linear", "modules_to_save": ["norm"]}),
    "lora dropout": V({"lora_dropout": 0.2}),
    "dora": V({"use_dora": True}),
    "rslora": V({"use_rslora": True}),
    "lora plus": V({"lorap_lr_ratio": 4}),
    "adalora": V({"tuner_type": "adalora", "adalora_init_r": 6, "adalora_target_r": 4}, refused=OTHER_TUNER),
    "vera": V({"tuner_type": "vera"}, refused=OTHER_TUNER),
    "boft": V({"tuner_type": "boft"}, refused=OTHER_TUNER),
    "llamapro": V({"tuner_type": "llamapro", "llamapro_num_new_blocks": 1}, refused=NO_HOST),
    "adapter tuner": V({"tuner_type": "adapter"}, refused=NO_HOST),
    "continued adapter": V({"adapters": "@adapter"}),
    "reference adapter": V({"adapters": "@adapter", "ref_adapters": "@adapter"}),
    "template zephyr": V({"template": "zephyr"}),
    "template minicpm": V({"template": "minicpm"}),
    "template default": V({"template": "default"}),
    "template without chat": V({"use_chat_template": False}),
    "system": V({"system": "Answer in one sentence."}),
    "multi-turn": V(data="multi_turn"),
    "multi-turn, every round": V({"loss_scale": "default"}, data="multi_turn"),
    "multi-turn, all tokens": V({"loss_scale": "all"}, data="multi_turn"),
    "rejected_messages": V(data="rejected_messages"),
    "sides that part early": V(data="early_parting"),
    "truncation delete": V({"truncation_strategy": "delete"}, data="uneven"),
    "truncation left": V({"truncation_strategy": "left"}, data="uneven"),
    "truncation right": V({"truncation_strategy": "right", "max_length": 64}, data="long_answers"),
    "lazy": V({"lazy_tokenize": True}),
    "lazy, delete": V({"lazy_tokenize": True, "truncation_strategy": "delete"}, data="uneven"),
    "streaming": V({"streaming": True}, refused={"function": "--streaming true"}),
    "packing": V({"packing": True}, upstream="requires a flash attention"),
    "padding free": V({"padding_free": True}, upstream="requires a flash attention"),
    "evaluation": V(EVALUATED),
    "two evaluation sets": V(EVALUATED | {"val_dataset": ["@held_out", "@multi_turn"]}),
    "evaluation split off": V(EVALUATED | {"val_dataset": None, "split_dataset_ratio": 0.25}),
    "accumulation": V({"gradient_accumulation_steps": 3}),
    "epochs": V({"max_steps": None, "num_train_epochs": 2, "per_device_train_batch_size": 8}),
    "schedule": V({"lr_scheduler_type": "cosine", "warmup_ratio": 0.5, "max_grad_norm": 0.1, "weight_decay": 0.2}),
    "adafactor": V({"optim": "adafactor"}),
    "noise": V(
        {"neftune_noise_alpha": 5},
        refused={
            "adapter": "would put noise on the embeddings",
            "shared prefixes": "--neftune_noise_alpha 5 draws noise",
        },
    ),
    "gradient checkpointing": V({"gradient_checkpointing": True}),
    "bfloat16": V({"torch_dtype": "bfloat16"}),
    "left padding": V({"padding_side": "left"}),
    "group by length": V({"group_by_length": True}),
    "file order": V({"dataset_shuffle": False, "train_dataloader_shuffle": False}),
    "checkpoints": V(EVALUATED | {"save_strategy": "steps", "save_steps": 2, "load_best_model_at_end": True}),
}
# Every variant is run with a function margin of weight 0; these without a margin and with an adapter margin too.
WITHOUT_MARGIN = (
    "plain", "sft", "bco_pair", "mixed losses", "full", "full, another reference", "adalora", "llamapro", "reference adapter",
    "streaming", "packing", "noise", "rejected_messages", "sides that part early", "two evaluation sets", "bfloat16", "checkpoints",
)  # fmt: skip
WITH_ADAPTER = (
    "plain", "ipo", "sft", "mixed losses", "length desensitised", "full", "full, another reference", "lora everywhere", "lora dropout",
    "dora", "adalora", "llamapro", "continued adapter", "reference adapter", "multi-turn", "rejected_messages",
    "sides that part early", "truncation delete", "lazy, delete", "streaming", "evaluation", "accumulation", "noise",
    "gradient checkpointing", "bfloat16", "checkpoints",
)  # fmt: skip
# With a pair's prompt computed once: a sum of every kind over the logits, every place where rows part, every model.
SHARED = (
    "plain", "ipo", "mixed losses", "length desensitised", "full", "full, another reference", "lora dropout", "dora", "adalora", "vera",
    "boft", "llamapro", "reference adapter", "multi-turn", "multi-turn, every round", "multi-turn, all tokens", "rejected_messages",
    "sides that part early", "truncation left", "two evaluation sets", "accumulation", "noise", "gradient checkpointing",
    "left padding", "checkpoints",
)  # fmt: skip
CASES = [
    *((name, "shared prefixes") for name in SHARED),
    *((name, "function") for name in VARIANTS),
    *((name, "no margin") for name in WITHOUT_MARGIN),
    *((name, "adapter") for name in WITH_ADAPTER),
]
