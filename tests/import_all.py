"""`python -m tests.import_all MODULE ...` prints a JSON object: the modules that cannot be imported, and why."""

import importlib
import json
import sys


def main(names: list[str]) -> None:
    failures = {}
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:
            failures[name] = f"{type(error).__name__}: {error} (module {getattr(error, 'name', None)})"
    print(json.dumps(failures))


if __name__ == "__main__":
    main(sys.argv[1:])
