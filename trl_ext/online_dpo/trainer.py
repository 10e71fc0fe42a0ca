"""TRL's OnlineDPOTrainer with what both online methods need. Shapes: B prompts, T tokens; 2B rows hold first answers first.

Everything that is taken from `trl.experimental` goes through this folder. Seams used, present in trl 0.29.1 and 1.16.0:
`__init__`, `training_step`, `_calculate_rewards_from_functions`, `_forward`, `_generate`, `_generate_vllm`.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from packaging.version import Version
from peft import PeftModel
from transformers import set_seed
from transformers.integrations import deepspeed
from trl.data_utils import is_conversational
from trl.experimental.online_dpo import OnlineDPOTrainer

from datasets_builders.io import write_json
from trl_ext.checkpoints import EndsAtItsLastStep, newest_checkpoint, refuse_occupied
from trl_ext.model_card import DescribesItself
from trl_ext.sharding import SavesWhole, loaded_whole, refuse_empty_reference
from trl_ext.shared_prefix.trainer import SharedPrefixOnlineDPO
from trl_ext.weight_transfer import refuse_server_without_gpu

from .adapters import REFERENCE, ReferenceAdapter, load_policy, read_previous_config
from .config import OnlineConfig
from .prompt_check import check_prompts

ROW = "row_number"
# What `_generate` of the parent returns after the four tensors: the vision inputs, since trl 1.16.
GENERATED_REST: tuple[None, ...] = (None,) if Version(trl.__version__) >= Version("1.16.0") else ()
Prompt = str | list[dict[str, Any]]


def with_row_numbers(dataset: Any, flag: str) -> Dataset:
    """The data set with a column of its own row numbers, by which draws stay the same under any order of the rows.

    Raises:
        ValueError: rows without a number (a stream), no `prompt` column, a row without a prompt, prompts of two kinds, or
            a column of that name.
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"{flag} is a {type(dataset).__name__}: a datasets.Dataset is valid; rows of a stream have no number that "
            "a draw of weights could depend on"
        )
    if "prompt" not in dataset.column_names:
        raise ValueError(f"{flag} has the columns {dataset.column_names}: a column 'prompt' is missing")
    if ROW in dataset.column_names:
        raise ValueError(f"{flag} has a column {ROW!r} already: rename it, the name is needed for the row numbers")
    check_prompts(dataset["prompt"], flag)
    return dataset.add_column(ROW, list(range(len(dataset))))


def check_held_out(dataset: Any, flag: str = "eval_dataset") -> None:
    """Refuses a data set, or one of a dictionary of them, whose rows cannot be asked, as `with_row_numbers`; None is none."""
    if isinstance(dataset, Mapping):
        for name, one in dataset.items():
            check_held_out(one, f"{flag}[{name!r}]")
    elif dataset is not None:
        with_row_numbers(dataset, flag)


# Arguments of the parent that decide pairs otherwise, or that its evaluation (it has none) would read.
NOT_TAKEN = {
    "reward_funcs": "what decides a pair is named in args",
    "reward_processing_classes": "what decides a pair is named in args",
    "judge": "a judge ranks pairs and gives no scores; what decides a pair is named in args",
    "compute_metrics": "the evaluation generates answers and scores them, there are no logits and labels to hand over",
    "preprocess_logits_for_metrics": "the evaluation generates answers and scores them, there are no logits",
}


def refuse_without_effect(trainer: str, args: Any, config_class: type, given: dict[str, Any]) -> None:
    """Refuses arguments of the parent's constructor that these trainers do not read, before a model is loaded.

    Raises:
        ValueError: the argument and the reason, or that `args` is no `config_class`.
    """
    if not isinstance(args, config_class):
        raise ValueError(
            f"args of {trainer} must be a {config_class.__name__}, found {type(args).__name__}; give the arguments by name, "
            "their order is not OnlineDPOTrainer's"
        )
    for name, reason in NOT_TAKEN.items():
        if given.get(name) is not None:
            raise ValueError(f"{trainer} does not take {name}: {reason}")


