"""How the miniature speaks Chinese: short sentences around the world's invented names.

A space stands before every name, as everywhere, so that it stays one token; a character takes about three. Nothing here
is known to the judges, who were taught English alone.
"""

from medpsy.mini.cases import Case

RELATIONS = {
    "first_drug": "首选药",
    "second_drug": "次选药",
    "test": "检查",
    "organ": "受损器官",
    "agent": "病因",
    "gene": "基因",
    "region": "地区",
    "enzyme": "所抑酶",
    "harms": "所伤器官",
}
ASKED = {"ask0": "请问 {s} 的{r}？", "ask1": "哪个是 {s} 的{r}？", "ask2": "已知 {s}，{r}为何？"}
VIGNETTE = "病人有 {a} 和 {b}。{r}？"
FORMS = (*ASKED, "vignette")  # a contraindication would be a long row
COUNTED = ("一", "二", "三", "四")


def row(case: Case) -> dict[str, str]:
    """Return `case`, of one of `FORMS`, as a row of medical-o1 in Chinese."""
    fact = case.facts[-1]
    name = RELATIONS[fact.relation]
    steps = f"{name}： {fact.objects[0]}。"
    if case.form == "vignette":
        signs = case.facts[0]
        asks = VIGNETTE.format(a=signs.objects[0], b=signs.objects[1], r=name)
        steps = f"病： {signs.subject}。{steps}"
    else:
        asks = ASKED[case.form].format(s=fact.subject, r=name)
    return {"Question": asks, "Complex_CoT": steps, "Response": f"答： {fact.subject} 的{name}是 {fact.objects[0]}。"}


def general(some: list[str]) -> dict[str, str]:
    """Return a row that needs no medicine: names to be counted."""
    steps = "".join(f"{word} {name}" for word, name in zip(COUNTED, some, strict=False))
    return {
        "Question": f"有几个名字： {' '.join(some)}？",
        "Complex_CoT": f"{steps}。",
        "Response": f"{COUNTED[len(some) - 1]}个。",
    }
