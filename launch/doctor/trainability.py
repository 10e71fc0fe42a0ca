"""Which models and adapters are trained, in numbers; with --load, counted on the loaded model."""

from pathlib import Path

from datasets_builders.model_names import is_path
from launch.doctor.findings import Finding, error, ok, skipped
from launch.doctor.setup import Setup, here
from launch.doctor.sizes import human
from launch.doctor.versions import tested_set
from launch.doctor.weights import NAME, Part, hollow, parts_of, targets_of


def describe(part: Part) -> str:
    """`adapter of margin 'm' (FOLDER): 1.2k parameters, frozen`."""
    size = "size unknown" if part.parameters is None else f"{human(part.parameters)} parameters"
    size = f"about {size}, by its name" if part.guessed and part.parameters is not None else size
    where = f" ({part.source})" if part.source else ""
    return f"{part.name}{where}: {size}, requires_grad {'True' if part.trains else 'False'}"


def check_trainability(setup: Setup, load: bool) -> list[Finding]:
    """The table of all adapters and models; an error for what is named but cannot be there, or when nothing is trained."""
    parts = parts_of(setup)
    findings = [one for part in parts for one in hollow(part)]
    if setup.base is None:
        flag = "--model_name_or_path MODEL" if setup.run.method.upstream == "trl" else "--model MODEL"
        findings += skipped(NAME, "nothing names the model to train: what depends on it is not checked", f"add {flag}")
    for part in parts:
        absent = part.guessed and part.source
        if part.name.startswith("adapter of margin"):
            continue  # a folder that is not there is the finding of the check of its base
        if absent and (is_path(part.source) or part.name.startswith("adapter")):
            findings += error(NAME, f"{part.name}: no folder {part.source}", "name a folder that is there")
        elif absent:
            findings += skipped(
                NAME, f"{part.name}: {part.source} is not here, as a folder; upstream will ask a hub for it"
            )
    trained = [part for part in parts if part.trains]
    policy = trained[0] if trained else None
    if policy is None or policy.parameters == 0:
        named = ", ".join(targets_of(setup) or ["all linear layers"])
        findings += error(
            NAME, f"0 parameters are trained: no module of the model is one of {named}", "correct the target modules"
        )
    findings += [one for part in parts for one in ok(NAME, describe(part))]
    if load:
        findings += _load(setup, policy)
    return findings


def _load(setup: Setup, policy: Part | None) -> list[Finding]:
    """The same, counted: base, new LoRA and margin adapters as the trainer puts them together."""
    folder = here(setup.base)
    if folder is None or setup.full or policy is None or policy.source:
        return skipped(NAME, "--load counts a new LoRA on a model that is here; this run has none")
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from trl_ext.modpo.adapters import MarginAdapters

    swift = setup.run.method.upstream == "ms-swift"
    rank = setup.value("lora_rank" if swift or setup.run.method.name == "moodpo" else "lora_r", 8)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    config = LoraConfig(r=rank, target_modules=targets_of(setup) or "all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    margins = [margin for margin in setup.margins if margin.kind == "adapter"]
    if margins:
        MarginAdapters(model, margins, str(Path(folder)))
    counts = {"policy": 0, "margin": 0, "base": 0}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            counts["margin" if ".margin_" in name else "policy" if ".default." in name else "base"] += parameter.numel()
    found = f"loaded: {counts['policy']} parameters of the policy's adapter, {counts['margin']} of margins, {counts['base']} of the base train"
    if counts["policy"] and not counts["margin"] and not counts["base"]:
        same = "as" if counts["policy"] == policy.parameters else f"but {policy.parameters} are"
        return ok(NAME, f"{found}, {same} counted from the headers")
    return error(NAME, found, f"install the tested peft ({tested_set()})")
