"""The notebooks of docs/notebooks: stored without outputs, and run from an empty folder with a tiny model and two steps."""

import json
from importlib.util import find_spec

import pytest

from tests.conftest import REPOSITORY
from tests.tiny import build_model

NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))
# Beside the picture, what the last commands of each leave.
MADE = {
    "modpo_own_pairs": {"start", "answers", "scores", "report"},
    "judge_as_reward": {"start", "eval", "judge.yaml", "answers"},
}
missing = [name for name in ("nbclient", "ipykernel", "matplotlib") if find_spec(name) is None]
needs_kernel = pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed: extras `dev` and `eval`")


def left_of_a_run(notebook: dict) -> list[str]:
    """Cells that hold what a run left in them."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [cell["id"] for cell in cells if cell["outputs"] or cell["execution_count"] is not None]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    notebook = json.loads(path.read_text("utf-8"))
    assert left_of_a_run(notebook) == []
    assert notebook["cells"][0]["cell_type"] == "markdown" and len(notebook["cells"]) > 8


@pytest.mark.parametrize("left", [{"outputs": [{}], "execution_count": None}, {"outputs": [], "execution_count": 3}])
def test_the_rule_about_outputs_can_fail(left):
    assert left_of_a_run({"cells": [{"cell_type": "code", "id": "x", **left}]}) == ["x"]


@pytest.mark.integration
@needs_kernel
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_an_empty_folder(path, tmp_path, monkeypatch):
    """Every cell ends well (a failing command stops its cell), and the picture is shown."""
    import nbformat
    from nbclient import NotebookClient

    model = build_model(tmp_path / "model", max_position_embeddings=2048)
    folder = tmp_path / "empty"
    folder.mkdir()
    settings = {
        "NOTEBOOK_MODEL": model, "NOTEBOOK_STEPS": 2, "PYTHONPATH": REPOSITORY, "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": 1, "HF_DATASETS_CACHE": tmp_path / "cache", "IPYTHONDIR": tmp_path / "ipython",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert any("image/png" in output["data"] for output in shown)
    assert {place.name for place in folder.iterdir()} >= MADE[path.stem]
