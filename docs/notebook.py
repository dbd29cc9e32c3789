"""`python docs/notebook.py [FOLDER]`: runs tutorial/notebook.ipynb from top to bottom in an empty folder, and
stores its outputs in it. Needs the extra docs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent / "tutorial" / "notebook.ipynb"
CELL_S = 900


def executed(folder: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run in `folder`. Raises CellExecutionError for a cell that fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=CELL_S, kernel_name="python3", resources=where).execute()
    for cell in notebook.cells:
        cell.metadata = {}  # times of execution, which differ between runs
        if "outputs" in cell:  # without progress bars, and without folders of this machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if "text" in output:
                    output["text"] = output["text"].replace(str(folder), ".")
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return notebook


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch)
        nbformat.write(executed(folder.resolve()), NOTEBOOK)


if __name__ == "__main__":
    main()
