"""`python -m launch.reproduce.choosing`: writes what `docs/choosing.md` says of stored claims into it, from their files alone.

`reproduce --publish` does it too, and `reproduce --check` refuses a page that says something else.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from datasets_builders.command_line import Parser
from datasets_builders.io import read_object, write_text
from datasets_builders.mistakes import exit_code, run_program
from launch.common.statistics import Estimate, student_mean
from launch.common.table import markdown
from launch.reproduce.choosing_parts import PARTS, Part, Sentence
from launch.reproduce.claim import Arm
from launch.reproduce.result import Result, verdict, with_interval

PROGRAM = "python -m launch.reproduce.choosing"
PAGE = "choosing.md"
BLOCK = re.compile(r"(<!-- measured: ([\w ]+) -->\n).*?(<!-- end of measured -->)", re.DOTALL)
# Steps beside stock trainers: file, its variant, and what was compared with what.
STEPS = (
    (
        "modpo_trl_step",
        "modpo",
        "MODPO, two margins and the reference computed before",
        "DPO, the reference computed before",
    ),
    ("moodpo_step", "moodpo", "MOODPO", "OnlineDPO with `reward_weights`"),
    ("d2po_step", "d2po", "D2PO, a window without the discriminator's update", "OnlineDPO with the same reward model"),
    ("d2po_step", "update", "D2PO, the discriminator's update of a window", "the same window of OnlineDPO"),
)


def render(text: str, docs: Path) -> str:
    """The page with every part between its marks made anew.

    Raises:
        ValueError: an unknown part, one that is missing, or a claim without an arm that the page speaks of.
    """
    named = [name for _, name, _ in BLOCK.findall(text)]
    if sorted(named) != sorted([*PARTS, "steps"]):
        raise ValueError(f"{docs / PAGE}: has the parts {named}; each of {[*PARTS, 'steps']} is needed once")
    return BLOCK.sub(lambda found: f"{found[1]}{_block(found[2], docs)}{found[3]}", text)


def write(docs: Path) -> None:
    """Makes the page anew, where there is one."""
    if (page := docs / PAGE).is_file():
        write_text(page, render(page.read_text(encoding="utf-8"), docs))


def check(docs: Path) -> None:
    """Raises ValueError where the page says something else than the files."""
    if not (page := docs / PAGE).is_file():
        return
    text = page.read_text(encoding="utf-8")
    if render(text, docs) != text:
        raise ValueError(
            f"{page}: its numbers are not what {docs / 'results'} gives; `{PROGRAM} --docs {docs}` writes them"
        )


def _block(name: str, docs: Path) -> str:
    if name == "steps":
        return steps(docs / "results")
    part = PARTS[name]
    file = docs / "results" / "claims" / f"{part.claim}.json"
    if not file.is_file():
        return f"No result over seeds is stored yet: `python -m launch reproduce {part.claim}` gives one.\n"
    return claimed(read_object(file), part)


def claimed(result: Result, part: Part) -> str:
    """A claim's verdict; its arms beside one of them; and in words what a reader should make of it."""
    said = f"{verdict(result)[0].upper()}{verdict(result)[1:]} ([the claim](results/claims/{part.claim}.json))."
    if not part.sentences:
        return f"{said}\n"
    sentences = "\n".join(f"- {in_words(result, one)}" for one in part.sentences)
    return f"{said}\n\n{arms(result, part)}\n{sentences}\n"


def arms(result: Result, part: Part) -> str:
    """A table: value of every arm, difference to one of them, and CPU seconds."""
    base = _arm(result, part.against)
    rows = [["", result["up"], f"beside {base['title']}", "CPU seconds a seed"]]
    for name, arm in result["arms"].items():
        if not name.startswith(part.left_out or "\0"):
            beside = (
                ""
                if name == part.against
                else with_interval(difference(result, name, part.against).as_json(), sign=True)
            )
            rows.append([arm["title"], with_interval(arm["estimate"]), beside, f"{seconds(arm):.0f}"])
    return markdown(rows)


def difference(result: Result, first: str, second: str) -> Estimate:
    """Over seeds, paired: what is compared of the first arm minus that of the second."""
    ours, theirs = (_values(result, name) for name in (first, second))
    return student_mean([ours[seed] - theirs[seed] for seed in sorted(ours)])


def in_words(result: Result, sentence: Sentence) -> str:
    """The sentence for how it ended."""
    found = difference(result, sentence.first, sentence.second)
    how = sentence.alike
    if found.excludes(0):
        ahead = found.value > 0
        how = sentence.ahead if ahead else sentence.behind
        found = (
            found if ahead else difference(result, sentence.second, sentence.first)
        )  # of the one that is named first
    cost = seconds(_arm(result, sentence.first)) / seconds(_arm(result, sentence.second))
    return how.format(difference=f"difference {with_interval(found.as_json(), sign=True)}", cost=f"{cost:.2f}")


def seconds(arm: dict) -> float:
    """CPU seconds of one seed."""
    return arm["cpu_seconds"] / len(arm["seeds"])


def _values(result: Result, name: str) -> dict[int, float]:
    curves = {int(seed): curve for seed, curve in _arm(result, name)["curves"].items()}
    arm = Arm(name, curves)
    return arm.ends() if result.get("compared", "end") == "end" else arm.means()


def _arm(result: Result, name: str) -> dict:
    if name not in result["arms"]:
        raise ValueError(
            f"{result['claim']}: no arm {name!r}, of which {PAGE} speaks; there are {sorted(result['arms'])}"
        )
    return result["arms"][name]


def steps(results: Path) -> str:
    """A table of steps beside those of the stock trainer, processor time."""
    rows = [["a step of", "beside a step of stock", "processor time (quartiles of paired rounds)"]]
    for file, variant, what, stock in STEPS:
        found = read_object(results / f"{file}.json")["variants"][variant]["processor"]
        low, _, high = found["ratio_quartiles"]
        rows.append([what, stock, f"[{found['median_ratio']:.2f}](results/{file}.json) ({low:.2f} to {high:.2f})"])
    return markdown(rows)


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--docs", type=Path, default=Path("docs"), metavar="DIR", help="folder of the pages")
    return parser


def main(argv: Sequence[str]) -> int:
    """Exit status 0 when the page is written."""
    write(make_parser().parse_args(argv).docs)
    return 0


if __name__ == "__main__":
    run_program(lambda argv: exit_code(PROGRAM, lambda: main(argv)))
