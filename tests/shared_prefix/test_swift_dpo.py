"""`swift rlhf --rlhf_type dpo` with shared prefixes is the stock run, to rounding: stock trainers and MODPO, 20 real steps."""

import pytest

from tests.conftest import swift_flags
from tests.parity.rows import multi_turn
from tests.tiny import preference_rows, write_rows

pytest.importorskip("swift")
pytestmark = pytest.mark.integration

SERIES = ("loss", "grad_norm", "rewards/chosen", "rewards/margins", "logps/chosen", "logps/rejected", "logits/chosen")
IN_ORDER = {"dataset_shuffle": False, "train_dataloader_shuffle": False}
PAYS = "the first batch computes"


def rows() -> list[dict]:
    """40 pairs whose prompts are of one to three turns: a stream is as long as others, or half of them."""
    mixed = preference_rows(16, seed=11) + multi_turn() + multi_turn()
    return [mixed[index * 7 % 40] for index in range(40)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("sharing") / "pairs.jsonl", rows())


@pytest.fixture(scope="module")
def train(tiny, data, run_swift, tmp_path_factory):
    """train(environment, plugin, **flags): 20 steps of two pairs, in the order of the file."""
    folder = tmp_path_factory.mktemp("runs")
    count = iter(range(1000))

    def run(environment, plugin="shared_prefix", processes=1, succeed=True, **flags):
        run_folder = folder / str(next(count))
        options = IN_ORDER | {"max_steps": 20, "max_length": 160} | flags
        done = run_swift(run_folder, swift_flags(tiny, data, run_folder, **options), environment, plugin, processes)
        assert (done.returncode == 0) == succeed, done.output[-3000:]
        return done

    return run


def same(one, other, rel=1e-5):
    assert one.steps[0].keys() == other.steps[0].keys() and len(one.steps) == len(other.steps)
    for name in SERIES:
        assert one.series(name) == pytest.approx(other.series(name), rel=rel, abs=1e-6), name


@pytest.fixture(scope="module")
def stock(train):
    return train({}, plugin=False)


@pytest.mark.parametrize("word", ["on", "off"])
def test_twenty_steps_are_those_of_stock_dpo(train, stock, word):
    run = train({"SHARED_PREFIX": word})
    same(run, stock)
    assert (PAYS in run.output) == (word == "on")
