"""Is the method that the settings speak of the one that will be trained?"""

from pathlib import Path

from launch.doctor.arguments import MODULES, is_here
from launch.doctor.findings import Finding, error, ok, warning
from launch.doctor.methods import METHODS, plugin_stems
from launch.doctor.run_file import Run
from swift_ext import PREFIXES, plugin_file

NAME = "plugin"
RLHF_TYPE = {"modpo": "dpo", "bt_grpo": "grpo", "pairwise_judge": "grpo"}
SHARING = "shared_prefix"  # of stock trainers: no method of its own
SHARED_TYPES = ("dpo", "grpo")


def check_upstream(run: Run) -> list[Finding]:
    """An error when the upstream of the run is not in this environment."""
    if run.method is None or is_here(run.method):
        return []
    module = MODULES[run.method.upstream]
    extra = {"ms-swift": "swift", "trl": "trl"}.get(run.method.upstream)
    fix = f"pip install 'swift-trl-ext[{extra}]', in an environment of its own" if extra else f"install {module}"
    level = warning if run.method.upstream == "megatron" else error
    return level(
        "upstream", f"{run.method.name} runs on {run.method.upstream}, and {module} is not installed here", fix
    )


def check_plugin(run: Run, environ: dict[str, str]) -> list[Finding]:
    """Plugin files that are there, of the trainer that `rlhf_type` builds, and no settings without their plugin."""
    if run.method.upstream != "ms-swift":
        idle = sorted(key for key in environ if key.startswith(tuple(PREFIXES.values())))
        found = (
            f"{len(idle)} settings of a plugin ({', '.join(idle[:4])}): a run of {run.method.name} does not read them"
        )
        return warning(NAME, found, "write them as keys of the run file") if idle else []
    stems, findings = plugin_stems(run.given), []
    for path in run.list_of("external_plugins"):
        if not Path(path).is_file():
            name = Path(path).stem if Path(path).stem in (*RLHF_TYPE, SHARING) else "modpo"
            findings += error(NAME, f"no plugin file {path}", f"--external_plugins $(python -m swift_ext {name})")
    for name in RLHF_TYPE.keys() & set(stems):
        built = str(run.given.get("rlhf_type", "dpo"))
        if built != RLHF_TYPE[name]:
            found = (
                f"the plugin {name} registers for rlhf_type {RLHF_TYPE[name]}, the run has {built}: it would do nothing"
            )
            findings += error(NAME, found, f"rlhf_type: {RLHF_TYPE[name]}")
    if {"bt_grpo", "pairwise_judge"} <= set(stems):
        findings += error(
            NAME, "bt_grpo and pairwise_judge both register for grpo: the last one wins", "load one of them"
        )
    for name, prefix in PREFIXES.items():
        set_here = sorted(key for key in environ if key.startswith(prefix))
        if set_here and name not in stems and run.given.get("rlhf_type", "dpo") == RLHF_TYPE[name]:
            found = (
                f"{len(set_here)} settings {prefix}* ({', '.join(set_here[:4])}) but the plugin {name} is not loaded"
            )
            findings += error(
                NAME, f"{found}: plain {RLHF_TYPE[name].upper()} would be trained",
                f"external_plugins: {plugin_file(name)}",
            )  # fmt: skip
    findings += _check_sharing(stems, str(run.given.get("rlhf_type", "dpo")), environ)
    if findings:
        return findings
    ours = [name for name in stems if name in METHODS or name == SHARING]
    return ok(
        NAME,
        f"{', '.join(ours)} is loaded for rlhf_type {run.given.get('rlhf_type', 'dpo')}"
        if ours
        else "none, none needed",
    )


def _check_sharing(stems: list[str], rlhf_type: str, environ: dict[str, str]) -> list[Finding]:
    """The plugin that shares prefixes in stock trainers: where it does nothing, and where its setting reaches nobody."""
    if SHARING in stems and rlhf_type not in SHARED_TYPES:
        found = f"the plugin {SHARING} registers for rlhf_type {' and '.join(SHARED_TYPES)}, the run has {rlhf_type}"
        return error(NAME, f"{found}: it would do nothing", "leave it out")
    if "SHARED_PREFIX" not in environ:
        return []
    methods = [name for name in stems if name in PREFIXES]
    if methods:
        setting = f"{PREFIXES[methods[0]]}SHARED_PREFIX"
        return error(NAME, f"SHARED_PREFIX is for stock trainers: {methods[0]} does not read it", f"set {setting}")
    if SHARING in stems:
        return []
    found = f"SHARED_PREFIX is set but the plugin {SHARING} is not loaded: nothing reads it"
    return error(NAME, found, f"--external_plugins $(python -m swift_ext {SHARING})")
