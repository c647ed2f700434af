"""The notebooks of examples/ run from their first cell to their last, and keep no output."""

import json
import pathlib

import pytest

from server_process import DEADLINE_S

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(server, tmp_path, monkeypatch, name):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("OLMOE_SERVER", server.address())
    monkeypatch.setenv("OLMOE_ADMIN", server.address("admin"))
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbclient.NotebookClient(notebook, timeout=DEADLINE_S, kernel_name="python3",
                            resources={"metadata": {"path": str(FOLDER)}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code"
             for output in cell.outputs]
    assert not [output for output in shown if output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in shown)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_keeps_no_output(name):
    for cell in json.loads((FOLDER / name).read_text())["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
