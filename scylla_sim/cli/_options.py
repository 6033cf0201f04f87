"""Options that several verbs share, and the scenario that they describe."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from scylla_sim.acceptance import rates_file
from scylla_sim.acceptance.typical import TASKS
from scylla_sim.checks import fail, one_of, whole
from scylla_sim.console import count, counts, name_list, note
from scylla_sim.prediction.model_notes import check_context, model_notes
from scylla_sim.prediction.scenario import DEFAULT_ENGINE, THEOREM, Scenario
from scylla_sim.prediction.served_load import BATCH_MODES, CONTINUOUS
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import WEIGHT_PRECISIONS
from scylla_sim.specs.model import Model

Value = TypeVar("Value", float, int, str)

NOT_MODELLED = {"pp": "pipeline parallelism", "ep": "expert parallelism", "nodes": "several nodes"}
"""Option that must not exceed 1 -> feature that larger values would need."""

COUNT_LISTS = ("batch", "context", "draft_len", "top_k", "reference_tokens_per_cycle")
"""Options with a comma-separated list of numbers."""


def add_hardware_arguments(parser: argparse.ArgumentParser, *, lists: bool = False) -> None:
    """Add the options of the hardware, its calibration, the TP ranks and the model.

    With ``lists``, hardware and TP ranks are comma-separated lists, parsed by the verb.
    """
    more = "[,NAME]" if lists else ""
    parser.add_argument(
        "--hardware", required=True, metavar=f"NAME|FILE.toml{more}", help="see scylla-sim catalog hardware"
    )
    parser.add_argument(
        "--calibration", metavar="FILE", help="written by scylla-sim calibrate; default: the shipped calibration"
    )
    ranks = "tensor-parallel GPUs of one node; default 1"
    if lists:
        parser.add_argument("--tp", default="1", metavar="N[,N]", help=ranks)
    else:
        parser.add_argument("--tp", type=int, default=1, help=ranks)
    parser.add_argument("--model", required=True, metavar="NAME|config.json", help="see scylla-sim catalog models")


def add_precision_arguments(parser: argparse.ArgumentParser, *, lists: bool = False) -> None:
    """Add the options of the precision of the weights and of the KV cache."""
    parser.add_argument(
        "--precision",
        metavar="NAME[,NAME]" if lists else None,
        help=f"of the weights: {', '.join(WEIGHT_PRECISIONS)}; default: of the checkpoint or release, or bf16",
    )
    parser.add_argument("--kv-precision", help="of the KV cache; default: of the checkpoint, or bf16")


def add_acceptance_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of measured and of published acceptance."""
    parser.add_argument(
        "--acceptance",
        metavar="RATES|FILE",
        help="rate of position 1 (0.7), of several positions (0.76,0.74,0.77), the file of ingest, or a file that "
        "ingest reads, such as a log; later positions follow the position law; default: published values",
    )
    parser.add_argument(
        "--acceptance-kind", default="conditional", choices=rates_file.KINDS, help="default: conditional"
    )
    parser.add_argument(
        "--tokens-per-cycle",
        type=float,
        metavar="TAU",
        help="measured with --measured-draft-len; overrides acceptance and laws",
    )
    parser.add_argument(
        "--measured-draft-len",
        type=int,
        metavar="N",
        help="length of the chain that gave --tokens-per-cycle or a log without it; the position law transfers it",
    )
    parser.add_argument(
        "--position-exponent",
        type=float,
        metavar="C",
        help="replaces the position law: odds at position i times i^-C; 0 is one rate for all positions",
    )
    parser.add_argument(
        "--task", metavar="TASK", help=f"task of the published acceptance: {', '.join(TASKS)}; default all of them"
    )


def add_drafting_arguments(parser: argparse.ArgumentParser, *, lists: bool = False) -> None:
    """Add the options of the precisions, of the draft and of its acceptance."""
    add_precision_arguments(parser, lists=lists)
    parser.add_argument(
        "--draft",
        default="none",
        metavar="NAME|config.json" + ("[,NAME]" if lists else ""),
        help="none, eagle, eagle2, eagle3, scylla-Nl, medusa, mtp, ngram, a model, or the config.json of a model "
        "or draft; default none" + ("; rates of each: --acceptance NAME=RATES,NAME=RATES" if lists else ""),
    )
    parser.add_argument("--draft-precision", help="of the draft; default: of its checkpoint, or --precision")
    parser.add_argument(
        "--draft-layers", type=int, metavar="N", help="decoder layers of a head; the laws give tokens per cycle"
    )
    parser.add_argument(
        "--draft-train-tokens",
        metavar="COUNT",
        help="pretraining tokens of a head, e.g. 10B; the laws give tokens per cycle",
    )
    add_acceptance_arguments(parser)
    parser.add_argument(
        "--reference-tokens-per-cycle",
        metavar="TAU[,LOW,HIGH]",
        help="tokens per cycle at EAGLE-2's tree (depth 6, top-k 10, 60 nodes); transferred to the draft shape",
    )


