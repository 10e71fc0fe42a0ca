"""`python -m launch merge-rm`: the LoRA adapter of a reward model merged into its base, as one checkpoint.

`python -m launch merge-lora` does so for language models. A reward model's adapter also holds the head that scores,
which the base does not have.
"""

from pathlib import Path

from datasets_builders.command_line import Parser
from launch.models.merge_lora import merge_parser, with_adapter, write_merge

OF_THE_REFERENCE = {"--adapter_model_name": "--adapter", "--base_model_name": "--model", "--output_name": "--out"}


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

    def make(loader, base: str, tokenizer, settings: dict):
        classifier, loading = loader.from_pretrained(
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

    return write_merge("SEQ_CLS", make, adapter, out, model, torch_dtype)


def make_parser() -> Parser:
    """The command line."""
    parser = merge_parser("merge-rm", __doc__)
    for old, new in OF_THE_REFERENCE.items():
        parser.rename(old, new)
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the merged checkpoint is written."""
    options = make_parser().parse_args(argv)
    done = merge_reward_model(options.adapter, options.out, options.model, options.torch_dtype)
    print(f"merged {options.adapter} into {done['base']} in {done['dtype']}, written to {options.out}")
    return 0
