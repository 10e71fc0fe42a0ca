"""A LoRA adapter merged into its base model: one ordinary checkpoint, for a next stage that trains a new adapter on it.

The model is held once: each layer is merged in place, checked for values that are not finite, and saved from there.
"""

import argparse
import json
import shutil
from pathlib import Path

from trl_ext.modpo.model_dir import DTYPES, check_dtype, resolve_model


def read_adapter(folder: Path) -> dict:
    """The settings in the adapter's `adapter_config.json`.

    Raises:
        ValueError: no such folder or file, not one JSON object, or an adapter of another kind or for another task.
    """
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise ValueError(f"--adapter {folder}: no adapter_config.json there, this is not an adapter folder")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(settings, dict) or settings.get("peft_type") != "LORA":
        found = settings.get("peft_type") if isinstance(settings, dict) else settings
        raise ValueError(f"{path}: peft_type {found!r}: only LORA can be merged into the weights")
    if settings.get("task_type") not in ("CAUSAL_LM", None):
        raise ValueError(
            f"{path}: task_type {settings['task_type']!r}: only language models (CAUSAL_LM) are merged here"
        )
    return settings


def base_of(settings: dict, model: str | None, adapter: Path) -> str:
    """The folder of the base model: that of `model` where given, else the one that the adapter names.

    Raises:
        ValueError: neither is given or at hand, it brings its own code, or its weights are quantised.
    """
    name = model or settings.get("base_model_name_or_path")
    if not name:
        raise ValueError(f"{adapter}/adapter_config.json: no base_model_name_or_path; name the base model with --model")
    try:
        folder = resolve_model(name)
    except ValueError as error:
        hint = "" if model else f" ({adapter}/adapter_config.json names it; --model names another place)"
        raise ValueError(f"base model {error}{hint}") from error
    config = Path(folder, "config.json")
    if "quantization_config" in json.loads(config.read_text(encoding="utf-8")):
        raise ValueError(f"{config}: quantised weights cannot take a merge; give the full weights with --model")
    return folder


def merge(adapter: Path, out: Path, model: str | None = None, torch_dtype: str | None = None) -> dict:
    """Writes the merged model and its tokenizer to `out`, which appears whole or not at all.

    Args:
        model: the base model, instead of the one that the adapter names.
        torch_dtype: of the merged weights; None keeps that of the base model's file.

    Returns:
        `base`, `tokenizer` (the folder it came from), `dtype` and `parameters` (their number).

    Raises:
        ValueError: `out` is not empty, the adapter or its base cannot be used, or they do not fit each other.
    """
    check_dtype(torch_dtype)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"--out {out}: is there already and not an empty folder; name a new one")
    base = base_of(read_adapter(adapter), model, adapter)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer_from = adapter if (adapter / "tokenizer_config.json").is_file() else Path(base)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_from, trust_remote_code=False)
    merged = AutoModelForCausalLM.from_pretrained(base, dtype=torch_dtype or "auto", trust_remote_code=False)
    rows = merged.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ValueError(
            f"{tokenizer_from}: the tokenizer has {len(tokenizer)} tokens, {base} has embeddings of {rows}"
        )
    merged = with_adapter(merged, adapter).merge_and_unload(safe_merge=True)
    # Named after the target, so that a crash leaves nothing that looks like a checkpoint and the next run clears it.
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        merged.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return {
        "base": base,
        "tokenizer": str(tokenizer_from),
        "dtype": str(merged.dtype).removeprefix("torch."),
        "parameters": merged.num_parameters(),
    }


def with_adapter(model, adapter: Path):
    """The model with the adapter on it, every one of its weights in place.

    Raises:
        ValueError: the adapter was made for another architecture or size.
    """
    from peft import PeftModel

    try:
        model = PeftModel.from_pretrained(model, adapter)
        result = model.load_adapter(adapter, adapter_name="default")
    except (RuntimeError, KeyError, ValueError) as error:  # how peft reports shapes and targets that do not fit
        raise ValueError(f"--adapter {adapter} does not fit the base model: {error}") from error
    # peft keeps quiet about these; what is missing would be merged as no change at all.
    if strangers := [*result.missing_keys, *result.unexpected_keys]:
        raise ValueError(f"--adapter {adapter} does not fit the base model: its weights differ in {strangers[:4]}")
    return model


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m launch merge-lora", description=__doc__.splitlines()[0])
    parser.add_argument("--adapter", type=Path, required=True, help="folder with adapter_config.json")
    parser.add_argument("--out", type=Path, required=True, help="folder of the merged checkpoint, new or empty")
    parser.add_argument("--model", help="the base model (default: the one that adapter_config.json names)")
    parser.add_argument("--torch_dtype", help=f"one of {', '.join(DTYPES)} (default: that of the base model)")
    options = parser.parse_args(argv)
    done = merge(options.adapter, options.out, options.model, options.torch_dtype)
    print(
        f"merged {options.adapter} into {done['base']}: {done['parameters']} parameters in {done['dtype']}, "
        f"tokenizer of {done['tokenizer']}, written to {options.out}"
    )
    return 0
