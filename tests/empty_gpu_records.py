"""Records of a GPU that does not exist, for plans of the workflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scylla_sim.records import write_sums


@contextmanager
def measured_gpu(checkout: Path, name: str = "mi300x") -> Iterator[tuple[Path, Path]]:
    """Write empty records and blind predictions of a GPU, yield their folders, and remove them afterwards."""
    folders = (checkout / "gpu_validate/recorded" / name, checkout / "gpu_validate/recorded/blind" / name)
    record = json.dumps({"provenance": {"device": {"hardware": name}}})
    for folder, suffix, text in zip(folders, ("json", "csv"), (record, "{}")):
        folder.mkdir(parents=True)
        for suite in ("kernels", "step", "specdecode", "decode"):
            (folder / f"{suite}.{suffix}").write_text(text)
    (folders[1] / "provenance.json").write_text("{}")
    write_sums(folders[1], [path.name for path in folders[1].iterdir()])
    try:
        yield folders
    finally:
        for folder in folders:
            shutil.rmtree(folder)
