"""A LoRA adapter merged into its base model: one ordinary checkpoint, for a next stage that trains a new adapter on it.

What is written computes what base and adapter did together, or nothing is written (`launch.models.merging`). Where ms-swift
trained the adapter, its model type and template stay with the merged model, so that `swift` need not guess them.
"""

from collections.abc import Callable
from pathlib import Path

from datasets_builders.beside import check_new_folder
from datasets_builders.command_line import Parser
from datasets_builders.io import read_object
from datasets_builders.model_names import in_a_numbered_run
from launch.cli.flags import add_torch_dtype
from launch.cli.verbs import verb_parser
from launch.models.merging import write_merged
from trl_ext.modpo.model_dir import check_dtype, check_finite_weights, resolve_model

MODEL_ARGUMENTS = ("swift_version", "model_type", "template", "task_type", "num_labels", "problem_type")


# Task of an adapter -> the class of transformers that loads its base, and what to say of other tasks.
TASKS = {
    "CAUSAL_LM": ("AutoModelForCausalLM", "only language models (CAUSAL_LM) are merged here"),
    "SEQ_CLS": (
        "AutoModelForSequenceClassification",
        "only reward models (SEQ_CLS) are merged here, language models by launch merge-lora",
    ),
}


def read_adapter(folder: Path, task: str = "CAUSAL_LM") -> dict:
    """The settings in the adapter's `adapter_config.json`.

    Raises:
        ValueError: no such folder or file, not one JSON object, or an adapter of another kind or for another task.
    """
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise ValueError(
            f"--adapter {folder}: no adapter_config.json there, this is not an adapter folder{in_a_numbered_run(folder)}"
        )
    settings = read_object(path)
    if settings.get("peft_type") != "LORA":
        raise ValueError(f"{path}: peft_type {settings.get('peft_type')!r}: only LORA can be merged into the weights")
    if (settings.get("task_type") or "CAUSAL_LM") != task:
        raise ValueError(f"{path}: task_type {settings.get('task_type')!r}: {TASKS[task][1]}")
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
    if "quantization_config" in read_object(config):
        raise ValueError(f"{config}: quantised weights cannot take a merge; give the full weights with --model")
    return folder


def merge(adapter: Path, out: Path, model: str | None = None, torch_dtype: str | None = None) -> dict:
    """Writes the merged model and its tokenizer to `out`, which appears whole or not at all.

    Args:
        model: the base model, instead of the one that the adapter names.
        torch_dtype: of the merged weights; None keeps that of the base model's file.

    Returns:
        `base`, `tokenizer` (the folder it came from), `dtype`, `parameters` (their number), `difference` (largest of a
        probe's logits) and `swift` (what ms-swift will read beside the model).

    Raises:
        ValueError: `out` is not empty, the adapter or its base cannot be used, they do not fit each other, or the
            merged model would compute something else.
    """

    def make(loader, base: str, tokenizer, settings: dict):
        model = loader.from_pretrained(base, dtype=torch_dtype or "auto", trust_remote_code=False)
        rows = model.get_input_embeddings().num_embeddings
        if len(tokenizer) > rows:
            raise ValueError(
                f"{tokenizer.name_or_path}: the tokenizer has {len(tokenizer)} tokens, {base} has embeddings of {rows}"
            )
        return with_adapter(model, adapter)

    return write_merge("CAUSAL_LM", make, adapter, out, model, torch_dtype)


def write_merge(
    task: str, make: Callable, adapter: Path, out: Path, model: str | None, torch_dtype: str | None
) -> dict:
    """What merges of all tasks share; arguments, result and errors as those of `merge`.

    Args:
        task: one of TASKS.
        make: (class of transformers, folder of the base, tokenizer, settings of the adapter) -> the base with the adapter.
    """
    check_dtype(torch_dtype)
    check_new_folder(out)
    settings = read_adapter(adapter, task)
    base = base_of(settings, model, adapter)
    import transformers

    loader = getattr(transformers, TASKS[task][0])
    tokenizer_from = adapter if (adapter / "tokenizer_config.json").is_file() else Path(base)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_from, trust_remote_code=False)

    def load(folder: Path):
        return loader.from_pretrained(folder, dtype="auto", trust_remote_code=False)

    arguments = swift_arguments(adapter)
    notes = {"args.json": arguments} if arguments else {}
    facts = write_merged(lambda: make(loader, base, tokenizer, settings), load, tokenizer, out, notes)
    return {**facts, "base": base, "tokenizer": str(tokenizer_from), "swift": arguments}


def swift_arguments(adapter: Path) -> dict:
    """What `args.json` beside an adapter that ms-swift trained says of the model; empty where another trainer wrote it.

    Several of ms-swift's model types share one architecture (`qwen2`, `qwen2_gte`): without this file beside a model
    it refuses to choose.

    Raises:
        ValueError: the file is no object of JSON.
    """
    file = adapter / "args.json"
    if not file.is_file():
        return {}
    arguments = read_object(file)
    return {name: arguments[name] for name in MODEL_ARGUMENTS if arguments.get(name) is not None}


def with_adapter(model, adapter: Path, name: str = "default"):
    """The model with the adapter on it under that name, every one of its weights in place; it may hold others.

    Raises:
        ValueError: the adapter was made for another architecture or size, or holds values that are not finite.
    """
    from peft import PeftModel

    check_finite_weights(adapter)

    try:
        if not isinstance(model, PeftModel):
            model = PeftModel.from_pretrained(model, adapter, adapter_name=name)
        result = model.load_adapter(adapter, adapter_name=name)
    except (RuntimeError, KeyError, ValueError) as error:  # how peft reports shapes and targets that do not fit
        raise ValueError(f"--adapter {adapter} does not fit the base model: {error}") from error
    # peft keeps quiet about these; what is missing would be merged as no change at all.
    if strangers := [*result.missing_keys, *result.unexpected_keys]:
        raise ValueError(f"--adapter {adapter} does not fit the base model: its weights differ in {strangers[:4]}")
    return model


def merge_parser(verb: str, doc: str) -> Parser:
    """The command line of a verb that merges one adapter."""
    parser = verb_parser(verb, doc)
    parser.add_argument("--adapter", type=Path, required=True, help="folder with adapter_config.json")
    parser.add_argument("--out", type=Path, required=True, help="folder of the merged checkpoint, new or empty")
    parser.add_argument("--model", help="the base model (default: the one that adapter_config.json names)")
    add_torch_dtype(parser, "that of the base model")
    return parser


def make_parser() -> Parser:
    """The command line."""
    return merge_parser("merge-lora", __doc__)


def main(argv: list[str]) -> int:
    options = make_parser().parse_args(argv)
    done = merge(options.adapter, options.out, options.model, options.torch_dtype)
    print(
        f"merged {options.adapter} into {done['base']}: {done['parameters']} parameters in {done['dtype']}, "
        f"tokenizer of {done['tokenizer']}, written to {options.out}; logits of a probe differ by {done['difference']:.1e}"
    )
    if not done["swift"]:
        print("no args.json beside the adapter: `swift` may ask for --model_type and --template of the merged model")
    return 0
