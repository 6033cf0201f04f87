"""Good inputs of every reader, from which `proof.odd` makes odd ones. Numbers are round and stand for nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_validate.records.record_file import checksum
from proof import odd

ROOT = Path(__file__).parent.parent

Versions = Iterator[tuple[str, bytes]]


@dataclass(frozen=True)
class Reader:
    """One file that a command reads.

    Attributes
    ----------
    name
        Name in the table.
    file
        Name of the file below the folder of inputs.
    content
        Good content.
    command
        Command line with ``{f}`` for the file, ``{d}`` for the folder of inputs and ``{o}`` for that of outputs.
    versions
        Function from the good content to odd ones.
    """

    name: str
    file: str
    content: bytes
    command: str
    versions: Callable[[bytes], Versions]


def _csv(head: str, *rows: str) -> bytes:
    return "\n".join((head, *rows, "")).encode()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


GEMM = _csv("op,device,dtype,m,n,k", "gemm,h100-sxm,bf16,64,4096,4096")
ATTENTION = _csv(
    "op,device,dtype,kv_dtype,batch,kv_len,q_len,num_heads,num_kv_heads,head_dim,window",
    "decode_attention,h100-sxm,bf16,bf16,8,1024,1,32,8,128,0",
)
STEPS = _csv("device,dtype,model,batch,context,tokens", "h100-sxm,bf16,llama-3.1-8b,8,1024,4")
CYCLES = _csv(
    "device,dtype,model,draft,draft_len,top_k,verify_tokens,tokens_per_cycle,batch_size,context_len",
    "h100-sxm,bf16,llama-3.1-8b,eagle3,3,1,4,2.4,8,1024",
)
TREES = _csv(
    "device,dtype,model,draft,draft_len,top_k,verify_tokens,batch_size,context_len,paths",
    "h100-sxm,bf16,llama-3.1-8b,eagle3,2,2,4,8,1024,0 1 0.0",
)
RANKS = _csv("depth,rank,probability", "1,0,0.6", "1,1,0.2", "2,0,0.5", "2,1,0.2")
TPOT = _csv(
    "device,engine,model,dtype,tp,batch,input_len,output_len,tpot_ms",
    *(f"h100-sxm,vllm,llama-3.1-70b,fp8,4,{batch},1024,1024,{9 + batch / 8}" for batch in (8, 16, 32)),
)
LAW = _csv("tokens,tau,w,seed", *(f"{10**i},{5 + i / 10},{i + 1},{i % 2}" for i in range(7)))
DECAY = _csv(
    "series,draft_len,tokens_per_cycle",
    *("a,1,1.86", "a,3,3.08", "a,5,3.73", "b,1,1.69", "b,3,2.37", "b,5,2.60", "c,1,1.83", "c,3,2.94", "c,5,3.47"),
)
COUNTS = _csv("position,accepted,drafted", "1,760,1000", "2,562,760", "3,433,562")
KERNEL_ROWS = _csv(
    "op,device,dtype,m,n,k,latency_ms",
    *(f"gemm,h100-sxm,bf16,{2**i},{512 * (j + 1)},4096,{(i + j + 1) / 100}" for i in range(6) for j in range(6)),
)
PREDICTED = _csv(
    "op,device,dtype,m,n,k,predicted_s,naive_s,latency_ms",
    "gemm,h100-sxm,bf16,64,4096,4096,1e-5,8e-6,0.011",
    "gemm,h100-sxm,bf16,128,4096,4096,1.4e-5,8e-6,0.016",
)
TRACE = _csv("arrival_s,input_tokens,output_tokens,cached_tokens", "0,100,20,0", "0.5,50,10,20", "0.9,80,30,0")
MOONCAKE = b"".join(
    _json({"timestamp": 900 * i, "input_length": 600 + i, "output_length": 20, "hash_ids": [0, i]}) + b"\n"
    for i in range(3)
)
TREE_ACCEPTANCE = _csv(
    "drafting,temperature,nodes,tokens_per_cycle", "tree,0,3,1.8", "tree,0,7,2.2", "tree,0,15,2.4", "chain,0,3,1.7"
)
VERIFY = _csv("batch_size,tokens,verify_s", *(f"{b},{n},{1e-3 + b * n / 1e5}" for b in (1, 8) for n in (1, 4, 16)))
HARDWARE = b"""[my-gpu]
family = "hopper"
link = "none"
memory = {value = 80, unit = "GB", source = "x"}
memory_bandwidth = {value = 3.35, unit = "TB/s", source = "x"}
peak_bf16 = {value = 989, unit = "TFLOP/s", source = "x"}
sm_count = {value = 132, unit = "count", source = "x"}
l2 = {value = 50, unit = "MiB", source = "x"}
"""
CONFIG = {
    **{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 4, "hidden_size": 256},
    **{"intermediate_size": 512, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 32},
    **{"vocab_size": 1000, "tie_word_embeddings": False, "max_position_embeddings": 4096, "hidden_act": "silu"},
    **{"rope_theta": 1e4, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16"},
}
MOE = {
    **CONFIG,
    **{"model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
    **{"decoder_sparse_step": 1, "mlp_only_layers": [0]},
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
DEEPSEEK = {
    **CONFIG,
    **{"model_type": "deepseek_v3", "kv_lora_rank": 64, "q_lora_rank": 96, "qk_rope_head_dim": 16},
    **{"qk_nope_head_dim": 32, "v_head_dim": 32, "n_routed_experts": 8, "n_shared_experts": 1},
    **{"num_experts_per_tok": 2, "moe_intermediate_size": 64, "first_k_dense_replace": 1},
    "num_nextn_predict_layers": 1,
}
SLIDING = {
    **CONFIG,
    **{"model_type": "gemma3_text", "sliding_window": 128, "layer_types": ["sliding_attention"] * 3},
}
SLIDING["layer_types"] = ["sliding_attention"] * 3 + ["full_attention"]
HEAD = {
    **CONFIG,
    **{"architectures": ["LlamaForCausalLMEagle3"], "num_hidden_layers": 1, "draft_vocab_size": 500},
    "target_hidden_size": 4096,
}
RATES = {
    **{"schema": "scylla-sim/acceptance/1", "kind": "conditional", "acceptance_rate": [0.7, 0.6, 0.6]},
    **{"tokens_per_cycle": 2.3, "tokens_per_cycle_lower": 2.2, "tokens_per_cycle_upper": 2.4},
    **{"draft_len": 3, "draft_len_max": 3, "evidence": "recorded"},
}
VLLM = (
    b"INFO 09-08 14:09:24 [metrics.py:120] SpecDecoding metrics: Mean acceptance length: 2.10, Accepted "
    b"throughput: 1.00 tokens/s, Drafted throughput: 2.00 tokens/s, Accepted: 110 tokens, Drafted: 300 tokens, "
    b"Per-position acceptance rate: 0.600, 0.300, 0.200, Avg Draft acceptance rate: 36.7%\n"
)
SGLANG = (
    b"[2026-08-22 10:27:11 TP0] Decode batch, #running-req: 4, #token: 9, accept len: 2.50, accept rate: 0.39, "
    b"cuda graph: True, gen throughput (token/s): 178.86, #queue-req: 0\n"
)
PAGE = b"".join(
    f'vllm:spec_decode_num_{name}_total{{engine="0",model_name="m"{label}}} {value}\n'.encode()
    for name, label, value in (
        *(("drafts", "", 100.0), ("draft_tokens", "", 200.0), ("accepted_tokens", "", 110.0)),
        *(("accepted_tokens_per_pos", ',position="0"', 70.0), ("accepted_tokens_per_pos", ',position="1"', 40.0)),
    )
)
TRTLLM = {
    **{"iter": 2, "iterLatencyMS": 20.0, "inflightBatchingStats": {"numGenRequests": 8}},
    "specDecodingStats": {"numDraftTokens": 24, "numAcceptedTokens": 12, "numRequestsWithDraftTokens": 8},
}
LLAMA = (
    b"slot print_timing: id  0 | task 0 |        eval time = 100.50 ms / 41 tokens\n"
    b"slot print_timing: id  0 | task 0 | draft acceptance = 0.50000 ( 20 accepted / 40 generated)\n"
)
BENCH = {
    **{"model_id": "m", "completed": 20, "max_concurrency": 1, "duration": 266.9, "output_throughput": 76.73},
    **{"total_output_tokens": 20480, "mean_tpot_ms": 12.65, "spec_decode_acceptance_length": 3.204},
    **{"spec_decode_num_drafts": 6393, "spec_decode_draft_tokens": 19179, "spec_decode_accepted_tokens": 14090},
    "spec_decode_per_position_acceptance_rates": [0.8342, 0.7291, 0.6407],
}


AZURE = _csv(
    "TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:15:46.68,374,44", "2023-11-16 18:15:50.68,396,20"
)
CLASSES = b"""[[class]]
name = "chat"
input_len = "500"
output_len = "60"
share = 0.7
[[class]]
name = "code"
input_len = "800"
output_len = "50"
share = 0.3
prefix_hit = 0.2
"""
PRICES = b"h100-sxm = 2.5\nl40s = 1.1\n"


def _short(value: Any) -> Any:
    """Return a parsed file with at most two elements in each list and two groups in each object of kernels."""
    if isinstance(value, list):
        return [_short(item) for item in value[:2]]
    return {key: _short(item) for key, item in value.items()} if isinstance(value, dict) else value


def record(name: str, *cases: int) -> dict[str, Any]:
    """Return a committed record with a few of its cases."""
    found = json.loads((ROOT / f"gpu_validate/recorded/{name}.json").read_text())
    found |= {part: [found[part][case] for case in cases] for part in ("values", "samples")}
    about = found["provenance"]
    found["provenance"] = {
        **about,
        **{key: _short(about[key]) for key in ("specs", "states", "drifting") if key in about},
    }
    return signed(found)


def signed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its checksum made anew, as somebody who edits it could."""
    return {**value, "sha256": checksum(value)}


