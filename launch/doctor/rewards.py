"""Reward functions of a GRPO run: known by name, and the columns that they read are in the data."""

import importlib
import inspect
from itertools import islice
from types import SimpleNamespace
from typing import Any

from datasets_builders.choices import did_you_mean
from datasets_builders.io import read_rows
from launch.doctor.arguments import is_here
from launch.doctor.findings import Finding, error, ok, skipped, warning
from launch.doctor.methods import plugin_stems
from launch.doctor.rows import column_names, readable, sources
from launch.doctor.setup import Setup, here

NAME = "rewards"
# Handed to every reward by upstream, whatever the data.
ALWAYS = {"self", "completions", "completion_ids", "prompts", "messages", "trainer_state", "kwargs", "columns"}
# Used where it is there; the reward has a default of its own without it.
OPTIONAL = {"parser_name"}
PLUGINS = ("bt_grpo", "pairwise_judge")


def known_rewards(stems: list[str]) -> dict[str, type]:
    """ms-swift's rewards and those of the pack's plugins that the run loads."""
    from swift.rewards import orms

    known = dict(orms)
    for name in set(stems) & set(PLUGINS):
        known |= importlib.import_module(f"swift_ext.{name}.rewards").REWARDS
    return known


def columns_of(reward: Any) -> list[str]:
    """The columns that a reward reads by name, out of its signature."""
    function = getattr(reward, "function", None) or getattr(reward, "__call__", reward)  # noqa: B004
    names = []
    for name, parameter in inspect.signature(function).parameters.items():
        by_name = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if by_name and name not in ALWAYS | OPTIONAL:
            names.append(name)
    return names


def check_rewards(setup: Setup, limit: int | None) -> list[Finding]:
    """Unknown names, rewards without their columns, weights that are not one a reward; then the method's own refusals."""
    if not setup.run.method.grouped:
        return []
    if not is_here(setup.run.method) or setup.values is None:
        return skipped(NAME, "ms-swift is not installed here, or its arguments could not be read")
    stems, wanted = plugin_stems(setup.run.given), setup.value("reward_funcs") or []
    known = known_rewards(stems)
    strangers = [stem for stem in stems if stem not in PLUGINS]
    findings: list[Finding] = []
    for name in wanted:
        if name not in known and strangers:
            findings += warning(
                NAME, f"{name!r} is not known; the plugin {strangers[0]}, which is not loaded here, may bring it"
            )
        elif name not in known:
            hint = did_you_mean(name, list(known)).removeprefix("; ")
            findings += error(NAME, f"no reward {name!r} among {len(known)}", hint or f"known: {', '.join(known)}")
    weights = setup.value("reward_weights")
    count = len(wanted) + len(setup.value("reward_model") or [])
    if weights and len(weights) != count:
        findings += error(
            NAME, f"{len(weights)} reward_weights for {count} rewards", "one weight a reward, in their order"
        )
    rewards = {name: known[name] for name in wanted if name in known}
    rows = _first_rows(setup, limit)
    there = column_names(rows)
    for name, reward in rewards.items():
        absent = [column for column in columns_of(reward) if column not in there]
        if rows and absent:
            missing = (
                f"{name} reads the columns {', '.join(columns_of(reward))}; all of {len(rows)} rows have them but for "
            )
            findings += error(NAME, missing + ", ".join(absent), _builder(setup))
    findings += _refusals(setup, list(rewards.values()), rows)
    findings += _tags(setup)
    findings += _scaling(setup, list(rewards.values()))
    findings += _sampling(setup)
    shown = ", ".join(f"{name} ({', '.join(columns_of(one)) or 'no column'})" for name, one in rewards.items())
    return findings or ok(NAME, f"{len(rewards)} of {len(known)} known rewards, columns in brackets: {shown or 'none'}")


def _first_rows(setup: Setup, limit: int | None) -> list[dict]:
    local = [source for source in sources(setup) if readable(source)]
    return [row for _, row in islice(read_rows(str(here(local[0]))), limit)] if local else []


def _builder(setup: Setup) -> str:
    builder = {"bt_grpo": "pointwise", "pairwise_judge": "helpsteer2-pairwise"}.get(setup.run.method.name)
    return f"python -m datasets_builders {builder} writes them" if builder else "name the column as the reward does"


def _refusals(setup: Setup, rewards: list[type], rows: list[dict]) -> list[Finding]:
    """What arguments and trainer of the plugin refuse before the first step."""
    name = setup.run.method.name
    if name not in PLUGINS or setup.settings is None:
        return []
    from swift_ext.paired_grpo.sampling import refuse_lost_sampling_flags

    try:
        refuse_lost_sampling_flags(setup.values)
        if name == "bt_grpo":
            from swift_ext.bt_grpo.checks import refuse_what_cannot_work

            refuse_what_cannot_work(setup.settings, rewards, setup.values, setup.values, _like_dataset(setup, rows))
        else:
            from swift_ext.pairwise_judge.trainer import JudgeGRPOTrainer

            trainer = SimpleNamespace(settings=setup.settings)
            JudgeGRPOTrainer.check_run(trainer, rewards, setup.values, setup.values, _like_dataset(setup, rows))
    except ValueError as problem:
        return error(NAME, str(problem), "the message names the flag or the variable")
    return []


def _tags(setup: Setup) -> list[Finding]:
    """Whether the policy's tokenizer leaves the tag of an answer as it is."""
    from datasets_builders.scoring.tags import EXAMPLES, swallowed_message

    example = {"bt_grpo": "score100", "pairwise_judge": "preference"}.get(setup.run.method.name)
    base = here(setup.base)
    if example is None or base is None:
        return []
    from transformers import AutoTokenizer

    message = swallowed_message(AutoTokenizer.from_pretrained(base), EXAMPLES[example])
    return error(NAME, message, "a model whose tokenizer writes the tag as text") if message else []


def _scaling(setup: Setup, rewards: list[type]) -> list[Finding]:
    """What `scale_rewards` takes away from the rewards, in the words and with the numbers of the trainer."""
    name = setup.run.method.name
    if name not in PLUGINS or setup.settings is None or not rewards:
        return []
    if name == "bt_grpo":
        from swift_ext.bt_grpo.rewards import PairReward
        from swift_ext.bt_grpo.scaling import scaling_warnings

        found = scaling_warnings(setup.settings, [one for one in rewards if issubclass(one, PairReward)], setup.values)
    else:
        from swift_ext.pairwise_judge.scaling import scaling_warnings as of_judge

        found = of_judge(rewards, setup.values)
    return [one for text in found for one in warning(NAME, text, "the message names the flag that keeps it")]


def _sampling(setup: Setup) -> list[Finding]:
    """What the flags leave out of the softmax that answers are drawn from, in the words of the trainer."""
    if setup.run.method.name not in PLUGINS:
        return []
    from swift_ext.paired_grpo.sampling import sampling_warnings

    found = sampling_warnings(setup.values)
    return [one for text in found for one in warning(NAME, text, "top_k: -1 and top_p: 1.0")]


def _like_dataset(setup: Setup, rows: list[dict]) -> Any:
    """The rows as the trainer would see them: without a length when they are streamed."""
    if setup.value("streaming"):
        return iter(rows)
    if not rows:
        return None
    from datasets import Dataset

    return Dataset.from_list(
        [{"parser_name": row["parser_name"]} if "parser_name" in row else {"row": 0} for row in rows[:1]]
    )
