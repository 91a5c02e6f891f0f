"""Table files that are bad, and requests that make no sense: a reason in one line, nothing made."""

import numpy as np
import pytest
from table_files import read, sample, write

from engine.tables import TableError, open_source


def no_file(path):
    """Leave the path empty."""


def a_directory(path):
    """Put a directory there."""
    path.mkdir()


def saying(content):
    """Return a function that makes a file of these bytes."""
    return lambda path: path.write_bytes(content)


def holding(array):
    """Return a function that saves an array."""
    return lambda path: np.save(path, array)


def cut_short(path):
    """Write a good file and lose its second half."""
    write(path, sample(1000))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("t.parquet", no_file, "no such file"),
        ("t.parquet", a_directory, "not a regular file"),
        ("t.xlsx", saying(b"PK"), "no format has the suffix '.xlsx'"),
        ("t", saying(b""), "no format has the suffix ''"),
        ("t.parquet", saying(b"not parquet at all"), "cannot be read: .*[Pp]arquet"),
        ("t.parquet", saying(b""), "cannot be read: "),
        ("t.parquet", cut_short, "cannot be read: "),
        ("t.arrow", saying(b"neither file nor stream"), "cannot be read: "),
        ("t.arrow", saying(b""), "cannot be read: "),
        ("t.arrow", saying(b"FEA1...."), "Feather file of version 1"),
        ("t.arrow", cut_short, "cannot be read: "),
        ("t.arrows", cut_short, "cannot be read: "),
        ("t.csv", saying(b""), "cannot be read: Empty CSV file"),
        ("t.csv", saying(b"a,b\n1,2\n3\n"), "Expected 2 columns, got 1"),
        ("t.csv", saying(b"a,b,a\n1,2,3\n"), "2 columns are named 'a'"),
        ("t.npy", saying(b"not an array"), "cannot be read: "),
        ("t.npy", cut_short, "cannot be read: "),
        ("t.npy", holding(np.zeros((2, 2, 2))), r"shape \(2, 2, 2\) .* not a table"),
        ("t.npy", holding(np.float64(3)), "not a table"),
        ("t.npy", holding(np.zeros(2, [("a", "f8", 3)])), "'a' holds several values"),
        ("t.npy", holding(np.zeros(2, complex)), "cannot be read: "),
    ],
)
def test_bad_files(tmp_path, name, make, reason):
    """Each is one line that names the file, raised when it is opened or read."""
    path = tmp_path / name
    make(path)
    with pytest.raises(TableError, match=reason) as caught:
        read(path)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_objects_are_never_unpickled(tmp_path):
    """Reading an array of objects would run code that the file carries."""
    np.save(tmp_path / "t.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(TableError, match="cannot be read"):
        open_source(tmp_path / "t.npy")


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (["i", "ff"], "no column 'ff'; did you mean 'f'"),
        (["nothing like it"], "no column 'nothing like it'; the file has 'i', 'f', 'b', 't'"),
        ([], "no columns to read"),
    ],
)
def test_bad_columns(tmp_path, columns, reason):
    """A wrong name is answered with the right ones."""
    path = write(tmp_path / "t.parquet", sample())
    with pytest.raises(TableError, match=reason):
        open_source(path, columns)


def test_batches_of_no_rows_are_refused(tmp_path):
    """A batch of nothing would never end."""
    with pytest.raises(ValueError, match="at least one row"):
        open_source(tmp_path / "t.parquet", batch_rows=0)


def test_errors_of_tables_are_value_errors():
    """So that a caller who knows nothing of the engine catches them."""
    assert issubclass(TableError, ValueError)
