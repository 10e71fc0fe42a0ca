"""TRL's OnlineDPOConfig with defaults that run and without the settings that train on wrong data."""

from dataclasses import dataclass, field

import trl
from packaging.version import Version
from trl.experimental.online_dpo import OnlineDPOConfig

from datasets_builders.choices import check_choice
from datasets_builders.model_names import refuse_missing_folder
from trl_ext.shared_prefix.setting import HELP, read_setting

# TRL 0.29.1 flattens the server's answer into completions of one token; 1.16.0 is the first version checked to be right.
SERVER_MODE_WORKS = Version("1.16.0")


@dataclass
class OnlineConfig(OnlineDPOConfig):
    """[`trl.experimental.online_dpo.OnlineDPOConfig`] for the trainers of this package.

    Args:
        beta: strength of the pull towards the reference, one number. TRL's own type is a list with one entry an epoch,
            which its trainer indexes with a float epoch and so stops with a TypeError.
        model_path: LoRA adapter folder of an earlier iteration, from which the policy starts.
        ref: with `model_path`, the reference: `base` (adapters off) or `previous` (a frozen copy of that adapter).
        shared_prefix: whether the two answers of a prompt compute it once: `auto` where it is exact and pays, `on`, `off`.
        remove_unused_columns: must stay false, because prompts and their row numbers are such columns.

    Raises:
        ValueError: a setting that cannot work, with the reason.
    """

    beta: float = field(default=0.1, metadata={"help": "Strength of the pull towards the reference, one number."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay false: prompts are such columns."})
    model_path: str | None = field(
        default=None, metadata={"help": "LoRA adapter folder of an earlier iteration, from which the policy starts."}
    )
    ref: str = field(
        default="base",
        metadata={"help": "Reference of an iteration that starts from --model_path: base or previous."},
    )
    shared_prefix: str = field(default="auto", metadata={"help": HELP})

    def __post_init__(self):
        if isinstance(self.beta, list | tuple):
            if len(self.beta) != 1:
                raise ValueError(
                    f"--beta is {list(self.beta)}: one number is valid; TRL indexes a list with a float epoch and stops"
                )
            self.beta = self.beta[0]
        if not self.beta > 0:
            raise ValueError(f"--beta is {self.beta}: a number above 0 is valid")
        check_choice("--ref", self.ref, ("base", "previous"))
        self.shared_prefix = read_setting("--shared_prefix", self.shared_prefix)
        if self.ref == "previous" and self.model_path is None:
            raise ValueError("--ref previous needs --model_path, the checkpoint that the reference is a copy of")
        if self.model_path is not None:
            refuse_missing_folder(self.model_path, "--model_path")
        if self.remove_unused_columns:
            raise ValueError("--remove_unused_columns true would drop the prompts and their row numbers; leave it out")
        self._refuse_wrong_data()
        super().__post_init__()

    def _refuse_wrong_data(self) -> None:
        """Settings of TRL under which a run goes through and learns nonsense, or which have no meaning here."""
        if self.use_vllm and self.vllm_mode == "server" and Version(trl.__version__) < SERVER_MODE_WORKS:
            raise ValueError(
                f"--vllm_mode server of trl {trl.__version__} trains on meaningless pairs (the server's completions are "
                f"cut into single tokens and misaligned with their prompts); use --vllm_mode colocate or trl >= "
                f"{SERVER_MODE_WORKS}"
            )
        if getattr(self, "use_transformers_paged", False):
            raise ValueError(
                "--use_transformers_paged hands the padding of a batch to the model as prompt text; leave it out"
            )
        if getattr(self, "judge", None) is not None:
            raise ValueError(f"--judge is {self.judge!r}: a judge ranks pairs and gives no scores; use reward models")
        if self.reward_model_path is not None:
            raise ValueError(f"--reward_model_path is {self.reward_model_path!r}: not read here; use --reward_models")
        if self.reward_weights is not None:
            raise ValueError(f"--reward_weights is {self.reward_weights}: not read here; use --fixed_weights")
