"""What judges reply, and what is read out of it: one clear verdict, or none with the reason."""

import json

import pytest
from medpsy.grading.verdicts import BROKEN, CONFLICT, NEITHER, NO_KEY, NO_OBJECT, Verdict, read_verdict

YES = '{"explanation": "It says so.", "criteria_met": true}'
NO = '{"explanation": "It does not.", "criteria_met": false}'
MET, NOT_MET = Verdict("met", "It says so."), Verdict("not met", "It does not.")


@pytest.mark.parametrize(
    ("reply", "want"),
    [
        (YES, MET),
        (NO, NOT_MET),
        (f"```json\n{YES}\n```", MET),
        (f"```\n{NO}\n```\n", NOT_MET),
        (f"Let me see {{curly}} braces. My verdict: {NO} I hope this helps.", NOT_MET),
        (f"{YES}\n\nAgain: {YES}", MET),
        (f'{{"note": "draft"}} {NO}', NOT_MET),
        (f"[{YES}]", MET),
        ('{"explanation": "two\nlines", "criteria_met": true}', Verdict("met", "two\nlines")),
        ('{"explanation": "it wrote {\\"criteria_met\\": true}", "criteria_met": false}',
         Verdict("not met", 'it wrote {"criteria_met": true}')),
        ('{"criteria_met": true, "explanation": ["a", "list"]}', Verdict("met")),
        ('{"criteria_met": "true"}', Verdict("met")),
        ('{"criteria_met": " False "}', Verdict("not met")),  # truthy, but it says false
    ],
)  # fmt: skip
def test_a_clear_verdict_is_read(reply, want):
    assert read_verdict(reply) == want


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", NO_OBJECT),
        ("met", NO_OBJECT),
        ("true", NO_OBJECT),
        ("[true]", NO_OBJECT),
        ("{'criteria_met': True}", NO_OBJECT),
        ("{}", NO_KEY),
        ('{"explanation": "It says so."}', NO_KEY),
        ('{"verdict": {"criteria_met": true}}', NO_KEY),
        ('{"Criteria_Met": true}', NO_KEY),
        ('{"criteria_met": null}', NEITHER),
        ('{"criteria_met": 1}', NEITHER),
        ('{"criteria_met": "maybe"}', NEITHER),
        ('{"criteria_met": ["true"]}', NEITHER),
        (f"{YES} {NO}", CONFLICT),
        (f'{YES} {{"criteria_met": null}}', CONFLICT),
        ('{"criteria_met": true, "criteria_met": false}', CONFLICT),
        ('{"criteria_met": true or false}', BROKEN),
        ('{"explanation": "It says so.", "criteria_met": true', BROKEN),  # truncated
        ('{"criteria_met": false, "example": {"criteria_met": true}', BROKEN),  # not the inner one
        (f'{{"explanation": "bad "quote" {YES}", "criteria_met": false}}', BROKEN),
        ('{"explanation": "It', BROKEN),
        (f'{YES} {{"explanation": "one more', BROKEN),
        ('{"a":' * 100_000, BROKEN),
        ("{" * 100_000, NO_OBJECT),
        ('{"criteria_met": ' + "1" * 5_000 + "}", BROKEN),
    ],
)
def test_anything_else_is_unjudged_with_the_reason(reply, reason):
    assert read_verdict(reply) == Verdict("unjudged", "", reason)


def test_a_verdict_survives_being_written_as_json_with_any_text():
    text = 'quotes " and braces } and ``` fences \\ and \u2028'
    assert read_verdict(json.dumps({"explanation": text, "criteria_met": False})) == Verdict("not met", text)
