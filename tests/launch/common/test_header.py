"""Headers of run files and batch scripts, by worked examples."""

from launch.common.header import header, lines_of_header


def test_a_header_ends_where_the_file_begins():
    text = "#!/bin/bash\n# Purpose:  one\n#           two\n# Launch:   python -m launch x \\\n#               --y 1\n#SBATCH --n=1\n# no: more\n"
    assert header(text) == {"Purpose": ["one", "two"], "Launch": ["python -m launch x \\", "    --y 1"]}


def test_a_file_without_a_header_has_no_fields():
    assert header("beta: 0.1\n# Purpose:  late\n") == header("") == {}
    assert lines_of_header("# a\n#\nb: 1\n# c\n") == 2
