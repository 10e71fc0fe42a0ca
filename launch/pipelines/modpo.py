"""The MODPO pipeline: SFT, margin adapter, its check, MODPO for a grid of w, generation, scoring, report.

Every stage is a command line of ms-swift or of this pack, printed when it starts; `launch.pipelines.stages` skips what
is done and continues what was killed. Reference: the HelpSteer pipeline of the MODPO fork, whose stages these are.
"""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from datasets_builders.io import write_json
from launch.answers.checkpoints import list_checkpoints
from launch.common.processes import Lease

from .config import PipelineConfig, load_config
from .config import make_parser as make_parser
from .stages import Command, Resumed, Stage, StageRunner


def _flags(values: dict) -> list[str]:
    argv = []
    for name, value in values.items():
        if value is None:
            continue
        items = value if isinstance(value, list) else [value]
        argv += [f"--{name}", *(str(item).lower() if isinstance(item, bool) else str(item) for item in items)]
    return argv


def _place(path: str | None) -> str | None:
    """An absolute path where something is there, so that it counts by its content; anything else as it is."""
    return str(Path(path).resolve()) if path is not None and Path(path).exists() else path


def _label(w: float) -> str:
    return f"w{w:g}"


def native_bf16() -> bool:
    """Whether bf16 is fast here: a GPU, or a CPU with bf16 instructions."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and any(flag in cpuinfo.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a training folder. transformers writes `trainer_state.json` last."""
    found = [path for path in list_checkpoints(folder) if (path / "trainer_state.json").is_file()]
    return found[-1] if found else None


