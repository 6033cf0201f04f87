"""Named hardware, models, drafts and engines, read from ``data/*.toml`` and from files of the user.

Every quantity of the catalog carries a value, a unit and a source; an entry without them is refused. Unknown
names list the known ones.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from scylla_sim.checks import InputError, fail, one_of, whole
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import OVERHEADS, Engine
from scylla_sim.specs.hardware import Hardware
from scylla_sim.specs.hf_config import model_from_config
from scylla_sim.specs.model import Model
from scylla_sim.units import UNITS

KINDS = ("hardware", "models", "drafts", "engines")

_HARDWARE_FIELDS = {
    "memory": "memory_bytes",
    "memory_bandwidth": "memory_bytes_per_s",
    "sm_count": "sm_count",
    "l2": "l2_bytes",
    "link_bandwidth": "link_bytes_per_s",
    "gpus_per_node": "gpus_per_node",
}

_SCYLLA = re.compile(r"scylla-(\d+)l")


@cache
def _data(kind: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("scylla_sim") / "data" / f"{kind}.toml").read_text("utf-8"))


def _read_toml(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise fail("file", path, f"cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise fail("file", path, f"is not TOML ({error})") from None


def _is_folder(name: str) -> bool:
    """Whether a name is a folder; one that the system cannot even look up is none."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def names(kind: str) -> list[str]:
    """All names of a kind (`KINDS`), in catalog order."""
    return [name for name in _data(one_of("kind", kind, KINDS)) if name != "sources"]


_DIMENSIONS = {
    "memory": ("B", "GB", "MiB", "GiB"),
    "l2": ("B", "MiB", "GB", "GiB"),
    "memory_bandwidth": ("GB/s", "TB/s"),
    "link_bandwidth": ("GB/s", "TB/s"),
    "sm_count": ("count",),
    "gpus_per_node": ("count",),
    "peak": ("GFLOP/s", "TFLOP/s", "PFLOP/s"),
}
"""Units that a field of hardware may be given in: a bandwidth in GiB is a slip, not a number."""


def quantity(entry: str, field: str, given: Any) -> float:
    """Value of a catalog quantity in SI base units, refusing one without unit or source."""
    for key in ("value", "unit", "source"):
        if not isinstance(given, Mapping) or key not in given:
            raise fail(f"{entry}.{field}", given, f"lacks its {key}", "write { value, unit, source }")
    dimension = _DIMENSIONS.get("peak" if field.startswith("peak_") else field, tuple(UNITS))
    one_of(f"{entry}.{field} unit", str(given["unit"]), dimension)
    if not str(given["source"]).strip():
        raise fail(f"{entry}.{field}", given["value"], "lacks its source", "say where the number is from")
    if isinstance(given["value"], bool) or not isinstance(given["value"], int | float):
        raise fail(f"{entry}.{field}", given["value"], "must be a number")
    return float(given["value"]) * UNITS[given["unit"]]


def _hardware_from(name: str, entry: Mapping[str, Any]) -> Hardware:
    values: dict[str, Any] = {"peak_flop_per_s": {}}
    for field, given in entry.items():
        if field in ("family", "link"):
            values[field] = str(given)
        elif field.startswith("peak_"):
            values["peak_flop_per_s"][field.removeprefix("peak_")] = quantity(name, field, given)
        elif field != "calibration":
            one_of(f"{name} field", field, (*_HARDWARE_FIELDS, "family", "link", "calibration", "peak_*"))
            values[_HARDWARE_FIELDS[field]] = quantity(name, field, given)
    for field in ("memory", "memory_bandwidth"):
        if field not in entry:
            raise fail(f"{name}.{field}", None, "is missing from the hardware description")
    values.setdefault("family", name)
    for field in ("sm_count", "gpus_per_node"):
        if field in values:
            values[field] = int(whole(f"{name}.{field}", values[field], 0))
    return Hardware(name=name, **values)


def hardware(name: str) -> Hardware:
    """Hardware by catalog name, or from a TOML file with one entry in the catalog's format.

    Examples
    --------
    >>> h100 = hardware("h100-sxm")
    >>> h100.memory_bytes_per_s, h100.sm_count
    (3350000000000.0, 132)
    """
    if name.endswith(".toml"):
        entries = {key: value for key, value in _read_toml(name).items() if key != "sources"}
        if len(entries) != 1 or not isinstance(next(iter(entries.values())), Mapping):
            raise fail("hardware", name, "must hold exactly one table, for example [my-gpu]")
        ((entry_name, entry),) = entries.items()
        return _hardware_from(entry_name, entry)
    hint = "or give a file: --hardware my-gpu.toml"
    return _hardware_from(name, _data("hardware")[one_of("hardware", name, names("hardware"), hint=hint)])


def calibration_name(name: str) -> str | None:
    """Device whose shipped calibration serves this hardware; ``None`` for a user's own description."""
    entry = _data("hardware").get(name)
    return str(entry["calibration"]) if entry else None


