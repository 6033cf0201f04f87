"""The catalog: valid entries with sources, and errors for bad names and files."""

import json
from dataclasses import replace

import pytest

from scylla_sim.checks import InputError
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine, MemoryUse

REQUIRED_HARDWARE = """h100-sxm h100-pcie h200-sxm h800-sxm a100-sxm a100-sxm-40gb a100-pcie b200-sxm b300-sxm gb200
gb300 l40s l4 rtx-3090 rtx-4090 rtx-pro-6000 mi300x h100-nvl h20 gh200 a10g rtx-a6000 rtx-5090 mi355x""".split()
DENSE = """llama-2-7b llama-2-13b llama-2-70b llama-3-8b llama-3-70b llama-3.1-8b llama-3.1-70b llama-3.2-1b
llama-3.3-70b qwen2.5-0.5b qwen2.5-7b qwen2.5-14b qwen2.5-32b qwen2.5-72b vicuna-7b vicuna-13b vicuna-33b
tinyllama-1.1b llama-68m""".split()
EXPERTS = "mixtral-8x7b qwen3-30b-a3b qwen3-235b-a22b gpt-oss-20b gpt-oss-120b deepseek-v3".split()


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        ("hardware", catalog.hardware),
        ("models", catalog.model),
        ("drafts", catalog.draft),
        ("engines", catalog.engine),
    ],
)
def test_every_entry_is_valid_and_has_a_source(kind, build):
    for name in catalog.names(kind):
        build(name)
        assert all(row["source"] for row in catalog.describe(kind, name)), name


def test_names_that_scripts_rely_on_are_there():
    assert set(REQUIRED_HARDWARE) <= set(catalog.names("hardware"))
    assert {*DENSE, *EXPERTS} <= set(catalog.names("models"))
    assert {name for name in catalog.names("models") if catalog.model(name).moe} == set(EXPERTS)
    for name in ("none", "eagle", "eagle2", "eagle3", "medusa", "mtp", "ngram", "scylla-5l", "llama-68m"):
        assert catalog.draft(name).name == name


@pytest.mark.parametrize(
    ("name", "bf16", "bandwidth"),
    [  # dense peaks and bandwidths as the datasheets print them, in decimal prefixes
        ("h100-sxm", 989.4e12, 3.35e12),
        ("h200-sxm", 989.4e12, 4.8e12),
        ("a100-sxm", 312e12, 2.039e12),
        ("b200-sxm", 2250e12, 7.7e12),
        ("l40s", 362.05e12, 864e9),
    ],
)
def test_datasheet_values_are_dense_and_decimal(name, bf16, bandwidth):
    item = catalog.hardware(name)
    assert item.peak("bf16") == pytest.approx(bf16)
    assert item.memory_bytes_per_s == pytest.approx(bandwidth)


def test_h800_is_an_h100_with_a_slower_link():
    h100, h800 = catalog.hardware("h100-sxm"), catalog.hardware("h800-sxm")
    assert h800.peak_flop_per_s == h100.peak_flop_per_s
    assert h800.link_bytes_per_s == 200e9 < h100.link_bytes_per_s


def test_unknown_names_list_known_names_and_the_nearest():
    with pytest.raises(
        InputError, match=r"hardware='h101-sxm' is not known; did you mean h100-sxm\? known: h100-sxm"
    ):
        catalog.hardware("h101-sxm")
    with pytest.raises(InputError, match="model='llama-3.1-9b' is not known; did you mean llama-3.1-8b"):
        catalog.model("llama-3.1-9b")
    with pytest.raises(InputError, match="scylla-Nl"):
        catalog.draft("eagel")


@pytest.mark.parametrize("kind", ["hardware", "models"])
def test_every_alias_names_an_entry_and_no_entry_is_an_alias(kind):
    aliases = catalog._data("aliases")[kind]
    assert set(aliases.values()) <= set(catalog.names(kind))
    assert not {alias.lower() for alias in aliases} & set(catalog.names(kind))


@pytest.mark.parametrize("name", catalog.names("models"))
def test_the_repository_of_every_config_is_an_alias(name):
    if catalog._data("models")[name]["source"].startswith("config.json of "):
        repository = catalog._data("models")[name]["source"].removeprefix("config.json of ")
        assert catalog.canonical_name("models", repository) == name


def test_other_names_are_read_as_the_entry_and_reported():
    assert catalog.hardware("B200").name == "b200-sxm"
    assert catalog.model("meta-llama/Llama-3.3-70B-Instruct") == catalog.model("llama-3.3-70b")
    assert catalog.draft("meta-llama/Llama-3.2-1B-Instruct") == catalog.draft("llama-3.2-1b")
    notes = catalog.alias_notes(hardware="h100", models=["llama-3.1-8b", "Qwen/Qwen3-8B"])
    assert notes == ["hardware=h100 is read as h100-sxm", "model=Qwen/Qwen3-8B is read as qwen3-8b"]


