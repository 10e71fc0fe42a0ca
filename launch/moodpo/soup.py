"""Rewarded soups (arXiv 2306.04488): policies of one objective each, mixed in weight space.

LoRA adapters are combined exactly: the update of the mixture is the weighted sum of theirs, and its rank the sum of
their ranks. Full checkpoints are averaged parameter by parameter.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.beside import new_folder
from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import read_object, write_json
from launch.cli.flags import parse_pairs
from launch.cli.verbs import verb_parser
from launch.models.merge_lora import read_adapter, with_adapter
from launch.models.merging import check_agreement, digests, probe, share_embeddings, untie_head
from launch.moodpo.weights import lattice, parse_weights, percentages
from trl_ext.modpo.model_dir import check_finite, check_finite_weights, resolve_model
from trl_ext.moodpo.instruction import check_names

NOTE = "soup.json"
MIXED = "mixed"


def check_adapter(folder: Path) -> None:
    """Refuses an adapter whose update of the base weights is not scaling x B A, or that is more than that update.

    Raises:
        ValueError: no LoRA adapter, DoRA, biases, modules that were trained whole, or values that are not finite.
    """
    from trl_ext.modpo.start import beyond_update

    if why := beyond_update(read_adapter(folder)):
        raise ValueError(
            f"{folder}/adapter_config.json: {why}: such adapters cannot be mixed exactly; "
            "merge each with `python -m launch merge-lora` and mix the full checkpoints"
        )
    check_finite_weights(folder)


class AdapterKitchen:
    """Mixes LoRA adapters of one base model.

    Raises:
        ValueError: an adapter that cannot be mixed exactly or does not fit the base.
    """

    def __init__(self, base: str, folders: Sequence[Path]):
        for folder in folders:
            check_adapter(folder)
        from transformers import AutoModelForCausalLM

        self.base, self.folders = base, list(folders)
        self.parts = [f"part{number}" for number in range(len(folders))]
        model = AutoModelForCausalLM.from_pretrained(resolve_model(base), dtype="auto", trust_remote_code=False)
        for part, folder in zip(self.parts, self.folders, strict=True):
            model = with_adapter(model, folder, part)
        for part in self.parts:
            # add_weighted_adapter gives the mixture alpha = r and the first adapter's other settings. A mixture that
            # took over rank-stabilised scaling would come out sqrt(r) too strong; each part's own scaling stands
            # already in its layers.
            model.peft_config[part].use_rslora = False
        self.model = model

    def cook(self, weights: Sequence[float], out: Path) -> None:
        """Writes the mixture to the folder `out`."""
        self.model.add_weighted_adapter(self.parts, list(weights), MIXED, combination_type="cat")
        self.model.peft_config[MIXED].base_model_name_or_path = self.base
        self.model.save_pretrained(out, selected_adapters=[MIXED], save_embedding_layers=False)
        self.model.delete_adapter(MIXED)
        for file in Path(out, MIXED).iterdir():
            file.rename(out / file.name)
        Path(out, MIXED).rmdir()
        self._check(weights, out)
        if Path(self.folders[0], "tokenizer_config.json").is_file():
            save_tokenizer(self.folders[0], out)

    def _check(self, weights: Sequence[float], out: Path) -> None:
        """Refuses a written mixture that computes something else than all parts at once, each by its weight.

        Raises:
            ValueError: the logits of a probe differ by more than rounding explains.
        """
        from peft.tuners.lora import LoraLayer

        layers = [module for module in self.model.modules() if isinstance(module, LoraLayer)]
        scalings = [dict(layer.scaling) for layer in layers]
        share = dict(zip(self.parts, weights, strict=True))
        self.model.base_model.set_adapter(self.parts)
        for layer, scaling in zip(layers, scalings, strict=True):
            layer.scaling.update({part: share[part] * value for part, value in scaling.items()})
        expected = probe(self.model)
        for layer, scaling in zip(layers, scalings, strict=True):
            layer.scaling.update(scaling)
        self.model.load_adapter(out, adapter_name=MIXED)
        self.model.set_adapter(MIXED)
        check_agreement(expected, probe(self.model), self.model.dtype, str(out))
        self.model.delete_adapter(MIXED)
        self.model.set_adapter(self.parts[0])


class CheckpointKitchen:
    """Averages full checkpoints; sums are in fp32, the result has the first one's type.

    Raises:
        ValueError: a folder that is no model.
    """

    def __init__(self, folders: Sequence[Path]):
        self.folders = [resolve_model(str(folder)) for folder in folders]

    def cook(self, weights: Sequence[float], out: Path) -> None:
        """Writes the average to the folder `out`. Two models are held at a time.

        Raises:
            ValueError: checkpoints of different shape.
        """
        import torch
        from transformers import AutoModelForCausalLM

        def load(folder: str):
            return AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False)

        mixed = load(self.folders[0])
        total: dict[str, Any] = {}
        for place, (folder, weight) in enumerate(zip(self.folders, weights, strict=True)):
            model = load(folder) if place else mixed
            check_finite(model, f"--adapters {folder}")
            if share_embeddings(mixed) and not share_embeddings(model):
                untie_head(mixed)  # one of the policies has output weights of its own, so the mixture has
            state = model.state_dict()
            shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
            if total and shapes != {name: tuple(tensor.shape) for name, tensor in total.items()}:
                raise ValueError(f"--adapters {folder}: its parameters differ from those of {self.folders[0]}")
            for name, tensor in state.items():
                whole = not tensor.is_floating_point()  # counters and the like are those of the first
                share = tensor.clone() if whole else tensor.to(torch.float32) * weight
                total[name] = share if name not in total else total[name] if whole else total[name] + share
        mixed.load_state_dict(total)
        check_finite(mixed, "the mixture")
        mixed.save_pretrained(out)
        if digests(load(str(out)), mixed.dtype) != digests(mixed, mixed.dtype):
            raise ValueError(f"{out} is not written: read back, its weights are not the average")
        save_tokenizer(self.folders[0], out)


def save_tokenizer(source: str | Path, out: Path) -> None:
    """Copies the tokenizer of one folder into another."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(source, trust_remote_code=False).save_pretrained(out)


