"""`python -m launch VERB ...`: one entry for every tool of the pack.

Exit codes: 0 done, 1 a check failed or the machine did (disk, network), 2 the input or an option is wrong.
"""

import sys
from importlib import import_module

from datasets_builders.choices import nearest
from datasets_builders.mistakes import exit_code, run_program
from launch.cli.verbs import PURPOSES, VERBS, current_verb


def main(argv: list[str]) -> int:
    """Runs the verb that the first argument names; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    given, rest = argv[0], argv[1:]
    name = current_verb(given, rest)
    if name not in VERBS:
        print(f"python -m launch: error: unknown verb {given!r}; {nearest(given, VERBS)}", file=sys.stderr)
        return 2
    if name != given:
        print(f"this is now `python -m launch {name}`; the old spelling ends with the next release", file=sys.stderr)
    return exit_code(f"python -m launch {name}", lambda: import_module(VERBS[name].module).main(rest))


def usage() -> str:
    """The verbs by purpose."""
    lines = ["usage: python -m launch VERB [options]", "", "`python -m launch VERB --help` lists its options."]
    for purpose, verbs in PURPOSES.items():
        lines += ["", f"{purpose}:", *(f"  {name:20s} {verb.purpose}" for name, verb in verbs.items())]
    return "\n".join(lines)


def console() -> None:
    """The installed command `swift-trl-ext`."""
    run_program(main)


if __name__ == "__main__":
    console()
