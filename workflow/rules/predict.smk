"""Decode and verify steps of deployments, and the turning points of Fig. 5."""

_8B = "--hardware h100-sxm --model llama-3.1-8b --batch 1,2,4,8,16,32,64 --context 512,1024,2048"
_72B = "--hardware h800-sxm --tp 4 --model qwen2.5-72b --batch 1,2,4,8,16,32,40,48,64 --context 10Ki --engine ideal"
_FIG5 = "--hardware h800-sxm --model qwen2.5-72b --context 10Ki --batch 1,4,8,16,32,64"

# tau of Table 5 was not published: mean, least and most of the three targets in paper/published/mean_acceptance.csv
STEPS = {
    "llama-8b-plain": f"{_8B} --draft none --engine ideal",
    "llama-8b-verify": f"{_8B} --draft eagle3 --draft-len 3 --tokens-per-cycle 2.5 --engine vllm",
    "table5-plain": f"{_72B} --draft none",
    "table5-eagle2": f"{_72B} --draft eagle2 --reference-tokens-per-cycle 4.29,4.05,4.65",
    "table5-scylla": f"{_72B} --draft scylla-5l --reference-tokens-per-cycle 5.65,5.28,6.31 --verify-tokens theorem-1.3",
}
TURNING_POINTS = {
    "fig5-dense": _FIG5,
    "fig5-sparse": f"{_FIG5} --peak sparse",
}


rule steps:
    input:
        "results/calibration/h100-sxm.json",
    output:
        "results/steps/{name}.json",
    log:
        "results/logs/steps/{name}.log",
    wildcard_constraints:
        name="|".join(STEPS),
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        options=lambda w: STEPS[w.name],
    shell:
        "python -m scylla_sim predict {params.options} --calibration {input} --format json --out {output} "
        "> {log} 2>&1"


rule turning_points:
    output:
        "results/steps/{name}.json",
    log:
        "results/logs/steps/{name}.log",
    wildcard_constraints:
        name="|".join(TURNING_POINTS),
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        options=lambda w: TURNING_POINTS[w.name],
    shell:
        "python -m scylla_sim turning-points {params.options} --format json --out {output} > {log} 2>&1"
