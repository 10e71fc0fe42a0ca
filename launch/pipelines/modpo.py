"""The MODPO pipeline: SFT, margin adapter, its check, MODPO for a grid of w, soups, generation, scoring, report.

Every stage is a command line of ms-swift or of this pack, printed when it starts; `launch.pipelines.stages` skips what
is done and continues what was killed. Reference: the HelpSteer pipeline of the MODPO fork, whose stages these are.
"""

import os
import sys
from functools import partial
from pathlib import Path

from datasets_builders.io import write_json
from launch.answers.checkpoints import latest_checkpoint
from launch.common.processes import Lease
from launch.pipelines.command_lines import CommandLines, launch, place, shared_environment
from launch.pipelines.config import PipelineConfig
from launch.pipelines.read_config import load_config
from launch.pipelines.read_config import make_parser as make_parser
from launch.pipelines.stages import Command, Resumed, Stage, StageRunner


def _label(w: float) -> str:
    return f"w{w:g}"


class ModpoPipeline:
    """Turns a configuration into stages."""

    def __init__(self, config: PipelineConfig):
        self.config, self.lines = config, CommandLines(config)
        self.out, self.data = self.lines.out, self.lines.data

    def stages(self) -> list[Stage]:
        """All of them, in the order of a run."""
        c, stages = self.config, []
        if c.model == "embedded":
            command = launch("embedded-model", {"out": self.lines.base})
            stages.append(Stage("model", "write the embedded model", [command], [self.lines.base]))
        stages += {"sampled": self.sampled_stages, "files": self.file_stages}.get(c.data, self.built_stages)()
        if c.sft:
            stages += self.sft_stages()
        if c.margin == "adapter":
            stages += self.margin_stages()
        if c.precompute:
            store = self.out / "store"
            stages.append(Stage(
                "precompute", "reference and margins, once for the grid", [self.lines.precompute(store)], [store],
                resumable=True, results=[store / "train.jsonl", store / "manifest.json"],
            ))  # fmt: skip
        stages += map(self.modpo_stage, c.w_values)
        if c.soup:
            stages += self.soup_stages()
        return stages + self.evaluation_stages()

    def train_stage(self, name: str, title: str, argv: list[str], folder: Path, steps: int, **stage) -> Stage:
        """A training stage that goes on from its newest complete checkpoint; the folder is its own."""
        environment = {**self.lines.launch_environment(), **stage.pop("environment", {})}
        command = Resumed(Command(argv, environment), partial(latest_checkpoint, folder))
        return Stage(
            name, title, [command], [folder], resumable=True, results=[folder / f"checkpoint-{steps}"], **stage
        )

    def sampled_stages(self) -> list[Stage]:
        """Pairs of the model's own answers, by functions of the text."""
        c, data, samples = self.config, self.data, self.out / "samples"
        sample = Stage(
            "sample", "sample completions to label", [self.lines.sample(samples)], [samples], resumable=True,
            results=[samples / "samples"],
        )  # fmt: skip
        shared = {"samples": samples / "samples", "seed": c.train_seed}
        outputs = [data / "preference.jsonl"]
        commands = [launch("label", {**shared, "function": c.preference, "out": outputs[0]})]
        if c.margin == "adapter":
            outputs += [data / "margin.jsonl", data / "margin_val.jsonl"]
            split = {"out": outputs[1], "val_out": outputs[2], "val_prompts": c.val_prompts}
            commands.append(launch("label", {**shared, "function": c.margin_preference, **split}))
        return [sample, Stage("data", "label the samples", commands, [data], results=outputs)]

    def file_stages(self) -> list[Stage]:
        """Given files are checked row by row and copied, so that the run depends on their content."""
        c = self.config
        given = {
            "preference.jsonl": c.preference_file, "preference_val.jsonl": c.preference_val_file,
            "margin.jsonl": c.margin_file, "margin_val.jsonl": c.margin_val_file,
        }  # fmt: skip
        names = {name: place(source) for name, source in given.items() if source is not None}
        commands = [launch("check-pairs", {"pairs": one, "out": self.data / name}) for name, one in names.items()]
        results = [self.data / name for name in names]
        if c.sft:
            results.append(self.data / "sft.jsonl")
            commands.append(launch("check-pairs", {"pairs": names["preference.jsonl"], "out": results[-1]}, "--sft"))
        return [Stage("data", "check the data files", commands, [self.data], results=results)]

    def built_stages(self) -> list[Stage]:
        """Pairs of a published data set."""
        wanted = [("preference", "train", "preference.jsonl"), ("preference", "validation", "preference_val.jsonl")]
        if self.config.sft:
            wanted.append(("preference", "train", "sft.jsonl"))
        if self.config.margin == "adapter":
            wanted += [("margin", "train", "margin.jsonl"), ("margin", "validation", "margin_val.jsonl")]
        commands = [self.lines.builder(*one, sft=one[2] == "sft.jsonl") for one in wanted]
        results = [self.data / name for _, _, name in wanted]
        return [Stage("data", "build the data sets", commands, [self.data], results=results)]

    def sft_stages(self) -> list[Stage]:
        """Fine-tuning, and its adapter merged into the base of everything that follows."""
        steps, folder, merged = self.config.sft_max_steps, self.out / "sft", self.lines.policy_base
        train = self.train_stage("sft", "supervised fine-tuning", self.lines.sft(folder), folder, steps)
        values = {"adapter": folder / f"checkpoint-{steps}", "model": self.lines.base, "torch_dtype": self.lines.dtype}
        command = launch("merge-lora", {**values, "out": merged})
        return [train, Stage("merge", "merge the SFT adapter", [command], [merged])]

    def margin_stages(self) -> list[Stage]:
        """The margin adapter, and whether it ranks held-out pairs."""
        c, adapter, report = self.config, self.lines.margin_adapter, self.out / "margin_check.json"
        argv = self.lines.margin(adapter.parent)
        train = self.train_stage("margin", "train the margin adapter (DPO)", argv, adapter.parent, c.dpo_max_steps)
        check = {
            **self.lines.model(self.lines.policy_base), "adapter": adapter, "torch_dtype": self.lines.dtype,
            "pairs": self.data / "margin_val.jsonl", "beta": c.beta, "min_accuracy": c.min_margin_accuracy, "out": report,
        }  # fmt: skip
        title = "check the margin adapter on held-out pairs"
        return [train, Stage("check", title, [launch("check-margin", check)], [report])]

    def modpo_stage(self, w: float) -> Stage:
        """MODPO for one w."""
        c, name = self.config, f"modpo_{_label(w)}"
        store = self.out / "store" if c.precompute else None
        environment = self.lines.margin_environment(w)
        if store is not None:
            environment["MODPO_STORE"] = str(store)
        return self.train_stage(
            name, f"MODPO, w = {w:g}", self.lines.modpo(self.out / name, store, w), self.out / name, c.modpo_max_steps,
            after=["check"] if c.margin == "adapter" else [], environment=environment,
        )  # fmt: skip

    def soup_stages(self) -> list[Stage]:
        """DPO on the trained preference alone, and its mixtures with the margin adapter (rewarded soups, arXiv 2306.04488)."""
        c, folder = self.config, self.lines.preference_adapter.parent
        argv = self.lines.preference(folder)
        stages = [
            self.train_stage("preference", "train the other end of the soup (DPO)", argv, folder, c.dpo_max_steps)
        ]
        for label, w in self._soups.items():
            out = self.out / label
            stages.append(Stage(label, f"soup of the two DPO adapters, w = {w:g}", [self.lines.soup(out, w)], [out]))
        return stages

    @property
    def _soups(self) -> dict[str, float]:
        return {f"soup_{_label(w)}": w for w in self.config.w_values} if self.config.soup else {}

    def evaluation_stages(self) -> list[Stage]:
        """Answers of every policy, their scores, and the report."""
        c, gens, scores = self.config, self.out / "eval" / "gens", self.out / "eval" / "scores"
        prompts = place(c.eval_prompts) or self.data / "preference_val.jsonl"
        reference = "sft" if c.sft else "base"
        adapters = {_label(w): self.out / f"modpo_{_label(w)}" / f"checkpoint-{c.modpo_max_steps}" for w in c.w_values}
        adapters |= {label: self.out / label for label in self._soups}
        stages, labels = [], [reference, *adapters]
        for label in labels:
            command = self.lines.generate(prompts, label, gens, adapters.get(label))
            stages.append(
                Stage(f"generate_{label}", f"generate with {label}", [command], [gens / label], resumable=True)
            )
        folders, same = [str(gens / label) for label in labels], self.out / "eval" / "same_prompts.json"
        validate = Command(["python", "-m", "launch", "validate-eval-set", *folders, "--report", str(same)])
        stages.append(Stage("validate", "check that all answered the same prompts", [validate], [same]))
        score = launch("score", {
            "gens": folders, "out": scores, "beta": c.beta, **self.lines.model(self.lines.policy_base),
            "reward": [spec.replace("{margin}", str(self.lines.margin_adapter)) for spec in c.scores],
            "torch_dtype": self.lines.dtype,
        })  # fmt: skip
        stages.append(Stage("score", "score the answers", [score], [scores], ["validate"]))
        report = self.out / "report"
        command = launch("report", {
            "scores": scores, "labels": labels, "reference": reference, "x": c.x, "y": c.y, "gens": gens,
            "weights": [f"{_label(w)}={w:g}" for w in c.w_values], "out": report, "title": c.title,
            "soups": [f"{label}={w:g}" for label, w in self._soups.items()] or None,
        })  # fmt: skip
        files = [report / name for name in ("report.json", "tradeoff.png", "report.html")]
        stages.append(Stage("report", "trade-off picture and report", [command], [report], results=files))
        return stages


