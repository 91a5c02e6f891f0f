"""parallel_groupby: against pandas, and against Python's own dicts."""

import datetime as dt
import functools
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from faults import is_whole, results_around_a_kill
from hypothesis import given
from hypothesis import strategies as st
from leaks import eventually

import engine
from engine import KernelTypeError, Reduction, parallel_groupby
from engine.algorithms.groups import dense, few_keys, key_ranges
from engine.algorithms.groups.aggregates import AGGREGATES
from engine.algorithms.phases import blocks
from engine.algorithms.sorting import buckets, lines, runs

which_pool = st.integers(0, 3)


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    """Blocks and partitions of a few rows, so that short columns have several."""
    monkeypatch.setattr(blocks, "ROWS", 16)
    monkeypatch.setattr(lines, "FEW_LENGTH_MAX", 50)
    monkeypatch.setattr(buckets, "BLOCK_LENGTH", 64)
    monkeypatch.setattr(buckets, "BUCKET_LENGTH", 32)
    monkeypatch.setattr(runs, "_BLOCK_LENGTH", 16)


def twin(keys, values, nulls, ddof=0):
    """Group rows in a dict and reduce each list by plain formulas."""
    groups = {}
    for key, value in zip(keys, values, strict=True):
        if nulls == "group" or None not in key:
            groups.setdefault(key, []).append(value)
    return [
        (key, reduced([one for one in groups[key] if one is not None], ddof))
        for key in sorted(groups, key=lambda key: [(one is None, one or 0) for one in key])
    ]


def reduced(known, ddof):
    """Reduce a list without nulls in every way."""
    result = dict.fromkeys(AGGREGATES)
    result |= {"count": len(known), "nunique": len(set(known))}
    if known:
        result |= {
            "sum": sum(known),
            "mean": math.fsum(known) / len(known),
            "median": float(np.median(known)),
            "min": min(known),
            "max": max(known),
            "first": known[0],
            "last": known[-1],
        }
    if len(known) > ddof:
        result["var"] = float(np.var(known, ddof=ddof))
        result["std"] = float(np.std(known, ddof=ddof))
    return result


def assert_as_twin(table, names, rows):
    """Compare keys exactly and aggregates closely."""
    keys = list(zip(*(table[name].to_pylist() for name in names), strict=True))
    assert keys == [key for key, _ in rows]
    for what in AGGREGATES:
        ours = table[f"value_{what}"].to_pylist()
        wanted = [row[what] for _, row in rows]
        assert [one is None for one in ours] == [one is None for one in wanted], what
        known = [one for one in ours if one is not None]
        assert known == pytest.approx([one for one in wanted if one is not None], abs=1e-12), what


small = st.none() | st.integers(-3, 3)
huge = st.none() | st.sampled_from([-(2**63), -(2**40), 0, 1, 2**40, 2**63 - 1])


