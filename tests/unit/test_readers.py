"""What the rule readers find in answers of every odd shape we have met; a new one becomes one line here."""

import time

import pytest
from medpsy.benchmarks.question import Question
from medpsy.grading import reading
from medpsy.grading.readers import BIASED, READERS, first_letter, first_or_last, last_letter, lenient, strict


def asked(*options, stem="Which of these is it?", gold=0):
    return Question("q", "own", "", stem, options, gold, None, "own")


ONE_TO_TEN = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DRUGS = asked("Zorvamab", "Quintolex", "Pelidrine", "Mirocaine")
TEN = asked(*(f"Finding {word}" for word in ONE_TO_TEN))
YES_NO = asked("yes", "no", "maybe")
DOSES = asked("1.5 mg", "15 mg", "150 mg", "0.15 mg")
WITH_NONE = asked("Zorvamab", "Quintolex", "Pelidrine", "None of the above")
WITH_ALL = asked("Zorvamab", "Quintolex", "Pelidrine", "All of the above")
WITH_BOTH = asked("Zorvamab", "Quintolex", "Both A and B", "Neither")
HEPATITIS = asked("Hepatitis C", "Hepatitis B", "Hepatitis A", "Hepatitis E")
GERMS = asked("Staphylococcus", "C. difficile", "Shigella", "E. coli", "Giardia")
LETTERS_AS_TEXTS = asked("B", "C", "D", "E")


def letter(found):
    return None if found.choice is None else "ABCDEFGHIJ"[found.choice]


