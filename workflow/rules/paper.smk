"""Tables, figures and claims of the paper, from the result files of the other stages."""

FORMATS = ["md", "tex", "csv"]
EVIDENCE = [
    [f"results/compare/silicon-{device}-{op}.json" for device in DEVICES for op in ops_of(device)],
    expand("results/compare/silicon-all-gemm-by-{by}.json", by=["dtype", "dtype-regime"]),
    [
        f"results/compare/stand-in-{device}-{op}.json"
        for device in DEVICES
        for op in ops_of(device)
        if op in WITH_FALLBACK
    ],
    "results/compare/verify-attention.json",
    expand("results/compare/local-{suite}.json", suite=COMPARED),
    expand("results/calibration/{device}.json", device=[*DEVICES, "local"]),
    expand("results/laws/{name}.json", name=SCENARIOS["laws"]),
    expand("results/steps/{name}.json", name=SCENARIOS["steps"]),
    GPU_EVIDENCE,
    ENDTOEND,
    SMALLSCALE,
]


rule tables:
    input:
        EVIDENCE,
    output:
        [
            report(
                f"results/paper/table-{name}.html",
                caption="../report/table.rst",
                category="Tables",
                subcategory=topic_of(name),
                labels={"table": name},
            )
            for name in TABLES
        ],
        expand("results/paper/table-{name}.{format}", name=TABLES, format=FORMATS),
    log:
        "results/logs/paper/tables.log",
    conda:
        "../../environment.yml"
    params:
        code=PRINTER,
    shell:
        "python -m paper tables --results results --out results/paper > {log} 2>&1"


rule figures:
    input:
        EVIDENCE,
    output:
        [
            report(
                f"results/paper/figure-{name}.svg",
                caption="../report/figure.rst",
                category="Figures",
                labels={"figure": name, "shows": CAPTIONS[name]},
            )
            for name in FIGURES
        ],
        expand("results/paper/figure-{name}.png", name=FIGURES),
        expand("results/paper/thumbnail-{name}.png", name=FIGURES),
    log:
        "results/logs/paper/figures.log",
    conda:
        "../../environment.yml"
    params:
        code=PRINTER,
    shell:
        "python -m paper figures --results results --out results/paper > {log} 2>&1"


rule claims:
    input:
        EVIDENCE,
    output:
        report(
            "results/paper/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"file": "claims.csv", "shows": "status, evidence and file of each claim"},
        ),
        "results/paper/claims.md",
    log:
        "results/logs/paper/claims.log",
    conda:
        "../../environment.yml"
    params:
        code=PRINTER,
    shell:
        "python -m paper claims --results results --out results/paper > {log} 2>&1"


rule overview:
    input:
        EVIDENCE,
        figures=rules.figures.output,
    output:
        "results/paper/index.html",
    log:
        "results/logs/paper/overview.log",
    conda:
        "../../environment.yml"
    params:
        code=PRINTER,
    shell:
        "python -m paper overview --results results --out results/paper > {log} 2>&1"


rule calibrations:
    input:
        expand("results/calibration/{device}.json", device=MEASURED),


PAPER = [*rules.claims.output, *rules.tables.output, *rules.figures.output, *rules.overview.output]
