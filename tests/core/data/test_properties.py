"""What holds for any table and any number, not only for those somebody thought of."""

import csv
import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