@given(
    at=which_pool,
    rows=st.lists(st.tuples(small | huge, huge, st.none() | st.integers(-9, 9)), max_size=90),
    kind=st.sampled_from([pa.int64(), pa.float64(), pa.int8()]),
    nulls=st.sampled_from(["group", "drop"]),
    count=st.integers(1, 3),
    ddof=st.integers(0, 1),
)
def test_groups_of_any_keys(pools, at, rows, kind, nulls, count, ddof):
    """Near or far apart, of one column or several, with nulls among keys and values."""
    keys = [(row[0], row[1], row[0])[:count] for row in rows]
    values = [row[2] for row in rows]
    columns = {
        f"k{number}": pa.array([key[number] for key in keys], pa.int64()) for number in range(count)
    }
    table = parallel_groupby(
        columns, pa.array(values, kind), AGGREGATES, nulls=nulls, ddof=ddof, pool=pools[at]
    )
    table.validate(full=True)
    assert_as_twin(table, list(columns), twin(keys, values, nulls, ddof))


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([True, None, False, True] * 5),
        pa.array([2**64 - 1, 0, None, 2**63] * 5, pa.uint64()),
        pa.array([7, None, -7, 7] * 5, pa.int8()),
        pa.array([dt.date(2024, 1, 2), dt.date(1960, 1, 1), None, dt.date(2024, 1, 2)] * 5),
        pa.array([5, -5, None, 5] * 5, pa.timestamp("us", "Asia/Tokyo")),
        pa.array([5, 2, None, 5] * 5, pa.time32("s")),
        pa.array(["b", None, "a", "b"] * 5).dictionary_encode(),
        pa.chunked_array([["b", "c"], ["a", None, "b"] * 6]).dictionary_encode(),
        pa.array(["b", None, "", "äb"] * 5),
        pa.chunked_array([["b", "c"], ["a", None, "b"] * 6], pa.large_string()),
        pa.array(["b", None, "a", "b"] * 5).cast(pa.string_view()),
        pa.array([b"b", None, b"", b"\xff"] * 5),
        pa.array([b"b", None, b"a", b"b"] * 5, pa.large_binary()),
        pa.array([b"b", None, b"a", b"b"] * 5).cast(pa.binary_view()),
        pa.array([b"bc", None, b"ab", b"bc"] * 5, pa.binary(2)),
    ],
    ids=lambda keys: str(keys.type)[:12],
)
def test_keys_of_every_type(pools, keys):
    """Come back as what they were, sorted, nulls last."""
    values = np.arange(20)
    lists = {}
    for key, value in zip(keys.to_pylist(), values, strict=True):
        lists.setdefault(key, []).append(value)
    expected = [*sorted(key for key in lists if key is not None), None]
    for pool in pools:
        table = parallel_groupby(keys, values, ["sum", "first"], pool=pool)
        assert table["key"].to_pylist() == expected
        assert table["key"].type.equals(keys.type)
        assert table["value_sum"].to_pylist() == [sum(lists[key]) for key in expected]
        assert table["value_first"].to_pylist() == [lists[key][0] for key in expected]


def test_the_same_bits_for_any_number_of_workers(pools, monkeypatch):
    """Of floating point too; and close to pandas'."""
    monkeypatch.undo()
    generator = np.random.default_rng(1)
    for many in (100, 60_000, 2**62):
        keys = generator.integers(-many, many, 100_003)
        values = generator.normal(1e6, 1, 100_003)
        aggs = ["sum", "mean", "var", "median", "nunique", "min", "max", "last", "count"]
        tables = [parallel_groupby(keys, values, aggs, pool=pool) for pool in pools]
        assert all(one.equals(tables[0]) for one in tables)
        frame = pd.DataFrame({"key": keys, "value": values}).groupby("key")["value"]
        peer = frame.agg(["sum", "mean", "median", "nunique", "min", "max", "last", "count"])
        np.testing.assert_array_equal(tables[0]["key"].to_numpy(), peer.index)
        for what in peer:
            np.testing.assert_allclose(tables[0][f"value_{what}"], peer[what], rtol=1e-12)
        np.testing.assert_allclose(tables[0]["value_var"], frame.var(ddof=0), rtol=1e-5, atol=1e-15)


def test_a_death_changes_nothing(crew, monkeypatch):
    """What the dead worker did not finish is computed again."""
    monkeypatch.undo()
    generator = np.random.default_rng(1)
    keys = engine.share(generator.integers(0, 2**62, 1_000_000))
    values = engine.share(generator.normal(size=1_000_000))
    aggs = ["sum", "median", Reduction(0.0, lambda one, two: one / 2 + two, lambda one, _: one)]
    expected = parallel_groupby(keys, values, aggs, pool=crew)
    for found in results_around_a_kill(
        crew, lambda: parallel_groupby(keys, values, aggs, pool=crew)
    ):
        assert found.equals(expected)
    assert eventually(lambda: is_whole(crew))


@pytest.mark.parametrize("kind", ["i1", "u2", "i8", "f4", "f8"])
@pytest.mark.parametrize(("key_kind", "high"), [("i1", 9), ("u2", 9), ("u2", 7000), ("i8", 7000)])
def test_keys_close_together(pools, monkeypatch, kind, key_kind, high):
    """Are counted in tables, of ranges of keys where there are many, with the same results."""
    monkeypatch.setattr(key_ranges, "_SHIFT_MIN", 10)
    monkeypatch.setattr(dense, "_SMALL_TABLE", 1000)
    generator = np.random.default_rng(1)
    keys = generator.integers(5 if key_kind == "u2" else -2, high, 2000).astype(key_kind)
    values = generator.integers(0, 100, 2000).astype(kind)
    aggs = ["sum", "count", "mean"]
    slow = parallel_groupby(keys, values, [*aggs, "max"], pool=pools[0])
    for pool in pools:
        table = parallel_groupby(keys, values, aggs, pool=pool)
        assert table.equals(slow.select(table.column_names))


