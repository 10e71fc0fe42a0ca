"""Fills a margin store (see `swift_ext.modpo.store`) with the pipeline, template and trainer that training uses.

Run by `python -m launch precompute-margins --store FOLDER [the flags or run file of swift rlhf]`.
"""

import hashlib
import importlib
import json
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from swift.cli.main import parse_yaml_args
from swift.pipelines.train.rlhf import SwiftRLHF
from swift.utils import get_dist_setting, json_parse_to_dict

from datasets_builders.io import write_json, write_jsonl
from datasets_builders.progress import progress
from swift_ext.settings import read_settings, refuse_leftovers
from trl_ext.modpo.digest import describe_margin, describe_model
from trl_ext.objectives.unscored import UnscoredPairs
from trl_ext.shared_prefix.layout import shared_layout

from .settings import MODPOSettings
from .store import FORMAT, MANIFEST, column, pair_digests
from .trainer import UNSCORED

PLAN = "plan.json"
SAMPLED_ROWS = 64  # of a split, to see whether its prompts are long enough


def _finished_rows(folder: Path, split: str) -> dict[int, dict]:
    """Rows that earlier runs left on disk, by index. What stands behind the last line end does not count: it is cut off."""
    rows = {}
    for part in sorted(folder.glob(f"part.{split}.*.jsonl")):
        for line in part.read_bytes().split(b"\n")[:-1]:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            rows[row.pop("index")] = row
    return rows


def _cut_torn_line(path: Path) -> None:
    """What a killed run wrote after the last newline is dropped, so that appending starts on a fresh line."""
    if path.is_file():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)  # in place: a kill here loses no whole line


def encoded(dataset, index: int) -> dict:
    """Row `index` itself: ms-swift's data set would take another row in place of one that cannot be encoded."""
    return dataset.encode_func(dataset.dataset[index], return_length=True)


