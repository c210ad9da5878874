"""Sizes of profile `mini` say beside them which smallest effects they decide; here these are worked out again.

No result goes in, only sizes and what is assumed of a question asked once. Two models, or one before and after SFT,
differ in being right on two questions of five: were both right half of the time by chance it would be half, but some
questions are hard for both. Scores by a rubric spread evenly. After RL, or in a file of another format, a model differs
from itself half as much. Two readers differ on a response of twenty. Half of every variance is noise of a run.
"""

import re
from itertools import count

from medpsy import stats, strict, study
from medpsy.mini import suites

MODELS, RUBRICS, READERS = 0.4, 2 / 12, 0.05  # variances of a difference
SAME_MODEL, SAME_RUBRICS = MODELS / 2, RUBRICS / 2
ERRORS = 4 * 0.25  # of a row right or wrong, at worst; a difference of two groups is twice their mean, one negated
LENGTHS = 2 * 0.5**2  # of the logarithm of a ratio, where lengths spread by half of their mean
NOTE = re.compile(r"#.*80 % power for (.+)$", re.MULTILINE)


def least(*parts, runs=1):
    """Return the points by which the mean of `parts`, each some questions and their variance, must differ."""
    asked = sum(questions for questions, _ in parts)
    half = asked * sum(variance / questions for questions, variance in parts) / len(parts) ** 2 / 2
    return next(points for points in count(1) if stats.questions_needed(points / 100, half, half, runs) <= asked)


def test_the_smallest_effects_beside_a_size_follow_from_the_size(root):
    params = {path.stem.partition("_")[0]: path for path in (root / "params" / "mini").glob("*.yaml")}
    written = {name: " ".join(NOTE.findall(path.read_text(encoding="utf-8"))) for name, path in params.items()}
    mini, given = study.load("mini"), {name: strict.read(path) for name, path in params.items()}
    suite, talks = [len(suites.load(key)) for key in mini.suites], len(suites.load_conversations("healthbench"))
    models, same, readers = ([(asked, variance) for asked in suite] for variance in (MODELS, SAME_MODEL, READERS))
    opened, same_opened = ([(talks, variance)] for variance in (RUBRICS, SAME_RUBRICS))
    leads = [least(*parts, runs=mini.runs) for parts in (models, opened)]
    once, stages, corpora, rl = given["07"]["runs"], given["08"]["runs"], given["03"], given["05"]
    files, judged, methods = given["10"]["asked"], given["12"]["counts"], given["13"]["asked"]
    of_files = [(files["questions"] * len(suite), SAME_MODEL)], [(files["conversations"], SAME_RUBRICS)]
    held_out = rl["asked"]["held_out"], SAME_MODEL
    expected = {
        "study": [least((min(suite), MODELS), runs=mini.runs), *leads],
        "01": leads,
        "02": [*leads, least((given["02"]["physicians"], MODELS), runs=2)],  # two physicians label a criterion
        "03": [least((corpora["corpus1"]["questions"], ERRORS), (sum(corpora["corpus2"].values()), ERRORS))],
        "05": [least(held_out, runs=rl["attempts"][key]) for key in ("held_out", "switches")],
        "06": [least(*readers, runs=mini.runs * len(given["06"]["models"])), least((given["06"]["shown"], MODELS))],
        "07": [least(*parts, runs=once) for parts in (models, opened)],
        "08": [least(*parts, runs=stages) for parts in (models, same, opened, same_opened)],
        "09": [least((sum(suite) + talks, LENGTHS), runs=given["09"]["runs"])],
        "10": [least(*parts, runs=given["10"]["runs"]) for parts in (sum(of_files, []), *of_files)],
        "12": [least((judged[asked], SAME_MODEL), runs=judged["runs"]) for asked in ("held_out", "closed")],
        "13": [least(*parts, runs=methods["runs"]) for parts in (models, [(methods["conversations"], RUBRICS)])],
    }
    expected["13"].append(least((methods["calls"], MODELS)))
    numbers = {name: [int(number) for number in re.findall(r"\d+", notes)] for name, notes in written.items() if notes}
    assert numbers == expected
