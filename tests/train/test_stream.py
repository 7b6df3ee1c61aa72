from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import TrainingError
from retain.train.stream import Stream, check_stream, micro_batches, read_stream
from tests.train.phases import make_row, make_stream


@given(lengths=st.lists(st.integers(2, 60), min_size=1, max_size=20), most=st.integers(1, 100))
def test_micro_batches_hold_every_sequence_once_and_keep_to_their_size(lengths, most):
    rows = [make_row(f"r{i}", length) for i, length in enumerate(lengths)]
    groups = micro_batches(rows, most)
    assert sorted(row.example_id for group in groups for row in group) == sorted(
        row.example_id for row in rows
    )
    for group in groups:
        assert len(group) == 1 or sum(row.num_tokens for row in group) <= most
    if most > 60:
        assert len(groups) <= 2 * sum(lengths) / most + 1
    names = [[row.example_id for row in group] for group in groups]
    assert names == [[row.example_id for row in g] for g in micro_batches(rows, most)]


def test_what_fits_is_accepted():
    check_stream(make_stream(), vocab_size=400, context_tokens=30)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (make_row("x", 31), r"example x has 31 tokens and the model takes 30; lower max_length"),
        (replace(make_row("x", 5), input_ids=np.array([1, 2, 3, 4, 400])), r"token 400 .*0\.\.399"),
        (replace(make_row("x", 5), input_ids=np.array([1, 2, 3, 4, -1])), r"token -1 "),
        (replace(make_row("x", 5), trained=np.ones(5, bool)), r"its first token"),
        (make_row("x", 5, weight=float("nan")), r"optimizer step 2 has loss weight nan"),
        (make_row("x", 5, weight=0.0), r"optimizer step 2 has loss weight 0\.0 over its 4"),
        (make_row("x", 5, trained=0), r"loss weight 0.* over its 0 trained tokens \(examples x\)"),
        (make_row("x", 5, weight=-1.0), r"must be a positive number"),
    ],
)
def test_what_cannot_be_trained_on_is_named_before_the_first_step(row, message):
    stream = Stream((*make_stream(1).steps, (row,)))
    with pytest.raises(TrainingError, match=message):
        check_stream(stream, vocab_size=400, context_tokens=30)


@pytest.mark.parametrize("numbers", [[1], [0, 2], [0, 1, 0]])
def test_steps_out_of_order_are_refused(tmp_path, numbers):
    table = {
        "step": numbers,
        "example_id": ["a"] * len(numbers),
        "source": ["new"] * len(numbers),
        "input_ids": [[1, 2]] * len(numbers),
        "trained": [[False, True]] * len(numbers),
        "weight": [1.0] * len(numbers),
    }
    parquet.write_table(pa.table(table), tmp_path / "stream.parquet")
    with pytest.raises(TrainingError, match=f"row {len(numbers) - 1} has optimizer step"):
        read_stream(tmp_path / "stream.parquet")


def test_a_missing_column_is_named(tmp_path):
    parquet.write_table(pa.table({"step": [0]}), tmp_path / "stream.parquet")
    with pytest.raises(
        TrainingError, match="column example_id, source, input_ids, trained, weight"
    ):
        read_stream(tmp_path / "stream.parquet")
