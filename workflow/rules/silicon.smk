"""Kernels that others measured on real GPUs: read, calibrate on one part of the shapes, predict and score the other."""


rule silicon:
    output:
        "results/silicon/{device}/{op}-{part}.csv",
    log:
        "results/logs/silicon/{device}-{op}-{part}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        table=lambda w: table_of(w.device, w.op),
        rows=lambda w: f"--rows {train_rows_of(w.op)}" if w.part == "train" else "",
    shell:
        "python -m gpu_validate silicon --device {wildcards.device} {params.table} "
        "--part {wildcards.part} {params.rows} --out {output} > {log} 2>&1"


rule calibrate_silicon:
    input:
        lambda w: expand("results/silicon/{device}/{op}-train.csv", device=w.device, op=ops_of(w.device)),
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


rule predict_silicon:
    input:
        shapes="results/silicon/{device}/{op}-test.csv",
        calibration="results/calibration/{device}.json",
    output:
        "results/predicted/{device}/{op}.csv",
    log:
        "results/logs/predicted/{device}-{op}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        without="",
    shell:
        "python -m scylla_sim kernels --shapes {input.shapes} --calibration {input.calibration} {params.without} "
        "--out {output} > {log} 2>&1"


use rule predict_silicon as predict_fallback with:
    output:
        "results/predicted/{device}/{op}-stand-in.csv",
    log:
        "results/logs/predicted/{device}-{op}-stand-in.log",
    params:
        code=SIMULATOR,
        without=lambda w: f"--without {w.op}",


rule compare_silicon:
    input:
        predicted="results/predicted/{device}/{op}.csv",
        measured="results/silicon/{device}/{op}-test.csv",
        repeat=lambda w: (
            [] if (w.device, w.op) in WITHOUT_REPEAT else f"results/silicon/{w.device}/{w.op}-repeat.csv"
        ),
    output:
        "results/compare/silicon-{device}-{op}.json",
    log:
        "results/logs/compare/{device}-{op}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        by=lambda w: {
            "gemm": "framework,dtype,regime",
            "experts": "dtype,distribution,regime",
            "decode_attention": "framework,kv_dtype,head_dim,regime",
            "context_attention": "framework,kv_dtype,head_dim,regime",
            "latent_attention": "kv_dtype,regime",
            "all_reduce": "framework,graph,regime",
            "elementwise": "regime",
        }[w.op.partition("-")[0]],
        repeat=lambda w, input: f"--repeat {input.repeat}" if input.repeat else "",
    shell:
        "python -m gpu_validate compare --predicted {input.predicted} --measured {input.measured} {params.repeat} "
        "--by {params.by} --format json --out {output} > {log} 2>&1"


rule compare_all_silicon:
    input:
        predicted=expand("results/predicted/{device}/gemm.csv", device=DEVICES),
        measured=expand("results/silicon/{device}/gemm-test.csv", device=DEVICES),
        repeat=expand("results/silicon/{device}/gemm-repeat.csv", device=DEVICES),
    output:
        "results/compare/silicon-all-gemm-by-{by}.json",
    log:
        "results/logs/compare/all-gemm-by-{by}.log",
    wildcard_constraints:
        by="dtype|dtype-regime",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        files=lambda w, input: " ".join(f"--{name} {','.join(files)}" for name, files in input.items()),
        by=lambda w: w.by.replace("-", ","),
    shell:
        "python -m gpu_validate compare {params.files} --by {params.by} --format json "
        "--out {output} > {log} 2>&1"


use rule compare_silicon as compare_fallback with:
    input:
        predicted="results/predicted/{device}/{op}-stand-in.csv",
        measured="results/silicon/{device}/{op}-test.csv",
        repeat=[],
    output:
        "results/compare/stand-in-{device}-{op}.json",
    log:
        "results/logs/compare/{device}-{op}-stand-in.log",


rule predict_verify_attention:
    input:
        "paper/published/verify_attention.csv",
    output:
        "results/published/verify-attention.csv",
    log:
        "results/logs/published/verify-attention.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
    shell:
        "python -m scylla_sim kernels --shapes {input} --out {output} > {log} 2>&1"


rule compare_verify_attention:
    input:
        predicted="results/published/verify-attention.csv",
        measured="paper/published/verify_attention.csv",
    output:
        "results/compare/verify-attention.json",
    log:
        "results/logs/compare/verify-attention.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
    shell:
        "python -m gpu_validate compare --predicted {input.predicted} --measured {input.measured} "
        "--by device,kernel_source,q_len,role --evidence published --format json --out {output} > {log} 2>&1"
