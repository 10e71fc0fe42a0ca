"""The decision page: its numbers are those of the stored results, and its sentences follow how a comparison ended."""

import json
import re

import pytest

from datasets_builders.io import read_object
from launch.reproduce import choosing
from launch.reproduce.choosing_parts import PARTS, Part, Sentence
from launch.reproduce.claims import NAMES
from launch.reproduce.reproduce import claim_of
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
TOLD = Sentence(
    "new", "old", ahead="ahead {difference} {cost}", alike="alike {difference}", behind="behind {difference}"
)
PART = Part("made-up", "old", (TOLD,), left_out=("near_",))


def result(new: list[float], old: list[float]) -> dict:
    def arm(title: str, values: list[float], cost: float) -> dict:
        curves = {str(seed): [[0, 100.0], [1, value]] for seed, value in enumerate(values)}
        estimate = {"value": sum(values) / len(values), "low": None, "high": None, "n": len(values)}
        return {
            "title": title,
            "curves": curves,
            "seeds": list(range(len(values))),
            "cpu_seconds": cost,
            "estimate": estimate,
        }

    arms = {"new": arm("the new", new, 30.0), "old": arm("the old", old, 60.0), "near_x": arm("near", old, 1.0)}
    verdict = {
        "comparison": "new minus old",
        "estimate": {"value": 1.0, "low": 0.5, "high": 1.5, "n": 3},
        "holds": True,
    }
    return {"claim": "made-up", "arms": arms, "up": "words", "compared": "end", "rehearsal": False, **verdict}


def test_the_page_says_what_the_files_say():
    choosing.check(DOCS)


def test_the_numbers_of_two_claims_again_from_their_curves():
    """By other arithmetic: means over seeds of the curves' means or ends, and CPU seconds of the file."""
    text = (DOCS / choosing.PAGE).read_text("utf-8")
    for name, first, second, of in (
        ("modpo-front", "morl", "modpo", "mean"),
        ("d2po-labels", "offline_dpo", "confidence", "end"),
    ):
        arms = read_object(DOCS / "results" / "claims" / f"{name}.json")["arms"]
        values = {
            arm: [
                sum(v for _, v in curve) / len(curve) if of == "mean" else curve[-1][1]
                for curve in arms[arm]["curves"].values()
            ]
            for arm in (first, second)
        }
        gap = sum(one - other for one, other in zip(*values.values(), strict=True)) / len(values[first])
        cost = (
            arms[first]["cpu_seconds"]
            / len(arms[first]["seeds"])
            / arms[second]["cpu_seconds"]
            * len(arms[second]["seeds"])
        )
        assert re.search(
            rf"\*\*, difference [+−]{abs(gap):.4g}".replace(".", r"\.") + rf" \[.*, for {cost:.2f} of its CPU", text
        ), name


def test_a_sentence_follows_the_interval():
    assert choosing.in_words(result([2.0, 2.1, 1.9], [1.0, 1.0, 1.0]), TOLD).startswith(
        "ahead difference +1 [0.7516, 1.248] 0.50"
    )
    assert choosing.in_words(result([0.0, 0.1, -0.1], [1.0, 1.0, 1.0]), TOLD).startswith(
        "behind difference +1 [0.7516, 1.248]"
    )
    assert choosing.in_words(result([0.0, 2.0, 1.3], [1.0, 1.0, 1.0]), TOLD).startswith("alike difference +0.1 [")


def test_a_table_has_the_difference_to_one_arm_and_leaves_other_designs_out():
    lines = choosing.arms(result([2.0, 2.1, 1.9], [1.0, 1.0, 1.0]), PART).splitlines()
    assert lines[0] == "|  | words | beside the old | CPU seconds a seed |"
    assert lines[2:] == ["| the new | 2 | +1 [0.7516, 1.248] | 10 |", "| the old | 1 |  | 20 |"]


def test_an_arm_that_is_gone_and_a_part_that_is_missing_are_named():
    found = result([1.0], [1.0])
    del found["arms"]["old"]
    with pytest.raises(ValueError, match=r"no arm 'old'.*'near_x', 'new'"):
        choosing.claimed(found, PART)
    with pytest.raises(ValueError, match=r"each of .* is needed once"):
        choosing.render("<!-- measured: judge -->\n<!-- end of measured -->", DOCS)


def test_a_number_that_was_written_by_hand_is_found_and_written_anew(tmp_path):
    (tmp_path / "results" / "claims").mkdir(parents=True)
    for file in [*(DOCS / "results").glob("*_step.json"), DOCS / "results" / "claims" / "modpo-front.json"]:
        target = tmp_path / file.relative_to(DOCS)
        target.write_bytes(file.read_bytes())
    page = tmp_path / choosing.PAGE
    page.write_text((DOCS / choosing.PAGE).read_text("utf-8"), encoding="utf-8")
    choosing.write(tmp_path)
    assert "`python -m launch reproduce d2po-labels` gives one" in page.read_text("utf-8")
    file = tmp_path / "results" / "claims" / "modpo-front.json"
    file.write_text(json.dumps(read_object(file) | {"comparison": "something else"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"are not what .*launch\.reproduce\.choosing --docs"):
        choosing.check(tmp_path)
    choosing.write(tmp_path)
    choosing.check(tmp_path)


@pytest.mark.parametrize("name", [part.claim for part in PARTS.values()])
def test_the_page_speaks_of_claims_and_arms_that_are_there(name):
    assert name in NAMES
    file = DOCS / "results" / "claims" / f"{name}.json"
    part = next(one for one in PARTS.values() if one.claim == name)
    if file.is_file():
        arms = read_object(file)["arms"]
        assert {key for one in part.sentences for key in (one.first, one.second)} <= set(arms)
    assert claim_of(name).question
