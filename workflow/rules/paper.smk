"""Tables, figures and claims, from the files that the other stages left."""

EVIDENCE = [
    expand("results/compare/silicon-{device}-{op}.json", device=DEVICES, op=OPS),
    expand("results/calibration/{device}.json", device=DEVICES),
    expand("results/steps/{name}.json", name=[*STEPS, *TURNING_POINTS]),
    expand("results/laws/{name}.json", name=LAWS),
]
PAPER = EVIDENCE