@pytest.mark.parametrize(("different", "most"), [(40, 8192), (40, 20), (900, 500)])
def test_few_keys_far_apart(pools, monkeypatch, different, most):
    """Are numbered first; where they turn out to be too many, rows are brought together."""
    monkeypatch.setattr(few_keys, "_KEYS_MAX", most)
    monkeypatch.setattr(few_keys, "_GROUPS_MAX", 4)
    monkeypatch.setattr(few_keys, "_SAMPLES", 300)
    generator = np.random.default_rng(1)
    known = generator.integers(-(2**63), 2**63 - 1, different)
    keys = known[generator.integers(0, different, 3000) ** 2 // different]
    values = generator.integers(0, 100, 3000)
    aggs = ["sum", "count", "mean"]
    slow = parallel_groupby(keys, values, [*aggs, "max"], pool=pools[0])
    assert slow["key"].to_pylist() == sorted(set(keys.tolist()))
    for pool in pools:
        table = parallel_groupby(keys, values, aggs, pool=pool)
        assert table.equals(slow.select(table.column_names))


def test_types_of_aggregates(pool2):
    """As they are documented."""
    values = {
        "i": np.array([1, 2], "i2"),
        "u": np.array([1, 2], "u1"),
        "f": np.array([1, np.nan], "f4"),
        "b": np.array([True, False]),
        "t": np.array([3, 4], "M8[us]"),
    }
    aggs = {"i": ["sum", "min", "mean"], "u": "sum", "f": ["sum", "max", "nunique", "median"]}
    aggs |= {"b": ["sum", "max", "first"], "t": ["max", "nunique", "first"]}
    table = parallel_groupby([0, 0], values, aggs, pool=pool2)
    types = [str(one) for one in table.schema.types[1:]]
    assert types == [
        *("int64", "int16", "double", "uint64", "double", "float", "int64", "double"),
        *("uint64", "bool", "bool", "timestamp[us]", "int64", "timestamp[us]"),
    ]
    row = table.to_pylist()[0]
    assert (row["i_sum"], row["i_min"], row["b_sum"], row["b_max"]) == (3, 1, 1, True)
    assert math.isnan(row["f_sum"])
    assert math.isnan(row["f_max"])
    assert math.isnan(row["f_median"])
    assert row["f_nunique"] == 2


@pytest.mark.parametrize("nulls", ["group", "drop"])
def test_null_in_a_dictionary_is_a_null_key(pool2, nulls):
    """Like a null index, beside entries that the dictionary has twice."""
    keys = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 2, 3, None, 0]), pa.array(["b", None, "a", "b"])
    )
    for by in (keys, {"key": keys, "other": [7] * 6}):
        values = [1, 2, 4, 8, 16, 32]
        table = parallel_groupby(by, values, ["sum", "count"], nulls=nulls, pool=pool2)
        count = 3 if nulls == "group" else 2
        assert table["key"].to_pylist() == ["a", "b", None][:count]
        assert table["value_sum"].to_pylist() == [4, 41, 18][:count]
        assert table["value_count"].to_pylist() == [1, 3, 2][:count]


@pytest.mark.parametrize("unit", ["Y", "M", "W", "D", "h", "m", "25s", "s", "ms", "ns"])
def test_dates_and_durations_of_every_unit(pool2, unit):
    """Are keys, in the nearest unit that Arrow has; NaT is a null."""
    for kind in ("M8", "m8") if unit not in ("Y", "M") else ("M8",):
        keys = np.array([3, -2, "NaT", 3], f">{kind}[{unit}]")
        table = parallel_groupby(keys, [1, 2, 4, 8], "sum", pool=pool2)
        np.testing.assert_array_equal(table["key"].to_numpy(), np.sort(keys)[[0, 1, 3]])
        assert table["key"].null_count == 1
        assert table["value_sum"].to_pylist() == [2, 9, 4]


