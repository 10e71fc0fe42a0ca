"""`--external_plugins $(python -m swift_ext NAME)`: the path alone on standard output, and a shell sees a mistake."""

from pathlib import Path

import pytest

from swift_ext.__main__ import PLUGINS, main


@pytest.mark.parametrize("name", sorted(path.stem for path in PLUGINS.glob("*.py") if path.stem != "__init__"))
def test_the_path_of_a_plugin_stands_alone_on_standard_output(name, capsys):
    assert main([name]) == 0
    printed = capsys.readouterr()
    assert Path(printed.out.strip()) == PLUGINS / f"{name}.py" and printed.out.count("\n") == 1 and not printed.err


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["mopdo"], 2, "no plugin 'mopdo'; did you mean 'modpo'?"),
        ([], 2, "usage: python -m swift_ext NAME, NAME one of "),
        (["modpo", "bt_grpo"], 2, "usage: "),
        (["--help"], 0, "usage: "),
    ],
)
def test_anything_else_leaves_standard_output_empty(argv, code, said, capsys):
    assert main(argv) == code
    printed = capsys.readouterr()
    assert printed.err.startswith(said) and not printed.out
