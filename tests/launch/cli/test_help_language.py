"""Help texts are for strangers: what a flag is, not the rest of a sentence ("of the bootstrap"), and "per", not "a"."""

import re
from importlib import import_module

import pytest

from datasets_builders.__main__ import BUILDERS, make_parser
from launch.cli.verbs import VERBS

FRAGMENT = re.compile(r"(of|by|from|as|such as) ")
COUNTED = (
    "prompt|step|pair|order|token|label|process|GPU|rank|row|group|trial|rung|batch|reply|answer|objective|model|line|worker"
    "|checkpoint|minute|second|request|epoch|update|generation"
)
PER = re.compile(
    rf"\b(?:prompts|answers|pairs|rows|tokens|requests|completions|one|lines?|objects?|folders?|sliders?) an? (?:{COUNTED})\b"
)
PROGRAMS = [*(("launch", name) for name in VERBS), *(("datasets_builders", name) for name in BUILDERS)]


@pytest.mark.parametrize(("program", "name"), PROGRAMS)
def test_help_is_written_for_strangers(program, name):
    parser = import_module(VERBS[name].module).make_parser() if program == "launch" else make_parser(name)
    helps = [action.help or "" for action in parser._actions]
    assert [text for text in helps if FRAGMENT.match(text) or PER.search(text)] == []
    purpose = (VERBS if program == "launch" else BUILDERS)[name].purpose
    assert not PER.search(purpose) and not PER.search(parser.description or "")