class ModpoPipeline:
    """Turns a configuration into stages."""

    def __init__(self, config: PipelineConfig):
        self.config, self.out = config, config.out.resolve()
        self.data = self.out / "data"
        self.dtype = config.torch_dtype
        if self.dtype == "auto":
            self.dtype = "bfloat16" if native_bf16() else "float32"
        import torch

        self.on_cpu = not torch.cuda.is_available()
        self.base = self.out / "model" if config.model == "embedded" else _place(config.model)
        self.policy_base = self.out / "sft_merged" if config.sft else self.base
        self.margin_adapter = self.out / "margin_dpo" / f"checkpoint-{config.dpo_max_steps}"
        plugin = Path(__file__).parents[2] / "swift_ext" / "plugins" / "modpo.py"
        self.plugin = ["--external_plugins", str(plugin)]

    # -- pieces of command lines

    def model_flags(self, model) -> dict:
        c = self.config
        return {"model": model, "model_type": c.model_type, "template": c.template, "system": c.system}

    def launch_environment(self) -> dict[str, str]:
        environment = {}
        if self.config.processes > 1:
            environment["NPROC_PER_NODE"] = str(self.config.processes)
        for name in ("project", "run_group", "tags"):
            value = getattr(self.config, f"wandb_{name}")
            if value:
                environment[f"WANDB_{name.upper()}"] = value
        return environment

    def training_flags(self, folder: Path, steps: int, learning_rate: float) -> dict:
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

    def train_stage(self, name: str, title: str, argv: list[str], folder: Path, steps: int, **stage) -> Stage:
        """A training stage that goes on from its newest complete checkpoint; the folder is its own."""
        environment = {**self.launch_environment(), **stage.pop("environment", {})}
        command = Resumed(Command(argv, environment), partial(latest_checkpoint, folder))
        return Stage(
            name, title, [command], [folder], resumable=True, results=[folder / f"checkpoint-{steps}"], **stage
        )

    def evaluation_flags(self, split: Path) -> dict:
        return {"val_dataset": split, "eval_strategy": "steps", "eval_steps": self.config.eval_steps}

    def margin_environment(self, w: float) -> dict[str, str]:
        c = self.config
        source = (
            {"MODPO_MARGIN_ADAPTER": self.margin_adapter}
            if c.margin == "adapter"
            else {"MODPO_MARGIN_FUNCTION": c.margin_function}
        )
        values = {
            "MODPO_W": f"{w:g}",
            **source,
            "MODPO_MARGIN_ROLE": c.margin_role,
            "MODPO_MARGIN_BETA": c.margin_beta,
            "MODPO_MARGIN_WEIGHT": c.margin_weight,
        }
        return {name: str(value) for name, value in values.items() if value is not None}

    # -- stages

    def stages(self) -> list[Stage]:
        stages = [*self.model_stages(), *self.data_stages()]
        c = self.config
        if c.sft:
            stages += self.sft_stages()
        if c.margin == "adapter":
            stages += self.margin_stages()
        if c.precompute:
            stages.append(self.precompute_stage())
        gate = ["check"] if c.margin == "adapter" else []
        stages += [self.modpo_stage(w, gate) for w in c.w_values]
        return stages + self.evaluation_stages()

    def model_stages(self) -> list[Stage]:
        if self.config.model != "embedded":
            return []
        command = Command(["python", "-m", "launch", "embedded-model", "--out", str(self.base)])
        return [Stage("model", "write the embedded model", [command], [self.base])]

    def generate_command(self, prompts, label: str, folder: Path, adapter=None, sampled=False) -> Command:
        c = self.config
        model = self.base if sampled else self.policy_base
        flags = {
            **self.model_flags(model), "prompts": prompts, "out": folder, "label": label, "adapter": adapter,
            "torch_dtype": self.dtype, "max_new_tokens": c.max_new_tokens,
            "max_input_length": c.max_input_length or c.max_length - c.max_new_tokens,
            "batch_size": c.gen_batch_size, "seed": c.train_seed + (1 if sampled else 0),
            "num_samples": c.samples_per_prompt if sampled else c.gen_samples,
            "temperature": 1.0 if sampled else c.gen_temperature, "top_p": 1.0 if sampled else c.gen_top_p,
        }  # fmt: skip
        if not sampled:
            flags |= {
                "limit": c.eval_size,
                "repetition_penalty": c.gen_repetition_penalty,
                "no_repeat_ngram_size": c.gen_no_repeat_ngram_size,
            }
        argv = ["python", "-m", "launch", "generate", *_flags(flags)]
        return Command([*argv, "--do_sample"] if sampled or c.gen_do_sample else argv)

    def data_stages(self) -> list[Stage]:
        c, data = self.config, self.data
        outputs = [data / "preference.jsonl"]
        if c.data == "sampled":
            samples = self.out / "samples"
            sample = Stage(
                "sample", "sample completions to label",
                [self.generate_command(_place(c.prompts), "samples", samples, sampled=True)],
                [samples], resumable=True, results=[samples / "samples"],
            )  # fmt: skip
            label = [
                "python",
                "-m",
                "launch",
                "label",
                "--samples",
                str(samples / "samples"),
                "--seed",
                str(c.train_seed),
            ]
            commands = [Command([*label, "--function", c.preference, "--out", str(outputs[0])])]
            if c.margin == "adapter":
                split = ["--val_out", str(data / "margin_val.jsonl"), "--val_prompts", str(c.val_prompts)]
                out = ["--out", str(data / "margin.jsonl")]
                commands.append(Command([*label, "--function", c.margin_preference, *out, *split]))
                outputs += [data / "margin.jsonl", data / "margin_val.jsonl"]
            return [sample, Stage("data", "label the samples", commands, [data], results=outputs)]
        if c.data == "files":
            return [self.file_stage()]
        commands = [self.builder("preference", "train", data / "preference.jsonl")]
        commands.append(self.builder("preference", "validation", data / "preference_val.jsonl"))
        outputs.append(data / "preference_val.jsonl")
        if c.sft:
            commands.append(self.builder("preference", "train", data / "sft.jsonl", sft=True))
            outputs.append(data / "sft.jsonl")
        if c.margin == "adapter":
            for split, name in (("train", "margin.jsonl"), ("validation", "margin_val.jsonl")):
                commands.append(self.builder("margin", split, data / name))
                outputs.append(data / name)
        return [Stage("data", "build the data sets", commands, [data], results=outputs)]

    def builder(self, role: str, split: str, out: Path, sft: bool = False) -> Command:
        """A `python -m datasets_builders` line for the trained preference or the margin's labels."""
        c = self.config
        attribute = c.preference if role == "preference" else c.margin_preference
        source = _place(c.source if split == "train" else c.validation_source or c.source)
        flags = {
            "split": split,
            "format": "swift",
            "out": out,
            "source": source,
            "min_gap": c.min_gap,
            "limit": c.train_limit,
        }
        if c.data == "helpsteer":
            argv = ["helpsteer", "--attribute", attribute]
        else:
            argv = ["preference", "--dataset", c.dataset, *(["--dimension", attribute] if attribute else [])]
        return Command(["python", "-m", "datasets_builders", *argv, *_flags(flags), *(["--sft"] if sft else [])])

    def file_stage(self) -> Stage:
        """Given files are checked row by row and copied, so that the run depends on their content."""
        c = self.config
        names = {
            "preference.jsonl": c.preference_file,
            "preference_val.jsonl": c.preference_val_file,
            "margin.jsonl": c.margin_file,
            "margin_val.jsonl": c.margin_val_file,
        }
        names = {name: _place(source) for name, source in names.items() if source is not None}
        argv = ["python", "-m", "launch", "check-pairs"]
        commands = [
            Command([*argv, "--pairs", source, "--out", str(self.data / name)]) for name, source in names.items()
        ]
        if c.sft:
            names["sft.jsonl"] = names["preference.jsonl"]
            commands.append(
                Command([*argv, "--pairs", names["sft.jsonl"], "--sft", "--out", str(self.data / "sft.jsonl")])
            )
        return Stage("data", "check the data files", commands, [self.data], results=[self.data / n for n in names])

    def sft_stages(self) -> list[Stage]:
        c, folder = self.config, self.out / "sft"
        flags = {
            **self.model_flags(self.base),
            "dataset": self.data / "sft.jsonl",
            "split_dataset_ratio": 0,
            **self.training_flags(folder, c.sft_max_steps, c.sft_learning_rate),
            **c.sft_flags,
        }
        train = self.train_stage(
            "sft", "supervised fine-tuning", ["swift", "sft", *_flags(flags)], folder, c.sft_max_steps
        )
        merged = self.policy_base
        flags = {
            "adapter": folder / f"checkpoint-{c.sft_max_steps}",
            "model": self.base,
            "torch_dtype": self.dtype,
            "out": merged,
        }
        command = Command(["python", "-m", "launch", "merge-lora", *_flags(flags)])
        merge = Stage("merge", "merge the SFT adapter", [command], [merged])
        return [train, merge]

    def margin_stages(self) -> list[Stage]:
        c = self.config
        flags = {
            "rlhf_type": "dpo",
            **self.model_flags(self.policy_base),
            "dataset": self.data / "margin.jsonl",
            "split_dataset_ratio": 0,
            "beta": c.beta,
            **self.evaluation_flags(self.data / "margin_val.jsonl"),
            **self.training_flags(self.margin_adapter.parent, c.dpo_max_steps, c.dpo_learning_rate),
            **c.margin_flags,
        }
        train = self.train_stage(
            "margin", "train the margin adapter (DPO)", ["swift", "rlhf", *_flags(flags)], self.margin_adapter.parent,
            c.dpo_max_steps,
        )  # fmt: skip
        report = self.out / "margin_check.json"
        check = {
            **self.model_flags(self.policy_base),
            "adapter": self.margin_adapter,
            "torch_dtype": self.dtype,
            "pairs": self.data / "margin_val.jsonl",
            "beta": c.beta,
            "min_accuracy": c.min_margin_accuracy,
            "out": report,
        }
        command = Command(["python", "-m", "launch", "check-margin", *_flags(check)])
        return [train, Stage("check", "check the margin adapter on held-out pairs", [command], [report])]

    def modpo_flags(self, folder: Path, dataset: Path) -> dict:
        c = self.config
        return {
            "rlhf_type": "dpo",
            **self.model_flags(self.policy_base),
            "dataset": dataset,
            "split_dataset_ratio": 0,
            "beta": c.beta,
            **self.training_flags(folder, c.modpo_max_steps, c.modpo_learning_rate),
            **c.modpo_flags,
        }

    def precompute_stage(self) -> Stage:
        store = self.out / "store"
        flags = self.modpo_flags(store, self.data / "preference.jsonl")
        # Nothing of an optimiser counts: another learning rate leaves the store as it is.
        flags |= dict.fromkeys(
            (
                "deepspeed",
                "output_dir",
                "add_version",
                "learning_rate",
                "max_steps",
                "warmup_ratio",
                "weight_decay",
                "gradient_accumulation_steps",
                "save_steps",
                "save_total_limit",
            )
        )
        flags |= {"report_to": "none"}
        argv = ["python", "-m", "launch", "precompute-margins", "--store", str(store), *_flags(flags), *self.plugin]
        environment = {**self.launch_environment(), **self.margin_environment(1.0)}
        for name in ("MODPO_W", "MODPO_MARGIN_WEIGHT", "MODPO_MARGIN_ROLE", "MODPO_MARGIN_BETA"):
            environment.pop(name, None)  # the store depends on none of them
        return Stage(
            "precompute",
            "reference and margins, once for the grid",
            [Command(argv, environment)],
            [store],
            resumable=True,
            results=[store / "train.jsonl", store / "manifest.json"],
        )

    def modpo_stage(self, w: float, after: list[str]) -> Stage:
        c, folder = self.config, self.out / f"modpo_{_label(w)}"
        environment = self.margin_environment(w)
        flags = self.modpo_flags(folder, self.data / "preference.jsonl")
        if c.precompute:
            environment["MODPO_STORE"] = str(self.out / "store")
            flags |= {
                "dataset": self.out / "store" / "train.jsonl",
                "dataset_shuffle": False,
                "remove_unused_columns": False,
            }
        argv = ["swift", "rlhf", *_flags(flags), *self.plugin]
        return self.train_stage(
            f"modpo_{_label(w)}",
            f"MODPO, w = {w:g}",
            argv,
            folder,
            c.modpo_max_steps,
            after=after,
            environment=environment,
        )

    def evaluation_stages(self) -> list[Stage]:
        c, gens, scores = self.config, self.out / "eval" / "gens", self.out / "eval" / "scores"
        prompts = _place(c.eval_prompts) or self.data / "preference_val.jsonl"
        reference = "sft" if c.sft else "base"
        stages, labels = [], [reference, *(_label(w) for w in c.w_values)]
        for label in labels:
            w = None if label == reference else label
            adapter = self.out / f"modpo_{w}" / f"checkpoint-{c.modpo_max_steps}" if w else None
            command = self.generate_command(prompts, label, gens, adapter)
            stages.append(Stage(f"generate_{label}", f"generate with {label}", [command], [gens / label],
                                resumable=True))  # fmt: skip
        folders = [str(gens / label) for label in labels]
        same = self.out / "eval" / "same_prompts.json"
        validate = ["python", "-m", "launch", "validate-eval-set", *folders, "--report", str(same)]
        stages.append(Stage("validate", "check that all answered the same prompts", [Command(validate)], [same]))
        rewards = [spec.replace("{margin}", str(self.margin_adapter)) for spec in c.scores]
        score = {
            "gens": folders,
            "out": scores,
            "reward": rewards,
            "beta": c.beta,
            **self.model_flags(self.policy_base),
            "torch_dtype": self.dtype,
        }
        stages.append(
            Stage(
                "score",
                "score the answers",
                [Command(["python", "-m", "launch", "score", *_flags(score)])],
                [scores],
                ["validate"],
            )
        )
        report = self.out / "report"
        flags = {
            "scores": scores,
            "labels": labels,
            "reference": reference,
            "x": c.x,
            "y": c.y,
            "gens": gens,
            "weights": [f"{_label(w)}={w:g}" for w in c.w_values],
            "out": report,
            "title": c.title,
        }
        command = Command(["python", "-m", "launch", "report", *_flags(flags)])
        files = [report / name for name in ("report.json", "tradeoff.png", "report.html")]
        stages.append(Stage("report", "trade-off picture and report", [command], [report], results=files))
        return stages


