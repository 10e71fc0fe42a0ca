"""Batch numbers: whole pairs on every rank, whole windows; the nearest valid numbers come from the method's own message."""

from launch.doctor.findings import Finding, error, ok, skipped
from launch.doctor.setup import Setup

NAME = "batches"
_NUMBERS = (
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "generation_batch_size",
    "steps_per_generation", "num_generations", "num_generations_eval",
)  # fmt: skip


def evaluation_strategy(setup: Setup) -> str:
    """`no` unless ms-swift will evaluate: it does when there is anything to evaluate on."""
    given = setup.value("eval_strategy")
    if given is not None:
        return str(given)
    there = setup.value("val_dataset") or (setup.value("split_dataset_ratio") or 0) > 0
    return str(setup.value("save_strategy", "steps")) if there else "no"


def generation_numbers(setup: Setup, config_class: type) -> object:
    """Batch numbers of GRPO as the training arguments fill them in, for any number of processes.

    Only the part of the arguments class that does this arithmetic is run, on an object that has nothing else.

    Raises:
        ValueError: what the class refuses, with the nearest valid numbers.
    """
    numbers = object.__new__(type("Numbers", (config_class,), {"world_size": setup.run.processes}))
    for name in _NUMBERS:
        setattr(numbers, name, getattr(setup.values, name, None))
    numbers.eval_strategy = evaluation_strategy(setup)
    numbers._init_generation_batch_params()
    return numbers


def check_batches(setup: Setup) -> list[Finding]:
    """Divisibility of GRPO's generation batch and of D2PO's window; for the other methods the rows of an update."""
    method = setup.run.method
    if setup.values is None:
        return skipped(NAME, "no argument could be read")
    processes = f"{setup.run.processes} process{'es' if setup.run.processes > 1 else ''}"
    try:
        if method.grouped:
            return _grouped(setup, processes)
        if method.name == "d2po":
            return _window(setup, processes)
    except ValueError as problem:
        return error(NAME, f"{processes}: {problem}", "use one of the valid numbers in the message")
    rows, steps = setup.value("per_device_train_batch_size", 1), setup.value("gradient_accumulation_steps", 1)
    unit = "pairs" if method.dpo else "prompts" if method.name == "moodpo" else "rows"
    return ok(
        NAME,
        f"{rows} {unit} x {steps} accumulated x {processes} = {rows * steps * setup.run.processes} {unit} an update",
    )


def _grouped(setup: Setup, processes: str) -> list[Finding]:
    from swift.rlhf_trainers import GRPOConfig

    from launch.doctor.arguments import load

    name = setup.run.method.name
    paired = {
        "bt_grpo": "swift_ext.bt_grpo.PairGRPOConfig",
        "pairwise_judge": "swift_ext.pairwise_judge.JudgeGRPOConfig",
    }
    numbers = generation_numbers(setup, load(paired[name]) if name in paired else GRPOConfig)
    share = numbers.generation_batch_size // setup.run.processes
    sides = 2 if name in paired else 1
    groups = share // (sides * numbers.num_generations)
    what = ("whole pair" if sides == 2 else "group") + ("s" if groups != 1 else "")
    return ok(
        NAME,
        f"{processes}: each generates {share} completions at a time = {groups} {what} x {sides} x "
        f"{numbers.num_generations} completions, in {numbers.steps_per_generation} micro-steps",
    )


def _window(setup: Setup, processes: str) -> list[Finding]:
    from trl_ext.d2po.config import D2POConfig

    rows = setup.value("per_device_train_batch_size") * setup.run.processes
    window, step = setup.value("window_pairs"), rows * setup.value("gradient_accumulation_steps", 1)
    try:
        D2POConfig._check_window(setup.values)  # values.world_size is that of the run
    except ValueError as problem:
        nearest = [str(one) for one in (window // step * step, window // step * step + step) if one]
        return error(NAME, f"{processes}: {problem}", f"window_pairs: {' or '.join(nearest)}")
    return ok(NAME, f"{processes}: a window of {window} prompts is {window // rows} micro-batches of {rows}")