def record_files(data: bytes) -> Versions:
    """Yield odd versions of a record: with one odd value and a right checksum, and damaged as a file."""
    yield from odd.whole_files(data)
    for name, value in odd.json_values(json.loads(data)):
        yield name, _json(signed(value) if isinstance(value, dict) else value)


def calibration() -> dict[str, Any]:
    """Return the smallest shipped calibration with one group of each operation."""
    found = json.loads((ROOT / "scylla_sim/data/calibrations/a100-sxm.json").read_text())
    found["kernels"] = {op: dict(list(groups.items())[:1]) for op, groups in found["kernels"].items()}
    return found


PREDICT = "scylla-sim predict --hardware h100-sxm --model llama-3.1-8b"
SERVE = "scylla-sim serve-sim --hardware h100-sxm --model llama-3.1-8b"
PLAN = "scylla-sim plan --hardware h100-sxm,l40s --model llama-3.1-8b --context 1024"
INGEST = "scylla-sim ingest {f}"


def readers() -> list[Reader]:
    """Return every reader of the command lines."""
    tables = {
        "kernels": (GEMM, "scylla-sim kernels --shapes {f}"),
        "kernels-attention": (ATTENTION, "scylla-sim kernels --shapes {f}"),
        "steps": (STEPS, "scylla-sim steps --shapes {f}"),
        "cycles": (CYCLES, "scylla-sim cycles --shapes {f}"),
        "cycles-trees": (TREES, "scylla-sim cycles --shapes {f} --ranks {d}/ranks.csv"),
        "ranks": (RANKS, "scylla-sim cycles --shapes {d}/cycles-trees.csv --ranks {f}"),
        "tpot": (TPOT, "scylla-sim tpot --runs {f}"),
        "laws": (LAW, "scylla-sim laws {f} --x tokens --y tau --weight w --forms log-linear,linear"),
        "decay": (DECAY, "scylla-sim decay {f} --by series"),
        "counts": (COUNTS, INGEST),
        "calibrate": (KERNEL_ROWS, "scylla-sim calibrate --measurements {f} --device h100-sxm --out {o}/c.json"),
        "compare": (PREDICTED, "gpu-validate compare --predicted {f} --measured {f}"),
        "merge": (PREDICTED, "gpu-validate merge --measured {f} --predicted blind={f} --out {o}/m.csv"),
        "trace": (TRACE, "scylla-sim serve-sim --hardware h100-sxm --model llama-3.1-8b --trace {f}"),
        "optimum": (
            TREE_ACCEPTANCE,
            "gpu-validate optimum --acceptance {f} --verify {d}/verify.csv --out {o}/o.csv",
        ),
        "verify": (VERIFY, "gpu-validate optimum --acceptance {d}/optimum.csv --verify {f} --out {o}/o.csv"),
    }
    found = [Reader(name, f"{name}.csv", data, line, odd.csv_files) for name, (data, line) in tables.items()]
    logs = {
        "vllm-log": (VLLM, ""),
        "sglang-log": (SGLANG, " --draft-len 3"),
        "vllm-metrics": (PAGE, ""),
        "llama-log": (LLAMA, ""),
    }
    found += [
        Reader(name, f"{name}.txt", data, f"{INGEST}{more}", odd.text_files) for name, (data, more) in logs.items()
    ]
    replay = f"{SERVE} --trace {{f}}"
    found += [
        Reader("mooncake", "mooncake.jsonl", MOONCAKE, replay, odd.text_files),
        Reader("trtllm", "trtllm.json", _json(TRTLLM), INGEST, odd.json_files),
        Reader("bench", "bench.json", _json(BENCH), INGEST, odd.json_files),
        Reader("azure", "azure.csv", AZURE, replay, odd.csv_files),
        Reader(
            "classes", "classes.toml", CLASSES, f"{SERVE} --rate 5/s --requests 50 --classes {{f}}", odd.toml_files
        ),
        Reader("prices", "prices.toml", PRICES, f"{PLAN} --price {{f}}", odd.toml_files),
        Reader("hardware", "gpu.toml", HARDWARE, PREDICT.replace("h100-sxm", "{f}"), odd.toml_files),
        Reader("rates", "rates.json", _json(RATES), f"{PREDICT} --draft eagle3 --acceptance {{f}}", odd.json_files),
        Reader(
            *("calibration", "calibration.json", _json(calibration())),
            *("scylla-sim predict --hardware a100-sxm --model llama-3.1-8b --calibration {f}", odd.json_files),
        ),
    ]
    of_model = "scylla-sim predict --hardware h100-sxm --model {f}"
    for name, config in (("llama", CONFIG), ("moe", MOE), ("deepseek", DEEPSEEK), ("sliding", SLIDING)):
        found.append(Reader(f"config-{name}", f"{name}/config.json", _json(config), of_model, odd.json_files))
    drafted = f"{PREDICT} --draft {{f}} --acceptance 0.7"
    found.append(Reader("config-draft", "head/config.json", _json(HEAD), drafted, odd.json_files))
    curves = "gpu-validate curves --record {f} --models {o}/models --out {o}/curves.csv --table"
    rows = "gpu-validate rows --record {f}"
    for name, of, cases, line in (
        ("record-kernels", "cpu/kernels", (0, 1, 2, 200), f"{rows} --out {{o}}/rows.csv"),
        ("record-hardware", "cpu/kernels", (0, 1, 2, 200), f"{rows} --out {{o}}/r.csv --hardware {{o}}/hw.toml"),
        ("record-step", "cpu/step", (0, 1), rows),
        ("record-cycles", "cpu/specdecode", (0, 1, 2, 3), rows),
        ("record-decode", "h100-sxm/decode", (0, 1), rows),
        ("record-loops", "cpu/trained", (0, 7), f"{curves} loops"),
        ("record-training", "cpu/smallscale", (0, 1), f"{curves} acceptance"),
    ):
        found.append(Reader(name, f"{name}.json", _json(record(of, *cases)), line, record_files))
    return found
