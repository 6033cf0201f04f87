"""A scenario as a user describes it: names and plain values, resolved to the objects that a prediction needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import product
from os import PathLike

import numpy as np

from scylla_sim.acceptance import draft_shape, drafting, positions
from scylla_sim.acceptance.draft_shape import DraftShape
from scylla_sim.acceptance.measured import MeasuredAcceptance, measured_acceptance
from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.checks import fail, in_range, number, one_of, whole
from scylla_sim.prediction import measured_plain, precisions, static_batch, unused_options
from scylla_sim.prediction.counts import count, counts, optional_counts
from scylla_sim.prediction.device_choice import calibration_for, family_notes
from scylla_sim.prediction.memory_notes import memory_notes
from scylla_sim.prediction.model_notes import backend_notes, check_context, draft_notes, engine_notes, model_notes
from scylla_sim.prediction.precisions import Precisions
from scylla_sim.prediction.result import Result
from scylla_sim.prediction.served_load import CONTINUOUS, ServedLoad, default_context, longest_of, notes_of
from scylla_sim.prediction.slower_precision import slower_note
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.prediction.version_notes import version_notes
from scylla_sim.specs import catalog
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import precision_name
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.hardware import Hardware
from scylla_sim.specs.model import Model

THEOREM = "theorem-1.3"
"""Value of ``verify_tokens`` that takes the tree size of each batch from Theorem 1.3 of arXiv 2505.07858."""
THEOREM_NOTE = f"{THEOREM} is quoted for Qwen2.5-72B at 10K input tokens; the paper's tree is its limit"

DEFAULT_ENGINE = "vllm"
"""Engine of every verb and of `scylla_sim.predict`."""


@dataclass(frozen=True)
class Scenario:
    """Names and plain values that decide a prediction.

    The fields are the parameters of `scylla_sim.predict`, with the same defaults. The methods check the
    values and resolve the names. Vary a scenario with `dataclasses.replace`.

    Examples
    --------
    >>> chain = Scenario("llama-3.1-8b", hardware="h100-sxm", draft="eagle3", draft_len=[1, 3], acceptance=0.8)
    >>> configs, notes = chain.speculative_configs()
    >>> [round(config.tokens_per_cycle, 3) for config in configs]
    [1.8, 2.853]
    """

    model: str | Model
    _: KW_ONLY
    hardware: str | Hardware
    draft: str | Draft | SpeculativeConfig = "none"
    draft_len: int | Sequence[int] | None = None
    top_k: int | Sequence[int] | None = None
    verify_tokens: int | Sequence[int] | str | None = None
    acceptance: float | Sequence[float] | str | PathLike[str] | MeasuredAcceptance | None = None
    acceptance_kind: str = "conditional"
    tokens_per_cycle: float | None = None
    measured_draft_len: int | None = None
    position_exponent: float | None = None
    reference_tokens_per_cycle: float | Sequence[float] | None = None
    draft_layers: int | None = None
    draft_train_tokens: float | None = None
    task: str | None = None
    batch: int | Sequence[int] = 1
    context: int | Sequence[int] | None = None
    input_len: int | None = None
    output_len: int | None = None
    prefix_hit: float | None = None
    batch_mode: str = CONTINUOUS
    engine: str | Engine = DEFAULT_ENGINE
    eager: bool = False
    tp: int = 1
    draft_tp: int | None = None
    precision: str | None = None
    kv_precision: str | None = None
    draft_precision: str | None = None
    router_skew: float | None = None
    expert_overlap: float | None = None
    calibration: str | PathLike[str] | Calibration | None = None
    allow_long_context: bool = False
    memory_share: float | None = None
    measured_plain_tpot: str | Sequence[str] | None = None

    def target_model(self) -> Model:
        """Return the target model, with the router skew and the expert overlap of the scenario.

        Raises
        ------
        InputError
            When a name is not known, or a context exceeds the model's and ``allow_long_context`` is false.
        """
        model = self.model if isinstance(self.model, Model) else catalog.model(str(self.model))
        if not self.allow_long_context:
            check_context(model, [*self.contexts(), *longest_of(self.load())])
        skew, overlap = self.router_skew, self.expert_overlap
        model = model if skew is None else model.with_router_skew(number("router_skew", skew))
        return model if overlap is None else model.with_expert_overlap(number("expert_overlap", overlap, 0, 1))

    def load(self) -> ServedLoad | None:
        """Return the lengths of the served requests; ``None`` for decoding only."""
        return static_batch.load_of(self.batch_mode, self.input_len, self.output_len, self.prefix_hit)

    def load_notes(self) -> list[str]:
        """Return what is assumed about the served requests."""
        return notes_of(self.load(), self.context, mode=self.batch_mode)

    def static_output_len(self) -> int | None:
        """Return the tokens of every answer of a batch without refill; ``None`` for continuous batching."""
        return static_batch.output_len_of(self.batch_mode, self.output_len)

    def contexts(self) -> list[int]:
        """Return the contexts; see `default_context` for the default."""
        return counts("context", default_context(self.load()) if self.context is None else self.context)

    def draft_model(self) -> Draft:
        """Return the draft; its kind is ``none`` for the autoregressive baseline."""
        layers = None if self.draft_layers is None else count("draft_layers", self.draft_layers)
        if not isinstance(self.draft, Draft | SpeculativeConfig):
            return catalog.draft(str(self.draft), layers=layers)
        draft = self.draft.draft if isinstance(self.draft, SpeculativeConfig) else self.draft
        if layers not in (None, draft.num_layers):
            raise fail("draft_layers", layers, f"contradicts draft {draft.name!r}", "give one of the two")
        return draft

    def deployments(self) -> tuple[Deployment, Deployment]:
        """Return where the target runs and where the draft runs.

        Raises
        ------
        InputError
            If a name is not known, or the node has fewer than ``tp`` GPUs. Also if ``draft_tp`` is neither 1 nor
            ``tp``, the engine has no launch cost for ``eager``, or the hardware has no rate for a precision.
        """
        calibration = calibration_for(self.hardware, self.calibration)
        hardware = calibration.hardware
        tp = count("tp", self.tp)
        if tp > hardware.gpus_per_node:
            rule = f"must be at most {hardware.gpus_per_node}, the GPUs of a {hardware.name} node"
            raise fail("tp", tp, rule, "several nodes are not modelled")
        of_target, of_draft = self._precisions(hardware)
        target = Deployment(
            calibration, self._engine(), of_target.dtype, of_target.kv_dtype, tp, op_dtypes=of_target.op_dtypes
        )
        draft_tp = tp if self.draft_tp is None else int(whole("draft_tp", self.draft_tp, 1))
        if draft_tp not in (1, tp):
            raise fail("draft_tp", draft_tp, f"must be 1 or tp={tp}", "engines run a draft on one GPU or on all")
        return target, replace(target, dtype=of_draft.dtype, op_dtypes=of_draft.op_dtypes, tp=draft_tp)

    def _precisions(self, hardware: Hardware) -> tuple[Precisions, Precisions]:
        """Return the data types of the target and of the draft on a device."""
        target = precisions.target_precisions(
            self.target_model(), hardware, precision=self.precision, kv_precision=self.kv_precision
        )
        draft = precisions.draft_precisions(
            self.draft_model(),
            target,
            hardware,
            precision=self.precision,
            draft_precision=self.draft_precision,
        )
        return target, draft

    def precision_notes(self, hardware: Hardware | None = None) -> list[str]:
        """Return notes on the precisions that the user did not state, each once."""
        device = hardware or calibration_for(self.hardware, self.calibration).hardware
        target, draft = self._precisions(device)
        return list(dict.fromkeys((*target.notes, *draft.notes)))

    def _engine(self) -> Engine:
        """Return the engine, with or without CUDA graphs."""
        given = self.engine if isinstance(self.engine, Engine) else catalog.engine(str(self.engine))
        if self.eager not in (True, False):
            raise fail("eager", self.eager, "must be True or False")
        engine = replace(given, eager=bool(self.eager) or given.eager)
        if self.memory_share is not None:
            share = float(in_range("memory_share", self.memory_share, 0, 1, above=True))
            engine = replace(engine, memory=replace(engine.memory, share=(share, share), reserve=None))
        if engine.eager and not engine.launch_s:
            raise fail("eager", engine.name, "has no launch cost", "engines with one: vllm, sglang, trtllm")
        return engine

    def draft_shapes(self, verify_tokens: int | None = None) -> list[DraftShape]:
        """Return every combination of ``draft_len`` and ``top_k``, each with ``verify_tokens`` verified tokens.

        The default length of a chain is that at which the acceptance was measured.
        """
        draft = self.draft_model()
        lengths, widths = optional_counts("draft_len", self.draft_len, 0), optional_counts("top_k", self.top_k)
        measured = self._measured()
        known = measured.draft_len
        if self.draft_len is None and known and widths == [None]:
            chain = draft_shape.shape(draft, None, None, None).top_k == 1
            lengths = [min(known, draft.max_len or known)] if chain else lengths
        return [
            draft_shape.shape(draft, measured.priced_len(length), width, verify_tokens)
            for length, width in product(lengths, widths)
        ]

    def speculative_configs(
        self, shapes: Sequence[DraftShape] | None = None, *, verify_tokens: int | None = None
    ) -> tuple[list[SpeculativeConfig], list[str]]:
        """Resolve the acceptance of some draft shapes.

        Parameters
        ----------
        shapes
            Draft shapes; default: `draft_shapes` with ``verify_tokens``.
        verify_tokens
            Tokens verified per sequence and cycle; default: the draft decides.

        Returns
        -------
        configs
            One configuration per shape, or one without drafting for ``draft="none"``.
        notes
            Assumptions behind the tokens per cycle, each once.
        """
        if isinstance(self.draft, SpeculativeConfig):
            unused_options.refuse_beside_config(vars(self))
            return [self.draft], draft_notes(self.draft.draft, self.target_model(), self.contexts())
        draft = self.draft_model()
        if draft.kind == "none":
            return [no_drafting(draft)], []
        measured, law = self._measured(), positions.law_of(draft.method_name, self.position_exponent)
        train_tokens, reference_tau = self.draft_train_tokens, self.reference_tokens_per_cycle
        if train_tokens is not None:
            train_tokens = number("draft_train_tokens", train_tokens, 0)
        configs, notes = [], draft_notes(draft, self.target_model(), self.contexts())
        shapes = self.draft_shapes(verify_tokens) if shapes is None else shapes
        lengths = [shape.draft_len for shape in shapes]
        measured.check_one_length(lengths)
        notes += [*measured.notes, *measured.shorter_notes(lengths)]
        kind_alone = self.acceptance is None and self.acceptance_kind != "conditional"
        notes += ["acceptance_kind is not used without acceptance"] if kind_alone else []
        notes += [] if self.position_exponent is None else unused_options.exponent_notes(measured, shapes)
        for shape in shapes:
            config, remarks = drafting.resolve(
                draft,
                shape,
                tokens_per_cycle=measured.tokens_per_cycle,
                measured_draft_len=measured.tau_draft_len,
                rates=measured.rates,
                spread=measured.spread,
                law=law,
                layers=self.draft_layers,
                train_tokens=train_tokens,
                reference_tau=None if reference_tau is None else np.atleast_1d(reference_tau).tolist(),
                task=self.task,
            )
            configs.append(config)
            notes += remarks
        return configs, list(dict.fromkeys(notes))

    def _measured(self) -> MeasuredAcceptance:
        """Return the acceptance that was measured, and the draft length of the measurement."""
        return measured_acceptance(
            self.acceptance,
            self.acceptance_kind,
            tokens_per_cycle=self.tokens_per_cycle,
            measured_draft_len=self.measured_draft_len,
        )

    def verify_groups(self) -> list[tuple[int | None, list[int]]]:
        """Return pairs of verified tokens and the batches to predict with them, in the order of ``batch``.

        One value, or ``None``, holds for all batches. A list, or `THEOREM`, gives one value per batch.
        """
        batch = counts("batch", self.batch)
        given = self.verify_tokens
        if given is None:
            return [(None, batch)]
        if isinstance(given, str):
            one_of("verify_tokens", given, [THEOREM], hint="or whole numbers")
            return [(tokens, [b]) for tokens, b in zip(draft_shape.theorem_verify_tokens(batch), batch)]
        tokens = counts("verify_tokens", given, 2)
        if len(tokens) == 1:
            return [(tokens[0], batch)]
        if len(tokens) != len(batch):
            raise fail("verify_tokens", given, f"must be one value, or one for each of {len(batch)} batches")
        return [(n, [b]) for n, b in zip(tokens, batch)]

    def predict(self) -> Result:
        """Predict every configuration of the scenario at every batch and context."""
        target, draft_target = self.deployments()
        model = self.target_model()
        context = np.asarray(self.contexts())[None, :]
        notes = [*self.name_notes(), *model_notes(model, self.contexts()), *self.load_notes()]
        notes += self.precision_notes(target.calibration.hardware)
        notes += [THEOREM_NOTE] if self.verify_tokens == THEOREM else []
        predictions: list[Prediction] = []
        measured = self.measured_plain()
        for verify_tokens, batch in self.verify_groups():
            configs, remarks = self.speculative_configs(verify_tokens=verify_tokens)
            if configs[0].draft.kind == "none":
                remarks += unused_options.notes_without_draft(vars(self))
            column = np.asarray(batch)[:, None]
            predictions += static_batch.predict_each(
                *(model, configs, target),
                output_len=self.static_output_len(),
                batch=column,
                context=context,
                draft_deployment=draft_target,
                load=self.load(),
                measured_plain_s=None if measured is None else np.array([measured[b] for b in batch])[:, None],
            )
            notes += remarks
        notes += slower_note(
            model,
            target,
            batch=np.asarray(counts("batch", self.batch), dtype=np.float64),
            context=context,
            tokens=max(each.config.verify_tokens for each in predictions),
        )
        notes += static_batch.notes_of(self.batch_mode, [one.wait for one in predictions if one.config.draft_len])
        notes += memory_notes(predictions) + backend_notes(predictions) + engine_notes(predictions)
        notes += version_notes(predictions, self.engine)
        notes += [] if measured is None else measured_plain.notes_of(predictions, measured)
        return Result(
            model,
            target,
            precision_name(target.dtype),
            tuple(predictions),
            tuple(dict.fromkeys(notes)),
            draft_tp=draft_target.tp,
        )

    def measured_plain(self) -> dict[int, float] | None:
        """Return the measured seconds per output token of plain decoding by batch; ``None`` without any."""
        tpot, batch, context = self.measured_plain_tpot, counts("batch", self.batch), self.contexts()
        return None if tpot is None else measured_plain.measured_seconds(tpot, batch=batch, context=context)

    def name_notes(self) -> list[str]:
        """Return notes on names that are read as a catalog entry, and on kernels of another GPU family."""
        name = "" if isinstance(self.hardware, Hardware) else str(self.hardware)
        methods = catalog.names("drafts")
        models = [item for item in (self.model, self.draft) if isinstance(item, str) and item not in methods]
        notes = catalog.alias_notes(hardware=name, models=models)
        return notes + ([] if self.calibration is not None else family_notes(self.hardware))
