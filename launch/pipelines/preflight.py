"""What is known to fail before a stage of the MODPO pipeline runs: its folder, files, margin, and the shell's settings."""

import os
from collections.abc import Mapping
from pathlib import Path

from datasets_builders.beside import is_unfinished
from datasets_builders.io import read_object
from datasets_builders.model_names import refuse_missing_folder
from datasets_builders.secret_settings import is_secret, shown
from datasets_builders.yaml_file import read_yaml
from launch.answers.check_pairs import checked_pairs
from launch.scores.score import parse_specs
from swift_ext import PREFIXES
from trl_ext.modpo.margins import MarginSpec, resolve_margins
from trl_ext.objectives.text import FUNCTIONS, get_text_function

from .config import PipelineConfig
from .read_config import PRESETS

# Variable that a stage would read -> the pipeline's setting for it, None where there is none.
_SETTING_OF = {
    "MODPO_W": "w_values", "MODPO_MARGIN_ADAPTER": "margin", "MODPO_MARGIN_FUNCTION": "margin_function",
    "MODPO_MARGIN_ROLE": "margin_role", "MODPO_MARGIN_WEIGHT": "margin_weight", "MODPO_MARGIN_BETA": "margin_beta",
    "MODPO_STORE": "precompute",
}  # fmt: skip
# Variables of the reference's shell scripts -> what they are here. They would be ignored, and a run mean something else.
_OF_THE_REFERENCE = {
    "PRECISION": "set torch_dtype of the pipeline (bfloat16, float16, float32)",
    "MARGIN_BETA": "set margin_beta of the pipeline to its size, and margin_role to what you want: above 0 is a cost in the "
    "reference's guide and below 0 a reward, and its loss trained the other way round",
}


def check_folder(config: PipelineConfig, preset: str) -> None:
    """Refuses a folder that holds something else than this run.

    Raises:
        ValueError: the folder belongs to a run with another preset or tag, or holds files that are not of a run.
    """
    identity = {"preset": preset, "run_tag": config.run_tag}
    path = config.out / "run.json"
    if path.is_file():
        found = read_object(path)
        for key, value in identity.items():
            if found.get(key) != value:
                raise ValueError(
                    f"--out {config.out} belongs to another run ({key} {found.get(key)!r}, this run's is {value!r}); "
                    "choose another folder"
                )
    elif config.out.is_dir() and any(_is_foreign(entry.name, path) for entry in config.out.iterdir()):
        raise ValueError(f"--out {config.out} holds files but no run.json of a run: choose an empty folder")


def _is_foreign(name: str, run_file: Path) -> bool:
    """Not what a start leaves that is killed before its run file is there: the lock, and the run file half written."""
    return name != ".lock" and not is_unfinished(name, run_file)


def kept_of_preset(config: PipelineConfig, preset: str) -> list[str]:
    """What a preset says about its own model and the run keeps with another one, in a sentence; nothing otherwise."""
    values = read_yaml(PRESETS / f"{preset}.yaml")
    if config.model == values["model"]:
        return []
    names = [name for name in ("model_type", "template", "system") if values.get(name) is not None]
    kept = [name for name in names if getattr(config, name) == values[name]]
    if not kept:
        return []
    said = ", ".join(f"{name} {values[name]!r}" for name in kept)
    flags = ", ".join(f"--{name}" for name in kept)
    return [
        f"warning: preset {preset} is for the model {values['model']}, and its {said} stay in a run of {config.model}: "
        f"is that meant? Otherwise give {flags}, or null for one of them in the file of --config"
    ]


def preflight(config: PipelineConfig) -> list[str]:
    """Everything that can be known to fail before money is spent. Returns the findings in words.

    Raises:
        ValueError: a file is missing or holds a row that cannot be read, the margin's settings do not fit, or the shell holds settings of a stage.
    """
    c, findings = config, []
    refuse_shell_settings(config, os.environ)
    refuse_secret_flags(config)
    for name in (
        "source",
        "validation_source",
        "preference_file",
        "preference_val_file",
        "margin_file",
        "margin_val_file",
        "prompts",
        "eval_prompts",
    ):
        value = getattr(c, name)
        if value is not None and not any(sign in value for sign in "*?") and not Path(value).exists():
            raise ValueError(f"{name}: {value} does not exist")
    if c.data == "files":
        refuse_bad_rows(c)
    if c.model == "embedded":
        from launch.models.embedded_model import find_gguf

        find_gguf()
    elif not Path(c.model).is_dir():
        refuse_missing_folder(c.model, "model")
        findings.append(f"model {c.model!r} is not a folder: it will be asked from the hub")
    elif c.model_type is None and (Path(c.model) / "config.json").is_file():
        refuse_unknown_type(c.model)
    if c.data == "sampled":
        for function in (c.preference, *([c.margin_preference] if c.margin == "adapter" else [])):
            get_text_function(function)
    for score in parse_specs(c.scores):
        if score.kind != "function":
            refuse_missing_folder(score.target, f"scores: {score.name}")
    for spec in c.scores:
        if "{margin}" in spec and c.margin != "adapter":
            raise ValueError(f"scores: {spec!r} needs a margin adapter, but margin = {c.margin}")
    named = [spec.split("=", 1)[0] for spec in c.scores]
    for axis in ("x", "y"):
        if getattr(c, axis) not in named:
            raise ValueError(f"{axis} = {getattr(c, axis)!r} is not among the scores {named}")
    source = {"adapter": "margin_dpo"} if c.margin == "adapter" else {"function": c.margin_function}
    spec = MarginSpec(**source, name="margin", role=c.margin_role, beta=c.margin_beta, weight=c.margin_weight)
    for w in c.w_values:
        margin = resolve_margins([spec], w, c.beta, normalized_weights=False)[0]
        findings.append(f"w = {w:g}: {margin.direction()}")
    return findings