READABLE = [
    # letters alone
    (DRUGS, "C", "C"),
    (DRUGS, " c ", "C"),
    (DRUGS, "(C)", "C"),
    (DRUGS, "[C]", "C"),
    (DRUGS, "C.", "C"),
    (DRUGS, "d)", "D"),
    (DRUGS, "- D", "D"),
    (DRUGS, "`C`", "C"),
    (DRUGS, "**D**", "D"),
    (DRUGS, "**(D)**", "D"),
    (DRUGS, "<b>D</b>", "D"),
    (DRUGS, "Option C", "C"),
    (TEN, "J", "J"),
    (TEN, "I", "I"),
    (TEN, "(i)", "I"),
    # letter and text
    (DRUGS, "C. Pelidrine", "C"),
    (DRUGS, "C) Pelidrine", "C"),
    (DRUGS, "C: Pelidrine", "C"),
    (DRUGS, "C - Pelidrine", "C"),
    (DRUGS, "C (Pelidrine)", "C"),
    (DRUGS, "C Pelidrine", "C"),
    (DRUGS, "• D. Mirocaine", "D"),
    (DRUGS, "d. mirocaine", "D"),
    (DRUGS, "C. Pelidrin, slightly misspelt", "C"),
    # text alone
    (DRUGS, "Quintolex", "B"),
    (DRUGS, "quintolex.", "B"),
    (DRUGS, "The answer is quintolex.", "B"),
    (DRUGS, "Therefore, the best choice is Mirocaine.", "D"),
    (DRUGS, "Pelidrine is the correct answer.", "C"),
    (DRUGS, "The patient should receive mirocaine", "D"),
    (DOSES, "The answer is 15 mg.", "B"),
    (DOSES, "15mg", "B"),
    (asked("< 5", "> 5", "= 5"), "The answer is > 5.", "B"),
    (asked("-5", "5", "0"), "The answer is -5", "A"),
    (asked("increased", "decreased", "unchanged"), "It is decreased.", "B"),
    (asked("a sequence", "a syndrome"), "The answer is a syndrome.", "B"),
    (asked("a sequence", "a syndrome"), "A sequence.", "A"),
    # said in words
    (DRUGS, "The answer is (C).", "C"),
    (DRUGS, "the answer is c.", "C"),
    (DRUGS, "The answer is option C", "C"),
    (DRUGS, "Answer is C because of the rash", "C"),
    (DRUGS, "The correct option is letter C.", "C"),
    (DRUGS, "Answer: B.", "B"),
    (DRUGS, "ANSWER: B", "B"),
    (DRUGS, "ANSWER IS D", "D"),
    (DRUGS, "Answer:D", "D"),
    (DRUGS, "Answer=D", "D"),
    (DRUGS, "Answer - D", "D"),
    (DRUGS, "Answer (C)", "C"),
    (DRUGS, "Ans. D", "D"),
    (DRUGS, "ans: c", "C"),
    (DRUGS, "My answer: D", "D"),
    (DRUGS, "**Answer:** B", "B"),
    (DRUGS, "**Final Answer**: **B**", "B"),
    (DRUGS, "**Correct Answer:** B) Quintolex", "B"),
    (DRUGS, "### Final Answer\n\n(B)", "B"),
    (DRUGS, "#### B", "B"),
    (DRUGS, "Final: B", "B"),
    (DRUGS, "Answer\n\nB", "B"),
    (DRUGS, "Final Answer:\nThe answer is `B. Quintolex`.", "B"),
    (DRUGS, "Final Answer: B. Quintolex, since it works", "B"),
    (DRUGS, 'The answer is "C".', "C"),
    (DRUGS, "<answer>(B) Quintolex</answer>", "B"),
    (DRUGS, "I would choose C.", "C"),
    (DRUGS, "I'd go with option (B).", "B"),
    (DRUGS, "So it's B.", "B"),
    (DRUGS, "It is clearly B", "B"),
    (DRUGS, "Thus A is the answer.", "A"),
    (DRUGS, "A is correct.", "A"),
    (DRUGS, "The best treatment is B.", "B"),
    (DRUGS, "**C. Pelidrine** is the best answer.", "C"),
    (DRUGS, "This is the right answer (D).", "D"),
    (DRUGS, "Option A is an antibiotic. Option (C) is the most fitting.", "C"),
    (DRUGS, "**Answer: C**\n\n**Explanation:** Option B is the most likely to harm.", "C"),
    (DRUGS, "The drug acts on the vessel wall, so the fitting option to stop it is (B).", "B"),
    (DRUGS, "All signs point to a vessel disorder. The likely culprit is the drug of option D.", "D"),
    (DRUGS, "The rash is most likely caused by mirocaine (option D), which is known for it.", "D"),
    (DRUGS, "Which drug is it? The correct one is:\n\nB. Quintolex\n\nOthers may be tried later.", "B"),
    (TEN, "The answer is I think B", "B"),
    (TEN, "I am confident that the answer is H.", "H"),
    (TEN, "I choose I.", "I"),
    (TEN, "The answer is I.", "I"),
    # LaTeX
    (DRUGS, r"\boxed{C}", "C"),
    (DRUGS, r"$\boxed{\text{(C)}}$", "C"),
    (DRUGS, r"\boxed{\textbf{C. Pelidrine}}", "C"),
    (DRUGS, r"\boxed{\mathrm{D}}", "D"),
    (DRUGS, r"\boxed{D. \text{Mirocaine}}", "D"),
    (DRUGS, r"\boxed{Mirocaine}", "D"),
    (DRUGS, r"\[\boxed{\text{Answer: } D}\]", "D"),
    (DRUGS, r"The final answer is $\boxed{B}$.", "B"),
    # JSON, whole and broken
    (DRUGS, '{"step_by_step_thinking": "A is wrong.", "answer_choice": "B. Quintolex"}', "B"),
    (DRUGS, '{"step_by_step_thinking": "He said "no" (D)." "answer_choice": "B"}', "B"),
    (DRUGS, '{"step_by_step_thinking": "Not given. The answer is: C. Pelidrine, it seems."}', "C"),
    (DRUGS, '```json\n{"answer": "B"}\n```', "B"),
    (asked("60", "80", "100"), '{"answer_choice": 80}', "B"),
    (asked("60", "80", "100"), '{"answer_choice": "80"}', "B"),
    # look-alikes
    (DRUGS, "The answer is Ｃ", "C"),
    (DRUGS, "The answer is С.", "C"),  # Cyrillic Es
    (DRUGS, "The answer is 𝐂.", "C"),
    (DRUGS, "🅲", "C"),
    (DRUGS, "Ⓒ", "C"),
    (DRUGS, "⒞", "C"),
    (DRUGS, "The answer is (\u200bC).", "C"),
    # denials of others
    (DRUGS, "The correct answer is A, not B.", "A"),
    (DRUGS, "The answer is not C but D.", "D"),
    (DRUGS, "The answer is D instead of A.", "D"),
    (DRUGS, "The answer is C, and A is wrong.", "C"),
    (DRUGS, "The answer is C and A is an antibiotic.", "C"),
    (DRUGS, "The answer is C because A and B are wrong.", "C"),
    (DRUGS, "Neither A nor B fits; the answer is D.", "D"),
    (DRUGS, "The answer is not (A), (B), or (C). It must be (D).", "D"),
    (DRUGS, "Options A, B and D are incorrect, which leaves (C).", "C"),
    (DRUGS, "(B) is incorrect. (A) is wrong. (D) is unlikely. Therefore, (C) is the correct answer.", "C"),
    (DRUGS, "It could be A. However, A is not right, so it is D.", "D"),
    # changes of mind, and explanations after the answer
    (DRUGS, "The answer is A. Wait, let me reconsider. The answer is D.", "D"),
    (DRUGS, "The likely one is (A).\n\nFinal Answer:\nD. Mirocaine", "D"),
    (DRUGS, "The answer is (A) or (B), but the most accurate answer would be (B).", "B"),
    (DRUGS, "The answer is A. Explanation: B is wrong because it is slow. C is wrong too.", "A"),
    (DRUGS, "Answer: C\n\nExplanation: (A) kills germs. (D) is the most common choice elsewhere.", "C"),
    (DRUGS, "C\n\nExplanation: (B) slows the heart.", "C"),
    (DRUGS, "C. Pelidrine\n\nExplanation: (A) kills germs and (B) slows the heart.", "C"),
    (DRUGS, "(A) kills germs. (B) slows the heart.\n\nC. Pelidrine", "C"),
    (DRUGS, "A. Zorvamab\nB. Quintolex\nC. Pelidrine\nD. Mirocaine\n\nThe answer is D.", "D"),
    (DRUGS, "The answer is (C).\n\nQuestion: A boy limps. What now?\nA. rest\nB. ice\nAnswer: B", "C"),
    (DRUGS, "Question: Which of these is it?\nAnswer: B", "B"),
    (DRUGS, "Let me repeat.\nQuestion: Which of these is it?\nAnswer: B", "B"),
    # options that name none, all, both, or letters
    (WITH_NONE, "None of the above", "D"),
    (WITH_NONE, "The answer is none of these.", "D"),
    (WITH_ALL, "All of these", "D"),
    (WITH_BOTH, "A and B", "C"),
    (WITH_BOTH, "The answer is both A and B.", "C"),
    (HEPATITIS, "Answer: Hepatitis A", "C"),
    (HEPATITIS, "The most likely diagnosis is hepatitis A.", "C"),
    (GERMS, "The answer is C. difficile.", "B"),
    (GERMS, "The answer is E. coli.", "D"),
    (LETTERS_AS_TEXTS, '{"answer_choice": "C"}', "C"),  # a lone letter is a letter, not the text of option B
    (LETTERS_AS_TEXTS, "The answer is A. B", "A"),
    # yes, no, maybe
    (YES_NO, "Yes", "A"),
    (YES_NO, "**Yes**", "A"),
    (YES_NO, "No, there is no evidence for it.", "B"),
    (YES_NO, "Final answer: Yes", "A"),
    (YES_NO, "The answer is maybe.", "C"),
    (YES_NO, "The trial was small. Maybe.", "C"),
    (YES_NO, "Based on the abstract, the conclusion is yes.", "A"),
    (YES_NO, "A. yes", "A"),
    # other languages' frames that real models slip into
    (DRUGS, "它会扩张血管。选项 (D) 正确。", "D"),
    (DRUGS, "答案是C。", "C"),
]


