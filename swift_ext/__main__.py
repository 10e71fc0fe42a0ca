"""`python -m swift_ext NAME` prints the path of an installed plugin file, for `--external_plugins`."""

import sys
from pathlib import Path

from datasets_builders.choices import nearest

PLUGINS = Path(__file__).parent / "plugins"


def main(argv: list[str]) -> int:
    known = sorted(path.stem for path in PLUGINS.glob("*.py") if path.stem != "__init__")
    if len(argv) != 1 or argv[0] in ("-h", "--help"):
        print(f"usage: python -m swift_ext NAME, NAME one of {', '.join(known)}", file=sys.stderr)
        return 0 if argv in (["-h"], ["--help"]) else 2
    if argv[0] not in known:
        print(f"no plugin {argv[0]!r}; {nearest(argv[0], known)}", file=sys.stderr)
        return 2
    print(PLUGINS / f"{argv[0]}.py")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