def main(argv: list[str]) -> int:
    return run(*load_config(argv))


def run(config: PipelineConfig, preset: str) -> int:
    """All stages that are not done yet, or their plan; returns the exit code."""
    from launch.pipelines.preflight import check_folder, kept_of_preset, preflight

    check_folder(config, preset)
    findings = [*kept_of_preset(config, preset), *preflight(config)]
    pipeline = ModpoPipeline(config)
    stages = pipeline.stages()
    for finding in findings:
        print(finding)
    if config.preflight_only:
        StageRunner(config.out.resolve(), stages, {}).print_plan()
        print(f"preflight passed: {len(stages)} stages, {pipeline.lines.dtype}; nothing was run")
        return 0
    config.out.mkdir(parents=True, exist_ok=True)
    with Lease.take_or_refuse(config.out / ".lock", f"--out {config.out}") as lease:
        write_json(
            config.out / "run.json",
            {"preset": preset, "run_tag": config.run_tag, "config": config.model_dump(mode="json")},
        )
        environment = shared_environment(config, pipeline.lines.on_cpu, os.environ)
        code = StageRunner(config.out.resolve(), stages, environment, lease, config.stages_at_once).run()
    if code == 0:
        print(f"report: {config.out / 'report' / 'report.html'}\npicture: {config.out / 'report' / 'tradeoff.png'}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
