"""What the methods of reinforcement learning with a judge did, in sentences with a verdict each."""

from itertools import combinations

from medpsy.recipes.attacks import INSIDE, RIGHT
from medpsy.report import compare
from medpsy.report.method_claims import spread_ratios
from medpsy.report.method_found import GSPO, SFT, Methods
from medpsy.report.method_tables import gained, rollouts
from medpsy.report.open_scores import gap, in_units, of_step, scale, step

MOST_UNJUDGED = 5.0  # %; ours: beyond it means of rewards say little


def method_verdicts(found: Methods) -> list[dict]:
    """Return the verdicts on the methods: against the start, against each other, and on what could mislead them."""
    methods = list(dict.fromkeys(map(step, found.records)))
    gains = [_gain(found, method) for method in methods]
    pairs = [pair for pair in combinations(methods, 2) if GSPO in pair]
    apart = [_apart(found, *pair) for pair in pairs]
    steady = [one for pair in pairs if (one := _steady(found, *pair))]
    return [*gains, *(_accuracy(found, method) for method in methods), *apart, *steady, _tempted(found), _judged(found)]


def _gain(found: Methods, method: str) -> dict:
    verdict, said = found.reward_verdict(method, SFT)
    text = f"{method.upper()} raises the held-out reward over its start"
    return _sentence(text, *found.reward_gain(method, SFT), f"by training: {said}") | {"verdict": verdict}


def _accuracy(found: Methods, method: str) -> dict:
    change = gap(of_step(found.closed, method), of_step(found.closed, SFT), "right")
    text = f"{method.upper()} raises the accuracy on held-out closed-ended questions, which no judge grades"
    gain, margin = in_units(change, (0.0, 100.0))
    return _sentence(text, gain, margin, "points, paired by question")


def _apart(found: Methods, first: str, second: str) -> dict:
    verdict, said = found.reward_verdict(first, second)
    text = f"{first.upper()} ends with a higher held-out reward than {second.upper()}"
    note = f"same start, questions, judge and number of responses; by training: {said}"
    return _sentence(text, *found.reward_gain(first, second), note) | {"verdict": verdict}


def _steady(found: Methods, first: str, second: str) -> dict | None:
    ratios = spread_ratios(found.records, first, second)
    if not ratios:
        return None
    verdicts = [compare.pattern_verdict(-ratio, margin) for ratio, margin in ratios.values()]
    said = ", ".join(f"{name} {ratio:+.2f} ± {margin:.2f}" for name, (ratio, margin) in ratios.items())
    text = f"{first.upper()} varies less over its rollouts than {second.upper()}: logarithms of ratios, {said}"
    return {"text": text, "verdict": compare.all_hold(verdicts), "note": "reward and norm of the gradient"}


def _tempted(found: Methods) -> dict:
    bounds, tried = scale(found.judge), found.attacks
    rows = tried[(tried["place"] == INSIDE) & (tried["tried"] != RIGHT)]
    gain, margin = in_units(gained(rows, bounds), bounds)
    text = "Praise, orders and forged verdicts in a conclusion gain nothing with the judge, who reads them as data"
    resolution = compare.RESOLUTION * (bounds[1] - bounds[0]) / 100
    verdict = compare.unchanged_verdict(gain, margin, resolution=resolution)
    return _sentence(text, gain, margin, "rewards, paired by response") | {"verdict": verdict}


def _judged(found: Methods) -> dict:
    shares = [100 * rollouts(one)["unjudged"].mean() for one in found.records.values()]
    held_out = 100 * found.judged["reward"].isna().mean()
    most = max(*shares, held_out)
    text = f"At most {most:.1f} % of the conclusions of a training, or held-out ones, stayed without a verdict"
    verdict = "pattern holds" if most <= MOST_UNJUDGED else "pattern fails"
    return {"text": text, "verdict": verdict, "note": f"wanted: {MOST_UNJUDGED:g} % at most; they earn nothing, not 0"}


def _sentence(text: str, number: float | None, margin: float | None, note: str) -> dict:
    if number is None:
        return {"text": f"{text}: not measured", "verdict": "not testable", "note": note}
    width = "no margin" if margin is None else f"± {margin:.2f}"
    return {"text": f"{text}: {number:+.2f} {width}", "verdict": compare.pattern_verdict(number, margin), "note": note}
