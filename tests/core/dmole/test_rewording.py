"""Other wordings keep what is asked."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from stages.core.data import wordings
from stages.core.dmole.rewording import HINTS, SHORT_HINTS, rewordings

OPTIONS = "Which group is it?\nOptions: A. cat, B. dog\nAnswer with the option's letter directly."
BOX = "Please provide the bounding box coordinates of the region <ref>Lake Name</ref>."


def made(prompt: str, kind: str, count: int = 200) -> list[str]:
    return rewordings(prompt, kind, count, np.random.default_rng(0))


def test_the_same_seed_gives_the_same_wordings():
    assert made(OPTIONS, "choice_vqa") == made(OPTIONS, "choice_vqa")
    assert len(set(made(OPTIONS, "choice_vqa"))) > 20


def test_some_drop_the_hint_and_some_replace_it():
    prompt = "What number is written?\nAnswer the question with a single word or phrase."
    found = made(prompt, "open_vqa")
    assert any("\n" not in text for text in found)
    assert any(text.endswith("Be brief.") for text in found)


def test_options_stay_but_for_a_typing_error():
    kept = [text for text in made(OPTIONS, "choice_vqa") if "Options: A. cat, B. dog" in text]
    assert len(kept) > 150


def test_what_a_box_is_asked_of_is_never_replaced():
    for text in made(BOX, "grounding"):
        letters = sorted(text.replace("<ref>", "").replace("</ref>", "").lower())
        assert all(letters.count(x) >= "lake name".count(x) for x in "laken")
    assert "Find Lake Name." in made(BOX, "grounding")


def test_knowledge_in_front_of_a_request_stays():
    knowledge = "Based on the Knowledge: blue, in the north"
    for text in made(f"{knowledge}\n{BOX}", "grounding"):
        assert "Lake Name" in text or "<ref>" in text
        assert sorted(text.split("\n")[0]) == sorted(knowledge)  # but for a typing error
        assert text.count("\n") in (1, 2)  # the request, and at times a hint


@pytest.mark.parametrize(("kind", "prompt"), [("captioning", "Caption it."), ("grounding", BOX)])
def test_a_request_without_a_hint_gets_one_at_times(kind, prompt):
    last = [text.split("\n")[1:] for text in made(prompt, kind)]
    assert 20 < sum(map(bool, last)) < 100
    assert any(hint in HINTS[kind] for [hint] in filter(None, last))


def test_no_hint_of_the_robustness_test_is_learnt_from():
    asked = [hint for kinds in wordings.HINTS.values() for hints in kinds for hint in hints]
    for manifest in Path("data_manifests").glob("*/*.yaml"):
        prompts = yaml.safe_load(manifest.read_text()).get("prompts", {})
        asked += [text for kind, texts in prompts.items() if "hint" in kind for text in texts]
    learnt = {*SHORT_HINTS, *(hint for hints in HINTS.values() for hint in hints)}
    assert len(asked) > 30
    assert [text for text in asked if any(hint in text for hint in learnt)] == []


@pytest.mark.parametrize("kind", ["captioning", "open_vqa", "choice_vqa", "grounding"])
@pytest.mark.parametrize(
    "prompt", ["", "?", "\n", "a\n\nb", "Where is <ref>{}</ref>?", "日本語の質問"]
)
def test_odd_prompts_are_texts_too(prompt, kind):
    assert all(isinstance(text, str) for text in made(prompt, kind, 50))
