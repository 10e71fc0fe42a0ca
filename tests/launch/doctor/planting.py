"""How a mistake is planted into a clean set-up."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import tiny

Run = dict[str, Any]


@dataclass
class Place:
    """Where a mistake is planted: the clean run, the shared models and data, a folder of its own, pytest's patcher."""

    run: Run
    world: Path
    folder: Path
    patch: Any


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def setting(**values: Any) -> Callable[[Place], None]:
    """Keys of the run; None takes one out."""

    def plant(place: Place) -> None:
        for name, value in values.items():
            place.run.pop(name) if value is None else place.run.update({name: value})

    return plant


def variable(**values: Any) -> Callable[[Place], None]:
    return lambda place: place.run["ENV"].update(values)


def flags(*argv: str) -> Callable[[Place], list[str]]:
    return lambda place: list(argv)


def three_rows_without_an_answer(place: Place) -> None:
    rows = rows_of(place.world / "pairs.jsonl")
    for row in rows[:3]:
        row["rejected_response"] = ""
    place.run["dataset"] = str(tiny.write_rows(place.folder / "pairs.jsonl", rows))


def half_a_pair(place: Place) -> None:
    rows = rows_of(place.world / "scored.jsonl")
    place.run["dataset"] = str(tiny.write_rows(place.folder / "scored.jsonl", rows[:5] + rows[6:]))


def rows_without_labels(place: Place) -> None:
    rows = rows_of(place.world / "judged.jsonl")
    for row in rows:
        del row["preference_strength"]
    place.run["dataset"] = str(tiny.write_rows(place.folder / "judged.jsonl", rows))
    place.run["reward_funcs"] = ["pairwise_preference_by_strength"]


def contrary_margin(place: Place) -> list[str]:
    return ["--margin_pairs", str(place.world / "contrary.jsonl")]


def equal_samples(place: Place) -> list[str]:
    rows = [{"rewards": [50.0] * 8} for _ in range(19)] + [{"rewards": [50.0] * 4 + [60.0] * 4}]
    return ["--samples", str(tiny.write_rows(place.folder / "samples.jsonl", rows))]


def huge_model(place: Place) -> None:
    """A model folder whose header speaks of 10^12 parameters; no byte of them is there."""
    folder = place.folder / "huge"
    folder.mkdir()
    for path in (place.world / "model").iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    header = json.dumps({"layers.0.q_proj.weight": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4]}})
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode() + b"\0\0\0\0")
    place.run["model"] = str(folder)


def other_trl(place: Place) -> None:
    """Metadata of a TRL that ms-swift does not allow, found before the real one."""
    info = place.folder / "site" / "trl-1.5.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trl\nVersion: 1.5.0\n")
    place.patch.syspath_prepend(str(info.parent))


def lost_seam(place: Place) -> None:
    from swift.rlhf_trainers import DPOTrainer

    place.patch.delattr(DPOTrainer, "compute_ref_log_probs")


def unfinished_store(place: Place) -> None:
    (place.folder / "store").mkdir()
    place.run["ENV"]["MODPO_STORE"] = str(place.folder / "store")


def two_machines_by_pdsh(place: Place) -> list[str]:
    shipped = (Path(__file__).parents[3] / "launch" / "accelerate" / "deepspeed_zero2.yaml").read_text()
    lines = [line for line in shipped.splitlines() if "multinode_launcher" not in line]
    path = place.folder / "accelerate.yaml"
    path.write_text("\n".join(lines).replace("num_machines: 1", "num_machines: 2"))
    return ["--accelerate_config", str(path), "--num_processes", "2"]


def special_tags(place: Place) -> None:
    """The model's tokenizer, with the first and the last token of Llama-2."""
    from transformers import AutoTokenizer

    folder = place.folder / "tagged"
    folder.mkdir()
    for path in (place.world / "model").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<s>", "</s>"]})
    tokenizer.save_pretrained(folder)
    place.run["model"] = str(folder)


def _prompts(place: Place, *first: Any) -> None:
    rows = rows_of(place.world / "prompts.jsonl")
    rows[: len(first)] = [{"prompt": one} for one in first]
    place.run["dataset_name"] = str(tiny.write_rows(place.folder / "prompts.jsonl", rows))


def prompt_without_content(place: Place) -> None:
    rows = [{"prompt": [{"role": "user", "content": None}]}, {"prompt": [{"role": "user", "content": "say it"}]}]
    place.run["dataset_name"] = str(tiny.write_rows(place.folder / "prompts.jsonl", rows * 8))


def mixed_prompts(place: Place) -> None:
    """Texts beside messages are one kind where the tokenizer has a chat template; a transcript stays text."""
    _prompts(place, "Human: Say it.\n\nAssistant:")


def transcript_among_texts(place: Place) -> None:
    """A transcript stays text, where the tokenizer's chat template makes messages of the other texts."""
    rows = [{"prompt": "Human: Say it.\n\nAssistant:"}, *rows_of(place.world / "prompts.jsonl")]
    place.run["csv_path"] = str(tiny.write_rows(place.folder / "prompts.jsonl", rows))


def judge_without_a_folder(place: Place) -> None:
    (place.folder / "judge.yaml").write_text("model: ./nowhere\n")
    place.patch.setenv("PAIRWISE_JUDGE_CONFIG", str(place.folder / "judge.yaml"))
    place.run["reward_models"] = ["brevity", "better=launch.judge.reward:judge_win_rate"]


def no_tensorboard(place: Place) -> None:
    from launch.doctor import machine

    found = machine.find_spec
    place.patch.setattr(machine, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    place.run["report_to"] = "tensorboard"
