"""lm-eval's tasks as we drive them: pools, nested shots, limits, filters, refusals."""

import json

import pytest
import yaml

from retain.errors import TaskError
from retain.evaluate import catalog, lm_eval_task
from retain.evaluate.documents import document_texts
from retain.evaluate.lm_eval_task import LmEvalTask
from retain.evaluate.run import run


@pytest.fixture
def make(task_folder):
    def do(name, limit=None, compat=None):
        (spec,) = catalog.resolve([name], include_path=[task_folder])
        return LmEvalTask(spec, limit, compat)

    return do


@pytest.fixture
def write(tmp_path):
    """A task file of its own, with other settings than ``tiny_choices``."""

    def do(rows=None, **changes):
        rows = rows or [
            {"question": f"question {n}", "choices": ["yes", "no"], "answer": n % 2}
            for n in range(30)
        ]
        (tmp_path / "mine.json").write_text(json.dumps({"test": rows}))
        (tmp_path / "mine_data.py").write_text(
            "import json\nfrom pathlib import Path\nfrom datasets import Dataset\n"
            "def documents(**_):\n"
            "    found = json.loads((Path(__file__).parent / 'mine.json').read_text())\n"
            "    return {name: Dataset.from_list(rows) for name, rows in found.items()}\n"
        )
        settings = {
            "task": "mine",
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "question",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        } | changes
        text = yaml.safe_dump(settings) + "\ncustom_dataset: !function mine_data.documents\n"
        (tmp_path / "mine.yaml").write_text(text)
        (spec,) = catalog.resolve(["mine"], include_path=[tmp_path])
        return spec

    return do


def keys(task):
    return [item.key for item in task.division.items]


def test_the_pool_is_never_scored_and_shots_nest(make):
    task = make("tiny_choices")
    assert len(task.documents) == 44
    assert len(task._shots) == 4
    prompts = {k: task.questions(k) for k in (0, 1, 3)}
    assert len(prompts[0]) == task.division.num_available == 36
    for none, one, three in zip(*prompts.values(), strict=True):
        assert one.prompt.endswith(none.prompt)
        assert three.prompt.startswith(one.prompt[: -len(none.prompt)])
    first = task._shots[0]["question"]
    assert prompts[1][0].prompt.startswith(f"Question: {first}\nAnswer: the ")
    scored = {task.documents[item.index]["question"] for item in task.division.items}
    assert keys(make("tiny_choices")) == keys(task)
    assert len(scored) > 1


def test_limits_nest(make):
    assert keys(make("tiny_choices", 5)) == keys(make("tiny_choices", 20))[:5]


def test_shots_of_another_split_leave_all_documents_to_be_scored(make):
    task = make("tiny_letters")
    assert task.division.pool == ()
    shown = [lm_eval_task.document_key(shot) for shot in task._shots]
    assert set(shown).isdisjoint(keys(task))  # train repeats documents of test: those are no shots
    assert task._shots == []


def test_equal_documents_are_scored_once(make):
    task = make("tiny_choices")
    assert task.division.num_duplicates == 4
    assert "4 repeated documents are scored once" in task.notes


def test_a_limit_above_the_data_says_so(make):
    task = make("tiny_rolling", 500)
    assert task.notes == ["limit 500 is larger than the data: all 24 items are scored"]


def test_texts_take_no_shots_and_need_no_pool(make):
    task = make("tiny_rolling")
    assert task.shots([0, 5]) == [0]
    assert task.division.num_available == 24


def test_more_shots_than_the_pool_has_are_refused(make):
    with pytest.raises(TaskError, match=r"tiny_choices: 5 shots asked, its pool has 4 \(set aside"):
        make("tiny_choices").shots([0, 5])


def test_equal_choices_are_scored_and_told(write, engine):
    rows = [
        {"question": f"question {n}", "choices": ["yes", "yes" if n < 3 else "no"], "answer": 0}
        for n in range(4)
    ]
    found = run([LmEvalTask(write(rows))], engine, [0])
    assert "mine: 3 items have a choice twice" in found.notes[0]


def test_a_choice_without_text_is_named(write):
    rows = [{"question": "question", "choices": ["yes", ""], "answer": 0}]
    with pytest.raises(TaskError, match=r"mine\.yaml: document 0: its choice 1 is empty"):
        LmEvalTask(write(rows))


def test_a_file_that_says_zero_shots_is_asked_at_zero(write):
    assert LmEvalTask(write(num_fewshot=0)).shots([0, 1]) == [0]


def test_the_shots_of_its_file_are_its_own(write):
    task = LmEvalTask(write(num_fewshot=2), compat="lm-eval")
    assert task.shots(None) == [2]
    task.questions(1)
    assert task.shots(None) == [2]
    assert LmEvalTask(write(num_fewshot=None)).shots(None) == [0]


