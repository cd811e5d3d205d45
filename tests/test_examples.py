"""The notebooks in examples/ run from top to bottom, with small settings, and are stored without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")


def printed(cell: Any) -> str:
    return "".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)


def test_train_and_measure(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "examples" / "train_and_measure.ipynb", as_version=4)
    (settings,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    settings.source = f"STEPS, TASKS, GROUP, RUN = 3, 2, 2, {str(tmp_path / 'run')!r}"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = {cell.source: printed(cell) for cell in notebook.cells if cell.cell_type == "code" and cell.outputs}
    (trained,) = [text for source, text in texts.items() if "run_method" in source]
    assert trained.strip("'").endswith("step-000003")
    (difference,) = [text for source, text in texts.items() if "trained - untrained" in source]
    assert "n=2" in difference
    (rows,) = [text for source, text in texts.items() if "read_trials" in source]
    assert [line.split()[1:4] for line in rows.splitlines()[-2:]] == [["3", "test", "with"], ["3", "test", "without"]]
    (model,) = [text for source, text in texts.items() if "from_pretrained" in source]
    assert "LlamaForCausalLM with" in model
    assert (tmp_path / "run" / "report.html").is_file()
