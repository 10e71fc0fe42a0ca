"""A plugin file that registers the pair rewards and leaves the trainers of ms-swift as they are: the stock side."""

from swift.rewards import orms

from swift_ext.bt_grpo.rewards import REWARDS as BRADLEY_TERRY
from swift_ext.pairwise_judge.rewards import REWARDS as JUDGE

orms.update(BRADLEY_TERRY | JUDGE)
