"""What a reward of ms-swift is handed of a file: `python -m tests.datasets_builders.swift_rows FILE (True|False)`, streaming
or not, prints `ROWS` and a list in JSON."""

import json
import sys


def main(file: str, streaming: bool) -> None:
    from swift.dataset import load_dataset
    from swift.rl_core.data import GRPOSample

    options = {"remove_unused_columns": False, "strict": True, "load_from_cache_file": False}
    found = load_dataset([file], streaming=streaming, **options)[0]
    print("ROWS", json.dumps([GRPOSample.from_row(row).to_reward_row() for row in found], default=str))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "True")