@pytest.mark.parametrize(("question", "answer", "want"), READABLE)
def test_lenient_reads(question, answer, want):
    assert letter(lenient(answer, question)) == want


@pytest.mark.parametrize(("question", "answer", "want"), READABLE)
def test_strict_reads_the_same_or_nothing(question, answer, want):
    assert letter(strict(answer, question)) in (want, None)


NO_CHOICE = [
    # nothing, refusals, filters
    (DRUGS, "", reading.EMPTY),
    (DRUGS, " \n ", reading.EMPTY),
    (DRUGS, "The response was filtered due to the prompt triggering a content management policy.", reading.FILTERED),
    (DRUGS, "I'm sorry, but I can't help with that.", reading.REFUSED),
    (DRUGS, "As an AI, I do not give medical advice.", reading.REFUSED),
    (DRUGS, "I cannot choose between these.", reading.REFUSED),
    # none fits
    (DRUGS, "None of the above", reading.NONE_FITS),
    (DRUGS, "The correct answer is not listed.", reading.NONE_FITS),
    (DRUGS, "Therefore the answer is not provided in the options.", reading.NONE_FITS),
    (DRUGS, '{"answer_choice": "None of the above"}', reading.NONE_FITS),
    (DRUGS, '{"answer_choice": null}', reading.NO_OPTION),
    (DRUGS, '{"answer_choice": ""}', reading.NO_OPTION),
    (DRUGS, '{"answer_choice": "Unable to determine without the graph"}', reading.NO_OPTION),
    # several
    (DRUGS, "The answer is A or B.", reading.SEVERAL),
    (DRUGS, "The answer is (A) and (C).", reading.SEVERAL),
    (DRUGS, "The answer is (A), (B), (D).", reading.SEVERAL),
    (DRUGS, "The answer is (A, B, D).", reading.SEVERAL),
    (DRUGS, "The fullest answer would be (ABD).", reading.SEVERAL),
    (DRUGS, "The answer is **A. Zorvamab** or **B. Quintolex**.", reading.SEVERAL),
    (DRUGS, "The answer is not a single option, but rather a combination of (A) and (D).", reading.SEVERAL),
    (DRUGS, "There are two correct answers: A and D.", reading.SEVERAL),
    (DRUGS, "Answer: The drugs that do this are A (Zorvamab) and D (Mirocaine).", reading.SEVERAL),
    (DRUGS, "The answer is (A) for adults and (C) for children.", reading.SEVERAL),
    (DRUGS, "The best step could be:\n\nA. Zorvamab\nD. Mirocaine", reading.SEVERAL),
    (DRUGS, '{"answer_choice": "A/B"}', reading.SEVERAL),
    (DRUGS, '{"answer_choice": "A. Zorvamab or C. Pelidrine"}', reading.SEVERAL),
    (DRUGS, '{"answer_choice": "A. Zorvamab. B. Quintolex."}', reading.SEVERAL),
    (DRUGS, r"\boxed{A} or \boxed{B}", reading.SEVERAL),
    (DRUGS, "The answer is A. The answer is B. The answer is C.", reading.SEVERAL),
    # not offered, or letter against text
    (DRUGS, "The answer is F", reading.NOT_OFFERED),
    (DRUGS, '{"answer_choice": "E. Other"}', reading.NOT_OFFERED),
    (DRUGS, "The answer is (C).\n\nFinal Answer: J. Something else", reading.NOT_OFFERED),
    (DRUGS, '{"answer_choice": "B. Pelidrine"}', reading.CLASH),
    (DRUGS, '{"answer_choice": "A. Mirocaine"}', reading.CLASH),
    (DRUGS, "D. None of the above", reading.CLASH),
    (DRUGS, "The answer is B. Pelidrine.", reading.CLASH),
    # letters that are no options
    (TEN, "I think it could be many things.", reading.NO_OPTION),
    (TEN, "I'm not sure.", reading.NO_OPTION),
    (TEN, "A 45-year-old man has this.", reading.NO_OPTION),
    (TEN, "The causes are (i) age and (ii) sex.", reading.NO_OPTION),
    (DRUGS, "The answer is a matter of debate.", reading.NO_OPTION),
    (DRUGS, "The answer is vitamin C.", reading.NO_OPTION),
    (DRUGS, "Vitamin C deficiency and hepatitis B are rare here.", reading.NO_OPTION),
    (DRUGS, "B-cells and D cells are involved.", reading.NO_OPTION),
    (DRUGS, "The most likely cause is H. pylori.", reading.NO_OPTION),
    (DRUGS, "В этом случае ответа нет.", reading.NO_OPTION),  # Russian "in this case there is no answer"
    # nothing settled
    (DRUGS, "The answer is not B.", reading.NO_OPTION),
    (DRUGS, "(A), (B) and (D) are wrong.", reading.NO_OPTION),
    (DRUGS, "A. Zorvamab\nB. Quintolex\nC. Pelidrine\nD. Mirocaine", reading.NO_OPTION),
    (DRUGS, "Answer: Let's think step by step: A helps with infection, so", reading.NO_OPTION),
    (YES_NO, "There is no clear evidence, so it depends.", reading.NO_OPTION),
    (YES_NO, "yes/no", reading.NO_OPTION),
]


