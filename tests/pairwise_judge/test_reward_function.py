"""The judge as a reward function, named by its path: its YAML file, a server, a local model, MOODPO, and `trl grpo`."""

import logging
import math
from importlib.util import find_spec

import pytest
import yaml

from launch.answers.backends import Answer
from launch.judge import reward
from launch.judge.reward_settings import RewardSettings, read_settings
from tests.fake_judge import FakeJudge
from tests.tiny import build_adapter, build_tiny_judge, write_rows

KEY = "key-of-the-judge"
needs_openai = pytest.mark.skipif(find_spec("openai") is None, reason="the extra `api` is not installed")


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Writes the YAML file and names it; forgets the judge of another test."""

    def write(**settings):
        file = tmp_path / "judge.yaml"
        file.write_text(yaml.safe_dump(settings))
        monkeypatch.setenv(reward.VARIABLE, str(file))
        return file

    reward._reward.cache_clear()
    yield write
    reward._reward.cache_clear()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with FakeJudge() as judge:
        yield judge


PROMPTS = ["p", "q", "p", "q", "p"]
TEXTS = [f"of quality {quality}" for quality in (1, 5, 9, 2, 4)]


@needs_openai
def test_a_server_judges_within_each_prompt(configure, server):
    configure(base_url=server.url, api_model="m", rubric=["Is it kind?"], batch_size=3, max_new_tokens=9, ties=False)
    assert reward.judge_win_rate(PROMPTS, TEXTS) == [0.0, 1.0, 1.0, 0.0, 0.5]
    strengths = reward.judge_bradley_terry(prompts=PROMPTS, completions=TEXTS, completion_ids=[[1]] * 5)
    assert strengths[1] == pytest.approx(math.log(5) / 2) == -strengths[3]
    assert sum(strengths[::2]) == pytest.approx(0, abs=1e-9)
    assert len(server.bodies) == 2 * (6 + 2)
    request = server.bodies[0]
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("m", 9, 0.0)
    text = request["messages"][0]["content"]
    assert "- Is it kind?" in text and "A or B" in text and "User: " in text


@needs_openai
def test_a_completion_about_which_nothing_is_said(configure, server):
    configure(base_url=server.url, api_model="m")
    assert reward.judge_win_rate(["p"] * 3, ["quality 1", "quality 2", "nothing"]) == [0.0, 1.0, None]
    reward._reward.cache_clear()
    configure(base_url=server.url, api_model="m", missing=0.5, rounds=2, both_orders=False)
    assert reward.judge_win_rate(["p"] * 3, ["quality 1", "quality 2", "nothing"]) == [0.0, 1.0, 0.5]


@needs_openai
def test_moodpo_takes_it_as_an_objective(configure, server):
    from trl_ext.moodpo.rewards import RewardBundle, get_reward_specs

    configure(base_url=server.url, api_model="m")
    bundle = RewardBundle(get_reward_specs(["better=launch.judge.reward:judge_win_rate", "brevity"]))
    prompts = [[{"role": "user", "content": "p"}], "q"] * 2
    texts = ["quality 1", "quality 2", "quality 3", "nothing"]
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    scores = bundle.score(prompts, completions)
    assert scores[::2, 0].tolist() == [0.0, 1.0]
    assert all(map(math.isnan, scores[1::2, 0])) and bundle.not_finite == {"better": 2, "brevity": 0}


def test_a_local_model_judges(configure, tmp_path):
    import torch

    torch.set_num_threads(1)
    model = build_tiny_judge(tmp_path / "model")
    configure(model=str(model), max_new_tokens=1, torch_dtype="float32")
    rewards = reward.judge_win_rate(PROMPTS, TEXTS)
    assert sum(rewards[::2]) == 1.5 and sum(rewards[1::2]) == 1.0
    assert reward._reward("win_rate").counts == {"completions": 5, "asked": 8, "unread": 0}
    again = reward.judge_win_rate(PROMPTS, TEXTS)
    assert again == rewards


def test_a_local_model_is_loaded_as_the_file_says(tmp_path):
    import torch

    model = build_tiny_judge(tmp_path / "model")
    adapter = build_adapter(model, tmp_path / "adapter")
    loaded = {}
    for name, more in (("plain", {}), ("adapted", {"adapter": str(adapter), "torch_dtype": "bfloat16"})):
        made = reward.backend_maker(RewardSettings(model=str(model), max_new_tokens=3, **more))
        assert made() is not made() and made().policy is made().policy and made().decoding.max_new_tokens == 3
        loaded[name] = made().policy.model
    assert (loaded["plain"].dtype, loaded["adapted"].dtype) == (torch.float32, torch.bfloat16)
    tokens = torch.tensor([[5, 6, 7]])
    logits = [one(input_ids=tokens).logits.float() for one in loaded.values()]
    assert (logits[0] - logits[1]).abs().max() > 0.5


def test_the_settings_reach_the_reward(monkeypatch):
    monkeypatch.setattr(reward, "backend_maker", lambda settings: None)
    plain = reward.make_reward(RewardSettings(model="x"), "win_rate")
    assert (plain.rounds, plain.both_orders, plain.missing, plain.seed) == (None, True, None, 0)
    settings = RewardSettings(model="x", rounds=3, both_orders=False, missing=0.25, seed=9)
    made = reward.make_reward(settings, "bradley_terry")
    assert (made.rounds, made.both_orders, made.missing, made.seed) == (3, False, 0.25, 9)
    assert made.method == "bradley_terry"


class Backend:
    """Answers with the text in capitals; keeps the batches."""

    def __init__(self):
        self.batches = []

    def length(self, prompt):
        return len(prompt.messages[0]["content"])

    def generate(self, items):
        texts = [item.prompt.messages[0]["content"] for item in items]
        self.batches.append(texts)
        return [
            Answer("", 0, 0, False, False, "refused: no")
            if text == "odd"
            else Answer(text.upper(), 1, 1, text == "long", False)
            for text in texts
        ]


def test_batches_are_of_similar_length_and_answers_in_order(caplog):
    made = []

    def make():
        made.append(Backend())
        return made[-1]

    ask = reward.asker(make, 2)
    with caplog.at_level(logging.WARNING):
        assert ask(["ccc", "a", "bb"]) == ["CCC", "A", "BB"]
        assert caplog.text == ""
        assert ask(["long"]) == ["LONG"]
        assert "1 of 1 texts to the judge lost their beginning" in caplog.text
        assert ask(["odd", "a"]) == ["", "A"]
        assert "1 of 2 answers of the judge are missing or odd: refused: no" in caplog.text
    # A backend remembers its prompts, so that each call has one of its own.
    assert [backend.batches for backend in made] == [[["a", "bb"], ["ccc"]], [["long"]], [["a", "odd"]]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle: x", "unknown key 'modle'; did you mean 'model'"),
        ("{}", "name one judge: model, or base_url together with api_model"),
        ("model: x\nbase_url: y\napi_model: z", "name one judge"),
        ("base_url: y", "name one judge"),
        ("base_url: y\napi_model: z\nadapter: a", "adapter and torch_dtype belong to a local model"),
        ("model: x\nties: 'no'", "ties: Input should be a valid boolean"),
        ("model: x\nrounds: 0", "rounds: Input should be greater than 0"),
        ("model: x\nrounds: 1.5", "rounds: Input should be a valid integer"),
        ("model: x\nrubric: kind", "rubric: Input should be a valid list"),
        ("model: x\nmissing: .nan", "missing: Input should be a finite number"),
        ("- a", "expected keys and values, found a list"),
        ("model: [", "not YAML: expected the node content"),
    ],
)
def test_a_bad_file_is_named(configure, text, message):
    file = configure()
    file.write_text(text)
    with pytest.raises(ValueError, match=r"judge\.yaml: ") as error:
        reward.judge_win_rate(["p"], ["x"])
    assert message in str(error.value)


def test_no_file_and_no_name_of_one(configure, monkeypatch):
    monkeypatch.delenv(reward.VARIABLE, raising=False)
    with pytest.raises(ValueError, match="set PAIRWISE_JUDGE_CONFIG to a YAML file"):
        reward.judge_win_rate(["p"], ["x"])
    with pytest.raises(ValueError, match=r"nowhere\.yaml: "):
        read_settings("nowhere.yaml")


def test_numbers_of_the_file(configure):
    settings = read_settings(configure(model="x", missing=0, rounds=3, seed=5, batch_size=2))
    assert (settings.missing, settings.rounds, settings.seed, settings.batch_size) == (0.0, 3, 5, 2)
    assert (settings.max_new_tokens, settings.both_orders, settings.ties, settings.thinking) == (
        1024,
        True,
        True,
        False,
    )


@pytest.mark.integration
@pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed in this environment")
@pytest.mark.parametrize("judge", ["server", "local"])
def test_the_grpo_of_trl_takes_it_by_its_path(judge, warm_trl, tiny, tmp_path):
    """Shares of wins have the mean 1/2 in every group, whatever the judge says, and a spread when it says anything."""
    if judge == "server":
        pytest.importorskip("openai")

    def longest(first, second, sample):
        return f"<preference>{'A' if len(first) > len(second) else 'B'}</preference>"

    with FakeJudge(longest) as server:
        settings = {"base_url": server.url, "api_model": "m"}
        if judge == "local":
            settings = {"model": str(build_tiny_judge(tmp_path / "judge")), "max_new_tokens": 1}
        (tmp_path / "judge.yaml").write_text(yaml.safe_dump(settings))
        data = tmp_path / "data"
        data.mkdir()
        write_rows(data / "train.jsonl", [{"prompt": f"Tell me of tree {k}."} for k in range(4)])
        flags = {
            "model_name_or_path": tiny, "dataset_name": data, "output_dir": tmp_path / "out", "max_steps": 2,
            "reward_funcs": "launch.judge.reward.judge_win_rate", "per_device_train_batch_size": 4, "use_cpu": "true",
            "num_generations": 4, "max_completion_length": 8, "logging_steps": 1, "report_to": "none", "bf16": "false",
            "gradient_checkpointing": "false", "save_strategy": "steps", "save_steps": 2, "dtype": "float32",
            "learning_rate": 1e-3,
        }  # fmt: skip
        environment = {
            "HF_DATASETS_CACHE": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
            reward.VARIABLE: str(tmp_path / "judge.yaml"),
        }  # fmt: skip
        argv = [f"--{name}={value}" for name, value in flags.items()]
        warm_trl.run("trl.scripts.grpo", argv, tmp_path / "log", tmp_path, **environment)
    state = yaml.safe_load((tmp_path / "out/checkpoint-2/trainer_state.json").read_text())
    log = [row for row in state["log_history"] if "rewards/judge_win_rate/mean" in row]
    assert len(log) == 2
    assert [row["rewards/judge_win_rate/mean"] for row in log] == pytest.approx([0.5, 0.5])
    if judge == "server":
        assert len(server.bodies) > 12 and all(row["rewards/judge_win_rate/std"] > 0.1 for row in log)
