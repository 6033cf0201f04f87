"""Reading and writing ``*.safetensors`` with torch alone.

The format is eight bytes with the length of a JSON header, the header (name -> dtype, shape, offsets) and the bytes
of the tensors without a gap. A file that breaks one of its rules is refused in one line; the files are mapped into
memory, so that a tensor is read when it is used.

Source: the format's description in the README of huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scylla_sim.checks import InputError, fail
from scylla_sim.records import write_bytes
from scylla_sim.units import MEBI

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Element types that weights of a decoder come in; others are refused by name."""

_PREFIX = 8
_LONGEST_HEADER = 100 * MEBI
"""Limit of the reference implementation: a longer one is no header."""


def _damaged(path: Path, why: str) -> InputError:
    return fail("checkpoint", str(path), f"is no safetensors file: {why}", "it may be cut off; fetch it again")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name appears twice")
    return dict(pairs)


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """Header of a file, where its data begin, and how many bytes of them there are."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_PREFIX), "little")
            if size < _PREFIX or length > min(size - _PREFIX, _LONGEST_HEADER):
                raise _damaged(path, f"{size} bytes hold no header of {length}")
            text = file.read(length)
    except OSError as error:
        raise fail("checkpoint", str(path), f"cannot be read ({error.strerror})") from None
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not an object")
    header.pop("__metadata__", None)
    return header, _PREFIX + length, size - _PREFIX - length


def _entry(path: Path, name: str, entry: Any) -> tuple[torch.dtype, list[int], int, int]:
    """dtype, shape, begin and end of one tensor, as the header states them."""
    try:
        kind, shape, (begin, end) = entry["dtype"], list(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise _damaged(path, f"{name} lacks its dtype, shape or offsets") from None
    if kind not in DTYPES:
        raise fail("checkpoint", str(path), f"holds {name} as {kind}", f"known: {', '.join(DTYPES)}")
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise _damaged(path, f"shape and offsets of {name} are not counts")
    dtype = DTYPES[kind]
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise _damaged(path, f"{name} of shape {shape} does not take {end - begin} bytes")
    return dtype, shape, begin, end


def read(path: Path) -> dict[str, Tensor]:
    """Tensors of a file by name, mapped and not copied; writing to one does not change the file.

    Raises
    ------
    InputError
        For a file that is not there, cut off, or breaks a rule of the format.
    """
    header, start, size = _header(path)
    entries = {name: _entry(path, name, entry) for name, entry in header.items()}
    at = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != at:
            raise _damaged(path, f"{name} begins at byte {begin} of the data, not at {at}")
        at = end
    if at != size:
        raise _damaged(path, f"its tensors take {at} bytes, and it holds {size}")
    if not size:
        return {name: torch.empty(shape, dtype=dtype) for name, (dtype, shape, _, _) in entries.items()}
    data = torch.from_file(str(path), shared=False, size=start + size, dtype=torch.uint8)
    found = {}
    for name, (dtype, shape, begin, end) in entries.items():
        part = data[start + begin : start + end]
        if (start + begin) % dtype.itemsize:  # a view needs its bytes on a multiple of its size
            part = part.clone()
        found[name] = part.view(dtype).view(shape)
    return found


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors under their names, whole or not at all."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {}
    parts, at = [], 0
    for name, tensor in tensors.items():
        if tensor.dtype not in names:
            raise fail("dtype", tensor.dtype, f"of {name} cannot be written", f"known: {', '.join(DTYPES)}")
        flat = tensor.detach().to("cpu").contiguous().reshape(-1)
        parts.append(flat.view(torch.uint8).numpy().tobytes())
        end = at + len(parts[-1])
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _PREFIX)
    write_bytes(path, len(text).to_bytes(_PREFIX, "little") + text + b"".join(parts))