def test_dictionaries_that_differ_by_chunk(pool2):
    """Are keys by what they stand for, in slices too."""
    chunks = [pa.array(one).dictionary_encode() for one in (["x", "b", "a"], ["c", "b", None, "a"])]
    keys = pa.chunked_array(chunks).slice(1)
    table = parallel_groupby(keys, np.arange(12)[::2], "sum", pool=pool2)
    assert table["key"].to_pylist() == ["a", "b", "c", None]
    assert table["value_sum"].to_pylist() == [2 + 10, 0 + 6, 4, 8]


@pytest.mark.parametrize("nulls", ["group", "drop"])
def test_text_beside_other_keys(pool2, nulls):
    """From NumPy, polars and Arrow; and a value may have the name of a key."""
    names = ["b", "a", "b", None, "a"]
    others = [1, 2, 1, 2, 3]
    values = [1, 2, 4, 8, 16]
    expected = [("a", 2, 2), ("a", 3, 16), ("b", 1, 5), (None, 2, 8)][: 3 + (nulls == "group")]
    for keys in (
        {"name": pa.array(names), "other": others},
        pa.table({"name": pa.array(names), "other": others}),
        pl.DataFrame({"name": names, "other": others}),
        pl.DataFrame({"name": pl.Series(names).cast(pl.Categorical), "other": others}),
        pl.DataFrame({"name": pl.Series(names).cast(pl.Enum(["b", "a"])), "other": others}),
    ):
        table = parallel_groupby(keys, {"name": values}, "sum", nulls=nulls, pool=pool2)
        assert [tuple(row.values()) for row in table.to_pylist()] == expected
        assert table.column_names == ["name", "other", "name_sum"]
    table = parallel_groupby(np.array(["b", "a", "b"]), [1, 2, 4], "sum", pool=pool2)
    assert table.to_pydict() == {"key": ["a", "b"], "value_sum": [2, 5]}


def mixed(state, value):
    """Depend on every value and on their order."""
    return (state * 31 + value) % 1_000_003


def longest(state, value):
    """Count values, and keep the extremes."""
    return state[0] + 1, min(state[1], value), max(state[2], value)


MIXED = Reduction(7, mixed, lambda one, other: one + other)
EXTREMES = Reduction(
    (0, math.inf, -math.inf),
    longest,
    lambda one, two: (one[0] + two[0], min(one[1], two[1]), max(one[2], two[2])),
    lambda state: (state[2] - state[1] if state[0] else -1.0, state[0]),
)


@given(
    at=which_pool,
    rows=st.lists(st.tuples(small | huge, st.none() | st.integers(-9, 9)), max_size=90),
    nulls=st.sampled_from(["group", "drop"]),
)
def test_reductions_by_functions(pools, at, rows, nulls):
    """Step through the values of a group in their order, and start anew with each group."""
    keys = pa.array([key for key, _ in rows], pa.int64())
    values = pa.array([value for _, value in rows], pa.int64())
    aggs = {"value": {"mixed": MIXED, "extremes": EXTREMES, "count": "count"}}
    table = parallel_groupby(keys, values, aggs, nulls=nulls, pool=pools[at])
    table.validate(full=True)
    groups = {}
    for key, value in rows:
        if nulls == "group" or key is not None:
            known = groups.setdefault(key, [])
            known.extend([] if value is None else [value])
    expected = sorted(groups, key=lambda key: (key is None, key or 0))
    assert table["key"].to_pylist() == expected
    lists = [groups[key] for key in expected]
    assert table["value_mixed"].to_pylist() == [functools.reduce(mixed, one, 7) for one in lists]
    spread = [max(one) - min(one) if one else -1.0 for one in lists]
    assert table["value_extremes_0"].to_pylist() == spread
    assert table["value_extremes_1"].to_pylist() == [len(one) for one in lists]
    assert table["value_count"].to_pylist() == [len(one) for one in lists]


def test_reductions_of_other_types(pool2):
    """Of booleans and of narrow floats; named after their steps."""
    last = Reduction(0.5, lambda _, value: value, lambda _, other: other)
    ands = Reduction(True, lambda state, value: state and value, lambda one, other: one and other)
    keys = [2, 1, 2, 1, 3]
    table = parallel_groupby(keys, np.arange(5, dtype="f4"), [last, "sum"], pool=pool2)
    assert table["value_reduction"].to_pylist() == [3.0, 2.0, 4.0]
    values = pa.array([True, False, True, None, None])
    table = parallel_groupby(keys, {"v": values}, {"v": [ands, MIXED]}, pool=pool2)
    assert table["v_reduction"].to_pylist() == [False, True, True]
    assert table["v_mixed"].to_pylist() == [217, (218 * 31) + 1, 7]