def add_draft_tp_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of the draft's TP ranks."""
    parser.add_argument(
        "--draft-tp", type=int, metavar="N", help="tensor-parallel GPUs of the draft, 1 or --tp; default --tp"
    )


def add_measured_plain_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of the measured time of plain decoding."""
    parser.add_argument(
        "--measured-plain-tpot",
        metavar="TIME[,TIME]",
        help="measured time per output token without a draft, one per --batch, e.g. 9.1ms; gives the throughput",
    )


def add_served_load_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the lengths of requests, and let the context depend on them."""
    parser.add_argument("--input-len", metavar="N", help="tokens of each prompt; adds the prefills (default: none)")
    parser.add_argument(
        "--output-len", metavar="N", help="tokens of each answer; --context is then the input and half of it"
    )
    parser.add_argument(
        "--prefix-hit", type=float, metavar="X", help="share of each prompt in the KV cache already; default 0"
    )
    parser.add_argument(
        "--batch-mode",
        default=CONTINUOUS,
        choices=BATCH_MODES,
        help="static: all sequences start together, and the batch waits for its slowest one; needs --output-len "
        "(default: continuous)",
    )
    parser.set_defaults(context=None)


def add_load_arguments(parser: argparse.ArgumentParser, *, batch: str, context: str) -> None:
    """Add the options of the load, with these defaults, and of the engine."""
    parser.add_argument(
        "--batch", default=batch, metavar="N[,N]", help=f"sequences decoded together; default {batch}"
    )
    parser.add_argument(
        "--context", default=context, metavar="N[,N]", help=f"tokens in each KV cache; default {context}"
    )
    add_deployment_arguments(parser)


def add_deployment_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the engine, of its memory, and of experts."""
    add_long_context_argument(parser)
    parser.add_argument(
        "--router-skew", type=float, metavar="A", help="Zipf exponent of expert popularity; default 0, uniform"
    )
    add_expert_overlap_argument(parser)
    add_engine_argument(parser)
    parser.add_argument(
        "--memory-share",
        type=float,
        metavar="X",
        help="as gpu_memory_utilization or mem_fraction_static; default: the range of the engine's defaults",
    )
    parser.add_argument(
        "--eager", action="store_true", help="no CUDA graphs, as with --enforce-eager or --disable-cuda-graph"
    )
    for name, what in NOT_MODELLED.items():
        parser.add_argument(f"--{name}", type=int, default=1, help=f"must be 1: {what} is not modelled")


def add_expert_overlap_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of the experts that tokens of one sequence have in common."""
    parser.add_argument(
        "--expert-overlap",
        type=float,
        metavar="S",
        help="share of experts that verified tokens of a sequence have in common; default: published range",
    )


def add_long_context_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that allows any context."""
    parser.add_argument(
        "--allow-long-context", action="store_true", help="allow a context beyond the positions of the model"
    )


def add_context_argument(parser: argparse.ArgumentParser) -> None:
    """Add the options of one context."""
    parser.add_argument("--context", default="1024", help="tokens in each KV cache (one value); default 1024")
    add_long_context_argument(parser)


def served_model(args: argparse.Namespace) -> tuple[Model, int]:
    """Return the model and the context of a verb with one context, and print the model's notes.

    Raises
    ------
    InputError
        For an unknown model, and for a context that exceeds its positions.
    """
    model = catalog.model(args.model)
    context = int(whole("context", count("context", args.context), 1))
    if not args.allow_long_context:
        check_context(model, context)
    print_notes(model_notes(model, context))
    overlap = getattr(args, "expert_overlap", None)
    return (model if overlap is None else model.with_expert_overlap(overlap)), context


def add_engine_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of the serving engine."""
    parser.add_argument(
        "--engine",
        default=DEFAULT_ENGINE,
        metavar="NAME",
        help="ideal (kernels only), vllm, sglang or trtllm, or a preset such as vllm-2025; see scylla-sim catalog "
        f"engines; default {DEFAULT_ENGINE}",
    )


