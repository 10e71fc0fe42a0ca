"""Small files, the recorded cases, and one way to run the command line in this process."""

import json
from pathlib import Path

from datasets_builders.__main__ import main

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "preference_pairs.json").read_text(encoding="utf-8"))
RATINGS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def rated(prompt, response, *ratings):
    """A HelpSteer row; missing ratings repeat the last one given."""
    padded = [*ratings, *[ratings[-1]] * (5 - len(ratings))]
    return {"prompt": prompt, "response": response} | dict(zip(RATINGS, padded, strict=True))


def dialogue(*turns):
    """A conversation in the notation of HH-RLHF, the human first."""
    speakers = ("Human", "Assistant")
    return "".join(f"\n\n{speakers[index % 2]}: {turn}" for index, turn in enumerate(turns))


def dump(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def hub_copy(monkeypatch, here, name, splits, data_dir="", config=None):
    """Makes `here` the working folder and puts a copy of a hub data set there, which `load_dataset(name)` takes before a hub.

    Args:
        splits: name -> rows.
        config: of which configuration the rows are, where the set has several; another one holds no rows to read.

    Returns:
        The cache of `datasets` in this test: an Arrow file is there when a data set was loaded and not streamed.
    """
    monkeypatch.chdir(here)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", here / "cache")
    folder = here / name / data_dir / "data"
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        dump(folder / f"{split}-00000-of-00001.jsonl", rows)
    if config is not None:
        files = [{"split": split, "path": f"data/{split}-*"} for split in splits]
        configs = [{"config_name": config, "data_files": files}, {"config_name": "axis", "data_files": "none/*.jsonl"}]
        (here / name / "README.md").write_text(f"---\n{json.dumps({'configs': configs})}\n---\n")
    return here / "cache"


def load(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def build(capsys, *arguments):
    """Run the command line; returns (exit code, standard output, standard error)."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err