def test_tables_of_other_libraries(pool2):
    """Have columns, as pyarrow's have."""
    columns = {"k": [2, 1, 2], "v": [1.0, 2.0, 4.0]}
    for table in (pd.DataFrame(columns), pl.DataFrame(columns)):
        found = parallel_groupby(table[["k"]], table[["v"]], "sum", pool=pool2)
        assert found.to_pydict() == {"k": [1, 2], "v_sum": [2.0, 5.0]}


def test_nothing_to_group(pool2):
    """Gives a table without rows, of the same columns."""
    none = pa.array([], pa.int64())
    table = parallel_groupby({"a": none, "b": none}, none, AGGREGATES, pool=pool2)
    assert table.num_rows == 0
    assert table.column_names == ["a", "b", *(f"value_{what}" for what in AGGREGATES)]
    whole = pa.table({"a": [1, 1], "v": [2.0, None]})
    table = parallel_groupby(whole.select(["a"]), whole.select(["v"]), "mean", pool=pool2)
    assert table.to_pydict() == {"a": [1], "v_mean": [2.0]}


@pytest.mark.parametrize(
    ("keys", "values", "aggs", "options", "error", "words"),
    [
        ([1], [1], "most", {}, ValueError, "aggs has 'most'"),
        ([1], [1], {"x": "sum"}, {}, ValueError, "aggs names 'x'"),
        ([1], [1, 2], "sum", {}, ValueError, "same length.*'value': 2"),
        (["a"], {"a": [1, 2]}, "sum", {}, ValueError, "keys are columns.*not their names"),
        ([1], [1], "sum", {"nulls": "keep"}, ValueError, "nulls must be"),
        ([1], [1], "sum", {"ddof": -1}, ValueError, "ddof"),
        ({}, [1], "sum", {}, ValueError, "one key column"),
        ([1.5], [1], "sum", {}, TypeError, "key is of type double"),
        (pa.array([[1]]), [1], "sum", {}, TypeError, "key is of type list.*dictionary_encode"),
        ([1], ["a"], "first", {}, TypeError, "no fixed width"),
        ([1], np.array([1], "M8[s]"), "sum", {}, TypeError, "which has no sum"),
        ([[1]], [1], "sum", {}, ValueError, "key has 2 dimensions"),
        (np.ma.ones(1, int), [1], "sum", {}, TypeError, "masked"),
        ([1], [1], 5, {}, TypeError, "aggs must be"),
        ([1], [1], ["sum", "sum"], {}, ValueError, "several columns named 'value_sum'"),
        ({"v_sum": [1]}, {"v": [1]}, "sum", {}, ValueError, "several columns named 'v_sum'"),
        (pa.table([[1], [1]], ["a", "a"]), [1], "sum", {}, ValueError, "keys has several"),
        ({"v": [1]}, {"v": [1, 2]}, "sum", {}, ValueError, "same length.*'v': 2"),
        ([1j], [1], "sum", {}, TypeError, "key has dtype complex128"),
        (np.zeros(1, "m8[M]"), [1], "sum", {}, TypeError, "key has dtype timedelta64"),
        ([1], [1], Reduction(0j, mixed, mixed), {}, KernelTypeError, "mixed"),
        ([1], [1], Reduction("a", mixed, mixed), {}, TypeError, "identity"),
        ([1], np.array([1], "M8[s]"), MIXED, {}, TypeError, "which has no mixed"),
        (
            *([1], [1], Reduction(0j, lambda one, two: one + two, mixed), {}),
            *(TypeError, "complex128, for which Arrow has no type"),
        ),
        (
            pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([[1]])),
            *([1], "sum", {}, TypeError, "values have no order"),
        ),
    ],
)
def test_what_is_refused(pool2, keys, values, aggs, options, error, words):
    """With an error that names it."""
    with pytest.raises(error, match=words):
        parallel_groupby(keys, values, aggs, pool=pool2, **options)