def scenario_options(args: argparse.Namespace, **replaced: Any) -> dict[str, Any]:
    """Return the options of a command line as the fields of a `Scenario`, with numbers parsed.

    ``replaced`` gives values that differ from the command line. Options that a verb does not have keep the default.

    Raises
    ------
    InputError
        If a number cannot be parsed, or an option asks for a feature that is not modelled.
    """
    for name, what in NOT_MODELLED.items():
        if getattr(args, name, 1) != 1:
            raise fail(name, getattr(args, name), "must be 1", f"{what} is not modelled")
    names = {field.name for field in fields(Scenario)}
    given = {name: value for name, value in vars(args).items() if name in names} | replaced
    for name in COUNT_LISTS:
        if isinstance(given.get(name), str):
            given[name] = counts(name, given[name])
    for name in ("draft_train_tokens", "input_len", "output_len"):
        if isinstance(given.get(name), str):
            given[name] = count(name, given[name])
    rates, draft = given.get("acceptance"), given.get("draft")
    if isinstance(rates, str) and isinstance(draft, str):
        given["acceptance"] = acceptance_of(rates, name_list(draft)).get(draft, rates)  # those of several stay
    read_acceptance(given)
    if isinstance(given.get("verify_tokens"), str) and given["verify_tokens"] != THEOREM:
        given["verify_tokens"] = counts("verify_tokens", given["verify_tokens"])
    return given


def read_acceptance(given: dict[str, Any]) -> None:
    """Replace a file of an engine by the acceptance that it holds; files of rates are left to the scenario."""
    name = given.get("acceptance")
    if not isinstance(name, str) or not rates_file.is_file(name) or rates_file.holds_rates(name):
        return
    from scylla_sim.engines import acceptance_json  # only here, because most predictions read no log

    draft, length = given.get("draft"), given.get("measured_draft_len")
    known = acceptance_json.measured_file(name, length, draft if isinstance(draft, str) else None)
    if known is not None:
        given["acceptance"] = known
        if given.get("tokens_per_cycle") is None:
            given["measured_draft_len"] = None


def input_files(args: argparse.Namespace) -> list[str]:
    """Return the files that the options name: calibration and measured acceptance."""
    acceptance = args.acceptance or ""
    of_drafts = [part.partition("=")[2] for part in acceptance.split(",")]
    return [name for name in (args.calibration, acceptance, *of_drafts) if name and Path(name).is_file()]


def print_notes(notes: Iterable[str]) -> None:
    """Print notes on stderr, each once."""
    for text in dict.fromkeys(notes):
        note(f"note: {text}")


def once(name: str, values: Sequence[Value]) -> tuple[list[Value], list[str]]:
    """Return the values of a list, each once, and a note on those that were given several times.

    Examples
    --------
    >>> once("tp", [1, 2, 1])
    ([1, 2], ['tp: 1 is given twice or more and counts once'])
    """
    found = list(dict.fromkeys(values))
    again = [f"{value:g}" if isinstance(value, float) else str(value) for value in found if values.count(value) > 1]
    verb = "is" if len(again) == 1 else "are"
    counts_once = "counts once" if len(again) == 1 else "count once"
    return found, [f"{name}: {', '.join(again)} {verb} given twice or more and {counts_once}"] if again else []


def acceptance_of(text: str | None, drafts: Iterable[str]) -> dict[str, str | None]:
    """Return the acceptance of each draft: one text for all, or ``eagle3=0.7,medusa=0.5,0.4``.

    A part without a name continues the rates of the part before it.

    Examples
    --------
    >>> acceptance_of("eagle3=0.76,0.74,medusa=0.5", ["none", "eagle3", "medusa"])
    {'none': None, 'eagle3': '0.76,0.74', 'medusa': '0.5'}
    """
    drafts = list(drafts)
    if text is None or "=" not in text or Path(text).is_file():
        return dict.fromkeys(drafts, text)
    parts: list[str] = []
    for part in name_list(text):
        if "=" in part or not parts:
            parts.append(part)
        else:
            parts[-1] += f",{part}"
    found: dict[str, str | None] = dict.fromkeys(drafts)
    drafting = [draft for draft in drafts if draft != "none"]
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise fail("acceptance", part, "must be DRAFT=RATES", "or give one value for all drafts")
        if not drafting:
            raise fail("acceptance", part, "needs a draft", f"give --draft {name.strip()}")
        draft = one_of("acceptance", name.strip(), drafting)
        if found[draft] is not None:
            raise fail("acceptance", part, f"gives {draft} twice")
        found[draft] = value.strip()
    return found
