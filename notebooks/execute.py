"""Runs mnist.py from top to bottom and writes mnist.ipynb, with its outputs: python notebooks/execute.py

The run goes to runs/ of the folder it is called from. Takes minutes; the tests run it on a small setting.
"""

from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent

notebook = jupytext.read(FOLDER / "mnist.py")
NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False).execute()
nbformat.write(notebook, FOLDER / "mnist.ipynb")
