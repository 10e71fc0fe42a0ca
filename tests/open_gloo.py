"""A plugin of runs under DeepSpeed on ranks of CPUs: ZeRO-3 needs its backend before the model is loaded."""

import deepspeed

deepspeed.init_distributed(dist_backend="gloo")
