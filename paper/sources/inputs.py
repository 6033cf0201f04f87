"""Which result files the tables and figures read, and the command that makes each.

The commands stand in error messages, so that a missing file is one copy-and-paste away. Paths are relative to
``results/``; the workflow runs the same commands.
"""

from __future__ import annotations

LAWS = "scylla-sim laws paper/published/"
_TABLE5 = "scylla-sim predict --hardware h800-sxm --tp 4 --model qwen2.5-72b --context 10Ki --engine ideal "
_LLAMA = "scylla-sim predict --hardware h100-sxm --model llama-3.1-8b --batch 1,2,4,8,16,32,64 "
_FIG5 = "scylla-sim turning-points --hardware h800-sxm --model qwen2.5-72b --context 10Ki "
_JSON = "--format json --out results/"
_BATCHES = "--batch 1,2,4,8,16,32,40,48,64 "
_REFERENCE = "--reference paper/published/fig5_curves.csv --extra-tokens 4 --bandwidth-fraction 0.85 "
# tau of Table 5's target was not published: mean, least and most of the targets in mean_acceptance.csv
_EAGLE2 = "--draft eagle2 --reference-tokens-per-cycle 4.29,4.05,4.65 "
_SCYLLA = "--draft scylla-1l --reference-tokens-per-cycle 5.65,5.28,6.31 "
_RIVALS = "--forms log-linear,log1p,sdsl,sdsl-loss --evidence published "
_BOTH = (
    LAWS + "fig1_both.csv --x decoder_layers,pretrain_tokens_b --y tokens_per_cycle --draft-parameters "
    "draft_parameters --train-tokens pretrain_tokens_b:1B --forms log-linear+log1p,sdsl,sdsl-loss "
    "--evidence published "
)
_SMALL_TREE = "--verify-tokens theorem-1.3 "

# conditional rates of EAGLE and EAGLE-3 on MT-Bench, as in rates_by_position.csv
_EAGLE_RATES = "scylla-sim acceptance --acceptance 0.71,0.64,0.6,0.57,0.59,0.56,0.51,0.53 --draft-len 6 "
_EAGLE3_RATES = "scylla-sim acceptance --acceptance 0.8,0.78,0.78,0.79,0.79,0.79,0.81,0.8 --draft-len 8 "
# Osprey's chains of 5 (pretraining_elsewhere.csv), carried to the tree at which Fig. 1 was measured
_OSPREY = (
    "scylla-sim acceptance --known-draft-len 5 --draft-len 6 --top-k 10 --verify-tokens 61 --evidence published "
)
_TREE = "--top-k 10 --verify-tokens 61 --evidence published "