def model(name: str) -> Model:
    """Model by catalog name, or from a path to a ``config.json`` (or to the folder that holds it).

    Examples
    --------
    >>> round(model("llama-3.1-8b").parameters / 1e9, 2)
    8.03
    """
    path = Path(name)
    if name.endswith(".json") or _is_folder(name):
        file = path / "config.json" if _is_folder(name) else path
        try:
            config = json.loads(file.read_text("utf-8"))
        except OSError as error:
            raise fail("model", name, f"cannot be read ({error.strerror})") from None
        except ValueError as error:
            raise fail("model", name, f"is not JSON ({error})") from None
        if not isinstance(config, Mapping):
            raise fail("model", name, "must hold a JSON object")
        label = file.parent.name if file.name == "config.json" else file.stem
        return model_from_config(label or file.stem, config)
    hint = "or give a path to a config.json"
    return model_from_config(name, _data("models")[one_of("model", name, names("models"), hint=hint)])


def draft(name: str, *, layers: int | None = None) -> Draft:
    """Draft by name: ``none``, an entry of drafts.toml, ``scylla-Nl`` (N decoder layers), or a model name.

    ``layers`` replaces the depth of a head.
    """
    match = _SCYLLA.fullmatch(name)
    if match:
        if layers is not None and layers != int(match[1]):
            raise fail("draft_layers", layers, f"contradicts {name}", "give one of the two")
        name, layers = "scylla", int(match[1])
    known = _data("drafts")
    if name not in known:
        if name in names("models") or name.endswith(".json") or _is_folder(name):
            if layers is not None:
                raise fail("draft_layers", layers, f"does not apply to the independent model {name}")
            return Draft(name=name, kind="model", model=model(name), reads_target_head=False)
        choices = [n for n in names("drafts") if n != "scylla"]
        one_of("draft", name, [*choices, "scylla-Nl", *names("models")], hint="or a path to a config.json")
    entry = {key: value for key, value in known[name].items() if key not in ("source", "note")}
    if layers is not None:
        if entry["kind"] != "head":
            raise fail(
                "draft_layers", layers, f"does not apply to {name}", "it goes with eagle*, mtp and scylla-Nl"
            )
        entry["num_layers"] = layers
    label = f"scylla-{layers or entry.get('num_layers', 1)}l" if name == "scylla" else name
    return Draft(name=label, **entry)


def engine(name: str) -> Engine:
    """Engine preset by name; every overhead of a preset has its source and interval in engines.toml."""
    entry = _data("engines")[one_of("engine", name, names("engines"))]
    given = {field: entry[field] for field in OVERHEADS if field in entry}
    values = {field: quantity(name, field, item) for field, item in given.items()}
    intervals = {field: _interval(name, field, item) for field, item in given.items()}
    sources = {field: str(item["source"]) for field, item in given.items()}
    tokens, batch = (
        int(entry.get(limit, {"value": 0})["value"]) for limit in ("max_graph_tokens", "max_graph_batch")
    )
    return Engine(
        name=name,
        framework=str(entry.get("framework", {"value": ""})["value"]),
        eager=False,
        max_graph_tokens=tokens,
        max_graph_batch=batch,
        intervals=intervals,
        sources=sources,
        **values,
    )


def _interval(entry: str, field: str, given: Mapping[str, Any]) -> tuple[float, float]:
    """Lower and upper end of a quantity in SI base units."""
    for key in ("lower", "upper"):
        if key not in given:
            raise fail(f"{entry}.{field}", given["value"], f"lacks its {key} end")
    lower, upper = (quantity(entry, field, {**given, "value": given[key]}) for key in ("lower", "upper"))
    return lower, upper


def describe(kind: str, name: str) -> list[dict[str, Any]]:
    """Rows of one entry: field, value, unit, source, note, with the source spelled out."""
    data = _data(one_of("kind", kind, KINDS))
    entry = data[one_of(kind, name, names(kind))]
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
                "name": name,
                "field": field,
                "value": item["value"],
                **{key: item[key] for key in ("lower", "upper") if key in item},
                "unit": item.get("unit", ""),
                "source": cited.get(source, source),
                "note": item.get("note", entry.get("note", "") if not isinstance(given, Mapping) else ""),
            }
        )
    return rows


def check() -> None:
    """Build every entry of the catalog; raises on the first that breaks a law (used by the tests)."""
    for name in names("hardware"):
        hardware(name)
    for name in names("models"):
        model(name)
    for name in names("drafts"):
        draft(name)
    for name in names("engines"):
        engine(name)
    for kind in KINDS:
        cited = _data(kind).get("sources", {})
        for name in names(kind):
            for row in describe(kind, name):
                if not row["source"]:
                    raise InputError(f"{kind}={name}.{row['field']} has no source")
        for key, text in cited.items():
            if not text:
                raise InputError(f"source={key} is empty in {kind}.toml")
