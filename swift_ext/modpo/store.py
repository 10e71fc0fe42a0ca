"""Reference log-probs and raw margin values computed once and kept beside the data.

They depend on the model, the adapters, the template and the data, not on w, the margin weights or beta: one store
serves a whole grid. Layout of a store folder:

    train.jsonl     the rows that training sees, plus the columns below
    manifest.json   what the columns were computed from; written last, so its absence marks an unfinished store

Columns: `store_ref_chosen`, `store_ref_rejected`, `margin_<name>_chosen`, `margin_<name>_rejected` (raw: before the
margin's beta), `pair_tokens` (digest of the token ids and labels that were scored).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from trl_ext.modpo.digest import describe_margin, describe_model
from trl_ext.modpo.margins import Margin

FORMAT = 2
MANIFEST = "manifest.json"
ROWS = "train.jsonl"


def pair_digests(batch: dict) -> list[str]:
    """One digest a pair over exactly the tokens and labels that are scored.

    Args:
        batch: collated batch with `input_ids` and `labels` (2B, T), chosen half first; padding is cut off behind the
            last labelled token, so batches of different width give the same digests.
    """
    sequences = []
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        end = max((t for t, label in enumerate(labels) if label != -100), default=-1) + 1
        sequences.append(json.dumps([ids[:end], labels[:end]]).encode())
    half = len(sequences) // 2
    return [
        hashlib.blake2b(chosen + b"|" + rejected, digest_size=8).hexdigest()
        for chosen, rejected in zip(sequences[:half], sequences[half:], strict=True)
    ]


def column(margin: Margin, side: str) -> str:
    return f"margin_{margin.name}_{side}"


class MarginStore:
    """A finished store, checked against the run that wants to use it.

    Raises:
        ValueError: no finished store in the folder, another reference model, or a margin that the store lacks or holds
            for other weights. Each message says what was stored and what the run has.
    """

    def __init__(self, folder: str, reference_dir: str, margins: Sequence[Margin]):
        self.folder, self.margins = Path(folder), list(margins)
        path = self.folder / MANIFEST
        if not path.is_file():
            unfinished = " (it is unfinished: run precompute-margins again)" if self.folder.is_dir() else ""
            raise ValueError(f"MODPO_STORE={folder}: no {MANIFEST} there{unfinished}")
        self.manifest = json.loads(path.read_text(encoding="utf-8"))
        if self.manifest.get("format") != FORMAT:
            raise ValueError(f"{path}: format {self.manifest.get('format')}, this version reads {FORMAT}")
        reference = describe_model(reference_dir)
        if self.manifest["reference"] != reference:
            raise ValueError(
                f"stale store {folder}: it was computed with reference model {self.manifest['reference_path']} "
                f"(content {self.manifest['reference']}), this run's reference is {reference_dir} (content {reference})"
            )
        stored = {entry["name"]: entry for entry in self.manifest["margins"]}
        for margin in margins:
            wanted = describe_margin(margin)
            if margin.name not in stored:
                raise ValueError(f"stale store {folder}: no margin {margin.name!r}, it holds {sorted(stored)}")
            found = stored[margin.name]
            if changed := [key for key in wanted.keys() | found.keys() if found.get(key) != wanted.get(key)]:
                told = "; ".join(f"{key}: {found.get(key)} stored, {wanted.get(key)} now" for key in sorted(changed))
                raise ValueError(
                    f"stale store {folder}: margin {margin.name!r} is another one ({told}); precompute again"
                )

    def shared_prefix(self, setting: str) -> str:
        """`on` or `off`: the path that scored the store, by which its run has to train.

        Args:
            setting: of the run.

        Raises:
            ValueError: the setting asks for the other path.
        """
        scored = self.manifest.get("shared_prefix", "off")  # stores that are older than the setting
        if setting not in ("auto", scored):
            raise ValueError(
                f"store {self.folder} was scored with shared_prefix {scored}, this run has {setting}: leave "
                "MODPO_SHARED_PREFIX out, or precompute again with it"
            )
        return scored

    def lookup(self, batch: dict, columns: dict[str, list]) -> tuple[torch.Tensor, torch.Tensor]:
        """Reference log-probs (2B,) and raw margin values (2B, K), chosen half first, fp32.

        Raises:
            ValueError: the rows carry no stored columns, or the tokens of a row differ from those that were scored.
        """
        if "pair_tokens" not in columns:
            raise ValueError(
                f"MODPO_STORE is set but the rows carry no stored columns: train on {self.folder / ROWS} "
                "and pass --remove_unused_columns false"
            )
        for row, (stored, seen) in enumerate(zip(columns["pair_tokens"], pair_digests(batch), strict=True)):
            if stored != seen:
                raise ValueError(
                    f"stale store {self.folder}: the tokens of row {row} of this batch are not those that were scored "
                    "(template, system message, max_length, truncation or the data changed); precompute again"
                )
        reference = torch.tensor([*columns["store_ref_chosen"], *columns["store_ref_rejected"]], dtype=torch.float32)
        values = [
            torch.tensor([*columns[column(m, "chosen")], *columns[column(m, "rejected")]], dtype=torch.float32)
            for m in self.margins
        ]
        return reference, torch.stack(values, -1) if values else reference.new_zeros(len(reference), 0)