def refuse_unknown_type(model: str) -> None:
    """Asks ms-swift of which type the model of a folder is, as its first training stage will.

    Raises:
        ValueError: it cannot tell from the folder's name and architecture.
    """
    from swift.model import get_model_info_meta

    try:
        get_model_info_meta(model)
    except ValueError as error:
        raise ValueError(f"--model {model}: ms-swift cannot tell its type; give --model_type: {error}") from error


def refuse_bad_rows(config: PipelineConfig) -> None:
    """Reads every row of the given files of pairs as the run's first stage will, and keeps none.

    Raises:
        ValueError: the setting and the rows that are no pairs.
    """
    for name in ("preference_file", "preference_val_file", "margin_file", "margin_val_file"):
        source = getattr(config, name)
        if source is not None:
            try:
                for _ in checked_pairs(source):
                    pass
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error


def refuse_shell_settings(config: PipelineConfig, environ: Mapping[str, str]) -> None:
    """Refuses variables of the shell that would change what is trained while no setting of the run says so.

    Raises:
        ValueError: every such variable, its value, and the setting of the pipeline in its place.
    """
    problems = []
    for name, value in sorted(environ.items()):
        if name.upper().startswith(tuple(PREFIXES.values())):  # pydantic-settings reads them in any case
            setting = _SETTING_OF.get(name.upper())
            instead = f", and set {setting} of the pipeline where it is meant" if setting else ""
            problems.append(f"{name} is {shown(name, value)!r} in the shell: unset it{instead}")
    for name, instead in _OF_THE_REFERENCE.items():
        if environ.get(name):
            problems.append(
                f"{name} is {environ[name]!r} in the shell, where nothing reads it: unset it, and {instead}"
            )
    if environ.get("NPROC_PER_NODE") not in (None, "", str(config.processes)):
        value, meant = environ["NPROC_PER_NODE"], config.processes
        problems.append(
            f"NPROC_PER_NODE is {value!r} in the shell, processes is {meant}: unset it, or set processes to {value}"
        )
    if environ.get("NNODES", "1") not in ("", "1"):
        problems.append(f"NNODES is {environ['NNODES']!r} in the shell: unset it, the pipeline trains on one node")
    if problems:
        raise ValueError("; ".join(problems))


def refuse_secret_flags(config: PipelineConfig) -> None:
    """Refuses keys and passwords among the further flags of a stage.

    Raises:
        ValueError: the flag, by name; its value would stand in command lines, logs and manifests.
    """
    for setting in ("sft_flags", "margin_flags", "modpo_flags"):
        for name in getattr(config, setting):
            if is_secret(name):
                raise ValueError(
                    f"{setting}: {name} would stand in logs and manifests: give it in the environment (HF_TOKEN, ...)"
                )


def asks_no_hub(config: PipelineConfig) -> bool:
    """Whether model, data, scores and further flags are all known to lie on this machine.

    A function of the user may load anything, and a flag's value with a slash that is no path here may be a hub's name.
    """
    c = config
    functions = [c.margin_function] if c.margin == "function" else []
    functions += [c.preference, c.margin_preference] if c.data == "sampled" else []
    flags = [value for flags in (c.sft_flags, c.margin_flags, c.modpo_flags) for value in flags.values()]
    names = [str(one) for value in flags for one in (value if isinstance(value, list) else [value]) if "/" in str(one)]
    for spec in c.scores:
        kind, _, target = spec.partition("=")[2].partition(":")
        if kind == "function":
            functions.append(target)
        elif target != "{margin}":
            names.append(target)
    return (
        (c.model == "embedded" or Path(c.model).is_dir())
        and (c.data in ("files", "sampled") or c.source is not None)
        and all(Path(name).exists() for name in names)
        and all(function is None or function in FUNCTIONS or _is_topic(function) for function in functions)
    )


def _is_topic(function: str) -> bool:
    """One of the pack's functions of a text that stand in no registry; they count words and load nothing."""
    return function.replace(":", ".").rpartition(".")[0] == "launch.moodpo.topics"
