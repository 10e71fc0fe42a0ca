"""`judge-consistency` on one GPU: a judge of 7 billion parameters on HelpSteer2, by `launch/runs/pairwise_judge/one_gpu.yaml`."""

from launch.common.operations import SHAPES, Rows
from launch.pipelines.stages import Stage
from launch.reproduce import hours
from launch.reproduce.claim import Claim, Measured, Place
from launch.reproduce.claims.judge_consistency import ARMS, compare
from launch.reproduce.gpu.runs import Timed, builder, checkpoint, evaluation, grpo, hours_of, stages_of

RUN_FILE, BASE, SHAPE = "pairwise_judge/one_gpu.yaml", "Qwen/Qwen2.5-7B-Instruct", SHAPES["7B"]
STEPS, WINDOW = 200, 20
COMPLETIONS, LONGEST = 96, 1024  # of a step, by the run file; tokens of an answer, in training and evaluation
# Tokens of a prompt and of an answer, and pairs of a test: assumed for the estimate alone. A seventh of the 7,118 pairs that
# arXiv 2410.01257 counts in HelpSteer2-Preference is held out.
PROMPT, ANSWER, TEST, BATCH = 1500, 300, 1000, 32
HELD_OUT = 0.15
# The flags of the CPU's arms say which rewards there are and how they are scaled; the run file has preference and form.
AGREEMENT = {
    "reward_funcs": ["pairwise_preference", "pairwise_format", "pairwise_consistency"],
    "reward_weights": [1.0, 0.1, 0.5],
}
OTHER = {arm: AGREEMENT if arm == "consistency" else flags for arm, (_, flags) in ARMS.items()}


def steps_of(place: Place) -> tuple[int, int]:
    """Steps of a run, and of a window of its log."""
    return (4, 2) if place.rehearsal else (STEPS, WINDOW)


def data(place: Place, seed: int) -> Stage:
    """Prompts in both orders, held-out prompts apart; which they are is the seed's draw."""
    folder = place.of(seed, "data")
    values = {
        "output_dir": folder,
        "split_ratio": [1 - HELD_OUT, HELD_OUT],
        "seed": seed,
        "ties": "drop",
        "max_prompt_chars": 12000,
        "formats": "jsonl",
        "preserve_structure": False,
        "name": "pairs",
        "limit": 100 if place.rehearsal else None,
    }
    title = f"seed {seed}: HelpSteer2, a seventh of the prompts held out"
    return Stage(f"data_s{seed}", title, [builder("helpsteer2-pairwise", values)], [folder])


def trained_for(steps: int) -> float:
    """Hours of a training."""
    rows = Rows.of(COMPLETIONS // 4, 4, PROMPT, ANSWER, shared=False)
    sampling = hours.drawn(SHAPE, steps, COMPLETIONS, PROMPT + LONGEST, LONGEST, vllm=True)
    return hours.START + sampling + hours.trained(SHAPE, steps, rows, references=1)


def judged_for(pairs: int) -> float:
    """Hours of an evaluation."""
    batches = -(-pairs // BATCH)
    return hours.START + hours.drawn(SHAPE, batches, 2 * BATCH, PROMPT + LONGEST, LONGEST, vllm=False)


def planned(place: Place) -> list[Timed]:
    """For each seed its pairs, the untouched model's verdicts, and each arm with its own."""
    steps, _ = steps_of(place)
    found = []
    for seed in place.seeds:
        pairs = {which: place.of(seed, "data") / f"pairs_{which}.jsonl" for which in ("train", "test")}
        found.append(Timed(data(place, seed), 0.0))
        models: dict[str, dict] = {"untouched": {"model": BASE}}
        for arm, other in OTHER.items():
            run = grpo(place, seed, arm, RUN_FILE, pairs["train"], steps, max_completion_length=LONGEST, **other)
            found.append(Timed(run, trained_for(steps)))
            models[arm] = {"checkpoint": checkpoint(place, seed, arm, steps)}
        for name, model in models.items():
            values = {**model, "data": pairs["test"], "max_new_tokens": LONGEST, "batch_size": BATCH}
            judged = evaluation(place, seed, name, "eval-judge", "judged", values)
            found.append(Timed(judged, judged_for(15 if place.rehearsal else TEST)))
    return found


def measure(place: Place) -> Measured:
    return compare(place, *steps_of(place), "untouched", "untouched model", "untouched model")


CLAIM = Claim(
    name="judge-consistency-gpu",
    paper="RM-Gallery's guide to a pairwise judge on HelpSteer2: GRPO on right verdicts",
    question="Does GRPO on HelpSteer2's preferences make Qwen2.5-7B-Instruct as a judge more often right and of one mind in both "
    "orders, and does the reward for agreement lower its bias?",
    comparison=f"accuracy on held-out pairs after {STEPS} steps minus before",
    direction="greater",
    condition=f"A LoRA of rank 32, {STEPS} steps of 12 pairs in both orders with 4 answers each, one update a step, no warm-up: the "
    "instructed model writes the tag. Prompts of the test were not trained on; answers are drawn as in training.",
    weakest="One model and one data set, whose labels two careful people would not all give alike, so that no judge reaches 1. "
    "Other seeds split the same rows: their intervals say nothing of another data set.",
    across="step of GRPO",
    up="accuracy on held-out pairs, both orders",
    stages=stages_of(planned),
    measure=measure,
    scale="gpu",
    hours=hours_of(planned),
)
