"""`--use_ray`, which `swift rlhf` takes and does nothing with."""

from dataclasses import dataclass


@dataclass
class RefusesRay:
    """A mixin over ms-swift's training arguments that refuses a flag without effect.

    `swift sft` starts Ray for it (`try_init_ray` in `swift/cli/sft.py`); `swift/cli/rlhf.py` does not, and the run goes on in
    the processes that it has.

    Args:
        use_ray: ms-swift's own flag, which it hands to whoever has such a field.

    Raises:
        ValueError: with `--use_ray true`.
    """

    use_ray: bool = False

    def __post_init__(self):
        if self.use_ray:
            raise ValueError(
                "--use_ray true: `swift rlhf` takes the flag and starts no Ray, so the run would train in this process as if it "
                "were not there: leave it out, and spread a run by NPROC_PER_NODE, and NNODES and NODE_RANK"
            )
        super().__post_init__()
