"""Theorems 1.1 to 1.3 refitted on the points that the paper prints."""

_TOKENS = "--x pretrain_tokens_b --y tokens_per_cycle"
LAWS = {
    "theorem-1.1": ("fig1_tokens", f"{_TOKENS} --where pretrained=yes --predict 1,2,5,10,20,50,100,200"),
    "theorem-1.1-zero": ("fig1_tokens", f"{_TOKENS} --predict 0,1,2,5,10,20,50,100,200"),
    "theorem-1.2": ("fig1_layers", "--x decoder_layers --y tokens_per_cycle --predict 1,1.5,2,3,4,5,6,8,10,12"),
    "theorem-1.3": ("fig5_turning_points", "--x batch_size --y k_opt --where inside=yes"),
    "theorem-1.3-inverse": (
        "fig5_turning_points",
        "--x inverse_batch_size --y k_opt --where inside=yes --forms linear",
    ),
    "theorem-1.3-throughput": ("fig5_max_throughput", "--x batch_size --y tokens_per_s --where inside=yes"),
}


rule laws:
    input:
        lambda w: f"paper/published/{LAWS[w.name][0]}.csv",
    output:
        "results/laws/{name}.json",
    log:
        "results/logs/laws/{name}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        options=lambda w: LAWS[w.name][1],
    shell:
        "python -m scylla_sim laws {input} {params.options} --evidence published --format json --out {output} "
        "> {log} 2>&1"
