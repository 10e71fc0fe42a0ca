"""The page shows what the sweep saw, and setup.py promises what passed: no version beyond, none less."""

import ast
import re

from packaging.requirements import Requirement
from packaging.version import Version

from tests.compatibility.rows import OLDEST, PYTHON, REPOSITORY, SWIFT, TRL, kind, outcomes, record
from tests.compatibility.run import read_report
from tests.compatibility.table import PAGE, page, table

BOUND = ("trl", "transformers", "peft", "accelerate", "datasets")


def promised() -> dict[str, Requirement]:
    """Ranges of setup.py for a run on TRL."""
    tree = ast.parse((REPOSITORY / "setup.py").read_text(encoding="utf-8"))
    given = {one.targets[0].id: one.value for one in tree.body if isinstance(one, ast.Assign)}
    texts = ast.literal_eval(given["CORE"]) + ast.literal_eval(given["EXTRAS"])["trl"]
    return {one.name: one for one in map(Requirement, texts)}


def passed(package: str) -> list[Version]:
    """Versions of the rows that passed."""
    rows = [one["versions"] for one in outcomes().values() if one["outcome"] == "passed"]
    return sorted(Version(versions[package]) for versions in rows)


def test_the_page_shows_what_was_seen():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text, outcomes()), "run: python -m tests.compatibility.table"


def test_the_ranges_are_what_passed():
    """The lowest bound is the lowest version that passed; an upper one ends before the next minor version of the highest."""
    for name, needed in promised().items():
        bounds = {one.operator: Version(one.version) for one in needed.specifier}
        if name not in BOUND or not (found := passed(name)):
            continue
        lowest, highest = found[0], found[-1]
        assert needed.specifier.contains(lowest) and needed.specifier.contains(highest), name
        if outcomes().get(OLDEST, {}).get("outcome") == "passed":
            assert lowest.release[:2] == bounds[">="].release[:2], f"{name}: {lowest} is the oldest that passed"
        if name in ("trl", "transformers", "peft"):
            upper = Version(f"{highest.major}.{highest.minor + 1}")
            assert bounds["<"] == upper, f"{name}: {highest} is the newest that passed"


def test_no_row_inside_the_ranges_failed():
    for row, one in outcomes().items():
        if kind(row) in TRL and promised()["trl"].specifier.contains(kind(row)):
            assert one["outcome"] == "passed", row


def test_rows_are_whole():
    for row, one in outcomes().items():
        assert kind(row) in (*TRL, OLDEST, SWIFT) and one["date"]
        assert row == kind(row) or row.endswith(f", Python {'.'.join(one['python'].split('.')[:2])}")
        assert row != kind(row) or one["python"].startswith(f"{PYTHON}.")
        assert (one["outcome"] == "passed") == (not one["failed"]) and one["outcome"] in (
            "passed",
            "failed",
            "not installable",
        )
        assert one["outcome"] != "passed" or one["counts"]["passed"] > 300


def test_a_row_is_replaced_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.compatibility.rows.OUTCOMES", tmp_path / "outcomes.json")
    record("1.2.0", outcome="not installable", versions={}, failed=["no such version"])
    record(
        "0.29.1",
        outcome="failed",
        versions={"trl": "0.29.1"},
        failed=["a: `b`\n| c"],
        counts={"passed": 2, "failed": 1},
    )
    record("1.2.0", outcome="passed", versions={"trl": "1.2.0"}, failed=[], counts={"passed": 3})
    monkeypatch.setattr("tests.compatibility.rows.PYTHON", "3.9")
    record("0.29.1", outcome="passed", versions={"trl": "0.29.1"}, failed=[], counts={"passed": 4})
    monkeypatch.undo()
    from datasets_builders.io import read_object

    found = read_object(tmp_path / "outcomes.json")
    other = next(iter(set(found) - {"0.29.1", "1.2.0"}))
    assert list(found) == ["0.29.1", other, "1.2.0"] and found["1.2.0"]["outcome"] == "passed"
    assert re.fullmatch(r"0\.29\.1, Python 3\.\d+", other) and found["0.29.1"]["outcome"] == "failed"
    shown = table(found)
    assert f"| trl {other} | passed |" in shown
    assert "| trl 1.2.0 | passed | 1.2.0 |" in shown and "| trl 1.4.0 | not run |" in shown
    assert "2 passed, 1 failed" in shown and "- `a: 'b' | c`" in shown


def test_a_report_of_pytest_is_counted(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="tests.a" name="one"/><testcase classname="tests.a" name="two">'
        '<failure message="assert 1 == 2&#10;more">text</failure></testcase><testcase classname="tests.a" name="three">'
        '<skipped message="no"/></testcase></testsuite></testsuites>'
    )
    assert read_report(report) == {
        "counts": {"passed": 1, "failed": 1, "skipped": 1},
        "failed": ["a::two: assert 1 == 2"],
    }
