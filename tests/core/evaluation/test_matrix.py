"""Score matrices from cells and from CSV files; malformed files name line and column."""

import numpy as np
import pytest

from stages.core.base.errors import InputError
from stages.core.evaluation.matrix import matrix_from_cells, read_matrix


def test_matrix_from_cells():
    matrix = matrix_from_cells([(0, "b", 1.0), (2, "a", 3.0)], ["a", "b"])
    assert np.isnan(matrix).sum() == 4
    assert matrix[0, 1] == 1.0 and matrix[2, 0] == 3.0


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([(3, "a", 1.0)], "steps 0 to 2"),
        ([(1, "z", 1.0)], "tasks a, b"),
        ([(1, "a", 1.0), (1, "a", 1.0)], "twice"),
    ],
)
def test_matrix_from_bad_cells(cells, words):
    with pytest.raises(InputError, match=words):
        matrix_from_cells(cells, ["a", "b"])


def read(tmp_path, text):
    path = tmp_path / "matrix.csv"
    path.write_text(text, encoding="utf-8")
    return read_matrix(path)


def test_csv_with_numbers_and_names_as_labels(tmp_path):
    matrix, tasks = read(tmp_path, "step,a,b\npretrained,1,2\n\nb,5,6.5\n1,3,\n")
    assert tasks == ["a", "b"]
    np.testing.assert_array_equal(matrix, [[1, 2], [3, np.nan], [5, 6.5]])


def test_csv_without_the_pretrained_row(tmp_path):
    matrix, _ = read(tmp_path, "\ufeff,a,b\n1,3,4\n2,5,6\n")
    assert np.isnan(matrix[0]).all()
    np.testing.assert_array_equal(matrix[1:], [[3, 4], [5, 6]])


def test_csv_row_zero_is_the_pretrained_one(tmp_path):
    matrix, _ = read(tmp_path, "step,a\n0,7\n1,8\n")
    np.testing.assert_array_equal(matrix, [[7], [8]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "header .* an empty file"),
        ("step\n1\n", "one name for each task"),
        ("step,a,a\n1,2,3\n", "all different"),
        ("step,a,\n1,2,3\n", "one name for each task"),
        ("step,a,b\n", "no rows of scores"),
        ("step,a,b\n1,2\n", "line 2: 1 scores for 2 tasks"),
        ("step,a,b\n1,2,3,4\n", "line 2: 3 scores for 2 tasks"),
        ("step,a,b\n1,2,3\n2,x,3\n", "line 3, column 'a': 'x' is not a number"),
        ("step,a,b\n1,2,inf\n", "line 2, column 'b': 'inf'"),
        ("step,a,b\n1,nan,3\n", "line 2, column 'a': 'nan'"),
        ("step,a,b\n3,2,3\n", "line 2: unknown step '3'.*Allowed: 0, 1, 2"),
        ("step,a,b\npre-trained,2,3\n", "Did you mean 'pretrained'"),
        ("step,a,b\n1,2,3\na,2,3\n", "line 3: step 1 was given in line 2"),
    ],
)
def test_malformed_csv(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read(tmp_path, text)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match="not a readable CSV"):
        read_matrix(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a readable CSV"):
        read_matrix(tmp_path / "binary.csv")
