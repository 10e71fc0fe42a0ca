"""Accuracy of a reward model: counts, intervals, the forms of pairs and texts, adapters, and what is refused."""

import json

import pytest

from launch.__main__ import main as launch
from launch.common.statistics import Estimate
from launch.scores.eval_rm import judge, read_preference, score_pairs
from tests.tiny import build_classifier, build_model, write_rows

PAIRS = [
    ("Why?", "Because the sea is wide.", "No."),
    ("How?", "salt", "Bread needs flour, water and salt."),
    ("What?", "a", "tree"),
]


def trl(rows=PAIRS):
    return [{"prompt": [user(q)], "chosen": [assistant(good)], "rejected": [assistant(bad)]} for q, good, bad in rows]


def swift(rows=PAIRS):
    return [{"messages": [user(q), assistant(good)], "rejected_response": bad} for q, good, bad in rows]


def plain(rows=PAIRS):
    return [{"question": q, "response_j": good, "response_k": bad} for q, good, bad in rows]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


# --- counts -----------------------------------------------------------------------------------------------------------


def test_ties_are_counted_apart_and_are_not_correct():
    verdicts = judge([2.0, 1.0, 0.0, 3.0], [1.0, 1.0, 5.0, 2.0])
    assert (verdicts.n, verdicts.wins, verdicts.ties) == (4, 2, 1)
    assert verdicts.accuracy == Estimate(0.5, pytest.approx(0.1500, abs=1e-4), pytest.approx(0.8500, abs=1e-4), 4)
    assert verdicts.mean_gap.value == -0.75 and verdicts.mean_gap.low < -0.75 < verdicts.mean_gap.high


def test_the_sides_matter():
    better, worse = [1.0, 2.0, 3.0], [0.0, 0.0, 9.0]
    assert judge(better, worse).wins == 2 and judge(worse, better).wins == 1
    assert judge(better, better).accuracy.value == 0 and judge(better, better).ties == 3


@pytest.mark.parametrize(
    ("chosen", "rejected", "message"),
    [
        ([], [], "no pairs"),
        ([1.0], [], "shorter"),
        ([1.0, float("nan")], [0.0, 0.0], "pair 2: the scores are nan and 0.0"),
    ],
)
def test_scores_that_decide_nothing(chosen, rejected, message):
    with pytest.raises(ValueError, match=message):
        judge(chosen, rejected)


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_three_shapes_of_the_same_pairs(tmp_path):
    read = [list(read_preference(write_rows(tmp_path / "p.jsonl", rows))) for rows in (trl(), swift(), plain())]
    assert read[0] == read[1] == read[2] and [p.chosen for p in read[0]] == [good for _, good, _ in PAIRS]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "a"}, "not a pair, found question; valid: messages with"),
        (
            {"question": "a", "response_j": "b", "response_k": "b "},
            "the answers in 'response_j' and 'response_k' are equal",
        ),
        (
            {"messages": [{"role": "user", "content": "a"}], "rejected_response": "b"},
            "'messages' must end with what the assistant says, found a message of 'user'",
        ),
        ({"chosen": [{"role": "assistant", "content": "a"}]}, "not a pair"),
        ({"prompt": "a", "chosen": "b", "rejected": 3}, "'chosen' is a text and 'rejected' a int"),
    ],
)
def test_rows_that_are_no_pair(tmp_path, row, message):
    with pytest.raises(ValueError, match=message) as error:
        list(read_preference(write_rows(tmp_path / "p.jsonl", [row])))
    assert "p.jsonl:1" in str(error.value)


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return build_classifier(tmp_path_factory.mktemp("rm") / "model", labels=1)


@pytest.fixture
def command(tmp_path):
    data = write_rows(tmp_path / "pairs.jsonl", swift())

    def run(model, *more, data=data):
        code = launch(
            ["eval-rm", "--model", str(model), "--data", str(data), "--out", str(tmp_path / "rm.json"), *map(str, more)]
        )
        return code, json.loads((tmp_path / "rm.json").read_text()) if code == 0 else None

    return run


