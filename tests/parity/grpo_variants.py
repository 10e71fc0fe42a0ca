"""Variants of `swift rlhf --rlhf_type grpo`, each a few public flags on top of the suite's."""

from .variants import Variant

V = Variant
PAIRS = "pairs would be cut"
BOTH = ("bt_grpo", "pairwise_judge")


def refused(message: str) -> dict[str, str]:
    return dict.fromkeys(BOTH, message)


VARIANTS = {
    "plain": V(),
    **{f"loss {name}": V({"loss_type": name}) for name in ("bnpo", "dr_grpo", "dapo", "cispo", "sapo")},
    **{f"loss {name}": V({"loss_type": name}, upstream="does not support loss_type") for name in ("fipo", "real")},
    **{f"scaling {name}": V({"scale_rewards": name}) for name in ("batch", "none", "gdpo")},
    "without reference": V({"beta": 0.0}),
    "strong reference": V({"beta": 0.5}),
    "full": V({"tuner_type": "full", "learning_rate": 1e-4}),
    "two iterations": V({"num_iterations": 2}),
    "clip higher": V({"epsilon": 0.1, "epsilon_high": 0.28, "num_iterations": 2}),
    "two-sided clip": V({"delta": 1.5, "num_iterations": 2}),
    "sequence ratios": V({"importance_sampling_level": "sequence", "num_iterations": 2}),
    "sequence and token ratios": V({"importance_sampling_level": "sequence_token", "num_iterations": 2}),
    "rloo": V({"advantage_estimator": "rloo"}),
    "reinforce++": V({"advantage_estimator": "reinforce_plus_plus"}),
    "KL in the reward": V({"kl_in_reward": True}),
    "entropy logged": V({"log_entropy": True}),
    "most entropic tokens": V({"top_entropy_quantile": 0.5, "log_entropy": True}),
    "overlong filter": V({"overlong_filter": True}),
    "moving reference": V({"tuner_type": "full", "sync_ref_model": True, "ref_model_sync_steps": 1}),
    "sampling": V({"temperature": 0.7, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.1}),
    "four completions": V({"num_generations": 4, "per_device_train_batch_size": 8, "steps_per_generation": 1}),
    "two pairs a generation": V({"per_device_train_batch_size": 4, "steps_per_generation": 2}),
    "accumulation": V({"gradient_accumulation_steps": 2}),
    "completions logged": V({"log_completions": True}),
    "evaluation": V(
        {"val_dataset": "@rows", "eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 4},
        stock_stops="ValueError: pair ",
    ),
    "checkpoints": V({"save_strategy": "steps", "save_steps": 2}),
    "dynamic sampling": V({"dynamic_sample": True, "max_resample_times": 1}),
    "dropout": V({"lora_dropout": 0.2}),
    "lazy": V({"lazy_tokenize": True}),
    "epochs": V(
        {"max_steps": None, "num_train_epochs": 2, "per_device_train_batch_size": 8, "steps_per_generation": 1}
    ),
    "by generation_batch_size": V({"steps_per_generation": None, "generation_batch_size": 4}),
    "no reward of pairs": V(
        {"reward_funcs": ["format"], "reward_weights": None},
        refused={"bt_grpo": "no reward function of this run compares pairs", "pairwise_judge": "reads verdicts"},
    ),
    "streaming": V({"streaming": True}, refused=refused("--streaming false")),
    "delete long rows": V({"truncation_strategy": "delete"}, refused=refused("--truncation_strategy delete")),
    "half a pair a generation": V({"steps_per_generation": 1}, refused=refused(PAIRS)),
}
# The judge adds a log to the same paired trainer.
OF_THE_JUDGE = (
    "plain", "loss dapo", "scaling batch", "scaling none", "scaling gdpo", "without reference", "full", "two iterations", "clip higher",
    "rloo", "two pairs a generation", "evaluation", "dynamic sampling", "no reward of pairs", "streaming", "half a pair a generation",
)  # fmt: skip
OF_METHOD = {"bt_grpo": tuple(VARIANTS), "pairwise_judge": OF_THE_JUDGE}
CASES = [(method, name) for method in BOTH for name in OF_METHOD[method]]
