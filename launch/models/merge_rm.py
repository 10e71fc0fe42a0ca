"""`python -m launch merge-rm`: the LoRA adapter of a reward model merged into its base, as one checkpoint.

`python -m launch merge-lora` does so for language models. A reward model's adapter also holds the head that scores,
which the base does not have.
"""

import json
from pathlib import Path

from datasets_builders.beside import check_new_folder
from datasets_builders.command_line import Parser
from launch.models.merge_lora import base_of, merge_parser, swift_arguments, with_adapter
from launch.models.merging import write_merged
from trl_ext.modpo.model_dir import check_dtype


def merge_reward_model(adapter: Path, out: Path, model: str | None = None, torch_dtype: str | None = None) -> dict:
    """Writes the merged classifier with one output and its tokenizer to `out`, which appears whole or not at all.

    Args:
        model: the base model, instead of the one that the adapter names.
        torch_dtype: of the merged weights; None keeps that of the base model's file.

    Returns:
        `base`, `tokenizer` (the folder it came from), `dtype`, `parameters` and `difference` (largest of a probe's scores).

    Raises:
        ValueError: `out` is not empty, the adapter is not that of a classifier or lacks its head, does not fit, or the
            merged model would score otherwise.
    """
    check_dtype(torch_dtype)
    check_new_folder(out)
    file = adapter / "adapter_config.json"
    if not file.is_file():
        raise ValueError(f"--adapter {adapter}: no adapter_config.json there, this is not an adapter folder")
    settings = json.loads(file.read_text(encoding="utf-8"))
    if settings.get("peft_type") != "LORA" or settings.get("task_type") != "SEQ_CLS":
        found = f"{settings.get('peft_type')} for {settings.get('task_type')}"
        raise ValueError(f"{file}: {found}; LORA for SEQ_CLS is merged here, language models by launch merge-lora")
    base = base_of(settings, model, adapter)
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer_from = adapter if (adapter / "tokenizer_config.json").is_file() else Path(base)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_from, trust_remote_code=False)

    def make():
        classifier, loading = AutoModelForSequenceClassification.from_pretrained(
            base, num_labels=1, dtype=torch_dtype or "auto", trust_remote_code=False, output_loading_info=True
        )
        heads = {name.rsplit(".", 1)[0] for name in loading["missing_keys"]}
        saved = {name.rsplit(".", 1)[-1] for name in settings.get("modules_to_save") or []}
        wrapped = with_adapter(classifier, adapter)
        if lost := sorted(heads - saved):
            # transformers makes up a head that is in no file; its scores would be noise.
            raise ValueError(f"{adapter}: neither the adapter nor {base} holds {', '.join(lost)}, the head that scores")
        if classifier.config.pad_token_id is None:
            # Without it the model cannot tell where a text of a batch ends.
            classifier.config.pad_token_id = tokenizer.pad_token_id
        return wrapped

    def load(folder: Path):
        return AutoModelForSequenceClassification.from_pretrained(folder, dtype="auto", trust_remote_code=False)

    arguments = swift_arguments(adapter)
    facts = write_merged(make, load, tokenizer, out, {"args.json": arguments} if arguments else {})
    return {**facts, "base": base, "tokenizer": str(tokenizer_from)}


def make_parser() -> Parser:
    """The command line."""
    return merge_parser("merge-rm", __doc__)


def main(argv: list[str]) -> int:
    """Exit status 0 when the merged checkpoint is written."""
    options = make_parser().parse_args(argv)
    done = merge_reward_model(options.adapter, options.out, options.model, options.torch_dtype)
    print(f"merged {options.adapter} into {done['base']} in {done['dtype']}, written to {options.out}")
    return 0
