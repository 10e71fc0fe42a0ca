"""Margins: which way they push, on which base they stand, and whether an adapter ranks its own pairs."""

from dataclasses import dataclass
from pathlib import Path

from datasets_builders.io import read_object
from launch.doctor.findings import Finding, error, ok, skipped, warning
from launch.doctor.rows import readable
from launch.doctor.setup import Setup, here
from launch.doctor.sizes import parameters, tensors_of
from trl_ext.modpo.margins import Margin

DIRECTION, BASE, SHARE = "margin direction", "margin base", "margin share"
SMALL = 200_000_000  # parameters of a base that is loaded to probe a margin without being asked
ENOUGH = 0.6  # of check-margin


@dataclass(frozen=True)
class Probe:
    """How a margin is tried out: pairs it should rank, how many of them, and whether large models may be loaded."""

    pairs: str | None = None
    count: int = 32
    load: bool = False


def check_margins(setup: Setup, probe: Probe) -> list[Finding]:
    """For each margin: its direction in words; for an adapter its base, and its ranking of pairs."""
    findings: list[Finding] = _share(setup)
    for margin in setup.margins:
        if margin.beta < 0:
            fix = f"role: {'cost' if margin.role == 'reward' else 'reward'} with beta {-margin.beta:g} says the same in words"
            findings += warning(DIRECTION, margin.direction(), fix)
        else:
            findings += ok(DIRECTION, margin.direction())
        if margin.kind == "adapter" and setup.base is not None:
            problems = _base(margin, setup)
            findings += problems or ok(
                BASE, f"margin {margin.name!r}: {margin.source} was trained on this run's base {setup.base}"
            )
            if not problems:
                findings += _ranking(margin, setup, probe)
        elif margin.kind == "classifier" and here(margin.source) is None:
            findings += skipped(BASE, f"margin {margin.name!r}: the classifier {margin.source} is not here")
    return findings


def _share(setup: Setup) -> list[Finding]:
    """Do the margins count more than the labels of the pairs?

    In h a margin is multiplied by w_j / w, and a step of the policy by beta / w: at a small w pairs are saturated by their
    margins alone, and the noise of a step grows (docs/modpo.md).
    """
    w = next((one.w for one in (setup.settings, *setup.objects) if getattr(one, "w", None)), None)
    if w is None or (ratio := sum(margin.weight for margin in setup.margins) / w) <= 1 + 1e-9:
        return []
    found = f"w is {w:g} and the margins' weights are {ratio * w:g}: they count {ratio:.3g} times as much as the pairs' labels"
    fix = "train on the pairs of the objective with the larger weight, with this one as its margin; and lower the learning rate with w"
    return warning(SHARE, found, fix)


def _base(margin: Margin, setup: Setup) -> list[Finding]:
    from trl_ext.modpo.adapters import check_same_base

    try:
        check_same_base(margin, str(setup.value("ref_model") or setup.base))
    except ValueError as problem:
        if not Path(margin.source, "adapter_config.json").is_file():
            return error(BASE, str(problem), "name the folder of a checkpoint, such as RUN/checkpoint-100")
        return error(
            BASE, str(problem), "train the margin adapter on this base, or set allow_other_base for the same model"
        )
    return []


def own_pairs(adapter: Path) -> str | None:
    """The pairs an adapter was evaluated or trained on by ms-swift, where its args.json names files that are here."""
    path = adapter / "args.json"
    if not path.is_file():
        return None
    args = read_object(path)
    named = [*(args.get("val_dataset") or []), *(args.get("dataset") or [])]
    return next((str(here(one)) for one in named if readable(str(one))), None)


def _command(margin: Margin, setup: Setup) -> str:
    return f"python -m launch check-margin --model {setup.base or 'MODEL'} --adapter {margin.source} --pairs HELD_OUT_PAIRS"


def _ranking(margin: Margin, setup: Setup, probe: Probe) -> list[Finding]:
    """Does the adapter prefer the chosen answers of pairs of its own objective?"""
    pairs = probe.pairs or own_pairs(Path(margin.source))
    base = here(setup.base)
    if pairs is None or base is None:
        why = "no pairs of its own are known" if pairs is None else f"{setup.named} is not here"
        fix = f"--margin_pairs FILE, or {_command(margin, setup)}"
        return skipped(DIRECTION, f"margin {margin.name!r}: ranking not tried, {why}", fix)
    if not probe.load and (size := parameters(tensors_of(base))) > SMALL:
        why = f"the base has {size / 1e9:.2g} billion parameters"
        return skipped(
            DIRECTION, f"margin {margin.name!r}: ranking not tried, {why}", f"--load, or {_command(margin, setup)}"
        )
    if setup.run.method.upstream != "ms-swift":
        why = "check-margin reads tokens as ms-swift's template does"
        return skipped(
            DIRECTION,
            f"margin {margin.name!r}: ranking not tried, {why}",
            f"in an environment with ms-swift: {_command(margin, setup)}",
        )
    return _tried(margin, setup, pairs, probe.count)


def _tried(margin: Margin, setup: Setup, pairs: str, count: int) -> list[Finding]:
    from launch.answers.policy import Policy
    from launch.scores.check_margin import check_margin, read_pairs

    policy = Policy(
        str(setup.base),
        adapters={margin.name: margin.source},
        model_type=setup.value("model_type"),
        template_type=setup.value("template"),
        system=setup.value("system"),
        torch_dtype=setup.value("torch_dtype"),
        max_length=setup.value("max_length"),
    )
    outcome = check_margin(policy, margin.name, read_pairs(pairs, count), abs(margin.beta))
    accuracy = outcome["accuracy"]
    found = (
        f"margin {margin.name!r} ranks {outcome['wins']} of {outcome['n']} pairs of {pairs} chosen above rejected "
        f"({accuracy['value']:.2f} [{accuracy['low']:.2f}, {accuracy['high']:.2f}])"
    )
    if accuracy["high"] < 0.5:
        return error(
            DIRECTION,
            f"{found}: it prefers the REJECTED answers",
            "train it on its own pairs, unswapped; check the folder",
        )
    if accuracy["value"] < ENOUGH:
        return warning(DIRECTION, f"{found}, under {ENOUGH}", _command(margin, setup))
    return ok(DIRECTION, found)
