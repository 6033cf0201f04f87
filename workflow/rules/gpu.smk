"""GPUs with committed records: score the blind predictions, calibrate on one part of the kernels, predict again."""

GPU_COMPARED = {
    "kernels": "--by op,dtype,kernel_source",
    "step": "--by role,model,dtype,batch --where graph=1",
    "specdecode": "--columns plain_step_s,draft_s,verify_s,cycle_s,tokens_per_s,speedup --best speedup "
    "--where graph=1",
    "decode": "--columns plain_step_s,cycle_s,tokens_per_s,speedup",
}
# Kernels that whole steps run. Only these are calibrated, and nothing is fitted to a step or a cycle.
GPU_KERNELS = "torch_linear,torch_scaled_mm,triton_split_kv"


wildcard_constraints:
    gpu="|".join(GPU_SUITES) or "none",
    suite="kernels|step|specdecode|decode|smallscale|trained",
    against="blind|calibrated",


GPU_EVIDENCE = [
    [
        [f"results/gpu/{gpu}/{suite}.json", f"results/gpu/{gpu}/{suite}-rows.csv"],
        [f"results/compare/gpu-{gpu}-{suite}-{against}.json" for against in gpu_predictions(gpu, suite)],
        [f"results/gpu/{gpu}/blind.json"] if is_blind(gpu, suite) else [],
    ]
    for gpu, suites in GPU_SUITES.items()
    for suite in suites
]
GPU_EVIDENCE += [
    [f"results/compare/gpu-{gpu}-widths-{against}.json" for against in gpu_predictions(gpu, "kernels")]
    for gpu, suites in GPU_SUITES.items()
    if "kernels" in suites
]
GPU_EVIDENCE += [
    f"results/gpu/{gpu}/step-parts.csv" for gpu, suites in GPU_SUITES.items() if {"kernels", "step"} <= set(suites)
]


rule gpu_record:
    input:
        "gpu_validate/recorded/{gpu}/{suite}.json",
    output:
        "results/gpu/{gpu}/{suite}.json",
    log:
        "results/logs/gpu/{gpu}-{suite}-record.log",
    conda:
        "../../environment.yml"
    shell:
        "cp {input} {output} 2> {log}"


rule gpu_blind:
    input:
        "gpu_validate/recorded/blind/{gpu}/provenance.json",
    output:
        "results/gpu/{gpu}/blind.json",
    log:
        "results/logs/gpu/{gpu}-blind.log",
    conda:
        "../../environment.yml"
    shell:
        "cp {input} {output} 2> {log}"


rule gpu_rows:
    input:
        "gpu_validate/recorded/{gpu}/{suite}.json",
    output:
        rows="results/gpu/{gpu}/{suite}.csv",
        again="results/gpu/{gpu}/{suite}-again.csv",
    log:
        "results/logs/gpu/{gpu}-{suite}-rows.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
    shell:
        "python -m gpu_validate rows --record {input} --device {wildcards.gpu} --evidence recorded "
        "--repeat {output.again} --out {output.rows} > {log} 2>&1"


rule gpu_calibration_rows:
    input:
        "gpu_validate/recorded/{gpu}/kernels.json",
    output:
        "results/gpu/{gpu}/kernels-{part}.csv",
    log:
        "results/logs/gpu/{gpu}-kernels-{part}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        kernels=GPU_KERNELS,
    shell:
        "python -m gpu_validate rows --record {input} --part {wildcards.part} --device {wildcards.gpu} "
        "--evidence recorded --kernel-source {params.kernels} --out {output} > {log} 2>&1"


rule gpu_calibrate:
    input:
        "results/gpu/{gpu}/kernels-train.csv",
    output:
        "results/gpu/{gpu}/calibration.json",
    log:
        "results/logs/gpu/{gpu}-calibrate.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
    shell:
        "python -m scylla_sim calibrate --measurements {input} --device {wildcards.gpu} --base {wildcards.gpu} "
        "--evidence recorded --source 'gpu-validate campaign' --out {output} > {log} 2>&1"


rule gpu_predict:
    input:
        shapes="results/gpu/{gpu}/{suite}.csv",
        calibration="results/gpu/{gpu}/calibration.json",
    output:
        "results/gpu/{gpu}/{suite}-calibrated.csv",
    log:
        "results/logs/gpu/{gpu}-{suite}-calibrated.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        verb=lambda w: {"kernels": "kernels", "step": "steps --engine ideal"}.get(w.suite, "cycles --engine ideal"),
    shell:
        "python -m scylla_sim {params.verb} --shapes {input.shapes} --calibration {input.calibration} --format csv "
        "--out {output} > {log} 2>&1"


rule gpu_compare:
    input:
        predicted=lambda w: gpu_predictions(w.gpu, w.suite)[w.against],
        measured=lambda w: f"results/gpu/{w.gpu}/"
        + ("kernels-test.csv" if (w.suite, w.against) == ("kernels", "calibrated") else f"{w.suite}.csv"),
        repeat="results/gpu/{gpu}/{suite}-again.csv",
    output:
        "results/compare/gpu-{gpu}-{suite}-{against}.json",
    log:
        "results/logs/compare/gpu-{gpu}-{suite}-{against}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        options=lambda w: GPU_COMPARED[w.suite],
    shell:
        "python -m gpu_validate compare --predicted {input.predicted} --measured {input.measured} "
        "--repeat {input.repeat} {params.options} --format json --out {output} > {log} 2>&1"


rule gpu_compare_widths:
    input:
        predicted=lambda w: gpu_predictions(w.gpu, "kernels")[w.against],
        measured=lambda w: f"results/gpu/{w.gpu}/kernels{'-test' if w.against == 'calibrated' else ''}.csv",
    output:
        "results/compare/gpu-{gpu}-widths-{against}.json",
    log:
        "results/logs/compare/gpu-{gpu}-widths-{against}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
    shell:
        "python -m gpu_validate compare --predicted {input.predicted} --measured {input.measured} "
        "--by kernel_source,q_len --where op=decode_attention --format json --out {output} > {log} 2>&1"


rule gpu_parts:
    input:
        kernels="results/gpu/{gpu}/kernels-rows.csv",
        steps="results/gpu/{gpu}/step-rows.csv",
    output:
        "results/gpu/{gpu}/step-parts.csv",
    log:
        "results/logs/gpu/{gpu}-step-parts.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
    shell:
        "python -m gpu_validate breakdown --kernels {input.kernels} --steps {input.steps} --out {output} "
        "> {log} 2>&1"


rule gpu_merge:
    input:
        predicted=lambda w: gpu_predictions(w.gpu, w.suite).values(),
        measured="results/gpu/{gpu}/{suite}.csv",
        repeat="results/gpu/{gpu}/{suite}-again.csv",
    output:
        "results/gpu/{gpu}/{suite}-rows.csv",
    log:
        "results/logs/gpu/{gpu}-{suite}-merge.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        predicted=lambda w: ",".join(f"{name}={path}" for name, path in gpu_predictions(w.gpu, w.suite).items()),
    shell:
        "python -m gpu_validate merge --measured {input.measured} --repeat {input.repeat} "
        "--predicted '{params.predicted}' --out {output} > {log} 2>&1"
