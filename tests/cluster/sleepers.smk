"""Jobs that only sleep, through the profile, the executor and the check of the product."""

import sys
from pathlib import Path

CLONE = Path(workflow.current_basedir).resolve().parents[1]
sys.path.insert(0, str(CLONE))


include: "../../workflow/rules/cluster.smk"


onstart:
    meet_the_cluster()


rule nap:
    output:
        "naps/{seconds}_{name}",
    resources:
        mem_mb=600,
        runtime=10,
    shell:
        "sleep {wildcards.seconds} && touch {output}"


rule eat:
    output:
        "eaten/{megabytes}",
    resources:
        mem_mb=600,
        runtime=10,
    shell:
        "python -c 'import time; food = b\"x\" * ({wildcards.megabytes} * 2**20); time.sleep(4)' && touch {output}"


rule stumble:
    output:
        "stumbled",
    resources:
        mem_mb=600,
        runtime=10,
    shell:
        "if [ -e ../stumbled_once ]; then touch {output}; else touch ../stumbled_once; exit 1; fi"


rule dawdle:
    output:
        "dawdled",
    resources:
        mem_mb=600,
        runtime=1,
    shell:
        "if [ -e ../dawdled_once ]; then touch {output}; else touch ../dawdled_once; sleep 300; fi"


rule count_gpus:
    output:
        "gpus/{name}",
    resources:
        gpu=2,
        gpu_model="a100",
        mem_mb=600,
        runtime=10,
    shell:
        "echo $CUDA_VISIBLE_DEVICES > {output} && sleep 2"
