"""Makes `swift rlhf --rlhf_type dpo` train MODPO: `--external_plugins $(python -m swift_ext modpo)`.

Settings are read from `MODPO_*` when the trainer is built; see `swift_ext.modpo.settings`.
"""

from swift.trainers.trainer_factory import TrainerFactory

from trl_ext.shutdown import let_gloo_finish_at_exit

# By dotted path: ms-swift imports this file under its bare name, which could collide with another file.
TrainerFactory.TRAINER_MAPPING["dpo"] = "swift_ext.modpo.MODPOTrainer"
TrainerFactory.TRAINING_ARGS_MAPPING["dpo"] = "swift_ext.modpo.MODPOConfig"
let_gloo_finish_at_exit()
