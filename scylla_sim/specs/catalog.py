"""Hardware, models, drafts and engines by name, from ``scylla_sim/data/*.toml`` and from files of the user.

Every quantity of the catalog has a value, a unit and a source. An unknown name is an error that lists the known
names. `canonical_name` accepts other names of an entry, such as ``h100`` or a repository on Hugging Face.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from scylla_sim.checks import fail, one_of
from scylla_sim.records import read_text
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.draft_config import draft_from_config
from scylla_sim.specs.draft_method import declared_method
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.engine_table import engine_from
from scylla_sim.specs.hardware import Hardware
from scylla_sim.specs.hardware_table import hardware_from
from scylla_sim.specs.hf_config import model_from_config
from scylla_sim.specs.model import Model
from scylla_sim.specs.other_words import known_word
from scylla_sim.specs.quantization import from_config
from scylla_sim.text.formats import parse_json, parse_toml

KINDS = ("hardware", "models", "drafts", "engines")
"""Kinds of entries; each has a file ``data/<kind>.toml``."""

_SCYLLA = re.compile(r"scylla-(\d+)l")


@cache
def _data(kind: str) -> dict[str, Any]:
    """Return the content of the TOML file of a kind."""
    return tomllib.loads((resources.files("scylla_sim") / "data" / f"{kind}.toml").read_text("utf-8"))


def _read_toml(path: str) -> dict[str, Any]:
    return parse_toml(read_text(path), path)


def _is_folder(name: str) -> bool:
    """Return whether a name is a folder; false for a name that the system rejects."""
    try:
        return bool(name) and Path(name).is_dir()
    except (OSError, ValueError):
        return False


@cache
def _engine_entry(name: str) -> dict[str, Any]:
    """Return the table of an engine preset, completed by the preset that its key ``inherits`` names."""
    own = dict(_data("engines")[one_of("inherits", name, names("engines"))])
    base = own.pop("inherits", None)
    return {**(_engine_entry(base) if base else {}), **own}


def _entry(kind: str, name: str) -> dict[str, Any]:
    """Return the table of an entry."""
    return _engine_entry(name) if kind == "engines" else _data(kind)[name]


def names(kind: str) -> list[str]:
    """Return all names of one of `KINDS`, in the order of the catalog."""
    return [name for name in _data(one_of("kind", kind, KINDS)) if name != "sources"]


@cache
def _aliases(kind: str) -> dict[str, str]:
    """Return the other names of the entries of a kind, in lower case -> name of the entry."""
    return {alias.lower(): name for alias, name in _data("aliases").get(kind, {}).items()}


def canonical_name(kind: str, name: str) -> str:
    """Return the name of the entry that a name or an alias stands for; unknown names are returned unchanged.

    Examples
    --------
    >>> canonical_name("hardware", "B200"), canonical_name("models", "meta-llama/Llama-3.3-70B-Instruct")
    ('b200-sxm', 'llama-3.3-70b')
    """
    known = names(kind)
    if name in known:
        return name
    lower = name.lower()
    return lower if lower in known else _aliases(kind).get(lower, name)


def alias_notes(*, hardware: str = "", models: Sequence[str] = ()) -> list[str]:
    """Return one note for each name that is read as the entry of another name."""
    given = [("hardware", "hardware", hardware), *(("model", "models", name) for name in models)]
    read_as = [(label, name, canonical_name(kind, name)) for label, kind, name in given]
    return [f"{label}={name} is read as {entry}" for label, name, entry in read_as if name != entry]


def _with_base(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of a file, completed by the GPU that its key ``base`` names.

    A changed memory drops the reported memory of the base, and a changed peak of one precision keeps the others.

    Raises
    ------
    InputError
        When ``base`` or ``calibration`` names no GPU of the catalog.
    """
    own = dict(entry)
    for key in ("base", "calibration"):
        if key in own:
            own[key] = canonical_name("hardware", str(own[key]))
            one_of(f"{name}.{key}", own[key], names("hardware"))
    if "base" not in own:
        return own
    base = dict(_data("hardware")[own.pop("base")])
    if "memory" in own:
        base.pop("reported_memory", None)
    return {**base, **own}


