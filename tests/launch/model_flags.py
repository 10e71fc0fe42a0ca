"""How the tests of the evaluation load the tiny model: as flags of a command, and as arguments of `Policy`."""

MODEL_FLAGS = ["--model_type", "llama", "--template", "chatml", "--system", "You are kind", "--torch_dtype", "float32"]
POLICY = {"model_type": "llama", "template_type": "chatml", "system": "You are kind", "torch_dtype": "float32"}
