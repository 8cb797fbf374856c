"""Test questions in other words, written out by hand."""

import pytest

from stages.core.data.wordings import wordings

HINT = "Answer the question with a single word or phrase."
VQA = {
    "prompt": "{question}\n" + HINT,
    "prompts": {"questions": {"What number is it?": ["Which number?", "Read it."]}},
}


def test_hints_are_dropped_and_replaced_without_a_manifests_help():
    found = wordings(f"Who is it?\n{HINT}", VQA)
    assert found["hint_dropped"] == ["Who is it?"]
    assert "Who is it?\nGive a short answer." in found["hint_reworded"]
    assert "Who is it?\nAntworte mit einem Wort." in found["hint_foreign"]
    assert "question_reworded" not in found  # the manifest has no other words for it


def test_questions_are_those_of_the_manifest():
    found = wordings(f"What number is it?\n{HINT}", VQA)
    assert found["question_reworded"] == [f"Which number?\n{HINT}", f"Read it.\n{HINT}"]
    assert found["both_reworded"] == [
        "Which number?\nReply with one word.",
        "Read it.\nGive a short answer.",
    ]


def test_templates_keep_what_the_row_says():
    manifest = {
        "prompt": "Based on: {knowledge}\nWhere is <ref>{question}</ref>?",
        "prompts": {"reworded": ["Find {question}.\nNote: {knowledge}"]},
    }
    found = wordings("Based on: a {story}\nWhere is <ref>Anna (left)</ref>?", manifest)
    assert found["question_reworded"] == ["Find Anna (left).\nNote: a {story}"]


def test_a_placeholder_may_stand_twice():
    manifest = {"prompt": "{question} Again: {question}", "prompts": {"reworded": ["{question}!"]}}
    assert wordings("Who? Again: Who?", manifest)["question_reworded"] == ["Who?!"]
    assert "question_reworded" not in wordings("Who? Again: What?", manifest)


def test_any_text_loses_its_mark_and_case():
    found = wordings("Is it so?", {})
    assert found["mark"] == ["Is it so"]
    assert found["case"] == ["is it so?", "IS IT SO?"]
    assert found["polite"][0] == "Please help. Is it so?"


def test_typing_errors_exchange_letters_of_longer_words():
    assert wordings("What kind of thing comes?", {})["typos"] == [
        "What kind of thnig comes?",
        "What kind of thing comes?",
    ]


@pytest.mark.parametrize("text", ["", "?", "a\nb", "{question}"])
def test_odd_texts_are_no_error(text):
    assert all(wordings(text, VQA).values())