@pytest.mark.parametrize(
    ("name", "bf16", "bandwidth", "memory_gb", "sms"),
    [  # FLOPs per second, bytes per second, memory of nvidia-smi in GB, SMs
        ("h20", 148e12, 4.0e12, 102.6, 78),
        ("h100-nvl", 835.5e12, 3.938e12, 100.5, 132),
        ("gh200", 989.5e12, 4.0e12, 102.6, 132),
        ("a10g", 70e12, 600e9, 24.1, 80),
        ("rtx-5090", 209.5e12, 1792e9, 34.4, 170),
        ("rtx-a6000", 154.8e12, 768e9, 51.5, 84),
        ("mi355x", 2516.6e12, 8e12, 309, 256),
    ],
)
def test_gpus_without_kernels_of_their_own_have_their_datasheet(name, bf16, bandwidth, memory_gb, sms):
    item = catalog.hardware(name)
    assert (item.peak("bf16"), item.memory_bytes_per_s, item.sm_count) == (bf16, bandwidth, sms)
    assert item.memory_bytes / 1e9 == pytest.approx(memory_gb, rel=0.002)


def test_reported_memory_is_below_the_nominal_memory():
    assert catalog.hardware("h100-sxm").usable_memory_bytes == 79.18 * 2**30
    b200 = catalog.hardware("b200-sxm")
    assert b200.usable_memory_bytes == 0.98 * b200.memory_bytes
    for name in catalog.names("hardware"):
        item = catalog.hardware(name)
        assert 0.95 * item.memory_bytes < item.usable_memory_bytes <= item.memory_bytes, name


@pytest.mark.parametrize(
    ("name", "mib"),
    [  # memory that CUDA or ROCm reports to programs
        ("a10g", 22_587),
        ("rtx-a6000", 48_676),
        ("h20", 97_285),
        ("h100-nvl", 93.09 * 1024),
        ("mi300x", 196_288),
    ],
)
def test_reported_memory_is_the_one_of_device_queries(name, mib):
    assert catalog.hardware(name).usable_memory_bytes == pytest.approx(mib * 2**20)


def test_a_file_can_change_some_fields_of_a_base(tmp_path):
    file = tmp_path / "gpu.toml"
    file.write_text(
        """[capped-4090]
base = "4090"
memory = { value = 48, unit = "GiB", source = "board with 48 GB" }
peak_bf16 = { value = 120, unit = "TFLOP/s", source = "measured at 300 W" }
"""
    )
    base, own = catalog.hardware("rtx-4090"), catalog.hardware(str(file))
    assert (own.name, own.family, own.calibration) == ("capped-4090", "ada", "l40s")
    assert (own.peak("bf16"), own.peak("fp8")) == (120e12, base.peak("fp8"))
    assert own.memory_bytes_per_s == base.memory_bytes_per_s
    assert own.usable_memory_bytes == 0.98 * 48 * 2**30
    file.write_text(file.read_text().replace("4090", "4091"))
    with pytest.raises(InputError, match=r"capped-4091.base='4091' is not known"):
        catalog.hardware(str(file))


def test_memory_of_every_preset_is_a_range_with_sources():
    vllm, sglang, ideal = (catalog.engine(name).memory for name in ("vllm", "sglang", "ideal"))
    assert (vllm.share, sglang.share, ideal.share) == ((0.9, 0.92), (0.75, 0.93), (0.9, 0.9))
    assert vllm.profiled_sequences == (256, 1024)
    assert sglang.profiled_sequences == (0, 0)
    with pytest.raises(InputError, match="graph_bytes"):
        MemoryUse(graph_bytes=(2.0, 1.0))


def test_missing_peak_lists_the_known_precisions():
    with pytest.raises(InputError, match="fp8.* has no peak in the catalog entry of a100-sxm; it has bf16"):
        catalog.hardware("a100-sxm").peak("fp8")


def test_hardware_file_needs_value_unit_and_source(tmp_path):
    good = """[my-gpu]
family = "test"
memory = { value = 24, unit = "GiB", source = "box" }
memory_bandwidth = { value = 1, unit = "TB/s", source = "box" }
peak_bf16 = { value = 100, unit = "TFLOP/s", source = "box" }
"""
    file = tmp_path / "gpu.toml"
    file.write_text(good)
    assert catalog.hardware(str(file)).peak("bf16") == 100e12
    file.write_text(good.replace(', source = "box" }', " }", 1))
    with pytest.raises(InputError, match="lacks its source"):
        catalog.hardware(str(file))
    file.write_text(good.replace("TB/s", "GiB"))
    with pytest.raises(InputError, match="unit='GiB' is not known.*GB/s, TB/s"):
        catalog.hardware(str(file))
    file.write_text(good.replace("value = 100", "value = 1e-300"))
    with pytest.raises(InputError, match="peak_flop_per_s"):
        catalog.hardware(str(file))
    file.write_text(good.replace("TB/s", "TiB/s"))
    with pytest.raises(InputError, match="unit='TiB/s' is not known"):
        catalog.hardware(str(file))
    file.write_text(good + "memroy = 3\n")
    with pytest.raises(InputError, match="memroy"):
        catalog.hardware(str(file))
    file.write_text("nonsense")
    with pytest.raises(InputError, match="is not TOML"):
        catalog.hardware(str(file))


