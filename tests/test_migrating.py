"""`docs/migrating.md`: nothing that the guides of the five original systems name is missing from its tables.

`migrating_names.json` holds the bare names. They were taken from the guides once, by rule, without their sentences: every
flag (`--name`), every variable that is assigned, exported or read, every word that ends like a file or a folder, every
module behind `-m`, every other text in code font or in a block whose first word is a program, metric, field or choice; a
text that only repeats a listed name is left out. The commands of the right column are taken by their parsers in
`test_documented_commands.py`; its flags and files are held here.
"""

import json
import re
from importlib import import_module
from importlib.util import find_spec

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "migrating.md").read_text("utf-8")
NAMES = json.loads((REPOSITORY / "tests" / "migrating_names.json").read_text("utf-8"))
CODE = re.compile(r"`([^`]+)`")


def rows(heading: str) -> list[tuple[str, str]]:
    """What is in code font on the left and on the right of every row below a heading."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [re.split(r"(?<!\\)\|", line) for line in part.splitlines() if line.startswith("| ")]
    return [("\n".join(CODE.findall(one[1])), "\n".join(CODE.findall(one[2]))) for one in cells]


def unfound(heading: str, names: list[str]) -> list[str]:
    left = "\n".join(theirs for theirs, _ in rows(heading))
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", left)]


@pytest.mark.parametrize("heading", NAMES)
def test_every_name_of_a_guide_is_in_its_table(heading):
    assert unfound(heading, NAMES[heading]) == []


def test_a_name_that_is_not_there_is_found_missing():
    heading = "MODPO on HelpSteer"
    assert unfound(heading, ["MARGIN_BETA", "MARGIN_BET", "--rung_step", "run_armorm_eval"]) == [
        "MARGIN_BET",
        "--rung_step",
    ]
    assert unfound("No such system", ["MARGIN_BETA"]) == ["MARGIN_BETA"]
    assert [len(NAMES[heading]) > 30 for heading in NAMES] == [True] * 5


def known_flags() -> set[str]:
    """Those of every verb, builder and script, of ms-swift and of accelerate."""
    from accelerate.commands.launch import launch_command_parser
    from transformers import HfArgumentParser

    from datasets_builders.__main__ import BUILDERS, make_parser
    from launch.cli.verbs import VERBS
    from tests.test_documented_commands import SCRIPTS, SWIFT
    from trl_ext.script import ScriptParser

    parsers = [import_module(verb.module).make_parser() for verb in VERBS.values()]
    parsers += [make_parser(name) for name in BUILDERS]
    parsers += [
        ScriptParser([getattr(import_module(module), name) for name in names.split()])
        for module, names in SCRIPTS.items()
    ]
    arguments = import_module("swift.arguments")
    parsers += [HfArgumentParser(getattr(arguments, name)) for name in SWIFT.values()]
    parsers.append(launch_command_parser())
    return {flag for parser in parsers for action in parser._actions for flag in action.option_strings}


@pytest.mark.skipif(find_spec("swift") is None, reason="ms-swift is not installed")
def test_every_flag_that_a_table_names_as_ours_is_one():
    named = {flag for heading in NAMES for _, ours in rows(heading) for flag in re.findall(r"(?<![\w-])--\w+", ours)}
    assert len(named) > 100
    assert named - known_flags() - {"--config"} == set()  # that one is of TRL's parser itself


def test_every_file_that_a_table_names_as_ours_is_there():
    ours = "\n".join(ours for heading in NAMES for _, ours in rows(heading))
    files = set(re.findall(r"(?<![\w/])(?:launch|swift_ext|trl_ext|datasets_builders)/[\w./-]+", ours))
    assert len(files) > 8 and not [file for file in files if not (REPOSITORY / file).exists()]
