"""What `retain init` takes from the user's data."""

import pytest

from retain.api.first import held_out_of, metric_of
from retain.data.example import Example


def examples(answers):
    return [
        Example(
            source="mine",
            messages=({"role": "user", "content": f"question {i}?"},
                      {"role": "assistant", "content": answer}),
            reference=answer,
        )
        for i, answer in enumerate(answers)
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "fraction"), [(60, 0.25), (30, 0.4), (400, 0.1)])
def test_enough_is_held_out_for_an_interval(count, fraction):
    found, num_reported = held_out_of(examples([f"answer {i}" for i in range(count)]))
    assert found == fraction
    assert num_reported >= 8 or found == 0.4


def test_with_too_little_data_most_is_reported():
    assert held_out_of(examples(["yes"])) == (0.1, 0)
    fraction, num_reported = held_out_of(examples([f"answer {i}" for i in range(10)]))
    assert fraction > 0.1
    assert 0 < num_reported < 8


@pytest.mark.parametrize(
    ("answer", "metric"),
    [
        ("blue", "exact_match"),
        ("Open the settings, then choose a new password.", "rouge_l"),
        ("打开设置然后选择新密码。", "chrf"),
        ("सेटिङ खोल्नुहोस् र त्यसपछि नयाँ पासवर्ड छान्नुहोस् है ।", "chrf"),
    ],
)
def test_sentences_are_not_scored_to_the_letter(answer, metric):
    assert metric_of(examples([answer])) == metric
