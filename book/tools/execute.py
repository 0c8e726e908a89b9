"""`make execute [NB=path]`: runs notebooks from clean kernels and stores their outputs.

A notebook is replaced only when every cell has run, so an interruption leaves the old one. What it
took goes to book/results/notebooks.json: seconds, peak memory, device, versions, claims checked.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import torch
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from lrlib.lab import device
from lrlib.lab.files import atomic_write

ROOT = Path(__file__).resolve().parents[2]
IGNORE = "nbval-ignore-output"
RESULTS = ROOT / "book" / "results" / "notebooks.json"


def main(arguments: list[str]) -> int:
    paths = [Path(name).resolve() for name in arguments] or sorted(
        path for path in (ROOT / "chapters").glob("*/*.ipynb") if path.stem != "assignment"
    )
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        try:
            record = execute(path)
        except CellExecutionError as error:
            print(f"{name}: a cell failed, and the notebook was left as it was.\n{error}")
            return 1
        remember(name, record)
        print(f"{name}: {record['seconds']} s, {record['peak_mib']} MiB")
    return 0


def execute(path: Path) -> dict[str, Any]:
    """Runs one notebook and stores it with its outputs; returns what it took."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    began = time.perf_counter()
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
        seconds = time.perf_counter() - began
        peak = peak_mib(client)
    tidy(notebook)
    write(path, nbformat.writes(notebook) + "\n")
    return {
        "seconds": round(seconds, 1),
        "peak_mib": peak,
        "claims": sum(
            "✓" in str(output.get("data", {}).get("text/plain", ""))
            for cell in notebook.cells
            for output in cell.get("outputs", [])
        ),
        "executed": time.strftime("%Y-%m-%d", time.gmtime()),
        "device": device_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def peak_mib(client: NotebookClient) -> int | None:
    """The kernel's largest resident memory so far, where the system tells (Linux)."""
    process = getattr(getattr(client.km, "provisioner", None), "process", None)
    status = Path(f"/proc/{getattr(process, 'pid', 0)}/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024)


def device_name() -> str:
    chosen = device()
    if chosen.type == "cuda":
        return torch.cuda.get_device_name(chosen)
    return f"CPU, {os.cpu_count()} cores"


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Keeps what a reader sees: no times, no machine; alt text where the site looks for it."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        # The mutants are those of tests/book/test_claims_can_fail.py.
        kept = cell.metadata.keys() & {"tags", "mutants"}
        cell.metadata = {key: cell.metadata[key] for key in sorted(kept)}
        for output in cell.get("outputs", []):
            # A live widget has a new name in every run; the page keeps its HTML part.
            if output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None):
                cell.metadata["tags"] = sorted({*cell.metadata.get("tags", []), IGNORE})
            alt = output.get("metadata", {}).get("lrlib", {}).get("alt")
            if alt:
                cell.metadata["mystnb"] = {"image": {"alt": alt}}
                # A picture's bytes differ between machines; what it shows is held by claims.
                cell.metadata["tags"] = sorted({*cell.metadata.get("tags", []), IGNORE})


def write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())


def remember(name: str, record: dict[str, Any]) -> None:
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    known = {key: value for key, value in known.items() if (ROOT / key).exists()} | {name: record}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    write(RESULTS, json.dumps(dict(sorted(known.items())), indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