def test_config_json_is_read_like_the_catalog(tmp_path):
    config = {
        "model_type": "llama",
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    assert catalog.model(str(file)).parameters == catalog.model("llama-3.1-8b").parameters
    assert catalog.model(str(tmp_path)) == catalog.model(str(file))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model_type": "deepseek_v4"}, "model_type='deepseek_v4' is not modelled"),
        ({"num_local_experts": 8}, "num_local_experts=8 is not modelled"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers='many' must be a whole number"),
        ({"num_key_value_heads": 5}, "num_kv_heads=5 must divide num_heads=32"),
    ],
)
def test_unmodelled_config_is_refused_by_name(tmp_path, change, line):
    config = {
        "model_type": "llama",
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "vocab_size": 1000,
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**config, **change}))
    with pytest.raises(InputError, match=line):
        catalog.model(str(file))


def test_draft_layers_belong_to_heads():
    assert catalog.draft("eagle3", layers=2).num_layers == 2
    with pytest.raises(InputError, match="does not apply"):
        catalog.draft("ngram", layers=2)
    with pytest.raises(InputError, match="does not apply"):
        catalog.draft("llama-68m", layers=2)


def test_engine_values_have_sources():
    engine = catalog.engine("vllm-2025")
    lower, upper = engine.intervals["host_s"]
    assert lower < 1.0e-3 < upper
    assert "vllm-20780" in engine.sources["host_s"]
    assert catalog.engine("ideal").host_s == 0


@pytest.mark.parametrize("alias", ["vllm", "sglang", "trtllm"])
def test_a_short_engine_name_is_the_newest_preset(alias):
    newest = max(name for name in catalog.names("engines") if name.startswith(alias))
    assert catalog.engine(alias).name == newest
    assert catalog.engine(alias) == catalog.engine(newest)
    assert {row["name"] for row in catalog.describe("engines", alias)} == {newest}


@pytest.mark.parametrize(("old", "new"), [("vllm-2025", "vllm-2026"), ("sglang-2025", "sglang-2026")])
def test_versions_of_an_engine_share_memory_and_graphs_but_not_the_host_work(old, new):
    one, other = catalog.engine(old), catalog.engine(new)
    newer = {"small_gpu_sequences": other.memory.small_gpu_sequences, "pad_below": other.memory.pad_below}
    memory = replace(one.memory, **newer)
    assert (memory, one.launch_s) == (other.memory, other.launch_s)
    assert (one.max_graph_tokens, one.max_graph_batch) == (other.max_graph_tokens, other.max_graph_batch)
    assert one.draft_host_s > other.draft_host_s


def test_speculation_under_tensorrt_llm_is_theory():
    assert {"draft_host_s", "draft_pass_host_s", "token_s"} <= catalog.engine("trtllm").theory
    assert "host_s" not in catalog.engine("trtllm").theory
    assert "draft_host_s" not in catalog.engine("vllm").theory


def test_a_misspelt_field_of_an_engine_is_refused(monkeypatch):
    entry = {"host_sec": {"value": 1.0, "lower": 0.5, "upper": 2.0, "unit": "ms", "source": "a test"}}
    monkeypatch.setattr(catalog, "_data", lambda kind: {"mine": entry})
    with pytest.raises(InputError, match="mine field='host_sec' is not known; did you mean host_s?"):
        catalog.engine("mine")


def test_an_engine_runs_the_kernels_of_its_own_framework():
    assert [catalog.engine(name).framework for name in ("vllm", "sglang", "ideal")] == ["vllm", "sglang", ""]


@pytest.mark.parametrize("name", catalog.names("engines"))
def test_engine_values_lie_in_their_intervals(name):
    engine = catalog.engine(name)
    for field, (lower, upper) in engine.intervals.items():
        assert 0 <= lower <= getattr(engine, field) <= upper
    assert name == "ideal" or any(lower < upper for lower, upper in engine.intervals.values())


def test_a_value_outside_its_interval_is_refused():
    with pytest.raises(InputError, match="host_s=0.001 must lie in its own interval"):
        Engine("x", host_s=1e-3, intervals={"host_s": (2e-3, 3e-3)})


def test_int8_without_a_peak_names_the_types_of_the_same_size():
    with pytest.raises(InputError, match="fp8 and int8_wo have the same size; a TOML file with base and peak_int8"):
        catalog.hardware("b200-sxm").peak("int8")
