"""Settings of MOODPO on top of online DPO."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from datasets_builders.choices import check_choice
from trl_ext.objectives.weights import WeightSampler
from trl_ext.online_dpo.config import OnlineConfig

from .normaliser import Normaliser, read_statistics
from .rewards import RewardSpec, check_sources, get_reward_specs

Vector = tuple[float, ...]


def read_vectors(flag: str, entries: Sequence[str | Sequence[float]], objectives: int) -> tuple[Vector, ...]:
    """Weight vectors out of texts `0.7,0.3` (command line) or lists of numbers (YAML).

    Raises:
        ValueError: an entry that is not `objectives` numbers of at least 0 with sum 1.
    """
    vectors = []
    for entry in entries:
        parts = entry.split(",") if isinstance(entry, str) else entry
        try:
            vector = tuple(float(part) for part in parts)
        except (TypeError, ValueError) as error:
            raise ValueError(f"--{flag}: {entry!r} is not a list of numbers such as 0.7,0.3") from error
        if len(vector) != objectives or min(vector) < 0 or abs(sum(vector) - 1) > 1e-6:
            raise ValueError(f"--{flag}: {entry!r} is valid with {objectives} numbers of at least 0 that sum to 1")
        vectors.append(vector)
    return tuple(vectors)


def evaluation_grid(objectives: int) -> tuple[Vector, ...]:
    """The vertices, the midpoints between any two of them and the barycentre; for two objectives the quarters too."""
    if objectives == 1:
        return ((1.0,),)
    if objectives == 2:
        return tuple((share / 4, 1 - share / 4) for share in range(4, -1, -1))
    eye = [tuple(float(i == k) for i in range(objectives)) for k in range(objectives)]
    middles = [
        tuple((a + b) / 2 for a, b in zip(eye[i], eye[j], strict=True))
        for i in range(objectives)
        for j in range(i + 1, objectives)
    ]
    return (*eye, *middles, tuple(1 / objectives for _ in range(objectives)))


@dataclass
class MOODPOConfig(OnlineConfig):
    """[`OnlineConfig`] with the objectives, their weights and their normalisation (MO-ODPO, arXiv 2503.00295).

    Args:
        reward_models: objectives in order: registered names, `name=path` or `package.module:function`.
        weights_alpha: concentration of the Dirichlet that weights are drawn from; None is 1.0 for two objectives, else
            0.7. Below 1 favours the corners.
        weights_vertex: share of draws that ask for one objective alone.
        weights_centre: share of draws with equal weights.
        weights_grid: step that drawn weights are rounded to; 0 leaves them as drawn.
        fixed_weights: one vector for every prompt instead of draws.
        listed_weights: vectors drawn equally often instead, each `0.7,0.3`.
        normalisation: `running` statistics of the scores, `stored` ones, or `none`.
        reward_stats_path: JSON file of the stored statistics, {"helpful": {"mean": 0.3, "std": 1.2}, ...}.
        reward_batch_size: rows of one forward of a reward model.
        ties: loss weight of a pair whose two scores are equal: `skip` 0, `half` 0.5 (with the first answer chosen, as
            in the parent). A pair with a score that is not finite has weight 0 in either case.
        evaluation_weights: vectors that are asked for in evaluation, each `0.7,0.3`; None is `evaluation_grid`.

    Raises:
        ValueError: a setting that is not valid; what was found and what is valid.
    """

    max_new_tokens: int = field(default=128, metadata={"help": "Most tokens of a completion."})
    temperature: float = field(default=1.0, metadata={"help": "Sampling temperature."})
    reward_models: list[str] = field(
        default_factory=lambda: ["helpful", "harmless", "humor"],
        metadata={"help": "Objectives in order: registered names, name=path, or package.module:function."},
    )
    weights_alpha: float | None = field(default=None, metadata={"help": "Concentration of the Dirichlet of weights."})
    weights_vertex: float = field(default=0.1, metadata={"help": "Share of draws with one objective alone."})
    weights_centre: float = field(default=0.05, metadata={"help": "Share of draws with equal weights."})
    weights_grid: float = field(default=0.1, metadata={"help": "Step that weights are rounded to; 0 for none."})
    fixed_weights: list[float] | None = field(default=None, metadata={"help": "One weight vector for every prompt."})
    listed_weights: list[str] | None = field(
        default=None, metadata={"help": "Weight vectors that are drawn equally often, each as 0.7,0.3."}
    )
    normalisation: str = field(default="running", metadata={"help": "Of scores: running, stored or none."})
    reward_stats_path: str | None = field(default=None, metadata={"help": "JSON file for --normalisation stored."})
    reward_batch_size: int = field(default=8, metadata={"help": "Rows of one forward of a reward model."})
    ties: str = field(default="skip", metadata={"help": "Loss weight of a tied pair: skip (0) or half (0.5)."})
    evaluation_weights: list[str] | None = field(
        default=None, metadata={"help": "Weight vectors asked for in evaluation, each as 0.7,0.3."}
    )

    def __post_init__(self):
        count = len(self.specs)
        check_sources(self.specs)
        check_choice("--normalisation", self.normalisation, ("running", "stored", "none"))
        check_choice("--ties", self.ties, ("skip", "half"))
        if (self.normalisation == "stored") != (self.reward_stats_path is not None):
            raise ValueError(
                f"--normalisation is {self.normalisation!r} and --reward_stats_path {self.reward_stats_path!r}: "
                "stored statistics need the file, and the file is read with --normalisation stored only"
            )
        if self.reward_stats_path is not None:
            Normaliser([spec.name for spec in self.specs], "stored", read_statistics(self.reward_stats_path))
        if self.reward_batch_size < 1:
            raise ValueError(f"--reward_batch_size is {self.reward_batch_size}: at least 1 is valid")
        if self.fixed_weights is not None and self.listed_weights is not None:
            raise ValueError("--fixed_weights and --listed_weights exclude each other: give one of them")
        if self.fixed_weights is not None:
            read_vectors("fixed_weights", [self.fixed_weights], count)
        self.evaluation_vectors = (
            evaluation_grid(count)
            if self.evaluation_weights is None
            else read_vectors("evaluation_weights", self.evaluation_weights, count)
        )
        self.sampler()
        super().__post_init__()

    @property
    def specs(self) -> list[RewardSpec]:
        return get_reward_specs(self.reward_models)

    def sampler(self) -> WeightSampler:
        """The draw of weights, a function of the run's seed, the epoch and the row number."""
        count = len(self.specs)
        listed = self.listed_weights
        return WeightSampler(
            objectives=count,
            seed=self.seed,
            alpha=self.weights_alpha,
            vertex=self.weights_vertex,
            centre=self.weights_centre,
            grid=self.weights_grid or None,
            fixed=None if self.fixed_weights is None else tuple(self.fixed_weights),
            listed=None if listed is None else read_vectors("listed_weights", listed, count),
        )