def shared_environment(config: PipelineConfig, on_cpu: bool, environ: Mapping[str, str]) -> dict[str, str]:
    """What every stage gets beside the variables of the shell, which are `environ`; nothing in it changes a result."""
    from .preflight import asks_no_hub

    root, path = str(Path(__file__).parents[2]), environ.get("PYTHONPATH")
    environment = {"PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root, "TOKENIZERS_PARALLELISM": "false"}
    if on_cpu:
        # Threads that wait by spinning make a busy machine many times slower, not a little.
        environment["OMP_WAIT_POLICY"] = environ.get("OMP_WAIT_POLICY", "passive")
    if "HF_HUB_OFFLINE" not in environ and asks_no_hub(config):
        environment["HF_HUB_OFFLINE"] = "1"  # saves seconds at every start
    return environment


def main(argv: list[str]) -> int:
    config, preset = load_config(argv)
    from .preflight import check_folder, kept_of_preset, preflight

    check_folder(config, preset)
    findings = [*kept_of_preset(config, preset), *preflight(config)]
    pipeline = ModpoPipeline(config)
    stages = pipeline.stages()
    for finding in findings:
        print(finding)
    if config.preflight_only:
        StageRunner(config.out.resolve(), stages, {}).print_plan()
        print(f"preflight passed: {len(stages)} stages, {pipeline.dtype}; nothing was run")
        return 0
    config.out.mkdir(parents=True, exist_ok=True)
    with Lease.take_or_refuse(config.out / ".lock", f"--out {config.out}") as lease:
        write_json(
            config.out / "run.json",
            {"preset": preset, "run_tag": config.run_tag, "config": config.model_dump(mode="json")},
        )
        environment = shared_environment(config, pipeline.on_cpu, os.environ)
        code = StageRunner(config.out.resolve(), stages, environment, lease).run()
    if code == 0:
        print(f"report: {config.out / 'report' / 'report.html'}\npicture: {config.out / 'report' / 'tradeoff.png'}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
