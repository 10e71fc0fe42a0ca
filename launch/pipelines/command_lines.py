"""The command lines of the MODPO pipeline: what every stage hands to ms-swift, to the builders, and to `python -m launch`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch.common.installed import PACK
from launch.pipelines.config import PipelineConfig
from launch.pipelines.stages import Command

PLUGIN = ["--external_plugins", str(PACK / "swift_ext" / "plugins" / "modpo.py")]
SHARED_PREFIX = ["--external_plugins", str(PACK / "swift_ext" / "plugins" / "shared_prefix.py")]
# Of training flags, what a store of reference and margins does not depend on.
_OF_AN_OPTIMISER = (
    "deepspeed", "output_dir", "add_version", "learning_rate", "max_steps", "warmup_ratio", "weight_decay",
    "gradient_accumulation_steps", "save_steps", "save_total_limit",
)  # fmt: skip


def flags(values: Mapping[str, Any]) -> list[str]:
    """`--name value ...` of every value that is not None."""
    argv = []
    for name, value in values.items():
        if value is None:
            continue
        items = value if isinstance(value, list) else [value]
        argv += [f"--{name}", *(str(item).lower() if isinstance(item, bool) else str(item) for item in items)]
    return argv


def launch(verb: str, values: Mapping[str, Any], *more: str) -> Command:
    """A command of `python -m launch`; `more` stands behind its flags."""
    return Command(["python", "-m", "launch", verb, *flags(values), *more])


def place(path: str | None) -> str | None:
    """An absolute path where something is there, so that it counts by its content; anything else as it is."""
    return str(Path(path).resolve()) if path is not None and Path(path).exists() else path


def native_bf16() -> bool:
    """Whether bf16 is fast here: a GPU, or a CPU with bf16 instructions."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and any(flag in cpuinfo.read_text() for flag in ("avx512_bf16", "amx_bf16"))