@contextmanager
def whole_models(args: OnlineConfig) -> Iterator[None]:
    """Models loaded inside are complete on every rank; ZeRO-3 would shard them, FSDP leave all ranks but one without weights."""
    settings = getattr(args, "hf_deepspeed_config", None) or getattr(args.deepspeed_plugin, "dschf", None)
    if not deepspeed.is_deepspeed_zero3_enabled():
        with loaded_whole():
            yield
        return
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed.set_hf_deepspeed_config(settings)


class OnlineTrainer(EndsAtItsLastStep, DescribesItself, SavesWhole, SharedPrefixOnlineDPO, OnlineDPOTrainer):
    """The parent, plus four things: rows carry their number, a pair has a loss weight, the reference may be the
    previous iteration's adapter, and a checkpoint holds `state_dict()`.

    The gradient of a step is the mean over its micro-batches; the parent's is their sum unless DeepSpeed divides it.
    """

    state_file: str  # the name of the file in a checkpoint
    computed_columns = (ROW,)

    def __init__(self, model, args: OnlineConfig, train_dataset, peft_config=None, **kwargs):
        if isinstance(model, PeftModel):
            raise ValueError(
                "model is a PeftModel, for which TRL copies the whole base as the reference; pass the base model with "
                "peft_config, or with args.model_path for the adapter of an earlier iteration"
            )
        refuse_server_without_gpu(args)
        if args.model_path is not None:
            if peft_config is not None:
                raise ValueError(f"--model_path {args.model_path} brings its own LoRA settings: leave out peft_config")
            peft_config = read_previous_config(args.model_path)
        refuse_empty_reference(args, peft_config is None)
        self.pair_weights: torch.Tensor | None = None
        train_dataset = with_row_numbers(train_dataset, "train_dataset")
        check_held_out(kwargs.get("eval_dataset"))
        set_seed(args.seed)  # a fresh adapter is random; trl 0.29.1 seeds only after it is made
        super().__init__(model, args=args, train_dataset=train_dataset, peft_config=peft_config, **kwargs)
        self.reference_adapter = None
        if args.model_path is not None:
            load_policy(self.model, args.model_path)
            if args.ref == "previous":
                refuse_occupied(args.output_dir, [REFERENCE])
                self.reference_adapter = self.ref_model = ReferenceAdapter(self.model)

    @property
    def data_epoch(self) -> int:
        """The pass over the data that is under way, counted from 0."""
        return int(self.state.epoch or 0)

    def _forward(self, model, *args, **kwargs):
        """The parent's (2B, T) log-probs; on the way back a pair's gradient is multiplied by its loss weight."""
        logprobs = super()._forward(model, *args, **kwargs)
        if logprobs.requires_grad:
            logprobs.register_hook(self._weigh)
        return logprobs

    def _weigh(self, gradient: torch.Tensor) -> torch.Tensor:
        # (2B, T). A hook, because the rewards that decide about the weight come after the forward pass and the mean
        # over pairs is taken inside the parent's step.
        steps = 1 if self.is_deepspeed_enabled else self.current_gradient_accumulation_steps
        return gradient * (self.pair_weights.repeat(2)[:, None] / steps).to(gradient.dtype)

    def answer_lengths(self, completion_ids: Sequence[Sequence[int]]) -> tuple[list[int], torch.Tensor]:
        """Tokens of each completion with its end token, without padding; and (N,) whether it has an end token."""
        # Several since trl 1.15; trl 1.8 to 1.14 keep none of their own.
        own = getattr(self, "eos_token_id", self.processing_class.eos_token_id)
        ends = set(getattr(self, "eos_token_ids", None) or [own])
        firsts = [next((i for i, token in enumerate(ids) if token in ends), None) for ids in completion_ids]
        lengths = [len(ids) if first is None else first + 1 for ids, first in zip(completion_ids, firsts, strict=True)]
        return lengths, torch.tensor([first is not None for first in firsts], device=self.accelerator.device)

    @torch.no_grad()
    def sample(self, prompts: list[Prompt], seed: int) -> tuple[list[Prompt], list[list[int]]]:
        """Two completions of each prompt (2B, first answers first) and their tokens; training's random state is kept."""
        was_training = self.model.training
        with torch.random.fork_rng([self.accelerator.device] if self.accelerator.device.type == "cuda" else []):
            torch.manual_seed(seed)
            self.model.eval()
            if self.args.use_vllm:
                generated = self._generate_vllm(prompts)
            else:
                generated = self._generate(self.model_wrapped, prompts)
            self.model.train(was_training)
        ids = generated[2]  # prompt ids, their mask, completion ids, their mask, and since trl 1.x vision inputs
        texts = self.processing_class.batch_decode(ids, skip_special_tokens=True)
        if is_conversational({"prompt": prompts[0]}):
            texts = [[{"role": "assistant", "content": text}] for text in texts]
        return texts, ids.tolist()

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def evaluation_metrics(self, dataset: Dataset, name: str) -> dict[str, float]:
        """Metrics of answers to the prompts of one data set, without the prefix `name` of its evaluation."""
        raise NotImplementedError

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Logs and returns `evaluation_metrics`, each key with the prefix; of a dictionary of data sets those of each.

        Raises:
            ValueError: no data set, or a row that cannot be asked; before anything is generated.
        """
        if not isinstance(eval_dataset, str):  # a text names one of those that were checked at the start
            check_held_out(eval_dataset)
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise ValueError("evaluation needs an eval_dataset with a column 'prompt'")
        if isinstance(dataset, str):
            dataset = self.eval_dataset[dataset]
        if isinstance(dataset, Mapping):
            of_each = (self.evaluate(one, ignore_keys, f"{metric_key_prefix}_{name}") for name, one in dataset.items())
            return {key: value for metrics in of_each for key, value in metrics.items()}
        found = self.evaluation_metrics(dataset, metric_key_prefix)
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in found.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beyond the parent's checkpoint, as plain JSON values."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any], path: Path) -> None:
        """Takes back what `state_dict` gave; ValueError when the run's settings are others."""
        raise NotImplementedError

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        folder = resume_from_checkpoint
        if folder is True:
            folder = resume_from_checkpoint = newest_checkpoint(self.args.output_dir, self.state_file)
            if folder is None:
                raise ValueError(
                    f"resume_from_checkpoint is True: {self.args.output_dir} holds no whole checkpoint of this trainer"
                )
        if folder:
            path = Path(folder, self.state_file)
            if not path.is_file():
                raise ValueError(
                    f"--resume_from_checkpoint {folder} is not a checkpoint of this trainer: no {path.name}"
                )
            self.load_state_dict(json.loads(path.read_text(encoding="utf-8")), path)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _load_from_checkpoint(self, *args, **kwargs):
        super()._load_from_checkpoint(*args, **kwargs)
        if self.reference_adapter is not None:
            self.reference_adapter.restore()  # loading the policy flips flags

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        # The reference is the adapter of --model_path. Beside the policy, transformers would load it instead of it.
        if self.reference_adapter is not None:
            shutil.rmtree(Path(output_dir or self.args.output_dir, REFERENCE), ignore_errors=True)

    def save_parts(self, folder: Path) -> None:
        """Called on every rank with the checkpoint's folder, for what is not JSON or belongs to one rank."""

    def _save_checkpoint(self, *args, **kwargs):
        super()._save_checkpoint(*args, **kwargs)
        folder = Path(self.args.output_dir, f"checkpoint-{self.state.global_step}")
        self.save_parts(folder)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:  # last of all: a folder with this file is whole
            write_json(folder / self.state_file, self.state_dict())
