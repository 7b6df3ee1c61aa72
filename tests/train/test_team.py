"""How an optimizer step is divided among processes."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from retain.train.team import BUCKET_BYTES, Team, _buckets, shares
from tests.train.phases import make_row

ROWS = st.lists(st.integers(2, 40), min_size=1, max_size=12).map(
    lambda lengths: [make_row(f"r{i}", n, trained=n % 3) for i, n in enumerate(lengths)]
)


@given(rows=ROWS, size=st.integers(1, 5))
def test_every_sequence_with_a_loss_goes_to_one_rank_in_its_order(rows, size):
    parts = shares(rows, size)
    place = {id(row): number for number, row in enumerate(rows)}
    places = [[place[id(row)] for row in part] for part in parts]
    counting = [i for i, row in enumerate(rows) if row.num_trained_tokens]
    assert len(parts) == size
    assert all(part == sorted(part) for part in places)
    assert sorted(chain(*places)) == counting


@given(rows=ROWS, size=st.integers(2, 5))
def test_no_rank_has_more_than_the_others_and_one_sequence(rows, size):
    tokens = [sum(row.num_tokens for row in part) for part in shares(rows, size)]
    longest = max(row.num_tokens for row in rows)
    assert max(tokens) - min(tokens) <= longest


def test_one_process_does_all_and_draws_as_before(tmp_path):
    assert Team().names == ()
    assert Team().folder(tmp_path) == tmp_path


def test_gradients_are_sent_in_buckets_of_one_type():
    import torch

    quarter = torch.zeros(BUCKET_BYTES // 16)
    whole = torch.zeros(BUCKET_BYTES // 2)
    half = torch.zeros(3, dtype=torch.bfloat16)
    found = list(_buckets([quarter, quarter, half, whole, quarter]))
    assert [len(bucket) for bucket in found] == [2, 1, 1, 1]
    assert list(_buckets([])) == []