def expected_gaps(classifier, texts):
    """The model's own scores of texts, one at a time: no padding, no batches."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(classifier)
    model = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    with torch.no_grad():
        scores = [
            float(model(**tokenizer(text, add_special_tokens=False, return_tensors="pt")).logits[0, 0])
            for text in texts
        ]
    return [good - bad for good, bad in zip(scores[::2], scores[1::2], strict=True)]


FORMS = {
    "chat": "<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{r}<|im_end|>\n",
    "question_answer": "Question: {q}\n\nAnswer: {r}{end}",  # as TRL's RewardTrainer trains on texts
    "plain": "{q}{r}{end}",
}


@pytest.mark.parametrize("form", FORMS)
def test_the_model_reads_the_text_in_the_named_form(classifier, command, form):
    from transformers import AutoTokenizer

    end = AutoTokenizer.from_pretrained(classifier).eos_token
    texts = [FORMS[form].format(q=q, r=text, end=end) for q, *sides in PAIRS for text in sides]
    gaps = expected_gaps(classifier, texts)
    code, verdicts = command(classifier, "--text_form", form, "--batch_size", 4)
    assert code == 0 and verdicts["mean_gap"]["value"] == pytest.approx(sum(gaps) / 3, abs=1e-5)
    assert verdicts["wins"] == sum(gap > 0 for gap in gaps) and (verdicts["n"], verdicts["text_form"]) == (3, form)


def test_scores_of_both_sides_in_the_order_of_the_pairs(classifier):
    from trl_ext.modpo.classifier import ClassifierReward

    pairs = list(map(as_pair, PAIRS))
    chosen, rejected = score_pairs(ClassifierReward(str(classifier)), pairs, "chat", 4)
    texts = [FORMS["chat"].format(q=q, r=text) for q, *sides in PAIRS for text in sides]
    assert [a - b for a, b in zip(chosen, rejected, strict=True)] == pytest.approx(
        expected_gaps(classifier, texts), abs=1e-5
    )


def as_pair(row):
    from datasets_builders.pairs import PreferencePair

    return PreferencePair([user(row[0])], row[1], row[2])


def build_rm_adapter(model, folder, modules_to_save=("score",)):
    """A LoRA adapter for a classifier on a language model, all of it random."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(5)
    base = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, pad_token_id=0)
    config = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], task_type="SEQ_CLS", modules_to_save=list(modules_to_save) or None
    )
    tuned = get_peft_model(base, config)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    tuned.save_pretrained(folder)
    return tuned.eval()


def test_an_adapter_scores_as_it_did_unmerged_with_its_own_head(tmp_path, command):
    import torch
    from transformers import AutoTokenizer

    base = build_model(tmp_path / "base")
    tuned = build_rm_adapter(base, tmp_path / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(base)
    with torch.no_grad():
        ids = [tokenizer(FORMS["chat"].format(q=q, r=r), return_tensors="pt") for q, *sides in PAIRS for r in sides]
        scores = [float(tuned(**{k: v for k, v in i.items() if k != "token_type_ids"}).logits[0, 0]) for i in ids]
    gap = sum(scores[::2]) / 3 - sum(scores[1::2]) / 3
    assert command(tmp_path / "adapter")[1]["mean_gap"]["value"] == pytest.approx(gap, abs=1e-4) and abs(gap) > 1e-3
    (tmp_path / "adapter" / "args.json").write_text(
        '{"model_type": "llama", "num_labels": 1, "output_dir": "elsewhere"}'
    )
    assert launch(["merge-rm", "--adapter", str(tmp_path / "adapter"), "--out", str(tmp_path / "merged")]) == 0
    assert json.loads((tmp_path / "merged" / "args.json").read_text()) == {"model_type": "llama", "num_labels": 1}
    assert command(tmp_path / "merged")[1]["mean_gap"]["value"] == pytest.approx(gap, abs=1e-4)
    assert launch(["merge-rm", "--adapter", str(tmp_path / "adapter"), "--out", str(tmp_path / "merged")]) == 2


def test_adapters_that_are_refused(tmp_path, adapter, command, capsys):
    base = build_model(tmp_path / "base")
    build_rm_adapter(base, tmp_path / "headless")
    file = tmp_path / "headless" / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {"modules_to_save": None}))
    code, _ = command(tmp_path / "headless")
    assert code == 2 and "headless" in capsys.readouterr().err
    assert (
        command(adapter)[0] == 2
        and "task_type 'CAUSAL_LM': only reward models (SEQ_CLS) are merged here" in capsys.readouterr().err
    )
    assert launch(["merge-rm", "--adapter", str(tmp_path), "--out", str(tmp_path / "m")]) == 2
    assert "not an adapter folder" in capsys.readouterr().err and not (tmp_path / "m").exists()


def test_models_that_are_refused(tmp_path, tiny, classifier, command, capsys):
    assert command(tiny)[0] == 2 and "not a trained classifier" in capsys.readouterr().err
    assert (
        command(build_classifier(tmp_path / "three"))[0] == 2
        and "3 outputs, a reward model has one" in capsys.readouterr().err
    )
    bare = build_classifier(tmp_path / "bare", chat=False, labels=1)
    assert command(bare)[0] == 2 and "no chat template; use --text_form" in capsys.readouterr().err
    assert command(bare, "--text_form", "plain")[0] == 0
    assert command(classifier, "--base", tiny)[0] == 2 and "is no adapter" in capsys.readouterr().err
    long = write_rows(
        tmp_path / "long.jsonl",
        [{"messages": [user("a"), assistant("b"), user("c"), assistant("d")], "rejected_response": "e"}],
    )
    assert (
        command(classifier, "--text_form", "plain", data=long)[0] == 2
        and "takes single questions" in capsys.readouterr().err
    )
    assert command(classifier, data=long)[0] == 0
