"""What the policy is held to, in words."""

from launch.doctor.findings import Finding, error, ok, skipped, warning
from launch.doctor.setup import Setup, here
from launch.doctor.weights import read_config

NAME = "reference"


def check_reference(setup: Setup) -> list[Finding]:
    """The resolved reference; an error where upstream refuses it, or where it reads other tokens."""
    method = setup.run.method
    if setup.values is None or method.name in ("swift-rm", "swift-sft", "swift-rlhf", "trl-reward", "trl-sft"):
        return [] if setup.values is not None else skipped(NAME, "no argument could be read")
    findings = _refused(setup)
    if findings:
        return findings
    if method.upstream == "trl":
        return _trl(setup)
    return [*_store(setup), *_swift(setup)]


def _refused(setup: Setup) -> list[Finding]:
    given = setup.value("ref_model")
    if not given:
        return []
    if not setup.full and setup.run.method.upstream == "ms-swift":
        found = f"ref_model {given} with tuner_type {setup.value('tuner_type')}: ms-swift refuses it, 1 of 2 must go"
        return error(
            NAME, found, "leave ref_model out (the base with adapters off is the reference), or tuner_type: full"
        )
    other, base = here(given), here(setup.base)
    if other is not None and base is not None:
        sizes = [read_config(one).get("vocab_size") for one in (other, base)]
        if sizes[0] != sizes[1]:
            found = f"ref_model {given} has {sizes[0]} tokens, the model {setup.base} {sizes[1]}"
            return error(NAME, found, "a reference with the same tokenizer")
    return []


def _store(setup: Setup) -> list[Finding]:
    folder = getattr(setup.settings, "store", None)
    if folder is None:
        return []
    from swift_ext.modpo.store import MarginStore

    base = str(setup.value("ref_model") or setup.base)
    try:
        store = MarginStore(folder, base, setup.margins)
        store.shared_prefix(setup.settings.shared_prefix)
    except ValueError as problem:
        return error(NAME, str(problem), "python -m launch precompute-margins --store FOLDER [the run's flags]")
    findings = ok(NAME, f"precomputed: {folder} holds reference and {len(store.margins)} margins of {base}")
    if setup.value("remove_unused_columns", True) and "remove_unused_columns" in setup.run.given:
        findings += error(NAME, "remove_unused_columns true drops the stored columns", "remove_unused_columns: false")
    return findings


def _swift(setup: Setup) -> list[Finding]:
    base = setup.base or "the model"
    if setup.run.method.grouped and setup.value("beta") == 0:
        return ok(NAME, "none: beta is 0, no KL term")
    beta = f"beta {setup.value('beta'):g}"
    if setup.margins or getattr(setup.settings, "w", None):
        beta += f" / w {setup.settings.w:g} = {setup.value('beta') / setup.settings.w:g}"
    if setup.full:
        return ok(NAME, f"a frozen copy of {setup.value('ref_model') or base}; {beta}")
    adapters = setup.value("ref_adapters") or []
    if adapters:
        missing = [one for one in adapters if here(one) is None]
        if missing:
            return error(
                NAME,
                f"{len(missing)} of {len(adapters)} ref_adapters are not there: {missing[0]}",
                "correct the folder",
            )
        return ok(NAME, f"{base} with adapter {adapters[0]}; {beta}")
    start = setup.value("adapters") or []
    if start and not setup.value("resume_from_checkpoint"):
        found = f"{base} with all adapters off, while the policy starts from {start[0]}: they differ at step 0"
        return warning(
            NAME, f"{found}; {beta}", f"ref_adapters: {start[0]}, when the policy shall be held to where it starts"
        )
    return ok(NAME, f"{base} with all adapters off; {beta}")


def _trl(setup: Setup) -> list[Finding]:
    base = setup.base or "the model"
    if setup.value("ref") == "previous":
        return ok(NAME, f"a frozen copy of the adapter {setup.value('model_path')} on {base}")
    where = f"a frozen copy of {base}" if setup.full else f"{base} with all adapters off"
    once = ", computed once before training" if setup.value("precompute_ref_log_probs") else ""
    beta, w = setup.value("beta", 0.1), setup.value("w")
    text = f"beta {beta:g}" + (f" / w {w:g} = {beta / w:g}" if w else "")
    return ok(NAME, f"{where}{once}; {text}")
