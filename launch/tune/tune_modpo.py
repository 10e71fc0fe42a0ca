"""Tunes MODPO with several workers: trials are stopped early at rungs, dead workers' trials are continued by others."""

import sys
from typing import Any

from datasets_builders.choices import nearest
from datasets_builders.command_line import Parser
from datasets_builders.yaml_file import read_mapping
from launch.cli.verbs import verb_parser
from launch.common.installed import PACK
from launch.tune.objective import KINDS, make_objective
from launch.tune.run_file import margin_specs, resolved
from launch.tune.settings import TuneSettings, make_settings
from launch.tune.space import read_space

DEFAULT_CONFIG = PACK / "launch" / "runs" / "modpo_trl" / "tune_helpsteer.yaml"


def make_parser() -> Parser:
    """One flag a field of `TuneSettings`."""
    parser = verb_parser("tune-modpo", __doc__)
    for name, info in TuneSettings.model_fields.items():
        default = "" if info.is_required() or info.default in (None, {}, "") else f" (default {info.default})"
        if name == "config":
            default = f" (default {DEFAULT_CONFIG.name} of the pack)"
        keywords: dict[str, Any] = {"help": f"{info.description or ''}{default}".replace("%", "%%"), "default": None}
        if info.annotation is bool:
            parser.add_argument(f"--{name}", action="store_true", help=keywords["help"])
        elif name == "metrics":
            parser.add_argument("--metrics", nargs="+", metavar="NAME=NUMBER", **keywords)
        else:
            parser.add_argument(
                f"--{name}", metavar=name.upper() if name != "objective" else "|".join(KINDS), **keywords
            )
    return parser


def read_settings(argv: list[str]) -> TuneSettings:
    """The settings of a command line.

    Raises:
        ValueError: a value that does not fit; the flag, what was found and what is valid are named.
    """
    fields = {name: value for name, value in vars(make_parser().parse_args(argv)).items() if value is not None}
    fields.setdefault("config", DEFAULT_CONFIG)
    if isinstance(rungs := fields.get("rung_steps"), str):
        fields["rung_steps"] = [part.strip() for part in rungs.split(",")]
    if (kind := fields.get("objective", KINDS[0])) not in KINDS:
        raise ValueError(f"--objective {kind!r}: {nearest(kind, KINDS)}")
    if metrics := fields.get("metrics"):
        pairs = [text.rpartition("=") for text in metrics]
        if wrong := [text for text, (name, sign, _) in zip(metrics, pairs, strict=True) if not (name and sign)]:
            raise ValueError(f"--metrics {wrong[0]!r}: NAME=NUMBER is needed, such as eval_loss=-1")
        fields["metrics"] = {name: number for name, _, number in pairs}
    return make_settings(fields)


def main(argv: list[str]) -> int:
    """Exit status 0 when the budget is spent, 1 when this worker gave up, 130 when it was interrupted."""
    settings = read_settings(argv)

    def say(line: str) -> None:
        print(f"[{settings.worker_id}] {line}", flush=True)

    from launch.tune.summary import failures, load_study, states, write_summary

    if settings.summarize_only:
        study = load_study(settings.folder, settings.study_name)
        say(f"trials: {states(study)}")
        write_summary(study, settings.folder, study.user_attrs.get("objective", "objective"), say)
        return 0
    from launch.common.processes import Lease, sigterm_as_interrupt
    from launch.tune.study import open_study, spent
    from launch.tune.worker import Worker

    space = read_space(settings.space)
    specs = margin_specs(settings, read_mapping(settings.config))
    margins = {margin.name: margin.weight for margin in resolved(specs, settings.w, 0.1)}
    objective = make_objective(settings.objective, settings.metrics, settings.w, margins)
    alive = Lease.take(settings.folder / "leases" / f"{settings.worker_id}.lock", settings.worker_id, wait=1)
    if alive is None:
        raise ValueError(f"--worker_id {settings.worker_id}: a worker of this name is at work on {settings.study_name}")
    study = open_study(settings, objective)
    if "objective" not in study.user_attrs:
        study.set_user_attr("objective", objective.label)
    try:
        with sigterm_as_interrupt():
            counts = states(study)
            if spent(study) >= settings.n_trials:
                left = "only trials left behind are continued"
                say(f"the budget of {settings.n_trials} trials is spent: {counts}; {left}")
            well = Worker(study, settings, space, objective, say).run()
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        alive.release()
    counts = states(study)
    say(f"trials: {counts}, budget {settings.n_trials}, failed ones not counted")
    for reason, number in failures(study).items():
        say(f"failed {number} time{'s'[: number > 1]}: {reason}")
    if counts.get("RUNNING"):
        say(f"{counts['RUNNING']} still running at other workers; a worker started now takes over what they leave")
    write_summary(study, settings.folder, objective.label, say)
    return 0 if well else 1
