"""Other wordings keep what is asked."""

import numpy as np
import pytest

from stages.core.dmole.rewording import rewordings

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
    prompt = f"Based on the Knowledge: blue, in the north\n{BOX}"
    for text in made(prompt, "grounding"):
        assert "Lake Name" in text or "<ref>" in text
        assert text.count("\n") == 1


@pytest.mark.parametrize("kind", ["captioning", "open_vqa", "choice_vqa", "grounding"])
@pytest.mark.parametrize(
    "prompt", ["", "?", "\n", "a\n\nb", "Where is <ref>{}</ref>?", "日本語の質問"]
)
def test_odd_prompts_are_texts_too(prompt, kind):
    assert all(isinstance(text, str) for text in made(prompt, kind, 50))
