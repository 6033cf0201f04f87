"""The entry point of the package: one call from names and plain values to a result."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from scylla_sim.acceptance.measured import MeasuredAcceptance
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.prediction.result import Result
from scylla_sim.prediction.scenario import DEFAULT_ENGINE, Scenario
from scylla_sim.prediction.served_load import CONTINUOUS
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.hardware import Hardware
from scylla_sim.specs.model import Model


def predict(
    model: str | Model,
    *,
    hardware: str | Hardware,
    draft: str | Draft | SpeculativeConfig = "none",
    draft_len: int | Sequence[int] | None = None,
    top_k: int | Sequence[int] | None = None,
    verify_tokens: int | Sequence[int] | str | None = None,
    acceptance: float | Sequence[float] | str | PathLike[str] | MeasuredAcceptance | None = None,
    acceptance_kind: str = "conditional",
    tokens_per_cycle: float | None = None,
    measured_draft_len: int | None = None,
    position_exponent: float | None = None,
    reference_tokens_per_cycle: float | Sequence[float] | None = None,
    draft_layers: int | None = None,
    draft_train_tokens: float | None = None,
    task: str | None = None,
    batch: int | Sequence[int] = 1,
    context: int | Sequence[int] | None = None,
    input_len: int | None = None,
    output_len: int | None = None,
    prefix_hit: float | None = None,
    batch_mode: str = CONTINUOUS,
    engine: str | Engine = DEFAULT_ENGINE,
    eager: bool = False,
    tp: int = 1,
    draft_tp: int | None = None,
    precision: str | None = None,
    kv_precision: str | None = None,
    draft_precision: str | None = None,
    router_skew: float | None = None,
    expert_overlap: float | None = None,
    calibration: str | PathLike[str] | Calibration | None = None,
    allow_long_context: bool = False,
    memory_share: float | None = None,
    measured_plain_tpot: str | Sequence[str] | None = None,
) -> Result:
    """Predict throughput and speed-up of speculative decoding.

    The result covers every combination of ``draft_len``, ``top_k``, ``batch`` and ``context``. Run
    ``scylla-sim catalog`` to list the names.

    Parameters
    ----------
    model
        Target: a catalog name, its repository on Hugging Face, the path of a Hugging Face ``config.json`` or its
        folder, or a `Model`.
    hardware
        GPU: a catalog name or an alias such as ``h100``, the path of a TOML description, ``local`` (with
        ``calibration``), or a `Hardware`.
    draft
        ``none``, ``eagle``, ``eagle2``, ``eagle3``, ``scylla-Nl``, ``medusa``, ``mtp``, ``ngram``, the name of a
        model, the path of a ``config.json`` of a model or draft, a `Draft`, or a complete `SpeculativeConfig`. The
        last one replaces the options below up to ``task``.
    draft_len
        Drafted tokens of a path. Default: the length at which the acceptance was measured, else 3, or 6 for
        ``eagle2`` and ``scylla-Nl``, or the largest number of drafts that propose all tokens in one pass. 0
        keeps the draft loaded and drafts nothing.
    top_k
        Candidates kept per depth; 1 is a chain. Default: 1, or 10 for ``eagle2`` and ``scylla-Nl``.
    verify_tokens
        Tokens that the target verifies per sequence and cycle, root included: one value, one value per batch, or
        ``"theorem-1.3"``. Default: ``draft_len + 1`` for a chain, 61 at most for a tree.
    acceptance
        Acceptance rate in [0, 1] of position 1, or one per position. Positions beyond follow the position law of
        the method. A string is parsed as on the command line: numbers, or the path of a JSON file made by
        ``scylla-sim ingest``. `scylla_sim.read_acceptance` reads the log of an engine. Default: published values of
        the method.
    acceptance_kind
        ``conditional`` on the acceptance of all earlier positions, or ``cumulative``.
    tokens_per_cycle
        Mean tokens emitted per cycle, at least 1. It overrides ``acceptance`` and the laws.
    measured_draft_len
        Length of the chain with which ``tokens_per_cycle`` was measured. The position law of the method transfers
        it to other shapes. Default: the one shape of the prediction.
    position_exponent
        Exponent that replaces the position law of the method: the odds of acceptance at position i are
        i^-exponent times those at position 1. 0 gives one rate for all positions.
    reference_tokens_per_cycle
        Tokens per cycle at EAGLE-2's tree (depth 6, top-k 10, 60 nodes): value, or value, lower and upper end. It
        is transferred to the requested draft shape by the position law.
    draft_layers
        Decoder layers of a draft head. The acceptance laws then give the tokens per cycle.
    draft_train_tokens
        Pretraining tokens of a draft head. The acceptance laws then give the tokens per cycle.
    task
        Task of the published values of the method: ``chat``, ``code``, ``math``, ``qa``, ``rag``,
        ``summarization``, ``tool_call`` or ``translation``. Default: all of them together.
    batch
        Sequences decoded together.
    context
        Tokens in the KV cache of each sequence. Default: 1024, or the input and half of the output of a load.
    input_len, output_len
        Tokens of each prompt and of each answer. Prefills then take a share of the time per output token. Default:
        decoding only.
    prefix_hit
        Share of each prompt that is already in the KV cache, in [0, 1]. Default: 0.
    batch_mode
        ``continuous`` replaces a sequence that ends at once. ``static`` starts all sequences of a batch together
        and counts the time until the slowest one ends. It needs ``output_len``; without ``input_len`` it predicts
        decoding only.
    engine
        ``ideal`` (kernels only), ``vllm``, ``sglang`` or ``trtllm`` (the newest preset), a preset such as
        ``vllm-2025``, or an `Engine`. Default: ``vllm``.
    eager
        Launch kernels one by one, without CUDA graphs.
    tp
        Tensor-parallel GPUs of one node.
    draft_tp
        Tensor-parallel GPUs of the draft: 1 or ``tp``. Default: ``tp``.
    precision, draft_precision
        Weights of the target and of the draft: ``bf16``, ``fp8``, ``fp8_block``, ``int4``, ``int8``, ``int8_wo``,
        ``nvfp4``, ``mxfp4`` or ``fp32``. Default: the precision of the checkpoint's files, else ``bf16``; the draft
        has that of the target, or 16 bits beside a target of 4 bits.
    kv_precision
        KV cache: ``bf16``, ``fp8``, ``nvfp4`` or ``fp32``. Default: that of the checkpoint's files, else ``bf16``,
        or ``fp32`` with ``precision="fp32"``.
    router_skew
        Zipf exponent of the popularity of experts. Default: 0, which is uniform.
    expert_overlap
        Share of the experts of a verified token that the other tokens of its sequence use too, in [0, 1]. Default:
        published values for chains and trees, with their range.
    calibration
        Path of a file made by ``scylla-sim calibrate``, or a `Calibration`. Default: the shipped calibration of the
        hardware, or datasheet rates with typical kernel parameters.
    allow_long_context
        Allow a context beyond the positions of the model, which is an error otherwise.
    memory_share
        Share of the reported memory that the engine divides, in (0, 1]: ``gpu_memory_utilization`` of vLLM,
        ``mem_fraction_static`` of SGLang. Default: the range of the engine's defaults.
    measured_plain_tpot
        Measured times per output token without a draft, one per batch, with their units: ``"9.1ms"``. Throughput
        is then the measured plain one times the predicted speed-up, and has the interval of the speed-up.

    Returns
    -------
    Result
        Prints as a table. `Result.rows` and `Result.to_pandas` give the numbers, `Result.notes` the assumptions.

    Raises
    ------
    InputError
        When a value cannot be used. The message is one line: name and value, the rule, and a hint.

    Examples
    --------
    >>> result = predict(
    ...     "llama-3.1-8b", hardware="h100-sxm", draft="eagle3", acceptance=0.62, batch=[1, 64], engine="vllm"
    ... )
    >>> result.rows()[0]["speedup"] > result.rows()[1]["speedup"] > 1.0
    True
    """
    return Scenario(**locals()).predict()  # `locals` holds only the parameters here
