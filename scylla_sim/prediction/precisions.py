"""Data types with which a target and a draft run: from options, from the files of a checkpoint, and on a device.

An option overrides the file. A device without arithmetic in a type runs its weights with 16-bit arithmetic. Every
choice that the user did not make is returned as a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scylla_sim.checks import fail
from scylla_sim.kernels.device_rates import rates
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import DTYPES, KV_PRECISIONS, WEIGHT_PRECISIONS, precision_name
from scylla_sim.specs.hardware import Hardware
from scylla_sim.specs.model import Model
from scylla_sim.specs.other_words import known_word
from scylla_sim.specs.quantization import HALF, Quantization, uniform

BLOCK_SCALES_NOTE = (
    "fp8 has one scale per tensor; use fp8_block for checkpoints with block scales (DeepSeek-V3, Qwen3)"
)


@dataclass(frozen=True)
class Precisions:
    """Data types of the target.

    Attributes
    ----------
    dtype
        Data type of most weights.
    op_dtypes
        Operation -> data type of its weights, where it differs.
    kv_dtype
        Data type of the KV cache.
    notes
        Choices that the user did not make.
    """

    dtype: str
    op_dtypes: Mapping[str, str]
    kv_dtype: str
    notes: tuple[str, ...] = ()


def _from_file(model: Model) -> tuple[Quantization, list[str]]:
    """Return the quantization of the checkpoint or of the release, or 16 bits for an unquantized one."""
    found = model.quantization
    if found is None:
        released = model.released_precision
        said = [f"{model.name} runs in {released}, as it is released; see --precision"] if released else []
        dtype = WEIGHT_PRECISIONS[released] if released else HALF
        return uniform(dtype, moe=model.moe is not None), said
    if found.problem:
        raise fail("quantization_config", found.method, found.problem, "or give --precision")
    mla = model.mla
    kept = found.exceptions(model.moe is not None, mla is not None, mla is not None and mla.indexer is not None)
    text = f"precision {found.precision} is read from the checkpoint ({found.method})"
    return found, [f"{text}; {kept}" if kept else text]


def _chosen(model: Model, precision: str) -> tuple[Quantization, list[str]]:
    """Return the quantization that an option states, with the exceptions of the file where the two agree."""
    dtype = WEIGHT_PRECISIONS[known_word("precision", str(precision), WEIGHT_PRECISIONS)]
    found = model.quantization
    if found is not None and (
        precision == found.precision or (found.dtype and dtype == DTYPES[found.dtype].weights_only)
    ):
        return found, []
    notes = []
    if found is not None:
        notes.append(f"precision {precision} replaces what the checkpoint states ({found.method})")
    if model.moe is not None and precision == "fp8":
        notes.append(BLOCK_SCALES_NOTE)
    return uniform(dtype, moe=model.moe is not None), notes


def on_device(dtype: str, hardware: Hardware) -> str:
    """Return the data type with which a device runs weights of a type.

    Raises
    ------
    InputError
        The device has no arithmetic for the type.
    """
    item = DTYPES[dtype]
    if item.weights_only and item.peak not in hardware.peak_flop_per_s and hardware.sm_count > 0:
        dtype = item.weights_only
    rates(hardware, dtype)  # raises for a precision that the hardware does not have
    return dtype


def _kv_dtype(model: Model, hardware: Hardware, *, precision: str | None, kv: str | None) -> tuple[str, list[str]]:
    """Return the data type of the KV cache: the option, else that of the checkpoint, else 16 bits."""
    stated = model.quantization.kv_dtype if model.quantization is not None else ""
    if kv is None and stated and precision != "fp32":
        return KV_PRECISIONS[stated], [f"KV cache in {stated}, as the checkpoint states; see --kv-precision"]
    chosen = known_word(
        "kv_precision", str(kv) if kv else ("fp32" if precision == "fp32" else "bf16"), KV_PRECISIONS
    )
    if chosen == "nvfp4" and "fp4" not in hardware.peak_flop_per_s:
        raise fail("kv_precision", chosen, f"is not possible on {hardware.name}", "it has no fp4 arithmetic")
    return KV_PRECISIONS[chosen], []


def target_precisions(
    model: Model, hardware: Hardware, *, precision: str | None, kv_precision: str | None
) -> Precisions:
    """Return the data types of the target.

    Parameters
    ----------
    precision
        Precision of the weights; ``None`` takes that of the checkpoint, or of the release of a catalog entry.
    kv_precision
        Precision of the KV cache; ``None`` takes that of the checkpoint, or 16 bits.

    Raises
    ------
    InputError
        A precision is not known, the hardware does not have it, or the format of the checkpoint is not modelled.
    """
    found, notes = _from_file(model) if precision is None else _chosen(model, precision)
    kv_dtype, more = _kv_dtype(model, hardware, precision=precision, kv=kv_precision)
    dtype = on_device(found.dtype, hardware)
    op_dtypes = {op: on_device(each, hardware) for op, each in found.op_dtypes}
    if dtype != found.dtype:
        notes.append(
            f"{hardware.name} has no {DTYPES[found.dtype].peak} arithmetic: {precision_name(found.dtype)} weights "
            "run with 16-bit arithmetic, as engines run them (Marlin kernels)"
        )
    return Precisions(dtype, op_dtypes, kv_dtype, (*notes, *more))


def draft_precisions(
    draft: Draft, target: Precisions, hardware: Hardware, *, precision: str | None, draft_precision: str | None
) -> Precisions:
    """Return the data types of a draft.

    Parameters
    ----------
    precision, draft_precision
        Options of the target and of the draft; ``None`` where they are not given.

    Notes
    -----
    Without an option, a draft has the data type of its own checkpoint, or that of the target. It has 16 bits beside
    a target that is quantized to 4 bits, or whose precision is read from its checkpoint, because it is a file of
    its own. So has a draft model beside any target, and a head, block drafter or MLP speculator that is read from
    a file without a quantization. An MTP layer is part of the target's checkpoint.
    """
    own = draft.quantization or (draft.model.quantization if draft.model is not None else None)
    if draft_precision is not None:
        name = known_word("draft_precision", str(draft_precision), WEIGHT_PRECISIONS, kind="precision")
        found = uniform(WEIGHT_PRECISIONS[name], moe=False)
    elif own is not None:
        if own.problem:
            raise fail("draft quantization_config", own.method, own.problem, "or give --draft-precision")
        found = own
    elif draft.kind in ("none", "ngram") or draft.method_name == "mtp":
        return target
    elif precision is None or DTYPES[target.dtype].keeps_head or draft.is_file_of_head or draft.kind == "model":
        if target.dtype in (HALF, "float32"):
            return target
        note = f"the weights of draft {draft.name} are taken as bf16; see --draft-precision"
        return Precisions(HALF, {}, target.kv_dtype, (note,))
    else:
        return target
    notes: tuple[str, ...] = ()
    if draft_precision is None:
        notes = (f"precision {found.precision} of draft {draft.name} is read from its file ({found.method})",)
    op_dtypes = {op: on_device(each, hardware) for op, each in found.op_dtypes}
    return Precisions(on_device(found.dtype, hardware), op_dtypes, target.kv_dtype, notes)


def head_notes(dtype: str) -> list[str]:
    """Return a note on heads that run in less than 16 bits, as the target does; otherwise an empty list.

    Examples
    --------
    >>> head_notes("bfloat16"), head_notes("fp8")
    ([], ['draft heads run in fp8, the precision of the target; those that engines load mostly have 16 bits'])
    """
    if DTYPES[dtype].stored_bytes >= DTYPES[HALF].stored_bytes:
        return []
    name = precision_name(dtype)
    return [f"draft heads run in {name}, the precision of the target; those that engines load mostly have 16 bits"]
