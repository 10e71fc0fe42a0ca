"""The section that a trainer adds to upstream's model card. The cards of real runs are read where those runs are tested."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Dataset

from launch.reproduce.claims import NAMES
from tests.conftest import REPOSITORY
from trl_ext import papers
from trl_ext.model_card import DescribesItself, Objective, describe_data, section, source_name

ROWS = [{"prompt": f"p{i}", "chosen": [{"content": "é"}], "ids": [i, 2]} for i in range(2500)]


class Upstream:
    """Writes a card as TRL does: where, and by which argument names."""

    def create_model_card(self, model_name=None, dataset_name=None, tags=None):
        Path(self.args.output_dir, "README.md").write_text(f"# {model_name}\n\n## Citations\n\nCite.", encoding="utf-8")


class Trainer(DescribesItself, Upstream):
    claim = "modpo-front"
    computed_columns = ("scores",)

    def __init__(self, folder, objectives, main=True):
        self.args, self.train_dataset = SimpleNamespace(output_dir=folder), Dataset.from_list(ROWS[:3])
        self.objectives, self.is_world_process_zero = lambda: objectives, lambda: main


def card(folder: Path) -> str:
    return (folder / "README.md").read_text("utf-8")


def test_the_section_stands_before_the_citations_once_however_often_it_is_written(tmp_path):
    trainer = Trainer(tmp_path, [Objective("a|b", "0.3", "function `f`")])
    for _ in range(2):
        trainer.create_model_card(model_name="m", tags="x")
    text = card(tmp_path)
    assert text.startswith("# m\n\n## What it was trained for\n") and text.endswith("\n## Citations\n\nCite.")
    assert text.count("trained for") == 1 and "| a\\|b | 0.3 | function `f` |" in text
    assert "3 rows, digest `" in text and "`python -m launch reproduce modpo-front`" in text


def test_a_run_that_is_upstreams_method_and_another_rank_add_nothing(tmp_path):
    Trainer(tmp_path, []).create_model_card("m")
    assert "trained for" not in card(tmp_path)
    Trainer(tmp_path, [Objective("a", "1", "b")], main=False).create_model_card("m")
    assert "trained for" not in card(tmp_path)


def test_the_digest_is_of_content_and_order_alone(tmp_path):
    plain = describe_data(Dataset.from_list(ROWS))
    assert plain.startswith("2,500 rows")
    again = Dataset.from_list(ROWS[:1000]).to_list() + ROWS[1000:]
    wrapped = SimpleNamespace(dataset=SimpleNamespace(dataset=Dataset.from_list(again)))
    assert describe_data(wrapped) == plain
    scored = Dataset.from_list(ROWS).add_column("scores", [0.5] * len(ROWS))
    assert describe_data(scored, ("scores", "none")) == plain != describe_data(scored)
    sliced = Dataset.from_list([ROWS[0], *ROWS]).select(range(1, len(ROWS) + 1))
    assert describe_data(sliced) == plain
    others = [Dataset.from_list(ROWS[::-1]), Dataset.from_list([*ROWS[:-1], {**ROWS[-1], "ids": [2499, 3]}])]
    assert len({plain, *map(describe_data, others)}) == 3
    assert (
        describe_data(Dataset.from_list(ROWS).to_iterable_dataset()) == "a IterableDataset, whose rows are not counted"
    )


def test_a_folder_is_told_by_its_last_part_alone(tmp_path):
    assert source_name(str(tmp_path)) == f"`{tmp_path.name}`" and source_name("hub/name") == "`hub/name`"


def test_every_claim_that_a_trainer_rests_on_is_one_that_is_put_to_the_test():
    import ast

    found = {
        ast.literal_eval(node.value)
        for package in ("trl_ext", "swift_ext")
        for path in (REPOSITORY / package).rglob("trainer.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and node.value is not None
        and ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target) == "claim"
    }
    assert found == {"modpo-front", "moodpo-steering", "d2po-labels", "bt-judgement", "judge-consistency"} <= set(NAMES)


@pytest.mark.parametrize(("name", "page"), [("MODPO", "modpo"), ("MOODPO", "moodpo"), ("D2PO", "d2po")])
def test_a_paper_is_the_one_of_its_page(name, page):
    paper, text = getattr(papers, name), " ".join((REPOSITORY / "docs" / f"{page}.md").read_text("utf-8").split())
    assert paper["title"] in text and paper["id"] in text
    assert paper["title"] in paper["citation"] and paper["id"] in paper["citation"]
    assert paper["citation"].count("{") == paper["citation"].count("}")


def test_the_section_is_plain_text():
    assert section([Objective("a", "1", "b")], "data", "c").startswith(
        "## What it was trained for\n\n| objective | weight | told by |\n"
    )
