"""Settings of D2PO on top of online DPO."""

import json
from dataclasses import dataclass, field
from typing import Any

from datasets_builders.choices import check_choice
from datasets_builders.model_names import merged_reward_model, refuse_missing_folder
from datasets_builders.old_variables import D2PO, refuse_old_variables
from trl_ext.objectives.d2po import SELECTIONS
from trl_ext.online_dpo.config import OnlineConfig

from .discriminator_interface import DiscriminatorSettings
from .first_pairs import read_first_pairs
from .gold import get_gold
from .left_over import arguments_fit, flags_to_take_out
from .shaping import ShapingSettings

MODES = ("d2po", "opo", "self_reward")
_OWN = {name: one.default for name, one in DiscriminatorSettings.model_fields.items()}  # defaults stand there, once


@dataclass
class D2POConfig(OnlineConfig):
    """[`OnlineConfig`] with a window of pairs, a budget of gold labels and a discriminator (D2PO, arXiv 2405.01511).

    Args:
        mode: `d2po`, a discriminator that learns from gold labels; `opo`, gold itself or a fixed reward model;
            `self_reward`, the policy's own log-ratio to the reference beside gold labels.
        completions: answers per prompt, an even number; the best is trained against the worst.
        window_pairs: prompts, over all ranks, that are answered before labels are bought.
        window_passes: how often the policy is trained on a window.
        generation_batch_size: prompts of one rank that are answered at once; None is `per_device_train_batch_size`.
            Sampling needs no gradients, so more fit, and a window takes fewer calls.
        labels_per_window: gold labels bought in a window (`d2po` and `self_reward`).
        max_labels: gold labels after which none is bought any more; needed for a gold function that costs money.
        selection: pairs that are labelled: `confidence` (least certain), `random`, `stratified`, or `clear` (most
            certain: the fewest labels are lost to ties of gold, but they correct the discriminator least).
        update_discriminator: False keeps the discriminator as it is; gold still corrects the labelled pairs.
        gold: name of a gold function or `package.module:function`.
        gold_arguments: its arguments as a JSON object.
        eval_gold: gold function that evaluation shows for `opo` with a discriminator, which has no `gold`; it labels
            nothing.
        discriminator: folder of a reward model or, for the kind `dpo`, of a causal model.
        discriminator_url: address of a running `python -m launch discriminator-server` instead.
        discriminator_*: its other settings, see `trl_ext.d2po.discriminator.DiscriminatorSettings`.
        discriminator_first_pairs: file of the pairs that the discriminator was trained on before (.jsonl: prompt, chosen,
            rejected, and margin where the loss reads it); replay draws from them too.
        keep_long, length_penalty, scale_reward, token_bonus: see `trl_ext.d2po.shaping.ShapingSettings`.
        save_rollouts: write every window's answers, scores and labels to rollouts.jsonl.

    Raises:
        ValueError: a setting that is not valid; what was found and what is valid.
    """

    mode: str = field(default="d2po", metadata={"help": "d2po, opo or self_reward."})
    completions: int = field(default=2, metadata={"help": "Answers a prompt, an even number."})
    window_pairs: int = field(default=64, metadata={"help": "Prompts over all ranks that make a window."})
    window_passes: int = field(default=1, metadata={"help": "How often the policy is trained on a window."})
    generation_batch_size: int | None = field(default=None, metadata={"help": "Prompts of a rank answered at once."})
    labels_per_window: int = field(default=0, metadata={"help": "Gold labels bought in a window."})
    max_labels: int | None = field(default=None, metadata={"help": "Gold labels after which none is bought."})
    selection: str = field(default="confidence", metadata={"help": "confidence, random, stratified or clear."})
    update_discriminator: bool = field(default=True, metadata={"help": "Train the discriminator on gold labels."})
    gold: str | None = field(default=None, metadata={"help": "Gold function: a name or package.module:function."})
    gold_arguments: str | None = field(default=None, metadata={"help": "Its arguments, a JSON object."})
    eval_gold: str | None = field(default=None, metadata={"help": "Gold that evaluation alone shows."})
    discriminator: str | None = field(default=None, metadata={"help": "Folder of the reward model."})
    discriminator_url: str | None = field(default=None, metadata={"help": "Address of a discriminator server."})
    discriminator_kind: str = field(default=_OWN["kind"], metadata={"help": "classifier or dpo."})
    discriminator_loss: str = field(default=_OWN["loss"], metadata={"help": "bt, margin or margin_order."})
    discriminator_learning_rate: float = field(default=_OWN["learning_rate"], metadata={"help": "Of its own AdamW."})
    discriminator_epochs: int = field(default=_OWN["epochs"], metadata={"help": "Passes of an update over its labels."})
    discriminator_batch_size: int = field(default=_OWN["batch_size"], metadata={"help": "Pairs of one of its steps."})
    discriminator_max_length: int = field(
        default=_OWN["max_length"], metadata={"help": "Longest text it reads, in tokens."}
    )
    discriminator_lora_rank: int = field(
        default=_OWN["lora_rank"], metadata={"help": "Rank of its LoRA; 0 trains all its weights."}
    )
    discriminator_replay: int = field(
        default=_OWN["replay"], metadata={"help": "Earlier labels that an update sees again."}
    )
    discriminator_text_format: str = field(
        default=_OWN["text_format"], metadata={"help": "Its texts: question_answer, chat or plain."}
    )
    discriminator_dtype: str = field(
        default=_OWN["dtype"],
        metadata={"help": "Its frozen weights and arithmetic: float32 or bfloat16, half the memory."},
    )
    discriminator_first_pairs: str | None = field(
        default=None, metadata={"help": "File of the pairs it was trained on before; replay draws from them too."}
    )
    keep_long: int = field(default=0, metadata={"help": "Answers with fewer words than this get -20."})
    length_penalty: bool = field(default=False, metadata={"help": "Add 2 sigma (1 - 0.01 tokens) to scores."})
    scale_reward: bool = field(default=False, metadata={"help": "Normalise scores and cut them to +-0.3."})
    token_bonus: float = field(default=0.0, metadata={"help": "Ratio of the bonus for rare words."})
    save_rollouts: bool = field(default=True, metadata={"help": "Write every window to rollouts.jsonl."})

    def __post_init__(self):
        refuse_old_variables(D2PO)
        check_choice("--mode", self.mode, MODES)
        check_choice("--selection", self.selection, SELECTIONS)
        if self.completions < 2 or self.completions % 2:
            raise ValueError(f"--completions is {self.completions}: an even number of at least 2 is valid")
        for flag in ("window_pairs", "window_passes"):
            if getattr(self, flag) < 1:
                raise ValueError(f"--{flag} is {getattr(self, flag)}: at least 1 is valid")
        if self.generation_batch_size is not None and self.generation_batch_size < 1:
            raise ValueError(f"--generation_batch_size is {self.generation_batch_size}: at least 1 is valid")
        if self.missing_eos_penalty is not None:
            raise ValueError(
                f"--missing_eos_penalty is {self.missing_eos_penalty}: it would act after the pairs are chosen; "
                "use --keep_long or a gold function that judges unfinished answers"
            )
        self.discriminator_settings()
        self._check_sources()
        super().__post_init__()
        self._check_window()

    def _check_sources(self) -> None:
        given = [name for name in ("discriminator", "discriminator_url") if getattr(self, name) is not None]
        if self.mode == "opo":
            self._check_one_source(given)
        elif self.mode == "self_reward":
            if away := flags_to_take_out(self, by_gold=True, by_discriminator=False):
                raise ValueError(f"--mode self_reward: the policy scores itself, beside --gold; add {away}")
        elif not given:
            raise ValueError("--mode d2po needs a discriminator: give --discriminator or --discriminator_url")
        elif away := flags_to_take_out(self, by_gold=True, by_discriminator=True):
            raise ValueError(f"--mode d2po with --gold {self.gold}: add {away}")
        if len(given) > 1:
            pairs = " --discriminator_first_pairs null" if self.discriminator_first_pairs is not None else ""
            raise ValueError(
                "--discriminator and --discriminator_url exclude each other: for the server add --discriminator null"
                f"{pairs}, for the folder --discriminator_url null"
            )
        if self.mode != "opo" and (self.gold is None or not 0 < self.labels_per_window <= self.window_pairs):
            raise ValueError(
                f"--mode {self.mode} needs --gold (found {self.gold}) and --labels_per_window from 1 to "
                f"--window_pairs {self.window_pairs} (found {self.labels_per_window})"
            )
        if self.discriminator_first_pairs is not None and not (self.discriminator and self.discriminator_replay):
            raise ValueError(
                f"--discriminator_first_pairs {self.discriminator_first_pairs} is for the replay of a --discriminator: "
                f"found {self.discriminator} with --discriminator_replay {self.discriminator_replay}; a server replays its own "
                "labels; --discriminator_first_pairs null takes it out"
            )
        if self.discriminator is not None:
            made_by = merged_reward_model(self.discriminator) if self.discriminator_kind == "classifier" else ""
            refuse_missing_folder(self.discriminator, "--discriminator", made_by)
        if self.discriminator_first_pairs is not None:
            read_first_pairs(self.discriminator_first_pairs, self.discriminator_loss)
        gold = self.build_gold()
        if gold is not None and gold.costs_money and self.max_labels is None:
            raise ValueError(f"--gold {self.gold} costs money: say with --max_labels how many labels may be bought")
        if self.eval_gold is not None and get_gold(self.eval_gold).costs_money:
            raise ValueError(f"--eval_gold {self.eval_gold}: a function that costs no money is valid")
        if self.max_labels is not None and self.max_labels < 1:
            raise ValueError(f"--max_labels is {self.max_labels}: at least 1 is valid")

    def _check_one_source(self, given: list[str]) -> None:
        """Of `opo`: gold, or the discriminator that is `given`, and nothing of a mode that has both."""
        if not given and self.gold is None:
            raise ValueError("--mode opo takes its scores from one place: give --gold or --discriminator")
        if given and self.gold is not None:
            raise ValueError(
                f"--mode opo takes its scores from one place, found --gold {self.gold} and --{given[0]} "
                f"{getattr(self, given[0])}: for gold add {flags_to_take_out(self, True, False)}, for the discriminator "
                f"{flags_to_take_out(self, False, True)}"
            )
        if away := flags_to_take_out(self, by_gold=not given, by_discriminator=bool(given)):
            what = (
                "every pair is labelled by gold"
                if self.gold
                else "a fixed discriminator scores and nothing is labelled"
            )
            raise ValueError(f"--mode opo: {what}; settings of another mode are in the way: add {away}")

    def _check_window(self) -> None:
        step = self.per_device_train_batch_size * self.gradient_accumulation_steps * self.world_size
        if self.window_pairs % step:
            raise ValueError(
                f"--window_pairs is {self.window_pairs}: a multiple of {step} is valid (batch "
                f"{self.per_device_train_batch_size} x accumulation {self.gradient_accumulation_steps} x "
                f"{self.world_size} processes)"
            )

    @property
    def window_batches(self) -> int:
        """Micro-batches of one rank in one pass over a window."""
        return self.window_pairs // (self.per_device_train_batch_size * self.world_size)

    @property
    def shaping(self) -> ShapingSettings:
        return ShapingSettings(self.keep_long, self.length_penalty, self.scale_reward, self.token_bonus)

    def discriminator_settings(self) -> DiscriminatorSettings:
        """What the fields `discriminator_...` say; ValueError for one that cannot work."""
        given = {
            name: getattr(self, f"discriminator_{name}")
            for name in _OWN
            if f"discriminator_{name}" in self.__dataclass_fields__
        }
        return DiscriminatorSettings(**given, seed=self.seed)

    def build_gold(self) -> Any:
        """The gold function or None; ValueError for an unknown name or argument."""
        if self.gold is None:
            return None
        try:
            arguments = json.loads(self.gold_arguments or "{}")
        except json.JSONDecodeError as error:
            raise ValueError(f"--gold_arguments {self.gold_arguments!r} is not JSON: {error}") from error
        if not isinstance(arguments, dict):
            raise ValueError(f"--gold_arguments {self.gold_arguments!r}: a JSON object is valid")
        try:
            return get_gold(self.gold, **arguments)
        except ValueError as error:
            if arguments_fit(self):
                raise
            raise ValueError(f"{error}; --gold_arguments null takes out those of a run file") from error
