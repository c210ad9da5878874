# The study as a graph: one rule per notebook, and the site made of their records.
# `make report` runs it here; with EXECUTOR=slurm each notebook becomes a job of a cluster (setup/slurm).

import os
import sys

from medpsy import study
from medpsy.run import RECIPE_VERSION, set_aside_altered

PROFILE = config.get("profile", "mini")
OUT = f"outputs/{PROFILE}"
MEDPSY = config.get("medpsy", f"{sys.executable} -m medpsy")

# Section -> the sections whose records it reads, and whether real models there keep the whole machine busy; those of
# the miniature leave cores for a second notebook.
SECTIONS = {
    "00_published_claims": {"after": [], "machine": 0},
    "01_backbone_selection": {"after": [], "machine": 1},
    "02_teacher_selection": {"after": [], "machine": 1},
    "03_training_data": {"after": ["02_teacher_selection"], "machine": 1},
    "04_sft": {"after": ["03_training_data"], "machine": 1},
    "05_rl": {"after": ["04_sft"], "machine": 1},
    "06_answer_extraction": {"after": ["01_backbone_selection"], "machine": 1},  # reads the same responses
    "07_main_results": {"after": ["01_backbone_selection", "08_stage_ablations"], "machine": 1},
    "08_stage_ablations": {"after": ["01_backbone_selection", "05_rl"], "machine": 1},  # shares the backbones' responses
    "09_token_efficiency": {"after": ["01_backbone_selection", "08_stage_ablations"], "machine": 1},  # asks nothing new
    "10_quantization": {"after": ["03_training_data", "05_rl", "08_stage_ablations"], "machine": 1},  # shares responses
    "12_gspo_judge": {"after": ["01_backbone_selection"], "machine": 1},  # shares judges and backbone
    "13_openmed": {"after": ["03_training_data", "05_rl", "08_stage_ablations", "12_gspo_judge"], "machine": 1},
}
SECTIONS |= {"11_compute_budget": {"after": [*SECTIONS], "machine": 0}}  # sets forecasts beside their records
SECTIONS |= {"14_ledger": {"after": [*SECTIONS], "machine": 0}}  # reads the records of all others, and nothing else

if not os.path.isfile(f"params/{PROFILE}/study.yaml"):
    raise ValueError(f"params/{PROFILE}/study.yaml: no such profile; known are {', '.join(sorted(os.listdir('params')))}")
set_aside_altered(PROFILE)
# A profile that trains nothing has no parameters for the sections that train, and is made without them.
SECTIONS = {name: needs for name, needs in SECTIONS.items() if os.path.isfile(f"params/{PROFILE}/{name}.yaml")}
SOURCE = study.load(PROFILE).source


def record(section):
    return f"{OUT}/{section}/result.json"


localrules:  # seconds: not worth a place in a cluster's queue
    site,


rule report:
    input:
        f"{OUT}/report/index.html",
        [record(section) for section in SECTIONS],  # named, so that a missing record is made even if the site is there


rule site:
    input:
        [record(section) for section in SECTIONS],
    output:
        f"{OUT}/report/index.html",
    shell:
        f"{MEDPSY} site --profile {PROFILE} >/dev/null"


for section, needs in SECTIONS.items():

    rule:
        name:
            f"section_{section}"
        input:
            notebook=ancient(f"notebooks/{section}.ipynb"),  # its outputs count for nothing: see `set_aside_altered`
            parameters=f"params/{PROFILE}/{section}.yaml",
            study=f"params/{PROFILE}/study.yaml",
            records=[record(other) for other in needs["after"] if other in SECTIONS],
        output:
            record(section),
        params:
            section=section,
            recipe=RECIPE_VERSION,
        resources:
            machine=needs["machine"] * (SOURCE == "hub"),  # the Makefile lets one such notebook run at a time
        shell:
            f"{MEDPSY} run {{params.section}} --profile {PROFILE} >/dev/null"