def read_mixtures(folder: Path) -> tuple[tuple[str, ...], list[tuple[tuple[float, ...], Path]]]:
    """Objectives, and (weights, folder) of every mixture that `soup` wrote to `folder`, one or a grid of them.

    Raises:
        ValueError: no note of `soup` there.
    """
    file = folder / NOTE
    if not file.is_file():
        raise ValueError(f"{folder}: no {NOTE}, this was not written by `python -m launch soup`")
    note = read_object(file)
    mixtures = [(tuple(entry["weights"]), folder / entry["folder"]) for entry in note["mixtures"]]
    return tuple(note["objectives"]), mixtures


def _write_note(folder: Path, names: Sequence[str], sources: Mapping[str, str], mixtures: Sequence) -> None:
    entries = [{"weights": list(weights), "folder": place} for weights, place in mixtures]
    write_json(folder / NOTE, {"objectives": list(names), "sources": dict(sources), "mixtures": entries})


def make_kitchen(base: str | None, sources: Mapping[str, str]) -> AdapterKitchen | CheckpointKitchen:
    """What mixes these folders, all of them adapters or all of them full checkpoints.

    Raises:
        ValueError: both kinds together, or adapters without `base`.
    """
    folders = [Path(source) for source in sources.values()]
    adapters = [(folder / "adapter_config.json").is_file() for folder in folders]
    if not any(adapters):
        return CheckpointKitchen(folders)
    if not all(adapters):
        odd = folders[adapters.index(False)]
        raise ValueError(
            f"--adapters {odd}: no adapter_config.json there, while {folders[adapters.index(True)]} has one"
        )
    if base is None:
        raise ValueError("--base is missing: adapters are mixed on their base model")
    return AdapterKitchen(base, folders)


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("soup", __doc__)
    parser.add_argument("--base", metavar="PATH", help="base model of the adapters; full checkpoints need none")
    parser.add_argument(
        "--adapters",
        nargs="+",
        required=True,
        metavar="NAME=DIR",
        help="one policy for each objective: adapters, or full ones",
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--weights", metavar="NAME=WEIGHT,...", help="one mixture")
    how.add_argument(
        "--grid", type=positive_integer, metavar="N", help="N mixtures of two policies, from one to the other"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new or empty")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the mixture, or all of the grid, is written."""
    options = make_parser().parse_args(argv)
    sources = parse_pairs(options.adapters, "--adapters")
    names = tuple(sources)
    check_names(names)
    if options.grid is None:
        vectors = [parse_weights(options.weights, names)]
    elif len(names) != 2 or not 2 <= options.grid <= 101:
        raise ValueError(
            f"--grid {options.grid} with {len(names)} policies: 2 to 101 mixtures of two policies are valid"
        )
    else:
        vectors = lattice(2, options.grid - 1)
    with new_folder(options.out) as folder:
        kitchen = make_kitchen(options.base, sources)
        places = ["." if options.grid is None else percentages(vector) for vector in vectors]
        for vector, place in zip(vectors, places, strict=True):
            (folder / place).mkdir(exist_ok=True)
            kitchen.cook(vector, folder / place)
        _write_note(folder, names, sources, list(zip(vectors, places, strict=True)))
    print(f"{len(vectors)} mixture{'s' * (len(vectors) > 1)} of {', '.join(names)} written to {options.out}")
    return 0
