"""Sweeps of `config/sweeps.yaml`: one coarse job a GPU, and one file of all rows a sweep."""

SWEEPS = sweeps.load()


rule sweep_gpu:
    input:
        "workflow/config/sweeps.yaml",
    output:
        "results/sweeps/{sweep}/{gpu}.csv",
    log:
        "results/logs/sweeps/{sweep}-{gpu}.log",
    wildcard_constraints:
        sweep="[a-z0-9-]+",
        gpu="[a-z0-9.-]+",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
    shell:
        'PYTHONPATH="$PWD" python workflow/sweeps.py {wildcards.sweep} {wildcards.gpu} {output} > {log} 2>&1'


rule sweep:
    input:
        lambda w: expand("results/sweeps/{sweep}/{gpu}.csv", sweep=w.sweep, gpu=SWEEPS[w.sweep]["hardware"]),
    output:
        "results/sweeps/{sweep}.csv",
    log:
        "results/logs/sweeps/{sweep}.log",
    wildcard_constraints:
        sweep="[a-z0-9-]+",
    conda:
        "../../environment.yml"
    shell:
        "awk 'FNR > 1 || NR == 1' {input} > {output} 2> {log}"


rule sweeps:
    input:
        expand("results/sweeps/{sweep}.csv", sweep=SWEEPS),
