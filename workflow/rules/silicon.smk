"""Kernels that others measured on real GPUs: read, calibrate on one part of the shapes, predict and score the other.

Each device has rules of its own, because devices have different tables. A rule makes all files of a device: reading
one table takes less time than starting Python.
"""

# Columns by which errors are grouped, by operation.
SCORED_BY = {
    "gemm": "framework,dtype,regime",
    "experts": "dtype,distribution,regime",
    "decode_attention": "framework,kv_dtype,head_dim,regime",
    "context_attention": "framework,kv_dtype,head_dim,regime",
    "latent_attention": "kv_dtype,regime",
    "all_reduce": "framework,graph,regime",
    "elementwise": "regime",
}
# GPU whose calibration is transferred to the others, and where prefills and cycles are compared.
SOURCE = "h100-sxm"
# Rows of each precision with which a GPU is calibrated on few measurements of its own.
FEW_ROWS = 32


for device in MEASURED:

    rule:
        name:
            f"silicon_train_{device.replace('-', '_')}"
        output:
            silicon_tables(device, "train"),
        log:
            f"results/logs/silicon/{device}-train.log",
        conda:
            "../../environment.yml"
        params:
            code=VALIDATOR,
            commands=export_tables(device, "train"),
        shell:
            "python workflow/commands.py {params.commands:q} > {log} 2>&1"


for device in dict.fromkeys([SOURCE, *DEVICES]):

    rule:
        name:
            f"silicon_test_{device.replace('-', '_')}"
        output:
            silicon_tables(device, "test"),
            silicon_tables(device, "repeat"),
            f"results/silicon/{device}/gemm-few.csv",
        log:
            f"results/logs/silicon/{device}-test.log",
        conda:
            "../../environment.yml"
        params:
            code=VALIDATOR,
            commands=[
                *export_tables(device, "test", "repeat"),
                f"gpu_validate silicon --device {device} --op gemm --part train --rows {FEW_ROWS} "
                f"--out results/silicon/{device}/gemm-few.csv",
            ],
        shell:
            "python workflow/commands.py {params.commands:q} > {log} 2>&1"


for device in DEVICES:

    rule:
        name:
            f"score_silicon_{device.replace('-', '_')}"
        input:
            silicon_tables(device, "test"),
            silicon_tables(device, "repeat"),
            f"results/calibration/{device}.json",
        output:
            [f"results/predicted/{device}/{op}.csv" for op in ops_of(device)],
            [f"results/compare/silicon-{device}-{op}.json" for op in ops_of(device)],
            [f"results/compare/stand-in-{device}-{op}.json" for op in ops_of(device) if op in WITH_FALLBACK],
        log:
            f"results/logs/compare/{device}.log",
        conda:
            "../../environment.yml"
        params:
            code=VALIDATOR,
            simulator=SIMULATOR,
            commands=[
                command
                for op in ops_of(device)
                for fallback in (False, True)[: 1 + (op in WITH_FALLBACK)]
                for command in score_table(device, op, fallback=fallback)
            ],
        shell:
            "python workflow/commands.py {params.commands:q} > {log} 2>&1"


rule calibrate_silicon:
    input:
        lambda w: silicon_tables(w.device, "train"),
    output:
        "results/calibration/{device}.json",
    log:
        "results/logs/calibrate/{device}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        measurements=lambda w, input: ",".join(input),
    shell:
        "python -m scylla_sim calibrate --measurements {params.measurements} --device {wildcards.device} "
        "--source aiconfigurator-core --out {output} > {log} 2>&1"


rule compare_all_silicon:
    input:
        predicted=expand("results/predicted/{device}/gemm.csv", device=DEVICES),
        measured=expand("results/silicon/{device}/gemm-test.csv", device=DEVICES),
        repeat=expand("results/silicon/{device}/gemm-repeat.csv", device=DEVICES),
    output:
        by_dtype="results/compare/silicon-all-gemm-by-dtype.json",
        by_regime="results/compare/silicon-all-gemm-by-dtype-regime.json",
    log:
        "results/logs/compare/all-gemm.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        files=lambda w, input: " ".join(f"--{name} {','.join(files)}" for name, files in input.items()),
    shell:
        "python workflow/commands.py "
        "'gpu_validate compare {params.files} --by dtype --format json --out {output.by_dtype}' "
        "'gpu_validate compare {params.files} --by dtype,regime --format json --out {output.by_regime}' "
        "> {log} 2>&1"


rule verify_attention:
    input:
        "paper/published/verify_attention.csv",
    output:
        predicted="results/published/verify-attention.csv",
        compared="results/compare/verify-attention.json",
    log:
        "results/logs/compare/verify-attention.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        simulator=SIMULATOR,
    shell:
        "python workflow/commands.py "
        "'scylla_sim kernels --shapes {input} --out {output.predicted}' "
        "'gpu_validate compare --predicted {output.predicted} --measured {input} "
        "--by device,kernel_source,q_len,role --evidence published --format json --out {output.compared}' "
        "> {log} 2>&1"
