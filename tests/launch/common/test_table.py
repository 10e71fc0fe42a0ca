"""One table, three forms: what stands in a cell never ends it."""

import csv
import io

from launch.common.table import aligned, csv_text, estimate_cells, markdown, significant

ROWS = [("name", "value"), ("a|b", "1"), ("two\nlines", "12.5")]


def test_markdown_keeps_bars_and_line_ends_within_their_cell():
    assert markdown(ROWS) == "| name | value |\n|---|---|\n| a\\|b | 1 |\n| two lines | 12.5 |\n"


def test_text_has_the_first_column_to_the_left_and_the_others_to_the_right():
    assert aligned([("a", "1"), ("long", "12.5")]) == "a        1\nlong  12.5"


def test_comma_separated_values_come_back_as_they_were():
    text = csv_text(["x", "y"], [{"x": 'a,"b"\nc', "y": None, "z": 3}, {"x": 0.1 + 0.2}])
    assert list(csv.reader(io.StringIO(text))) == [["x", "y"], ['a,"b"\nc', ""], ["0.30000000000000004", ""]]
    assert csv_text(["x"], []) == "x\n"


def test_what_rounding_leaves_of_nothing_is_shown_as_nothing():
    """Seen before: 7.6e-17 in a table, the mean of standardised scores."""
    assert [significant(value, 3) for value in (7.6e-17, -7.6e-17, -0.0, 0.0)] == ["0"] * 4
    assert [significant(value, 3) for value in (5e-6, -1.2345, 1234.5)] == ["5e-06", "-1.23", "1.23e+03"]


def test_an_estimate_takes_three_columns():
    assert estimate_cells({"value": 0.5, "low": 0.25, "high": 0.75, "n": 8}) == ("0.5000", "[0.2500, 0.7500]", "of 8")
    assert estimate_cells({"value": 1.0, "low": None, "high": None, "n": 1}) == ("1.0000", "", "of 1")
    assert estimate_cells({"value": None, "low": None, "high": None, "n": 0}) == ("n/a", "", "")
