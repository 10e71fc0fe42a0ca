"""`eval-agrees`: do our metrics give the figures that others published about the same verdicts?"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from datasets_builders.io import read_object
from launch.common.statistics import Estimate
from launch.pipelines.command_lines import launch
from launch.pipelines.identity import path_digest
from launch.pipelines.stages import Command, Stage
from launch.reproduce.claim import Arm, Claim, Measured, Place, lies
from launch.reproduce.published_verdicts import HERE, NAMES, SOURCE, VERDICTS, read_published

TITLES = {
    "judgebench": "JudgeBench (two decimals, up to 0.005): accuracy of 6 judges, by kind of question",
    "llmbar": "LLMBar: accuracy, both orders right, orders agree; 12 judges",
    "alpaca_eval": "AlpacaEval: win rate and counts of 8 models",
}
DOUBLE = 1e-9  # points between two ways to add up the same numbers
CENT = 0.005 + DOUBLE  # what a percentage with two places may be off
NORMAL = 1.96  # standard errors of half a 95% interval
RESULTS = {"judgebench": "result.json", "llmbar": "result.json", "alpaca_eval": "win_rate.json"}


class Figure(NamedTuple):
    """A published figure beside ours, both in percent or both a count.

    Attributes:
        off: the most that rounding explains.
    """

    name: str
    published: float
    ours: float
    off: float

    @property
    def difference(self) -> float:
        return abs(self.published - self.ours)


def judgebench_figures(
    published: Mapping[str, Any], judge: Mapping[str, Any], result: Mapping[str, Any]
) -> Iterator[Figure]:
    """Figures of what `eval-judge --benchmark judgebench` wrote."""
    for name, value in judge["published"].items():
        yield Figure(name, value, 100 * result["benchmark"]["headline"][name]["value"], CENT)


def llmbar_figures(
    published: Mapping[str, Any], judge: Mapping[str, Any], result: Mapping[str, Any]
) -> Iterator[Figure]:
    """Figures of what `eval-judge` wrote; theirs of all sets are added up.

    Their agreement counts two answers without a verdict as equal, ours as none: such a judge's is passed over here, see
    `unread_agreement`.
    """
    metrics, found = result["metrics"], judge["published"]
    for name, ones in found.items():
        yield Figure(f"{name}, accuracy", ones["correct_average"], 100 * metrics["by_subset"][name]["value"], DOUBLE)
    pairs = sum(map(len, published["truth"].values()))
    for title, key, ours in (
        ("accuracy in the original order", "correct_False", metrics["by_order"]["original"]),
        ("accuracy in the swapped order", "correct_True", metrics["by_order"]["swapped"]),
        ("both orders right", "correct_both", metrics["consistent_and_right"]),
        ("orders agree", "equal", metrics["swap_consistency"]),
    ):
        if key != "equal" or not unread(judge):
            yield Figure(title, 100 * sum(one[key] for one in found.values()) / pairs, 100 * ours["value"], DOUBLE)


def unread(judge: Mapping[str, Any]) -> int:
    """Pairs of LLMBar without a verdict in either order."""
    orders = ("".join(judge[order].values()) for order in ("original", "swapped"))
    return sum(pair == ("-", "-") for pair in zip(*orders, strict=True))


def alpaca_eval_figures(
    published: Mapping[str, Any], judge: Mapping[str, Any], result: Mapping[str, Any]
) -> Iterator[Figure]:
    """Figures of what `win-rate` wrote."""
    found = judge["published"]
    yield Figure("win rate", found["win_rate"], 100 * result["win_rate"]["value"], DOUBLE)
    for key, ours in (
        ("n_wins", result["counts"]["A"]),
        ("n_wins_base", result["counts"]["B"]),
        ("n_draws", result["counts"]["tie"]),
        ("n_total", result["judged"]),
    ):
        yield Figure(key, found[key], ours, 0)


FIGURES = {"judgebench": judgebench_figures, "llmbar": llmbar_figures, "alpaca_eval": alpaca_eval_figures}


def judges(name: str, place: Place) -> dict[str, Any]:
    """Name -> what is published about each; of a rehearsal the first one."""
    found = read_published(name)["judges"]
    return dict(list(found.items())[:1]) if place.rehearsal else found


def stages(place: Place) -> list[Stage]:
    verdicts = place.folder / "verdicts"
    command = Command(["python", "-m", "launch.reproduce.published_verdicts", "--out", str(verdicts)])
    title = "published verdicts, as files that the verbs read"
    # They stand in no command, and other letters give other results.
    letters = {name: path_digest(HERE / f"{name}.json") for name in NAMES}
    found = [Stage("published", title, [command], [verdicts], settings=letters)]
    for name in NAMES:
        out = place.folder / name
        commands = []
        for title in judges(name, place):
            values = {"verdicts": verdicts / name / title / VERDICTS, "out": out / title}
            if name == "judgebench":
                values |= {"benchmark": name, "source": verdicts / name / SOURCE}
            if name == "alpaca_eval":
                commands.append(launch("win-rate", {**values, "names": [title, "text_davinci_003"]}))
            else:
                commands.append(launch("eval-judge", values))
        found.append(Stage(f"{name}_s0", TITLES[name], commands, [out]))
    return found


def largest_so_far(figures: list[Figure]) -> list[tuple[float, float]]:
    """(number of figures, largest difference among them)."""
    points, largest = [], 0.0
    for count, figure in enumerate(figures, 1):
        largest = max(largest, figure.difference)
        points.append((float(count), largest))
    return points


def measure(place: Place) -> Measured:
    arms, unequal, count = {}, 0, 0
    for name in NAMES:
        published = read_published(name)
        figures = [
            figure
            for title, judge in judges(name, place).items()
            for figure in FIGURES[name](published, judge, read_object(place.folder / name / title / RESULTS[name]))
        ]
        arms[name] = Arm(TITLES[name], {0: largest_so_far(figures)})
        unequal += sum(figure.difference > figure.off for figure in figures)
        count += len(figures)
    estimate = Estimate(float(unequal), None, None, count)
    return Measured(arms, estimate, lies(estimate, "zero"), others(place))


def others(place: Place) -> dict[str, Estimate]:
    """What is defined otherwise than by the authors, and how much that makes."""
    published = read_published("llmbar")
    pairs = sum(map(len, published["truth"].values()))
    gaps = [100 * unread(judge) / pairs for judge in judges("llmbar", place).values()]
    widths = []
    for title, judge in judges("alpaca_eval", place).items():
        rate = read_object(place.folder / "alpaca_eval" / title / RESULTS["alpaca_eval"])["win_rate"]
        widths.append(100 * (rate["high"] - rate["low"]) / (2 * NORMAL * judge["published"]["standard_error"]))
    return {
        "LLMBar: points of agreement from pairs that are unreadable in both orders, counted there and not here, the most": (
            Estimate(max(gaps), None, None, len(gaps))
        ),
        "AlpacaEval: width of our interval (Wilson) over 3.92 published standard errors, the least": (
            Estimate(min(widths), None, None, len(widths))
        ),
        "AlpacaEval: the same, the most": Estimate(max(widths), None, None, len(widths)),
    }


CLAIM = Claim(
    name="eval-agrees",
    paper="JudgeBench, https://arxiv.org/abs/2410.12784; LLMBar, https://arxiv.org/abs/2310.07641; AlpacaEval, "
    "https://github.com/tatsu-lab/alpaca_eval",
    question="Do `eval-judge` and `win-rate` give the figures that the authors of three benchmarks published, from the "
    "same verdicts of the same judges?",
    comparison="published figures that ours do not equal within the rounding",
    direction="zero",
    condition="JudgeBench's figures have two decimal places; the others are counts, or agree to 1e-9 points. The verdicts are "
    "the letters in `launch/reproduce/published/`, whose files say where they come from. AlpacaEval asks about a pair once, "
    "so its verdict stands for both orders here. LLMBar's figures for all sets are its counts for each, added up.",
    weakest="It tests how verdicts are counted, not how answers are read or judges asked. Verdicts in two orders are tested by "
    "JudgeBench and LLMBar alone; of JudgeBench's judges only o1-mini says tie or contradicts itself often, and its one figure "
    "is the overall accuracy. JudgeBench's figures were read in public notes that quote the paper's tables. RewardBench 2 and "
    "RM-Bench are not among them.",
    across="published figures compared",
    up="largest difference (points, counts)",
    stages=stages,
    measure=measure,
    counted="published figures",
)