def _only_table(option: str, path: str) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the content of the one table of a TOML file."""
    entries = {key: value for key, value in _read_toml(path).items() if key != "sources"}
    if len(entries) != 1 or not isinstance(next(iter(entries.values())), Mapping):
        raise fail(option, path, "must hold exactly one table, for example [my-gpu]")
    ((name, entry),) = entries.items()
    return name, entry


def hardware(name: str) -> Hardware:
    """Return hardware by catalog name, or from a TOML file with one table in the format of the catalog.

    Raises
    ------
    InputError
        For an unknown name or field, and for a file that cannot be read.

    Examples
    --------
    >>> h100 = hardware("h100-sxm")
    >>> h100.memory_bytes_per_s, h100.sm_count
    (3350000000000.0, 132)
    """
    if name.endswith(".toml"):
        entry_name, entry = _only_table("hardware", name)
        return hardware_from(entry_name, _with_base(entry_name, entry))
    return _catalog_hardware(canonical_name("hardware", name))


@cache
def _catalog_hardware(name: str) -> Hardware:
    """Return the hardware of a catalog entry."""
    hint = "or give the path of a TOML file, such as my-gpu.toml"
    return hardware_from(name, _data("hardware")[one_of("hardware", name, names("hardware"), hint=hint)])


def calibration_name(name: str) -> str | None:
    """Return the device whose shipped calibration is used for a hardware; ``None`` outside the catalog."""
    entry = _data("hardware").get(canonical_name("hardware", name))
    return str(entry["calibration"]) if entry else None


def _is_config(name: str) -> bool:
    """Return whether a name is the path of a ``config.json`` or of its folder."""
    return name.endswith(".json") or _is_folder(name)


def _read_config(option: str, name: str) -> tuple[str, Mapping[str, Any]]:
    """Return a label and the content of a ``config.json``, given its path or that of its folder."""
    path = Path(name)
    file = path / "config.json" if _is_folder(name) else path
    config = parse_json(read_text(file, option=option), name, option=option, lenient=True)
    if not isinstance(config, Mapping):
        raise fail(option, name, "must hold a JSON object")
    label = file.parent.name if file.name == "config.json" else file.stem
    return label or file.stem, config


def _quantization_beside(name: str) -> Mapping[str, Any] | None:
    """Return the content of ``hf_quant_config.json`` beside a ``config.json``; ``None`` if there is none.

    Files named ``NAME_config.json`` have ``NAME_hf_quant_config.json`` beside them.
    """
    path = Path(name)
    file = path / "config.json" if _is_folder(name) else path
    beside = file.with_name(file.name.replace("config.json", "hf_quant_config.json"))
    return _read_config("model", str(beside))[1] if beside != file and beside.is_file() else None


def model(name: str) -> Model:
    """Return a model by catalog name, or from the path of a ``config.json`` or of its folder.

    Raises
    ------
    InputError
        For an unknown name, a file that cannot be read, and a model that is not modelled.

    Examples
    --------
    >>> round(model("llama-3.1-8b").parameters / 1e9, 2)
    8.03
    """
    if _is_config(name):
        label, config = _read_config("model", name)
        if "quantization" in config and "num_hidden_layers" not in config and "text_config" not in config:
            rule = "states a quantization, not a model"
            raise fail("model", name, rule, "give the config.json beside it, which is read together with it")
        method = declared_method(config, label)
        if method is not None:
            raise fail("model", name, f"is the config of a draft ({method})", "give it to --draft")
        quantization = from_config(config, _quantization_beside(name))
        return replace(model_from_config(label, config), quantization=quantization)
    return _catalog_model(canonical_name("models", name))


@cache
def _catalog_model(name: str) -> Model:
    """Return the model of a catalog entry."""
    hint = "or give a path to a config.json"
    entry = dict(_data("models")[known_word("model", name, names("models"), hint=hint)])
    skew, released = entry.pop("router_skew", None), entry.pop("released_precision", {"value": ""})
    found = replace(model_from_config(name, entry), released_precision=released["value"])
    return found.with_router_skew(skew["value"]) if skew else found


def draft(name: str, *, layers: int | None = None) -> Draft:
    """Return a draft by name.

    Parameters
    ----------
    name
        ``none``, an entry of drafts.toml, ``scylla-Nl`` with N decoder layers, the name of a model, or the path of
        a ``config.json`` or of its folder.
    layers
        Number of decoder layers of a head; ``None`` for the default.

    Raises
    ------
    InputError
        For an unknown name, and for ``layers`` of a draft without decoder layers.

    Examples
    --------
    >>> draft("scylla-5l").num_layers, draft("llama-68m").kind
    (5, 'model')
    """
    match = _SCYLLA.fullmatch(name)
    if match:
        if layers is not None and layers != int(match[1]):
            raise fail("draft_layers", layers, f"contradicts {name}", "give one of the two")
        name, layers = "scylla", int(match[1])
    known = _data("drafts")
    if name not in known:
        if not _is_config(name):
            name = canonical_name("models", name)
        if name in names("models") or _is_config(name):
            if layers is not None:
                raise fail("draft_layers", layers, f"does not apply to the draft {name}", "it has its own layers")
            if _is_config(name):
                label, config = _read_config("draft", name)
                quantization = from_config(config, _quantization_beside(name))
                return replace(draft_from_config(label, config), quantization=quantization)
            return Draft(name=name, kind="model", model=model(name), reads_target_head=False)
        choices = [n for n in names("drafts") if n != "scylla"]
        from difflib import get_close_matches  # errors only

        near = get_close_matches(name.lower(), names("models"), n=5, cutoff=0.5)
        hint = "or a model of scylla-sim catalog models, or a path to a config.json"
        known_word("draft", name, [*choices, "scylla-Nl", *near], hint=hint)
    entry = {key: value for key, value in known[name].items() if key not in ("source", "note")}
    if layers is not None:
        if entry["kind"] != "head":
            raise fail(
                "draft_layers", layers, f"does not apply to {name}", "it applies to eagle*, mtp and scylla-Nl"
            )
        entry["num_layers"] = layers
    label = f"scylla-{layers or entry.get('num_layers', 1)}l" if name == "scylla" else name
    return Draft(name=label, **entry)


def engine(name: str) -> Engine:
    """Return an engine preset by name or alias, with the intervals and sources of its overheads.

    The path of a TOML file gives the engine of its one table, in the format of the catalog. Its key ``inherits``
    names a preset for all fields that the table does not have.

    Raises
    ------
    InputError
        For an unknown name or field, and for a file that cannot be read.

    Examples
    --------
    >>> engine("vllm").name, engine("vllm-2025").framework
    ('vllm-2026', 'vllm')
    """
    if name.endswith(".toml"):
        entry_name, entry = _only_table("engine", name)
        own = {key: value for key, value in entry.items() if key != "inherits"}
        base = canonical_name("engines", str(entry["inherits"])) if "inherits" in entry else ""
        return engine_from(entry_name, {**(_engine_entry(base) if base else {}), **own})
    return _catalog_engine(canonical_name("engines", name))


@cache
def _catalog_engine(name: str) -> Engine:
    """Return the engine of a catalog entry."""
    known = [*_aliases("engines"), *names("engines")]
    return engine_from(name, _engine_entry(known_word("engine", name, known)))


def describe(kind: str, name: str) -> list[dict[str, Any]]:
    """Return one row per field of an entry: name, field, value, its ends, unit, full source and note."""
    data = _data(one_of("kind", kind, KINDS))
    entry = _entry(kind, one_of(kind, canonical_name(kind, name), names(kind)))
    cited: Mapping[str, str] = data.get("sources", {})
    whole = str(entry.get("source", "this package's own naming"))
    rows = []
    for field, given in entry.items():
        if field in ("source", "note"):
            continue
        item = given if isinstance(given, Mapping) else {"value": given, "unit": "", "source": whole}
        source = str(item.get("source", ""))
        rows.append(
            {
                "name": canonical_name(kind, name),
                "field": field,
                "value": item["value"],
                **{key: item[key] for key in ("lower", "upper") if key in item},
                "unit": item.get("unit", ""),
                "source": cited.get(source, source),
                "note": item.get("note", entry.get("note", "") if not isinstance(given, Mapping) else ""),
            }
        )
    return rows
