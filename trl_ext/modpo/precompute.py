"""Reference log-probs and raw margin values of all rows, computed once. N rows, K margins.

Kept apart and raw (the reference unshifted, the margins before beta, weight and role), so that one computation serves
every w, every beta and every margin weight of a grid. They lie in the data set's cache folder, under a name that is a
digest of all that they depend on: rows and tokens, the reference's weights, adapters, classifiers, functions, and the
settings of the forward pass. Whatever changes changes the name, so no stale file is ever read.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from peft import PeftModel

from datasets_builders.io import atomic_writer
from datasets_builders.progress import progress

from .adapters import MarginAdapters
from .digest import describe_margin, describe_model
from .margins import Margin
from .rows import TEXT_COLUMNS, VALUES
from .sources import refuse_non_finite

REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")
_TOKENS = ("prompt_ids", "chosen_ids", "rejected_ids")


def parameters_digest(model: torch.nn.Module, leave_out: Sequence[str] = ()) -> str:
    """Digest of the weights as they are in memory, without those of the adapters named in `leave_out`."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        if not any(f".{adapter}." in name for adapter in leave_out):
            digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def rows_digest(dataset: Dataset, with_text: bool) -> str:
    """Digest of the tokens of every row in order, and of the texts where a margin reads them."""
    digest = hashlib.blake2b(digest_size=8)
    names = [name for name in (*_TOKENS, *(TEXT_COLUMNS if with_text else ())) if name in dataset.column_names]
    for row in dataset.select_columns(names):
        digest.update(json.dumps([row[name] for name in names]).encode())
    return digest.hexdigest()


def describe_run(model: torch.nn.Module, base: str, args, margins: Sequence[Margin]) -> list:
    """What the stored values depend on besides the rows.

    Args:
        model: the reference, or the PEFT policy whose base is the reference. Its weights count as they are in memory and,
            because DeepSpeed may have spread them over processes, as they are in `base`, its folder.
        args: the run's DPOConfig.
    """
    leave_out = [MarginAdapters.adapter_name(margin) for margin in margins]
    leave_out += [model.active_adapter] if isinstance(model, PeftModel) else []
    flags = [args.max_length, args.truncation_mode, args.ld_alpha, args.bf16, args.fp16]
    sources = [describe_margin(margin) for margin in margins]
    return [describe_model(base), parameters_digest(model, leave_out), flags, sources]


def score_rows(
    accelerator: Accelerator, batches: Iterable, score: Callable[[dict], tuple[torch.Tensor, torch.Tensor]], name: str
) -> np.ndarray:
    """(N, 2 + 2K) fp32: reference of both sides, then the margins of the chosen and of the rejected side.

    Args:
        batches: the rows in order, split over the processes by `accelerator.prepare`.
        score: batch -> reference (2B,) and raw margins (2B, K), chosen half first.
    """
    rows = []
    bar = progress(len(batches), f"reference and margins of {name}", "batches", shown=accelerator.is_main_process)
    with bar:
        for batch in batches:
            reference, values = score(batch)
            packed = torch.cat([reference.view(2, -1).T, *values.chunk(2)], -1)
            rows.append(accelerator.gather_for_metrics(packed).float().cpu())
            bar.update()
    return torch.cat(rows).numpy()


def cached(accelerator: Accelerator, dataset: Dataset, identity: list, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array of an earlier run with the same identity, or `compute()`, which is then kept. The main process decides
    for all.
    """
    fingerprint = hashlib.blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest()
    path = Path(dataset._get_cache_file_path(fingerprint)).with_suffix(".modpo.npy")
    found = [np.load(path) if accelerator.is_main_process and path.is_file() else None]
    broadcast_object_list(found)
    if found[0] is not None:
        return found[0]
    array = compute()
    if accelerator.is_main_process:
        with atomic_writer(path) as file:
            np.save(file.buffer, array)
    return array


def add_columns(dataset: Dataset, name: str, array: np.ndarray, margins: Sequence[Margin]) -> Dataset:
    """`dataset` with the array as columns.

    Raises:
        ValueError: a margin is not finite; its name, the row and the side are told.
    """
    values = torch.cat(torch.from_numpy(array[:, 2:]).chunk(2, -1))
    refuse_non_finite(values, margins, lambda row: f"of {name}")
    for column, reference in enumerate(REFERENCE):
        dataset = dataset.add_column(reference, array[:, column])
    return dataset.add_column(VALUES, array[:, 2:].tolist())