@pytest.mark.parametrize(("question", "answer", "why"), NO_CHOICE)
def test_lenient_finds_no_choice(question, answer, why):
    assert lenient(answer, question) == reading.Reading(None, why)


@pytest.mark.parametrize(("question", "answer", "why"), NO_CHOICE)
def test_strict_finds_no_choice_either(question, answer, why):
    assert strict(answer, question).choice is None


@pytest.mark.xfail(
    strict=True, reason="known gap: a label for true and false statements, cut off before the last label"
)
def test_statements_labelled_one_by_one():
    labelled = "The answer is (A) is false. One is common. The answer is (B) is true. Two helps. The answer is (C)"
    assert lenient(labelled, DRUGS).choice is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("The answer is A. Wait. The answer is D.", reading.SEVERAL),  # lenient takes the last
        ("Therefore, the likely cause is the drug (option D).", reading.NO_OPTION),  # no plain statement
        ("Mirocaine should be given.", reading.NO_OPTION),
    ],
)
def test_strict_refuses_what_lenient_reads(answer, why):
    assert strict(answer, DRUGS) == reading.Reading(None, why)
    assert letter(lenient(answer, DRUGS)) == "D"


@pytest.mark.parametrize(
    ("question", "answer", "first", "last"),
    [
        (DRUGS, "The answer is B, not C.", "B", "C"),
        (DRUGS, "(A) is wrong and so is (D).", "A", "D"),
        (DRUGS, "A 45-year-old man takes (C).", "C", "C"),
        (TEN, "I think I would take J.", None, None),  # a bare letter after a verb of another kind is no option
        (TEN, "I think the answer is J.", "J", "J"),
        (DRUGS, "Vitamin C helps, hepatitis B does not.", None, None),
        (DRUGS, "Option F is not offered, option B is.", "B", "B"),
        (DRUGS, "", None, None),
    ],
)
def test_first_and_last_letter(question, answer, first, last):
    assert letter(first_letter(answer, question)) == first
    assert letter(last_letter(answer, question)) == last


