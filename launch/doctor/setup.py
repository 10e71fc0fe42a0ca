"""A run with every value filled in, and the first refusals: those that the method makes itself when it is built."""

import os
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets_builders.secret_settings import shown
from launch.doctor.arguments import build_trl, is_here, load, parse
from launch.doctor.findings import Finding, error, ok, skipped
from launch.doctor.run_file import Run
from trl_ext.modpo.margins import Margin

NAME = "settings"


@dataclass
class Setup:
    """What the other checks read.

    Attributes:
        run: as it will be started.
        values: upstream's arguments by name, defaults filled in; None where they could not be had.
        objects: of a TRL script, the argument objects.
        settings: of a plugin, its settings object.
        margins: of MODPO, with nothing left open.
        longest: tokens of the longest row that was counted; None before the check of lengths.
    """

    run: Run
    values: Namespace | None = None
    objects: list[Any] = field(default_factory=list)
    settings: Any = None
    margins: list[Margin] = field(default_factory=list)
    longest: int | None = None

    def value(self, name: str, default: Any = None) -> Any:
        """An argument of the run; what could not be parsed is taken as it was given."""
        if name == "deepspeed" and self.run.engine is not None:
            return self.run.engine
        if self.values is None:
            return self.run.given.get(name, default)
        found = getattr(self.values, name, None)
        return default if found is None else found

    @property
    def base(self) -> str | None:
        """Folder or hub name of the model that is trained."""
        for name in ("model", "model_name_or_path", "sft_model_path"):
            if self.value(name):
                return str(self.value(name))
        return None

    @property
    def named(self) -> str:
        """The model for a text: its name, or that nothing names one, as in a run file that gets its model by a flag."""
        return self.base or "the model, which nothing names,"

    @property
    def full(self) -> bool:
        """Whether all weights are trained instead of an adapter."""
        if self.run.method.upstream == "trl":
            adapter = self.value("use_lora") if self.run.method.name == "moodpo" else self.value("use_peft")
            return not (adapter or self.value("model_path"))
        return self.value("tuner_type", "lora") == "full"


def read_setup(run: Run) -> tuple[Setup, list[Finding]]:
    """The set-up and what upstream's parser and the method's own settings refuse."""
    setup = Setup(run)
    if run.method is None or run.method.upstream not in ("ms-swift", "trl"):
        return setup, _pipeline(run) if run.method and run.method.name == "modpo-pipeline" else []
    findings: list[Finding] = []
    if is_here(run.method):
        try:
            setup.values = parse(run)
        except ValueError as problem:
            findings += error(
                "arguments", f"upstream refuses an argument: {problem}", "see the flag's values in upstream's help"
            )
    try:
        if run.method.settings is not None:
            findings += _plugin(setup)
        elif run.method.upstream == "trl" and setup.values is not None:
            setup.objects = build_trl(run)
            setup.margins = next((one.resolve() for one in setup.objects if hasattr(one, "margin_adapter")), [])
            findings += ok(
                NAME, f"{type(setup.objects[0]).__name__} and {len(setup.objects) - 1} more are built without a refusal"
            )
    except ValueError as problem:
        findings += error(NAME, str(problem), "the message names the setting and what is valid")
    except OSError as problem:  # a gold model or a tokenizer that a setting names and the hub would be asked for
        what = str(problem).splitlines()[0]
        findings += skipped(
            NAME, f"not all settings are checked, a model they name is not here: {what}", "run it where the models are"
        )
    return setup, findings


def _plugin(setup: Setup) -> list[Finding]:
    from swift_ext.settings import read_settings

    method = setup.run.method
    setup.settings = read_settings(load(method.settings))
    if method.name == "modpo":
        from swift_ext.modpo.settings import refuse_what_cannot_work

        setup.margins = setup.settings.resolve(setup.value("beta", 0.1))
        if setup.values is not None:
            refuse_what_cannot_work(setup.settings, setup.margins, setup.values, setup.values)
    prefix = setup.settings.model_config["env_prefix"]
    given = sorted(f"{name}={shown(name, value)}" for name, value in os.environ.items() if name.startswith(prefix))
    known = len(type(setup.settings).model_fields)
    return ok(NAME, f"{len(given)} of {known} settings given: {', '.join(given) or 'none'}")


def _pipeline(run: Run) -> list[Finding]:
    from launch.pipelines.read_config import PRESETS, load_config

    preset = run.file is not None and run.file.resolve().parent == PRESETS
    argv = ["--preset", run.file.stem] if preset else ["--config", str(run.file)] if run.file else []
    flags = {"out": "runs/doctor", **run.overrides}
    try:
        config, _ = load_config([*argv, *(text for name, one in flags.items() for text in (f"--{name}", *_texts(one)))])
    except ValueError as problem:
        return error(NAME, str(problem), "the message names the setting and what is valid")
    found = f"{config.run_tag}: {len(config.w_values)} weights, margin {config.margin}, {config.margin_role}"
    return [
        *ok(NAME, found),
        *skipped("pipeline", "its stages check models, data and margins themselves", _preflight(run)),
    ]


def _preflight(run: Run) -> str:
    return f"python -m launch helpsteer-modpo --config {run.file} --out FOLDER --preflight_only"


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def check_judge_reward() -> list[Finding]:
    """The file that says who judges where a pairwise judge is the reward, when the environment names one."""
    from launch.judge.reward_settings import VARIABLE, judge_of_environment

    if VARIABLE not in os.environ:
        return []  # a run that needs it was refused when its settings were read
    try:
        judge = judge_of_environment()
    except ValueError as problem:
        return error(NAME, str(problem), "the message names the key or the variable")
    who = judge.model or f"{judge.api_model} at a server"
    if judge.model and here(judge.model) is None:
        return skipped(NAME, f"{VARIABLE}: the judge {judge.model} is not here")
    return ok(NAME, f"{VARIABLE}={os.environ[VARIABLE]}: {who} judges")


def here(path: str | Path | None) -> Path | None:
    """A local folder or file behind a name, without ms-swift's `#COUNT`; None for hub names and what is not there."""
    if not path:
        return None
    place = Path(str(path).partition("#")[0])
    return place if place.exists() else None
