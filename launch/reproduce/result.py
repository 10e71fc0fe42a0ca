"""`claim.json`: what a reproduction found, and the table, the part of a page and the picture that come from it alone."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.common.page import number
from launch.common.picture import head, new_figure, plot_frame, to_png
from launch.common.statistics import Estimate, student_mean
from launch.common.table import markdown
from launch.d2po.curve import draw_run
from launch.d2po.curve_data import average
from launch.pipelines.identity import PACK, versions
from launch.reproduce.claim import Arm, Claim, Measured, Place, lies

Result = dict[str, Any]


def make_result(claim: Claim, place: Place, measured: Measured, costs: Mapping[str, Mapping], command: str) -> Result:
    """The content of `claim.json`.

    Args:
        costs: of every stage, see `StageRunner.costs`.
    """
    spent = {"cpu_seconds": "cpu_seconds"} | ({"gpu_seconds": "seconds"} if claim.scale == "gpu" else {})
    arms = {
        name: {
            "title": arm.title,
            "estimate": student_mean(_compared(arm, claim.compared)).as_json(),
            "seeds": sorted(arm.curves),
            **{key: round(claim.spent(costs, name, which), 1) for key, which in spent.items()},
            "curves": {str(seed): [list(point) for point in curve] for seed, curve in sorted(arm.curves.items())},
        }
        for name, arm in measured.arms.items()
    }
    return {
        "claim": claim.name,
        "question": claim.question,
        "paper": claim.paper,
        "comparison": claim.comparison,
        "estimate": measured.estimate.as_json(),
        "counted": claim.counted,
        "direction": claim.direction,
        "holds": measured.holds,
        "condition": claim.condition,
        "weakest": claim.weakest,
        "others": {phrase: estimate.as_json() for phrase, estimate in measured.others.items()},
        "arms": arms,
        "across": claim.across,
        "up": claim.up,
        "compared": claim.compared,
        "command": command,
        "rehearsal": place.rehearsal,
        "minutes": round(_seconds_at_work(list(costs.values())) / 60, 2),
        "cpu_minutes": round(sum(cost["cpu_seconds"] for cost in costs.values()) / 60, 2),
        "machine": machine(claim.scale),
        "commit": commit(),
        "versions": versions(),
    }


def _compared(arm: Arm, which: str) -> list[float]:
    return list({"end": arm.ends, "mean": arm.means}[which]().values())


def _seconds_at_work(costs: Sequence[Mapping]) -> float:
    """Time in which at least one stage ran; what passed between two starts does not count."""
    total, end = 0.0, 0.0
    for cost in sorted(costs, key=lambda cost: cost["began"]):
        begin, stop = max(end, cost["began"]), cost["began"] + cost["seconds"]
        total += max(0.0, stop - begin)
        end = max(end, stop)
    return total


def machine(scale: str = "cpu") -> str:
    """Kind of processor and number of cores; before them the GPU of a run at that scale."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = f"{os.cpu_count()} cores, {names[0] if names else platform.machine()}"
    if scale == "cpu":
        return processor
    from launch.doctor.machine import describe_machine

    return f"{describe_machine()}; {processor}"


def commit() -> str:
    """The checkout's commit, with `-dirty` where a tracked file was changed; empty for an installed package."""
    command = ["git", "-C", str(PACK), "describe", "--always", "--dirty", "--abbrev=12", "--match", "no tag at all"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def with_interval(cell: Mapping[str, Any], sign: bool = False) -> str:
    """`1.7 [1.42, 1.98]`; `n/a` where there is none."""
    estimate = Estimate(**cell)
    if estimate.value is None:
        return "n/a"
    text = ("+" if sign and estimate.value > 0 else "") + number(estimate.value)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{number(estimate.low)}, {number(estimate.high)}]"


def verdict(result: Result) -> str:
    """One line: what was compared, the number, and what it says; of a rehearsal how far it went, and that it says nothing."""
    counted = f"{'over' if _drawn(result) else 'of'} {result['estimate']['n']} {_counted(result)}"
    found = f"{with_interval(result['estimate'], sign=True)} {counted}"
    if result["rehearsal"]:
        return f"a rehearsal, which decides nothing{_how_far(result)}: {found}"
    return f"{result['comparison']}: {found}; the claim {'holds' if result['holds'] else 'does not hold'}"


