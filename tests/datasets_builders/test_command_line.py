"""The parser of all commands: full names alone, the nearest one for what is misspelt, one line for every mistake."""

from pathlib import Path

import pytest

from datasets_builders.__main__ import BUILDERS, make_parser
from datasets_builders.choices import one_of
from datasets_builders.command_line import Parser


def parser():
    made = Parser(prog="tool", description=__doc__, example="tool --labels a b --out DIR")
    made.add_argument("--labels", nargs="+", required=True, help="names")
    made.add_argument("--out", type=Path, help="folder")
    made.add_argument("--torch_dtype", choices=("bfloat16", "float32"), help="numbers of the weights")
    made.add_argument("--function", type=one_of(("brevity", "plain_words")), default="brevity", help="what is scored")
    group = made.add_argument_group("answers", "how they are drawn")
    group.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    group.add_argument("--seed", type=int, default=0, help="of the draws")
    group.add_argument("--do_sample", action="store_true", help="sample")
    made.rename("--votes", "--seed")
    return made


def test_lists_numbers_and_paths_are_read():
    found = parser().parse_args(["--labels", "a", "b", "--temperature", "-1", "--out", "x", "--torch_dtype=float32"])
    assert (found.labels, found.temperature, found.out) == (["a", "b"], -1.0, Path("x"))
    assert (found.torch_dtype, found.seed, found.do_sample) == ("float32", 0, False)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        # A required flag that is misspelt is not "required: --labels".
        (["--lables", "a"], "unknown option '--lables'; did you mean '--labels'? Valid: --do_sample, "),
        (["--labels", "a", "--temp", "1"], "unknown option '--temp'; did you mean '--temperature'?"),
        (["--labels", "a", "--sede=SECRET"], "unknown option '--sede'; did you mean '--seed'?"),
        (["--labels", "a", "-t", "1"], "unknown option '-t'"),
        (["--labels", "a", "--torch_dtype", "bfloat61"], "argument --torch_dtype: unknown value 'bfloat61'; did you mean"),
        (["--labels", "a", "--function", "brevty"], "argument --function: unknown value 'brevty'; did you mean 'brevity'"),
        (["--labels", "a", "--seed", "3.0"], "argument --seed: '3.0' is not a whole number"),
        (["--labels", "a", "--temperature", "nan"], "argument --temperature: 'nan' is not a finite number"),
        (["--labels", "a", "--out", ""], "argument --out: '' is not a path"),
        (["--out", "x"], "the following arguments are required: --labels"),
        (["--labels"], "argument --labels: expected at least one argument"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(flags, message, capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(flags)
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.startswith(f"tool: error: {message}") and error.count("\n") == 1
    assert "SECRET" not in error


def test_an_old_name_works_and_says_the_new_one(capsys):
    assert parser().parse_args(["--labels", "a", "--votes=3"]).seed == 3
    assert capsys.readouterr().err == "tool: --votes is now --seed; the old name ends with the next release\n"
    assert "--votes" not in parser().format_help()
    assert parser().parse_known_args(["--labels", "a", "--votes", "4", "--other"])[1] == ["--other"]


def test_help_says_every_default_once_and_the_example(capsys):
    text = " ".join(parser().format_help().split())
    assert "0 is greedy (default 0.0)" in text and "what is scored (default brevity)" in text
    assert "sample (default" not in text and "folder (default" not in text and "example: tool --labels a b" in text


@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder_explains_its_options_and_its_example_is_taken(name):
    made = make_parser(name)
    assert all(action.help for action in made._actions)
    made.parse_args(made.example.split()[4:])


@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder_refuses_a_beginning_of_a_flag(name, capsys):
    with pytest.raises(SystemExit):
        make_parser(name).parse_args(["--max_skipped_shar", "0.1"])
    assert "did you mean '--max_skipped_share'?" in capsys.readouterr().err