COMMANDS = {
    "laws/theorem-1.1.json": LAWS + "fig1_tokens.csv --x pretrain_tokens_b --y tokens_per_cycle "
    "--where pretrained=yes --evidence published --predict 0.5,1,2,5,10,20,50,100,200 ",
    "laws/theorem-1.1-zero.json": LAWS + "fig1_tokens.csv --x pretrain_tokens_b --y tokens_per_cycle "
    "--evidence published --predict 0.5,1,2,5,10,20,50,100,200 ",
    "laws/theorem-1.2.json": LAWS + "fig1_layers.csv --x decoder_layers --y tokens_per_cycle --evidence published "
    "--predict 1,1.5,2,3,4,5,6,8,10,12 ",
    "laws/theorem-1.3.json": LAWS + "fig5_turning_points.csv --x batch_size --y k_opt --where inside=yes "
    "--evidence published ",
    "laws/theorem-1.3-inverse.json": LAWS + "fig5_turning_points.csv --x inverse_batch_size --y k_opt "
    "--where inside=yes --forms linear --evidence published ",
    "laws/theorem-1.3-throughput.json": LAWS + "fig5_max_throughput.csv --x batch_size --y tokens_per_s "
    "--where inside=yes --evidence published ",
    "laws/data-elsewhere.json": LAWS + "capacity_data.csv --x data_scale --y acceptance_rate --factor series "
    "--evidence published ",
    "laws/positions.json": LAWS + "rates_by_position.csv --x position --y acceptance_rate --factor series "
    "--evidence published ",
    "laws/ranks.json": LAWS + "rank_accuracy.csv --x rank --y top_accuracy --factor series --evidence published ",
    "laws/layers-elsewhere.json": LAWS
    + "capacity_layers.csv --x decoder_layers --y tokens_per_cycle --factor series "
    "--evidence published ",
    "laws/rival-tokens.json": LAWS + "fig1_tokens.csv --x pretrain_tokens_b --y tokens_per_cycle "
    "--where pretrained=yes --train-tokens pretrain_tokens_b:1B " + _RIVALS,
    "laws/rival-tokens-zero.json": LAWS + "fig1_tokens.csv --x pretrain_tokens_b --y tokens_per_cycle "
    "--train-tokens pretrain_tokens_b:1B --tuning-tokens 1B --forms log1p,sdsl,sdsl-loss --evidence published ",
    "laws/rival-layers.json": LAWS + "fig1_layers.csv --x decoder_layers --y tokens_per_cycle "
    "--draft-parameters draft_parameters " + _RIVALS,
    "laws/rival-both.json": _BOTH + "--tuning-tokens 1B ",
    "laws/rival-both-10b.json": _BOTH + "--tuning-tokens 10B ",
    "laws/rival-layers-elsewhere.json": LAWS + "capacity_layers.csv --x decoder_layers --y tokens_per_cycle "
    "--factor series --draft-parameters draft_parameters --evidence published ",
    "laws/rival-data-elsewhere.json": LAWS + "capacity_data.csv --x data_scale --y acceptance_rate "
    "--factor series --train-tokens data_scale:0.1B --evidence published ",
    "laws/rival-pretraining.json": LAWS + "fig1_tokens.csv --x pretrain_tokens_b --y tokens_per_cycle "
    "--train-tokens pretrain_tokens_b:1B --tuning-tokens 1B --forms log1p,sdsl,sdsl-loss,saturating-exponential "
    "--predict 84,462 --evidence published ",
    "laws/osprey-84.json": _OSPREY + "--tokens-per-cycle 3.552 ",
    "laws/osprey-462.json": _OSPREY + "--tokens-per-cycle 3.578 ",
    "laws/epochs-elsewhere.json": LAWS + "capacity_epochs.csv --x epochs --y tokens_per_cycle --factor series "
    "--forms log-linear,log1p,linear --evidence published ",
    "laws/decay.json": "scylla-sim decay paper/published/tau_vs_draft_len.csv --by series --evidence published ",
    "laws/decay-specbundle.json": "scylla-sim decay paper/published/tau_vs_draft_len_specbundle.csv --by series "
    "--evidence published ",
    "laws/decay-traces.json": "scylla-sim decay paper/published/tau_vs_draft_len_traces.csv --by series "
    "--evidence published ",
    **{
        f"laws/tree-{name}-{tree}.json": f"{rates}{_TREE}--tree {tree} "
        for name, rates in (("eagle", _EAGLE_RATES), ("eagle-3", _EAGLE3_RATES))
        for tree in ("beam", "dynamic")
    },
    "laws/optimum-dspark.json": LAWS + "optimal_draft_len.csv --x batch_size --y k_opt --where series=dspark "
    "--forms log-linear --evidence published ",
    "laws/optimum-dspark-inverse.json": LAWS + "optimal_draft_len.csv --x inverse_batch_size --y k_opt "
    "--where series=dspark --forms linear --evidence published ",
    "laws/optimum-magicdec.json": LAWS + "optimal_draft_len.csv --x batch_size --y k_opt --where series=magicdec "
    "--factor case --forms log-linear --evidence published ",
    "laws/optimum-magicdec-inverse.json": LAWS + "optimal_draft_len.csv --x inverse_batch_size --y k_opt "
    "--where series=magicdec --factor case --forms linear --evidence published ",
    "steps/fig5-paper.json": _FIG5 + "--peak sparse --compute-fraction 0.73 --bandwidth-fraction 0.85 "
    "--extra-tokens 4 ",
    "steps/fig5-dense.json": _FIG5 + "--peak dense --bandwidth-fraction 0.85 --extra-tokens 4 ",
    "steps/fig5-curves-paper.json": _FIG5 + "--peak sparse --compute-fraction 0.73 " + _REFERENCE,
    "steps/fig5-curves-dense.json": _FIG5 + "--peak dense " + _REFERENCE,
    "steps/table5-plain.json": _TABLE5 + _BATCHES + "--draft none ",
    "steps/table5-eagle2.json": _TABLE5 + _BATCHES + _EAGLE2,
    "steps/table5-scylla.json": _TABLE5 + _BATCHES + _SCYLLA + _SMALL_TREE,
    "steps/table5-eagle2-small-tree.json": _TABLE5 + _BATCHES + _EAGLE2 + _SMALL_TREE,
    "steps/table5-scylla-large-tree.json": _TABLE5 + _BATCHES + _SCYLLA,
    "steps/table5-scylla-2-layers.json": _TABLE5 + _BATCHES + _SCYLLA.replace("1l", "2l") + _SMALL_TREE,
    "steps/table5-scylla-5-layers.json": _TABLE5 + _BATCHES + _SCYLLA.replace("1l", "5l") + _SMALL_TREE,
    "steps/llama-8b-plain.json": _LLAMA + "--context 512,1024,2048 --draft none --engine ideal ",
    "steps/llama-8b-verify.json": _LLAMA + "--context 512,1024,2048 --draft eagle3 --draft-len 3 "
    "--tokens-per-cycle 2.5 --engine vllm ",
    "steps/readme.json": "scylla-sim predict --hardware h100-sxm --model llama-3.1-8b --draft eagle3 --draft-len 3 "
    "--acceptance 0.76,0.74,0.77 --batch 1,2,4,8,12,16,24,32,48,64,96,128,192,256,384,512,768 "
    "--context 256,1024,8192 --engine vllm ",
}
"""Result file -> the command that makes it, without ``--format json --out``."""


def how_to_make(path: str) -> str:
    """The whole command that writes ``results/PATH``.

    Examples
    --------
    >>> how_to_make("steps/table5-plain.json").split()[:2]
    ['scylla-sim', 'predict']
    """
    if path in COMMANDS:
        return f"{COMMANDS[path]}{_JSON}{path}"
    return "snakemake"