class CommandLines:
    """The places of a run, and the command lines that a configuration makes of them.

    Attributes:
        base: the model that the run starts from; `policy_base` is what SFT made of it, or itself.
    """

    def __init__(self, config: PipelineConfig):
        import torch

        self.config, self.out = config, config.out.resolve()
        self.data = self.out / "data"
        self.dtype = config.torch_dtype
        if self.dtype == "auto":
            self.dtype = "bfloat16" if native_bf16() else "float32"
        self.on_cpu = not torch.cuda.is_available()
        self.base = self.out / "model" if config.model == "embedded" else place(config.model)
        self.policy_base = self.out / "sft_merged" if config.sft else self.base
        self.margin_adapter = self.out / "margin_dpo" / f"checkpoint-{config.dpo_max_steps}"
        self.preference_adapter = self.out / "preference_dpo" / f"checkpoint-{config.dpo_max_steps}"

    def model(self, model: Any) -> dict[str, Any]:
        """Which model, and how its conversations are written."""
        c = self.config
        return {"model": model, "model_type": c.model_type, "template": c.template, "system": c.system}

    def launch_environment(self) -> dict[str, str]:
        """What a training stage reads from the environment: its processes and its tracker."""
        environment = {}
        if self.config.processes > 1:
            environment["NPROC_PER_NODE"] = str(self.config.processes)
        for name in ("project", "run_group", "tags"):
            if value := getattr(self.config, f"wandb_{name}"):
                environment[f"WANDB_{name.upper()}"] = value
        return environment

    def training(self, folder: Path, steps: int, learning_rate: float) -> dict[str, Any]:
        """What all trainings share."""
        c = self.config
        return {
            "output_dir": folder, "add_version": False, "torch_dtype": self.dtype, "tuner_type": "lora",
            "lora_rank": c.lora_rank, "lora_alpha": c.lora_alpha, "lora_dropout": c.lora_dropout,
            "max_length": c.train_max_length, "per_device_train_batch_size": c.train_batch_size,
            "per_device_eval_batch_size": c.eval_batch_size, "gradient_accumulation_steps": c.grad_accum,
            "learning_rate": learning_rate, "warmup_ratio": c.warmup_ratio, "weight_decay": c.weight_decay,
            "max_steps": steps, "save_steps": c.save_steps, "save_total_limit": 2, "logging_steps": c.logging_steps,
            "seed": c.train_seed, "data_seed": c.train_seed, "gradient_checkpointing": c.gradient_checkpointing,
            "dataset_num_proc": c.data_num_proc, "dataloader_num_workers": 0, "check_model": False,
            "report_to": "wandb" if c.wandb_project else "none", "deepspeed": c.deepspeed,
            "use_cpu": True if self.on_cpu else None,
            "ddp_backend": "gloo" if self.on_cpu and c.processes > 1 else None,
        }  # fmt: skip

    def sft(self, folder: Path) -> list[str]:
        """Supervised fine-tuning on the chosen answers."""
        c = self.config
        return ["swift", "sft", *flags({
            **self.model(self.base), "dataset": self.data / "sft.jsonl", "split_dataset_ratio": 0,
            **self.training(folder, c.sft_max_steps, c.sft_learning_rate), **c.sft_flags,
        })]  # fmt: skip

    def margin(self, folder: Path) -> list[str]:
        """DPO of the margin adapter."""
        held_out = {
            "val_dataset": self.data / "margin_val.jsonl",
            "eval_strategy": "steps",
            "eval_steps": self.config.eval_steps,
        }
        return self._dpo(self.data / "margin.jsonl", folder, held_out)

    def preference(self, folder: Path) -> list[str]:
        """DPO on the trained preference alone, as the margin adapter is trained: the other end of a soup."""
        return self._dpo(self.data / "preference.jsonl", folder, {})

    def _dpo(self, pairs: Path, folder: Path, held_out: Mapping[str, Any]) -> list[str]:
        c = self.config
        sharing = SHARED_PREFIX if c.share_prompts else []
        return ["swift", "rlhf", *flags({
            "rlhf_type": "dpo", **self.model(self.policy_base), "dataset": pairs, "split_dataset_ratio": 0, "beta": c.beta,
            **held_out, **self.training(folder, c.dpo_max_steps, c.dpo_learning_rate), **c.margin_flags,
        }), *sharing]  # fmt: skip

    def soup(self, folder: Path, w: float) -> Command:
        """The two DPO adapters, mixed by w and 1 - w."""
        ends = [f"preference={self.preference_adapter}", f"margin={self.margin_adapter}"]
        weights = f"preference={w:g},margin={round(1 - w, 6):g}"
        return launch("soup", {"base": self.policy_base, "adapters": ends, "weights": weights, "out": folder})

    def _modpo(self, folder: Path, w: float = 1.0) -> dict[str, Any]:
        c = self.config
        rate = c.modpo_learning_rate * w if c.learning_rate_times_w else c.modpo_learning_rate
        return {
            "rlhf_type": "dpo", **self.model(self.policy_base), "dataset": self.data / "preference.jsonl",
            "split_dataset_ratio": 0, "beta": c.beta,
            **self.training(folder, c.modpo_max_steps, float(f"{rate:.6g}")), **c.modpo_flags,
        }  # fmt: skip

    def modpo(self, folder: Path, store: Path | None, w: float) -> list[str]:
        """MODPO on the pairs, or on a store of them with reference and margins."""
        values = self._modpo(folder, w)
        if store is not None:
            values |= {"dataset": store / "train.jsonl", "dataset_shuffle": False, "remove_unused_columns": False}
        return ["swift", "rlhf", *flags(values), *PLUGIN]

    def precompute(self, store: Path) -> Command:
        """The store. Nothing of an optimiser counts: another learning rate leaves it as it is."""
        values = {"store": store, **self._modpo(store), **dict.fromkeys(_OF_AN_OPTIMISER), "report_to": "none"}
        environment = {**self.launch_environment(), **self.margin_source()}
        return Command([*launch("precompute-margins", values).argv, *PLUGIN], environment)

    def margin_source(self) -> dict[str, str]:
        """The variables of a plugin that name the margin, whatever it counts."""
        if self.config.margin == "adapter":
            return {"MODPO_MARGIN_ADAPTER": str(self.margin_adapter)}
        return {"MODPO_MARGIN_FUNCTION": str(self.config.margin_function)}

    def margin_environment(self, w: float) -> dict[str, str]:
        """All variables of the plugin."""
        c = self.config
        counts = {"ROLE": c.margin_role, "BETA": c.margin_beta, "WEIGHT": c.margin_weight}
        given = {f"MODPO_MARGIN_{name}": str(value) for name, value in counts.items() if value is not None}
        start = {"MODPO_START": c.start} if c.start != "reference" else {}
        return {"MODPO_W": f"{w:g}", **self.margin_source(), **given, **start}

    def generate(self, prompts: Any, label: str, folder: Path, adapter: Path | None = None) -> Command:
        """Answers to evaluate."""
        c = self.config
        more = {
            "limit": c.eval_size, "repetition_penalty": c.gen_repetition_penalty,
            "no_repeat_ngram_size": c.gen_no_repeat_ngram_size, "seed": c.train_seed, "num_samples": c.gen_samples,
            "temperature": c.gen_temperature, "top_p": c.gen_top_p,
        }  # fmt: skip
        return self._answers(self.policy_base, prompts, label, folder, c.gen_do_sample, adapter=adapter, **more)

    def sample(self, folder: Path) -> Command:
        """Answers of the base model to label."""
        c = self.config
        drawn = {"seed": c.train_seed + 1, "num_samples": c.samples_per_prompt, "temperature": 1.0, "top_p": 1.0}
        return self._answers(self.base, place(c.prompts), "samples", folder, True, **drawn)

    def _answers(self, model: Any, prompts: Any, label: str, folder: Path, sampled: bool, **more: Any) -> Command:
        c = self.config
        values = {
            **self.model(model), "prompts": prompts, "out": folder, "label": label, "torch_dtype": self.dtype,
            "max_new_tokens": c.max_new_tokens, "max_input_length": c.max_input_length or c.max_length - c.max_new_tokens,
            "batch_size": c.gen_batch_size, **more,
        }  # fmt: skip
        return launch("generate", values, *(["--do_sample"] if sampled else []))

    def builder(self, role: str, split: str, name: str, sft: bool = False) -> Command:
        """A `python -m datasets_builders` line for the trained preference or the margin's labels."""
        c = self.config
        attribute = c.preference if role == "preference" else c.margin_preference
        values = {
            "split": split, "format": "swift", "out": self.data / name,
            "source": place(c.source if split == "train" else c.validation_source or c.source),
            "min_gap": c.min_gap, "limit": c.train_limit,
        }  # fmt: skip
        if c.data == "helpsteer":
            argv = ["helpsteer", "--attribute", attribute]
        else:
            argv = ["preference", "--dataset", c.dataset, *(["--dimension", attribute] if attribute else [])]
        return Command(["python", "-m", "datasets_builders", *argv, *flags(values), *(["--sft"] if sft else [])])


def shared_environment(config: PipelineConfig, on_cpu: bool, environ: Mapping[str, str]) -> dict[str, str]:
    """What every stage gets beside the variables of the shell, which are `environ`; nothing in it changes a result."""
    from launch.pipelines.preflight import asks_no_hub

    path = environ.get("PYTHONPATH")
    environment = {"PYTHONPATH": f"{PACK}{os.pathsep}{path}" if path else str(PACK), "TOKENIZERS_PARALLELISM": "false"}
    if on_cpu:
        # Threads that wait by spinning make a busy machine many times slower, not a little.
        environment["OMP_WAIT_POLICY"] = environ.get("OMP_WAIT_POLICY", "passive")
    if "HF_HUB_OFFLINE" not in environ and asks_no_hub(config):
        environment["HF_HUB_OFFLINE"] = "1"  # saves seconds at every start
    return environment