@pytest.mark.parametrize(("gold", "want"), [(0, "A"), (1, "A"), (3, "D"), (None, "A")])
def test_first_or_last_takes_whichever_is_right(gold, want):
    question = asked("Zorvamab", "Quintolex", "Pelidrine", "Mirocaine", gold=gold)
    assert letter(first_or_last("It is (A), or perhaps (D).", question)) == want


def test_only_the_biased_reader_sees_the_gold():
    answer = "It is (A), or perhaps (D)."
    for name, reader in READERS.items():
        found = {
            reader(answer, asked("Zorvamab", "Quintolex", "Pelidrine", "Mirocaine", gold=gold)) for gold in range(4)
        }
        assert (len(found) > 1) == (name in BIASED)


@pytest.mark.parametrize(
    "unit",
    [
        "answer ", "the answer is ", "A ", "A and ", "(A)", "(A), ", "correct ", "most likely ", "it is ", "so ",
        "not ", "\n",
        ":\n", "A:\n", "A. ", ". ", "*", "_", " ", "(", "\\boxed{", "\\text{", '"answer":', '"A" ', "В ", "option I ",
        "Question: x\n", "The patient has B cells and vitamin C. ", "1.5/", "final answer ", "either ", "<b>", "选项",
    ],
)  # fmt: skip
def test_hostile_texts_cost_linear_time(unit):
    text = (unit * (100_000 // len(unit)))[:100_000]
    started = time.process_time()
    for reader in (strict, lenient):
        reader(text, TEN)
    assert time.process_time() - started < 10  # about 1 s at most on an idle machine; a quadratic pattern takes minutes


def test_hostile_field_costs_linear_time():
    for text in ('"answer": "' + "\\" * 100_000, '"answer": "' + "a" * 100_000, '"answer"' + " " * 100_000):
        assert strict(text, DRUGS).choice is None
