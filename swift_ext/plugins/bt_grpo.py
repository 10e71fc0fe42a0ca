"""Makes `swift rlhf --rlhf_type grpo` keep pairs whole and know the Bradley-Terry rewards.

`--external_plugins $(python -m swift_ext bt_grpo) --reward_funcs bt_pointwise_baseline`; settings are read from `BT_*`,
see `swift_ext.bt_grpo.settings`.
"""

from swift.rewards import orms
from swift.trainers.trainer_factory import TrainerFactory

from swift_ext.bt_grpo.rewards import REWARDS
from trl_ext.shutdown import let_gloo_finish_at_exit

# By dotted path: ms-swift imports this file under its bare name, which could collide with another file.
TrainerFactory.TRAINER_MAPPING["grpo"] = "swift_ext.bt_grpo.PairGRPOTrainer"
TrainerFactory.TRAINING_ARGS_MAPPING["grpo"] = "swift_ext.bt_grpo.PairGRPOConfig"
orms.update(REWARDS)
let_gloo_finish_at_exit()
