"""Every page that a verb writes, of small inputs that are hard to lay out: many models, long names, answers without a blank."""

import json
import random
from pathlib import Path

from launch.__main__ import main as launch
from launch.bt.calibration import calibrate
from launch.bt.metrics import evaluate_pairs, margins_of
from launch.bt.pictures import draw_curves
from launch.bt.scored import ScoredPair
from launch.bt.summary import summarize, to_cells
from launch.bt.sweep_page import render_page
from launch.moodpo.points import UNTOUCHED, Point, write_points
from launch.moodpo.weights import lattice, percentages
from tests import tiny
from tests.launch.generations import write_gens

PAGES = ("report/report.html", "curve/curve.html", "sweep/summary.html", "pareto/pareto.html", "paper.html")
MODELS = ("sft", "w0.1", "w0.2", "w0.4", "w0.6", "w0.8", "w0.9", "soup_of_both_ends_half", "weighted-rewards-at-0.5")
LONG = "without_a_blank_" * 12


def write_pages(folder: Path) -> dict[str, Path]:
    """Name of PAGES -> the page in `folder`."""
    draw = random.Random("pages")
    _report(folder, draw)
    _curve(folder, draw)
    _sweep(folder / "sweep", draw)
    _pareto(folder / "pareto", draw)
    assert launch(["paper-report", str(folder), "--out", str(folder / "paper.html")]) == 0
    return {name: folder / name for name in PAGES}


def _write(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tiny.write_rows(file, rows)


def _report(folder: Path, draw: random.Random) -> None:
    for place, label in enumerate(MODELS):
        rows = [
            {"prompt_id": f"{index:016x}", "sample": 0, "response_tokens": 9, "words": 7, "capped": index == place,
             "prompt_truncated": False,
             "scores": {"helpfulness": place + draw.gauss(0, 2), "brevity_in_words": draw.gauss(0, 2) - place}}
            for index in range(40)
        ]  # fmt: skip
        _write(folder / "scores" / f"{label}.jsonl", rows)
    write_gens(folder / "gens", MODELS)
    shard = next((folder / "gens" / MODELS[1]).glob("*.jsonl"))
    rows = [json.loads(line) for line in shard.read_text().splitlines()]
    tiny.write_rows(shard, [row | {"response": LONG} for row in rows])
    weights = [f"{label}={label[1:]}" for label in MODELS if label.startswith("w0")]
    argv = ["report", "--scores", str(folder / "scores"), "--labels", *MODELS, "--reference", "sft", "--x", "helpfulness",
            "--y", "brevity_in_words", "--weights", *weights, "--soups", f"{MODELS[7]}=0.5", "--gens", str(folder / "gens"),
            "--units", "helpfulness=classifier output", "brevity_in_words=minus words", "--out", str(folder / "report")]  # fmt: skip
    assert launch(argv) == 0


def _curve(folder: Path, draw: random.Random) -> None:
    named = []
    for name, bought, top in (
        ("D2PO, gold labels bought", 40, 5),
        ("static reward model", 0, 3),
        ("random pairs", 40, 4),
    ):
        for seed in range(3):
            log = [
                {"step": step, "eval_gold": top * (1 - 0.8**step) + draw.gauss(0, 0.2),
                 "eval_gold_labels": bought * (step // 2)}
                for step in range(12)
            ]  # fmt: skip
            place = folder / "runs" / f"{name}-{seed}"
            place.mkdir(parents=True)
            (place / "trainer_state.json").write_text(json.dumps({"global_step": 11, "log_history": log}))
            named.append(f"{name}={place}")
    (folder / "curve").mkdir()
    assert launch(["label-curve", "--run", *named, "--out", str(folder / "curve/curve.png")]) == 0


def _sweep(folder: Path, draw: random.Random) -> None:
    results = {}
    for step in (0, 500, 1000, 1500):
        for seed in range(2):
            pairs = [
                ScoredPair(0, ((round(50 + draw.gauss(step / 100, 20)),), (round(50 + draw.gauss(0, 20)),)))
                for _ in range(60)
            ]
            metrics = evaluate_pairs(pairs, bt_temp=10.0)
            results[f"checkpoint-{step}", seed] = {
                "metrics": metrics,
                "calibration": calibrate(margins_of(pairs), 10.0),
            }
    rows = summarize(results)
    folder.mkdir()
    shapes = [draw_curves(rows, narrow=narrow) for narrow in (False, True)]
    text = render_page("v0-20260101-bt_grpo-SmolLM2", to_cells(rows), ["checkpoint-2000 seed 0"], shapes)
    (folder / "summary.html").write_text(text)
    (folder / "summary.json").write_text(json.dumps({"run": "bt", "checkpoints": rows, "failed": []}))


def _pareto(folder: Path, draw: random.Random) -> None:
    names = ("helpfulness", "brevity_in_words")
    vectors = lattice(2, 4)
    points = [Point(UNTOUCHED, UNTOUCHED, "untouched", None, None, ())]
    points += [Point(f"one_policy_{percentages(v)}", "one policy", "moodpo", v, "p", names) for v in vectors]
    points += [Point(f"five_{percentages(v)}", "five fixed policies", "fixed", v, "q", ()) for v in vectors]
    for point in points:
        first, second = point.weights or (0.2, 0.2)
        rows = [
            {"prompt_id": f"p{index}", "sample": sample, "capped": False,
             "scores": {names[0]: 4 * first + draw.gauss(0, 1), names[1]: 4 * second + draw.gauss(0, 1)}}
            for index in range(20) for sample in range(2)
        ]  # fmt: skip
        _write(folder / "scores" / f"{point.label}.jsonl", rows)
    write_points(folder, names, vectors, points)
    assert launch(["pareto-draw", "--out", str(folder)]) == 0