def share_of_rows(trainer, datasets) -> float:
    """Places that are computed over tokens, as in `SharedLayout.share`, over rows at even distances of every split."""
    places = tokens = 0
    for dataset in datasets.values():
        for index in range(0, len(dataset), -(-len(dataset) // SAMPLED_ROWS)):
            pair = trainer.data_collator([encoded(dataset, index)])
            layout = shared_layout(pair["input_ids"], pair["attention_mask"], torch.zeros(2, dtype=torch.long))
            places, tokens = places + layout.input_ids.numel(), tokens + layout.tokens
    return places / tokens


class PrecomputeMargins(SwiftRLHF):
    """`SwiftRLHF` whose `train` scores every row once instead of training."""

    def __init__(self, argv: list[str], folder: Path):
        self.folder = folder
        super().__init__(argv)

    def _parse_args(self, *args, **kwargs):
        """The parent's, and what no store can be filled with is refused: here, before it loads the model."""
        parsed = super()._parse_args(*args, **kwargs)
        joined = parsed.streaming or parsed.packing or parsed.padding_free or parsed.lazy_tokenize
        if joined or parsed.sequence_parallel_size > 1 or parsed.deepspeed:
            raise ValueError(
                "precompute-margins needs --streaming false, --packing false, --padding_free false, --lazy_tokenize false, "
                "--sequence_parallel_size 1 and no --deepspeed"
            )
        return parsed

    def _encode_dataset(self, *args, **kwargs):
        train, validation = super()._encode_dataset(*args, **kwargs)
        if train is None or len(train) == 0:
            raise ValueError(
                f"no row of {self.args.dataset} is left: all were dropped as too long for --max_length "
                f"{self.args.max_length} or as invalid pairs (see the log above)"
            )
        return train, validation

    def train(self, trainer):
        rank, _, world, _ = get_dist_setting()
        rank, world = max(rank, 0), max(world, 1)
        datasets = {"train": trainer.train_dataset, "val": trainer.eval_dataset or None}
        datasets = {split: dataset for split, dataset in datasets.items() if dataset is not None}
        plan = self._plan(trainer, datasets)
        self._check_folder(plan)
        if rank == 0 and not (self.folder / PLAN).is_file():
            write_json(self.folder / PLAN, plan)
        for split, dataset in datasets.items():
            self._score(trainer, split, dataset, rank, world)
        if world > 1:
            dist.barrier()
        if rank == 0:
            counts = {split: self._merge(split, dataset) for split, dataset in datasets.items()}
            write_json(self.folder / MANIFEST, {**plan, "rows": counts})
            print(f"margin store complete: {counts} rows in {self.folder}")
        if world > 1:
            dist.barrier()
        return plan

    def _plan(self, trainer, datasets) -> dict:
        reference_dir = (trainer.ref_model or trainer.model).model_info.model_dir
        digest = hashlib.blake2b(digest_size=8)
        for dataset in datasets.values():
            for row in dataset.dataset:
                digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        args = self.args
        template = [args.template, args.system, args.max_length, args.truncation_strategy, args.loss_scale]
        return {
            "format": FORMAT,
            "reference": describe_model(reference_dir),
            "reference_path": reference_dir,
            "margins": [describe_margin(margin) for margin in trainer.margins],
            "template": template,
            "data": digest.hexdigest(),
            "shared_prefix": self._shared_prefix(trainer, datasets),
        }

    def _shared_prefix(self, trainer, datasets) -> str:
        """`on` or `off` for all rows: what the store in the folder was begun with, else what the setting and the rows say."""
        prefixes = trainer.prefixes
        if prefixes is None:
            return "off"
        plan = self.folder / PLAN
        if plan.is_file() and not prefixes.always:
            on = json.loads(plan.read_text("utf-8")).get("shared_prefix") == "on"
        elif not (on := prefixes.pays(share := share_of_rows(trainer, datasets))):
            prefixes.say(
                f"shared prefixes: all rows are scored plainly, since sharing would compute {share:.0%} of their tokens"
            )
        trainer.prefixes = replace(prefixes, always=True) if on else None
        return "on" if on else "off"

    def _check_folder(self, plan: dict) -> None:
        for name in (MANIFEST, PLAN):
            path = self.folder / name
            if path.is_file():
                found = json.loads(path.read_text(encoding="utf-8"))
                for key, value in plan.items():
                    if key != "reference_path" and found.get(key) != value:
                        raise ValueError(f"{path} belongs to another store: {key} was {found.get(key)}, is {value}")

    def _score(self, trainer, split: str, dataset, rank: int, world: int) -> None:
        done = _finished_rows(self.folder, split)
        size = self.args.per_device_eval_batch_size
        # Rows of like length share a batch: less padding, and the order does not depend on what is already done.
        order = sorted(range(len(dataset)), key=lambda index: (max(dataset["lengths"][index]), index))
        batches = [order[start : start + size] for start in range(0, len(order), size)][rank::world]
        batches = [batch for batch in batches if any(index not in done for index in batch)]
        unscored = UnscoredPairs()
        part = self.folder / f"part.{split}.{rank}.jsonl"
        _cut_torn_line(part)
        with part.open("a", encoding="utf-8") as handle, ExitStack() as stack:
            bar = stack.enter_context(progress(len(batches), f"scoring {split}", "batches", shown=rank == 0))
            for indices in batches:
                batch = trainer._prepare_inputs(trainer.data_collator([encoded(dataset, index) for index in indices]))
                unscored.add((batch["labels"] != trainer.label_pad_token_id).sum(-1).tolist(), UNSCORED)
                with trainer.template.forward_context(trainer.model, batch):
                    reference, values = trainer.reference_and_margins(batch)
                chosen, rejected = (half.tolist() for half in reference.chunk(2))
                chosen_values, rejected_values = (half.tolist() for half in values.chunk(2))
                for position, (index, tokens) in enumerate(zip(indices, pair_digests(batch), strict=True)):
                    row = {"index": index, "pair_tokens": tokens}
                    row |= {"store_ref_chosen": chosen[position], "store_ref_rejected": rejected[position]}
                    for k, margin in enumerate(trainer.margins):
                        row[column(margin, "chosen")] = chosen_values[position][k]
                        row[column(margin, "rejected")] = rejected_values[position][k]
                    handle.write(json.dumps(row) + "\n")
                handle.flush()
                bar.update()
                os.fsync(handle.fileno())
        if not done:  # else the rest alone would be judged
            unscored.end(UNSCORED)

    def _merge(self, split: str, dataset) -> int:
        scored = _finished_rows(self.folder, split)

        def rows():
            for index, source in enumerate(dataset.dataset):
                kept = {key: value for key, value in source.items() if key != "lengths" and value is not None}
                yield {**kept, **scored[index]}

        count = write_jsonl(self.folder / f"{split}.jsonl", rows())
        for part in self.folder.glob(f"part.{split}.*.jsonl"):
            part.unlink()
        return count


def _take_settings(argv: list[str]) -> None:
    """The margins, and the path that scores them, of shell, run file and `--model_kwargs`; no weight: stored values depend on none.

    Args:
        argv: flags; what of `--model_kwargs` is MODPO's is taken out, since ms-swift would put it back.
    """
    refuse_leftovers("MODPO_")
    os.environ.pop("SWIFT_CONFIG_FILE", None)  # the settings below are no longer those of the run file
    if "--model_kwargs" in argv[:-1]:
        place = len(argv) - argv[::-1].index("--model_kwargs")  # the last one wins
        given = json_parse_to_dict(argv[place])
        ours = {name: value for name, value in given.items() if name.upper().startswith("MODPO_")}
        os.environ.update({name.upper(): str(value) for name, value in ours.items()})
        argv[place] = json.dumps({name: value for name, value in given.items() if name not in ours})
    os.environ["MODPO_W"] = "1"
    settings = read_settings(MODPOSettings)
    margins = [spec.model_copy(update={"weight": 0.0}) for spec in settings.margins]
    for name in [name for name in os.environ if name.upper().startswith("MODPO_")]:
        del os.environ[name]
    os.environ["MODPO_W"] = "1"
    os.environ["MODPO_MARGINS"] = json.dumps([spec.model_dump(exclude_none=True) for spec in margins])
    os.environ["MODPO_SHARED_PREFIX"] = settings.shared_prefix


def main(argv: list[str]) -> int:
    """`--store FOLDER` and the flags of `swift rlhf`."""
    if "--store" not in argv or argv.index("--store") + 1 >= len(argv):
        raise ValueError("precompute-margins needs --store FOLDER, then the flags or run file of swift rlhf")
    position = argv.index("--store")
    folder, argv = Path(argv[position + 1]), argv[:position] + argv[position + 2 :]
    folder.mkdir(parents=True, exist_ok=True)
    parse_yaml_args(argv)
    importlib.import_module("swift_ext.plugins.modpo")  # registers, whether or not the flags name the plugin
    _take_settings(argv)
    argv += ["--output_dir", str(folder / "run"), "--add_version", "false", "--load_from_cache_file", "false"]
    argv += ["--neftune_noise_alpha", "0"]  # noise is for training steps: what it is refused with there is scored here
    PrecomputeMargins(argv, folder).main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
