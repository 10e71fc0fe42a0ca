"""Makes `swift rlhf` compute a prompt once: for a pair with `--rlhf_type dpo`, for its K completions with `grpo`.

`--external_plugins $(python -m swift_ext shared_prefix)`.

The setting is read from `SHARED_PREFIX`, see `swift_ext.shared_prefix.settings`. The plugins of the methods share prefixes
by themselves, and stay where they are loaded beside this one, before or after it.
"""

from swift.trainers.trainer_factory import TrainerFactory

from trl_ext.shutdown import let_gloo_finish_at_exit

# By dotted path: ms-swift imports this file under its bare name, which could collide with another file.
SHARING = {
    "dpo": ("swift_ext.shared_prefix.SharedPrefixDPOTrainer", "swift_ext.shared_prefix.SharedPrefixDPOConfig"),
    "grpo": ("swift_ext.shared_prefix.SharedPrefixGRPOTrainer", "swift_ext.shared_prefix.SharedPrefixGRPOConfig"),
}
for rlhf_type, (trainer, config) in SHARING.items():
    if TrainerFactory.TRAINER_MAPPING[rlhf_type].startswith("swift."):
        TrainerFactory.TRAINER_MAPPING[rlhf_type] = trainer
        TrainerFactory.TRAINING_ARGS_MAPPING[rlhf_type] = config
let_gloo_finish_at_exit()