def test_documents_of_one_passage_stay_together(write):
    passage = "a long passage about the sea " * 5
    rows = [
        {
            "question": f"q {n}",
            "passage": passage + str(n // 5),
            "choices": ["yes", "no"],
            "answer": 0,
        }
        for n in range(50)
    ]
    items = LmEvalTask(write(rows)).division.items
    roles = {}
    for item in items:
        assert roles.setdefault(item.source_item, item.role) == item.role
    assert len(roles) <= 10


def test_choices_are_scored_and_kept(make, engine):
    found = run([make("tiny_choices", 12)], engine, [0])
    (row,) = [r for r in found.scores if (r["metric"], r["role"]) == ("acc", "all")]
    rows = found.items
    right = [
        item["choice_logprobs"].index(max(item["choice_logprobs"])) == item["answer"]
        for item in rows
    ]
    assert row["value"] == sum(right) / 12
    assert row["chance"] == 0.25
    assert row["majority"] == max([i["answer"] for i in rows].count(n) for n in range(4)) / 12
    assert rows[0]["choice_bytes"] == [9, 9, 9, 10]
    assert rows[0]["target"] in ("the bones", "the blood", "the nerve", "the muscle")


def test_bits_per_byte_is_a_ratio_of_sums(make, engine):
    from math import log

    found = run([make("tiny_rolling")], engine, [0])
    (row,) = [r for r in found.scores if (r["metric"], r["role"]) == ("bits_per_byte", "all")]
    nats = sum(item["nats"] for item in found.items)
    num_bytes = sum(item["num_bytes"] for item in found.items)
    assert row["value"] == pytest.approx(nats / num_bytes / log(2))
    assert row["is_main"]
    assert not row["higher_is_better"]
    assert row["aggregation"] == "ratio"


def test_a_metric_of_the_corpus_has_an_error_by_resampling(make, engine):
    found = run([make("tiny_rolling")], engine, [0])
    (row,) = [r for r in found.scores if (r["metric"], r["role"]) == ("word_perplexity", "all")]
    assert row["aggregation"] == "corpus"
    assert 0 < row["stderr"] < row["value"]


def test_each_filter_is_a_metric(make, engine):
    found = run([make("tiny_generation", 6)], engine, [0])
    assert {row["metric"] for row in found.scores} == {"exact_match,whole", "exact_match,one_word"}
    mains = {row["metric"] for row in found.scores if row["is_main"]}
    assert mains == {"exact_match,whole"}
    assert all(isinstance(item["response"], str) for item in found.items)


def test_several_shots_are_one_run(make, engine):
    both = run([make("tiny_choices", 6)], engine, [0, 2]).items
    apart = [i for k in (0, 2) for i in run([make("tiny_choices", 6)], engine, [k]).items]
    for one, other in zip(both, apart, strict=True):
        assert one["item"] == other["item"]
        assert one["choice_logprobs"] == pytest.approx(other["choice_logprobs"], abs=1e-4)


def test_compat_scores_the_first_documents_as_they_stand(make):
    task = make("tiny_choices", 42, "lm-eval")
    assert [item.index for item in task.division.items] == list(range(42))
    assert {item.role for item in task.division.items} == {"report"}
    assert len(set(keys(task))) == 42  # repeated documents keep keys of their own


def test_a_task_without_items_is_refused(write):
    with pytest.raises(TaskError, match="mine"):
        LmEvalTask(
            write(
                [{"question": "q", "choices": ["a"], "answer": 0}],
                process_docs=None,
                test_split="none",
            )
        )


def write_local(folder, rows, **changes):
    """A task whose data is a file that ``datasets`` reads."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "task": "local",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": ["yes", "no"],
        "doc_to_target": "{{a}}",
        "metric_list": [{"metric": "acc"}],
    } | changes
    (folder / "local.yaml").write_text(yaml.safe_dump(settings))
    (spec,) = catalog.resolve(["local"], include_path=[folder])
    return spec


@pytest.fixture
def _own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("_own_cache")
@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([], {}, r"'local': no items to score; .*rows\.jsonl is empty"),
        ([{"q": "a", "a": 1}], {"test_split": "tset"}, r"local\.yaml: test_split 'tset': .* test"),
        ([{"q": "a", "a": 7}], {}, "document 0: its right choice is number 7; it has choices 0 to"),
        ([{"q": "a", "a": 1}, {"q": "b", "a": 2}], {}, "local, document 1: its right choice is"),
    ],
)
def test_faults_of_a_task_name_their_place(rows, changes, message, tmp_path):
    with pytest.raises(TaskError, match=message) as caught:
        LmEvalTask(write_local(tmp_path, rows, **changes)).questions(0)
    assert "hub" not in str(caught.value)


SHUFFLES = """
import random

def shuffled(split):
    def do(row):
        choices = list(row["choices"])
        random.shuffle(choices)
        return {"choices": choices, "a": choices.index("right")}

    return split.map(do)
"""


@pytest.mark.usefixtures("_own_cache")
@pytest.mark.parametrize("compat", [None, "lm-eval"])
def test_a_task_that_draws_is_the_harnesss_and_the_same_in_each_process(compat, tmp_path, engine):
    """Wherever the generators of the process stand, and whatever datasets kept of another."""
    import random

    import lm_eval
    from lm_eval.tasks import TaskManager

    from retain.evaluate.harness import RetainLM

    choices = ["right", "the cat", "a dog", "bones"]
    rows = [{"q": f"which {n}", "choices": choices} for n in range(30)]
    spec = write_local(tmp_path, rows, doc_to_choice="choices")
    (tmp_path / "draws.py").write_text(SHUFFLES)
    with (tmp_path / "local.yaml").open("a") as stream:
        stream.write("process_docs: !function draws.shuffled\n")
    (spec,) = catalog.resolve(["local"], include_path=[tmp_path])
    made = []
    for seed in (1, 2):
        random.seed(seed)
        before = random.getstate()
        made.append(LmEvalTask(spec, compat=compat))
        assert random.getstate() == before
    assert made[0].documents == made[1].documents
    assert keys(made[0]) == keys(made[1])
    if compat:
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
        expected = lm_eval.simple_evaluate(
            RetainLM(engine), tasks=["local"], task_manager=manager, bootstrap_iters=0
        )
        assert [one["doc"] for one in expected["samples"]["local"]] == made[0].documents


@pytest.mark.usefixtures("_own_cache")
def test_texts_without_content_are_scored_as_nothing(tmp_path, engine):
    texts = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{q}}"}
    metrics = [{"metric": "bits_per_byte"}, {"metric": "word_perplexity"}]
    rows = [{"q": text, "n": n} for n, text in enumerate(["", "", "the cat sat", ""])]
    spec = write_local(tmp_path, rows, metric_list=metrics, doc_to_choice=None, **texts)
    found = run([LmEvalTask(spec)], engine, [0])
    values = {row["metric"]: row["value"] for row in found.scores if row["role"] == "all"}
    assert values["bits_per_byte"] > 0
    assert values["word_perplexity"] > 0
    assert {row["num_bytes"] for row in found.items} == {0, 11}


def test_a_metric_from_the_hub_is_refused_by_name(write):
    metrics = [{"metric": "sari", "aggregation": "mean", "higher_is_better": True}]
    with pytest.raises(TaskError, match="'mine': its metric sari has to be fetched"):
        LmEvalTask(write(metric_list=metrics))


def test_data_from_the_hub_is_refused_offline(tmp_path):
    (tmp_path / "far.yaml").write_text(
        "task: far\ndataset_path: someone/somewhere\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: q\ndoc_to_target: a\n"
    )
    (spec,) = catalog.resolve(["far"], include_path=[tmp_path])
    with pytest.raises(TaskError, match=r"far\.yaml: cannot be loaded: .*is it reachable"):
        LmEvalTask(spec)


def test_generated_code_is_not_run(write):
    with pytest.raises(TaskError, match="runs code that the model writes"):
        LmEvalTask(write(unsafe_code=True))


def test_an_empty_choice_is_refused_by_name(write, engine):
    rows = [{"question": "q", "choices": ["yes", end], "answer": 0} for end in ("no", "")]
    task = LmEvalTask(write(rows, target_delimiter=""))
    with pytest.raises(TaskError, match="mine, document 1, request 1: the answer to score has no"):
        run([task], engine, [0])


def test_the_harness_is_quiet_and_put_back(make, capsys):
    import logging

    import lm_eval.api.task

    before = lm_eval.api.task.tqdm
    make("tiny_choices").questions(1)
    assert capsys.readouterr().err == ""
    assert lm_eval.api.task.tqdm is before
    assert logging.getLogger("lm_eval").level == logging.CRITICAL  # as the fixture set it


def test_texts_that_would_give_a_document_away(task_folder):
    (choices, rolling) = catalog.resolve(
        ["tiny_choices", "tiny_rolling"], include_path=[task_folder]
    )
    places = [where for where, _ in document_texts(choices)]
    assert all(where.startswith("tiny_choices ") for where in places)
    texts = [text for _, text in document_texts(rolling)]
    assert any(text.startswith("the cat sat on a mat") for text in texts)
