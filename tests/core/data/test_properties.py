"""What holds for any table and any number, not only for those somebody thought of."""

import csv
import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.core.data.faults import RowError
from stages.core.data.markers import MARKER, PLACE, placed, without_places
from stages.core.data.readers import containers
from stages.core.data.readers.record import texts

CELL = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00\r"), max_size=20)
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(rows=st.lists(st.tuples(CELL, CELL), max_size=5))
def test_a_csv_file_gives_back_the_text_of_every_cell(tmp_path, rows):
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "answers"])
        writer.writerows(rows)
    found = [row for _, row in containers.table(path, ["answers"])]
    assert [(row["id"], row["answers"]) for row in found] == rows


@quick
@given(value=st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_a_number_reads_back_as_itself_and_a_whole_one_has_no_point(value):
    (text,) = texts(value, "answers")
    assert float(text) == value
    assert ("." in text or "e" in text) is (not value.is_integer() or abs(value) >= 1e16)
    assert len(text) <= 24  # sign, 17 digits, point, exponent of three digits and its sign


@quick
@given(value=st.integers() | st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_the_digits_of_a_number_have_no_space_and_are_finite(value):
    (text,) = texts(value, "answers")
    assert text == text.strip()
    assert math.isfinite(float(text)) or isinstance(value, int)


QUESTION = st.lists(st.sampled_from([MARKER, "\n", "<", "image>"]) | CELL, max_size=6).map("".join)


@quick
@given(questions=st.lists(QUESTION, min_size=1, max_size=3), images=st.none() | st.integers(0, 4))
def test_markers_become_places_and_nothing_else_changes_or_the_row_is_at_fault(questions, images):
    """Without a number, the images are as many as the markers."""
    markers = sum(question.count(MARKER) for question in questions)
    images = markers if images is None else images
    try:
        found = placed(questions, images)
    except RowError as fault:
        held = any(PLACE in question for question in questions)
        assert held or markers not in (0, images)
        assert fault.kind in ("reserved character", "image count", "missing image")
        return
    assert markers in (0, images)
    again = [question.replace(PLACE, MARKER) for question in found]
    if markers and not any(PLACE in question for question in found):  # all in front
        first = questions[0].strip()
        while first.startswith(MARKER):
            first, markers = first.removeprefix(MARKER).strip(), markers - 1
        assert markers == 0
        questions = [first, *questions[1:]]
    assert again == [question.strip() for question in questions]
    words = [question.replace(MARKER, "").strip() for question in questions]
    assert [without_places(question).strip() for question in found] == words
