guard.use_this_python()

DEVICES = config["silicon_devices"]
OPS = config["silicon_ops"]

# hashes of the code behind a rule: Snakemake does not look into an imported package, so a parameter tells it
SIMULATOR = guard.code_hash("scylla_sim")
VALIDATOR = guard.code_hash("gpu_validate")
PRINTER = guard.code_hash("paper")


wildcard_constraints:
    device=r"(?!local\b)[a-z0-9-]+",
    op="gemm|decode_attention|all_reduce",
    part="train|test|repeat",