def _how_far(result: Result) -> str:
    """Where the curves of a rehearsal end, in the words of the picture's axis; empty where that axis is no course of a run."""
    if not _drawn(result) or result.get("compared", "end") != "end":
        return ""
    last = max(curve[-1][0] for arm in result["arms"].values() for curve in arm["curves"].values())
    return f" (its curves end at {last:g}, {result['across']})"


def table(result: Result) -> str:
    """A Markdown table of the arms, and one of what else was measured."""
    cost = "gpu_seconds" if all("gpu_seconds" in arm for arm in result["arms"].values()) else "cpu_seconds"
    seconds = {"gpu_seconds": "GPU seconds", "cpu_seconds": "CPU seconds"}[cost]
    rows = [["arm", result["up"], _counted(result), f"{seconds} a seed" if _drawn(result) else seconds]]
    for arm in result["arms"].values():
        seeds = len(arm["seeds"])
        counted = seeds if _drawn(result) else round(arm["curves"]["0"][-1][0])
        rows.append([arm["title"], with_interval(arm["estimate"]), str(counted), f"{arm[cost] / seeds:.0f}"])
    text = markdown(rows)
    if result["others"]:
        others = [[phrase, with_interval(cell), str(cell["n"])] for phrase, cell in result["others"].items()]
        text += "\n" + markdown([["also measured", "value", "n"], *others])
    return text


def _counted(result: Result) -> str:
    return result.get("counted", "seeds")


def _drawn(result: Result) -> bool:
    return _counted(result) == "seeds"


def part_of_page(result: Result, picture: str) -> str:
    """What a method's page includes, Markdown; `picture` is its place as seen from there."""
    intervals = " (95% intervals over seeds)" if _drawn(result) else ""
    return f"""**Question.** {result["question"]} ({result["paper"]})

**Result.** {verdict(result)}{intervals}.

**Condition.** {result["condition"]}

**Weakest point.** {result["weakest"]}

{table(result)}
![{result["up"]}]({picture})

`{result["command"]}` took {result["minutes"]:g} minutes ({result["cpu_minutes"]:g} CPU minutes) on {result["machine"]}; commit `{result["commit"]}`.
"""


def draw(result: Result) -> bytes:
    """PNG: mean curves of all arms with bands over seeds."""
    figure, (axes,) = new_figure(1, (8.4, 5.2))
    for index, arm in enumerate(result["arms"].values()):
        points = average([[(float(at), float(value)) for at, value in curve] for curve in arm["curves"].values()])
        draw_run(axes, arm["title"], points, index)
    plot_frame(axes, result["across"], result["up"], 10)
    axes.margins(0.06)
    head(axes, result["claim"], "means over seeds, bands: 95% intervals (Student)" if _drawn(result) else "")
    axes.legend(frameon=False, fontsize=9, loc="best")
    return to_png(figure)


def check_result(result: Result, name: str) -> None:
    """Raises ValueError where a stored result contradicts itself.

    Raises:
        ValueError: another claim's, a rehearsal, a number that the raw curves do not give, or a verdict that the interval
            does not allow.
    """
    try:
        found = result["claim"]
        estimate = Estimate(**result["estimate"])
        which = result.get("compared", "end")
        ends = {
            key: (_compared(Arm(key, arm["curves"]), which), arm["estimate"]) for key, arm in result["arms"].items()
        }
        holds, direction, rehearsal = result["holds"], result["direction"], result["rehearsal"]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{name}: not a result of `reproduce`: {error!r}") from error
    if found != name:
        raise ValueError(f"{name}: this is the result of {found!r}")
    if rehearsal:
        raise ValueError(f"{name}: a rehearsal, which decides nothing")
    for key, (values, stored) in ends.items():
        again = student_mean(values).as_json()
        if json.dumps(again, sort_keys=True) != json.dumps(stored, sort_keys=True):
            raise ValueError(f"{name}: arm {key!r}: the curves give {again}, the file says {stored}")
    if direction == "zero" and holds != lies(estimate, direction):
        raise ValueError(f"{name}: holds is {holds}, but the number of failures is {estimate.value} of {estimate.n}")
    if direction in ("greater", "less") and holds and not lies(estimate, direction):
        raise ValueError(f"{name}: holds, but the interval [{estimate.low}, {estimate.high}] is not {direction} than 0")
