"""The run file of a trial: the study's run file, the trial's parameters, and what a study decides for all of its trials."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.tune.settings import TuneSettings

if TYPE_CHECKING:
    from trl_ext.modpo.margins import Margin, MarginSpec

SHORT_FORM = ("margin_adapter", "margin_function", "margin_classifier", "margin_role", "margin_weight", "margin_beta")


def margin_specs(settings: TuneSettings, run_file: Mapping[str, Any]) -> "list[MarginSpec]":
    """The margins of the flags, or else those of the run file.

    Raises:
        ValueError: there are none, or one that does not fit; see `MarginSpec`.
    """
    from trl_ext.modpo.margins import MarginSpec, read_adapter_config

    if settings.margin_reward_model_name is not None:
        entries = [{"adapter": settings.margin_reward_model_name, "name": "margin", "role": settings.margin_role}]
    elif short := {name.removeprefix("margin_"): run_file[name] for name in SHORT_FORM if name in run_file}:
        entries = [short]
    else:
        entries = run_file.get("margins") or []
    if not entries:
        raise ValueError(f"no margin: give --margin_reward_model_name, or margins in {settings.config}")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and all(isinstance(name, str) for name in entry) for entry in entries
    ):
        raise ValueError(f"{settings.config}: margins is a list of mappings, found {entries!r:.100}")
    specs = [MarginSpec(**entry) for entry in entries]
    for spec in specs:
        if spec.kind == "adapter":
            read_adapter_config(spec.adapter)
    return specs


def resolved(specs: "Sequence[MarginSpec]", w: float, beta: float) -> "list[Margin]":
    """The margins with weights and betas filled in, before `margin_mult`."""
    from trl_ext.modpo.margins import resolve_margins

    return resolve_margins(specs, w, beta, False)


def trial_run_file(
    settings: TuneSettings,
    run_file: Mapping[str, Any],
    specs: "Sequence[MarginSpec]",
    parameters: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """All settings of one trial, for `trl_ext.modpo.script`.

    `margin_mult` multiplies the beta of every margin: that of the run for an adapter, its own for another margin.
    `warmup_ratio` becomes `warmup_steps` of the full length, which the schedule has from the first step on. Evaluations
    and checkpoints at the rungs are the callback's; the run file alone evaluates and saves at the end.
    """
    parameters = dict(parameters)
    mult = parameters.pop("margin_mult", 1.0)
    ratio = parameters.pop("warmup_ratio", None)
    beta = parameters.get("beta", run_file.get("beta", 0.1))
    # As written, weights that are left to 1 - w included: the file then serves other weights too.
    margins = [
        spec.model_dump(exclude_none=True) | {"name": margin.name, "beta": margin.beta * mult}
        for spec, margin in zip(specs, resolved(specs, settings.w, beta), strict=True)
    ]
    given = {"model_name_or_path": settings.sft_model_name, "dataset_name": settings.dataset_name}
    full = settings.rung_steps[-1]
    merged = {name: value for name, value in run_file.items() if name not in SHORT_FORM}
    merged |= {name: value for name, value in given.items() if value is not None} | parameters
    if settings.gpu_id == "":
        merged["use_cpu"] = True  # else transformers refuses bf16, for which it sees no GPU
    if ratio is not None:
        merged = {name: value for name, value in merged.items() if name != "warmup_ratio"}
        merged["warmup_steps"] = round(full * ratio)
    return merged | {
        "output_dir": str(folder), "run_name": f"{settings.study_name}_{folder.name}", "w": settings.w, "beta": beta,
        "margins": margins, "seed": settings.train_seed, "max_steps": full, "precompute_ref_log_probs": True,
        "eval_strategy": "steps", "eval_steps": settings.eval_steps or full, "save_strategy": "steps",
        "save_steps": settings.save_steps or full, "load_best_model_at_end": False,
    }  # fmt: skip
