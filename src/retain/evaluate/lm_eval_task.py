"""Tasks of lm-evaluation-harness: its files, prompts, filters and metrics, driven by us.

Shots come from a fixed pool that is never scored, so they are the same for every item and nest:
k shots are the first k. With ``compat: lm-eval`` they are the harness's own draws, and its first N
documents are scored. ``first_n`` of the harness would show the scored document itself for tasks
with one split, and its ``samples`` renumber documents: neither is used.
"""

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any

from lm_eval.api.metrics import bits_per_byte, mean
from lm_eval.api.samplers import ContextSampler

from retain.decode.prefix_tree import Answer
from retain.errors import TaskError
from retain.evaluate.engine import Pair
from retain.evaluate.generate import Prompt
from retain.evaluate.items import (
    MAX_POOL,
    Division,
    Item,
    divide,
    document_key,
    limit_notes,
    rank,
)
from retain.evaluate.lm_eval_load import OTHER_SEED, load_task, quiet, seeded, wrong_gold
from retain.evaluate.shots import FIRST, Shots, donors, drawn
from retain.evaluate.task import Call, Metric, Outcome, Question, Reply
from retain.evaluate.task_files import metric_facts

COMPAT = "lm-eval"
MAX_POOL_READ = 1000  # documents of another split that are considered as shots
NO_FILTER = "none"
EQUAL_CHOICES = "items have a choice twice; as in the harness the first of equal ones counts"
PASSAGES = ("source_item", "passage", "context", "article", "story", "paragraph", "document")
MIN_PASSAGE = 100  # characters; shorter ones are not what several questions are asked about


class LmEvalTask:
    """One task of lm-evaluation-harness.

    Args:
        spec: The resolved task.
        limit: Score only the first so many.
        compat: ``lm-eval`` for the harness's shots and documents, else None.
        shots: Which documents of the pool are shots, with whose answers.

    Raises:
        TaskError: If it cannot be loaded here: data or a metric is not at hand, or it is empty.
        DataError: If a file of it changed since it was resolved.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        limit: int | None = None,
        compat: str | None = None,
        shots: Shots = FIRST,
    ) -> None:
        self.name = str(spec["name"])
        self.spec = spec
        self.compat = compat
        self.notes: list[str] = [
            f"{name}: data revision unknown; the hub could not be asked"
            for name, commit in spec.get("data_revisions", {}).items()
            if commit is None
        ]
        with quiet(), seeded():
            self.task = load_task(spec)
            self.documents = list(self.task.eval_docs)
        if note := (self.task.config.metadata or {}).get("note"):
            self.notes.append(str(note))
        self._num_fewshot = self.task.get_config("num_fewshot")  # rendering changes what it says
        if not self.documents:
            raise TaskError(f"{self.name}: no items to score; its data is empty")
        self._asked: dict[int, list[Question]] = {}
        self._ambiguous: set[str] = set()  # keys of items
        self._shots: list[Any] = []
        self._shots_split = ""
        self.division = self._divide(limit)
        if shots != FIRST and self._shots:
            self._shots = self._arranged(shots)

    def shots(self, wanted: Sequence[int] | None) -> list[int]:
        """The wanted numbers, or its file's; 0 alone for texts, and for files that say 0."""
        if self.task.OUTPUT_TYPE == "loglikelihood_rolling" or self._num_fewshot == 0:
            return [0]
        if wanted is None:
            wanted = [self._num_fewshot or 0]
        most = max(wanted)
        if most and not self.compat and most > len(self._shots):
            raise TaskError(
                f"{self.name}: {most} shots asked, its pool has {len(self._shots)} "
                f"({self._shots_split}). Ask for fewer, name a larger split of examples in its "
                "file (fewshot_split), or take the harness's own draws (compat: lm-eval)."
            )
        return list(wanted)

    def questions(self, num_fewshot: int) -> list[Question]:
        """Its items with the harness's own prompts; rendered once."""
        if num_fewshot not in self._asked:
            self._asked[num_fewshot] = self._rendered(num_fewshot)
        return self._asked[num_fewshot]

    def _rendered(self, num_fewshot: int) -> list[Question]:
        task = self.task
        task.set_config("num_fewshot", num_fewshot)
        task.set_fewshot_seed(OTHER_SEED)
        if not self.compat and hasattr(task, "sampler"):
            task.sampler = _FirstOfPool(self._shots)
        chosen = [(item.index, self.documents[item.index]) for item in self.division.items]
        task.doc_iterator = lambda **_: iter(chosen)
        with quiet(), seeded():
            task.build_all_requests()
        by_document: dict[int, list[Any]] = {}
        for instance in task.instances:
            by_document.setdefault(instance.doc_id, []).append(instance)
        return [
            self._question(item, num_fewshot, by_document[item.index])
            for item in self.division.items
        ]

    def _question(self, item: Item, num_fewshot: int, instances: list[Any]) -> Question:
        instances = sorted(instances, key=lambda instance: instance.idx)
        wrong = "" if self.compat else wrong_gold(self.task, self.documents[item.index])
        if wrong:
            raise TaskError(f"{self.name}, document {item.index}: {wrong}")
        calls = [
            _call(instance, f"{self.name}, document {item.index}, request {instance.idx}")
            for instance in instances
            for _ in range(instance.repeats or 1)
        ]
        prompt = instances[0].args[0]
        return Question(item, num_fewshot, calls, str(prompt), instances)

    def outcomes(
        self, questions: Sequence[Question], replies: Sequence[Sequence[Reply]]
    ) -> list[Outcome]:
        """Scores by the task's own filters and metrics."""
        for question, replied in zip(questions, replies, strict=True):
            left = iter(replied)
            for instance in question.document:
                repeats = range(instance.repeats or 1)
                instance.resps = [_response(next(left)) for _ in repeats]
        self.task._instances = [i for question in questions for i in question.document]
        with quiet():
            self.task.apply_filters()
            outcomes = [self._outcome(question) for question in questions]
        if self._ambiguous:
            self.notes = [note for note in self.notes if EQUAL_CHOICES not in note]
            self.notes.append(f"{len(self._ambiguous)} {EQUAL_CHOICES}")
        return outcomes

    def _outcome(self, question: Question) -> Outcome:
        document = self.documents[question.item.index]
        instances = question.document
        outcome = Outcome(target=str(self.task.doc_to_target(document)))
        for name in instances[0].filtered_resps:
            responses = [instance.filtered_resps[name] for instance in instances]
            found = self.task.process_results(document, responses)
            suffix = "" if name == NO_FILTER else f",{name}"
            for metric, value in found.items():
                _note_value(outcome, metric + suffix, value)
        match self.task.OUTPUT_TYPE:
            case "multiple_choice":
                self._note_choices(outcome, question, instances)
            case "generate_until":
                outcome.response = str(instances[0].resps[0])
                outcome.prediction = str(next(iter(instances[0].filtered_resps.values())))
        return outcome

    def _note_choices(self, outcome: Outcome, question: Question, instances: list[Any]) -> None:
        task, document = self.task, self.documents[question.item.index]
        choices = [str(choice) for choice in task.doc_to_choice(document)]
        if len(set(choices)) < len(choices):
            self._ambiguous.add(question.item.key)
        logprobs = [instance.resps[0][0] for instance in instances[: len(choices)]]
        gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
        if isinstance(gold, str):
            gold = choices.index(gold) if gold in choices else None
        outcome.answer = gold if isinstance(gold, int) and 0 <= gold < len(choices) else None
        outcome.target = choices[outcome.answer] if outcome.answer is not None else str(gold)
        outcome.prediction = choices[max(range(len(choices)), key=logprobs.__getitem__)]
        outcome.choice_logprobs = logprobs
        outcome.choice_bytes = [len(choice.encode()) for choice in choices]

    def metrics(self, outcomes: Sequence[Outcome]) -> list[Metric]:
        """The metrics that came out, in the order of the task's file."""
        names = list(dict.fromkeys(name for o in outcomes for name in (*o.metrics, *o.raw)))
        mains = [metric["name"] for metric in self.spec["metrics"] if metric["is_main"]]
        main = next((name for name in names if name.partition(",")[0] in mains), names[0])
        better = self.task.higher_is_better() or {}
        found = []
        for name in names:
            bare = name.partition(",")[0]
            facts = metric_facts(bare, better.get(bare), is_main=name == main)
            kind = {mean: "mean", bits_per_byte: "ratio"}.get(self._aggregator(bare), "corpus")
            if kind == "mean" and not all(name in o.metrics for o in outcomes if name in o.raw):
                kind = "corpus"
            found.append(
                Metric(name, facts["higher_is_better"], facts["unit"], facts["is_main"], kind)
            )
        return found

    def aggregate(self, metric: Metric, outcomes: Sequence[Outcome]) -> float:
        """By the task's own function, over the items that have the metric."""
        values: list[Any] = [
            outcome.raw.get(metric.name, outcome.metrics.get(metric.name)) for outcome in outcomes
        ]
        if _is_text(metric.name) and not sum(count for _, count in values):
            return float("nan")  # nothing but empty texts
        return float(self._aggregator(metric.name.partition(",")[0])(values))

    def _aggregator(self, metric: str) -> Any:
        return (self.task.aggregation() or {}).get(metric, mean)

    # ---------------------------------------------------------------- documents

    def _divide(self, limit: int | None) -> Division:
        keys = [document_key(document) for document in self.documents]
        if self.compat:
            return _harness_division(keys, limit)
        shots, self._shots_split, same_split = self._shot_documents()
        owners = [_source_item(doc, key) for doc, key in zip(self.documents, keys, strict=True)]
        takes_shots = self.task.OUTPUT_TYPE != "loglikelihood_rolling"
        division = divide(keys, owners, keep_pool=same_split and takes_shots, limit=limit)
        if same_split:
            self._shots = [self.documents[index] for index in division.pool]
        else:
            scored = {*keys, *owners}
            self._shots = [shot for shot in shots if scored.isdisjoint(_identities(shot))]
        self._note(limit, division)
        return division

    def _arranged(self, shots: Shots) -> list[Any]:
        """The pool as a draw shows it."""
        keys = [document_key(document) for document in self._shots]
        shown = self._shots
        if shots.shuffled:
            its = donors(self.name, keys, shots.draw)
            with quiet():
                answers = [self._answer(document) for document in shown]
            shown = [
                Relabelled(document, answers[donor])
                for document, donor in zip(shown, its, strict=True)
            ]
            give_answers_of_others(self.task)
        return [shown[place] for place in drawn(keys, shots.draw)]

    def _answer(self, document: Any) -> str:
        """What stands behind a shot, as the harness writes it."""
        if self.task.multiple_input or not isinstance(document, Mapping):
            raise TaskError(
                f"{self.name}: the answers of its examples are inside their questions and cannot "
                "be permuted; leave it out, or evaluate.fewshot_control"
            )
        config = self.task.fewshot_cfg
        answer = self.task.doc_to_target(document, config.doc_to_target)
        if isinstance(answer, int) and config.doc_to_choice:
            answer = self.task.doc_to_choice(document, config.doc_to_choice)[answer]
        return str(answer[0] if isinstance(answer, list) else answer)

    def _note(self, limit: int | None, division: Division) -> None:
        if not division.items:
            raise TaskError(f"{self.name}: no items to score; all {len(self.documents)} are shots")
        self.notes += limit_notes(limit, division.num_available)
        if division.num_duplicates:
            self.notes.append(f"{division.num_duplicates} repeated documents are scored once")

    def _shot_documents(self) -> tuple[list[Any], str, bool]:
        """Documents that may be shots, in order; where they are from; whether they are scored."""
        task, config = self.task, self.task.config
        sampler = getattr(task, "sampler", None)
        if sampler is None:
            return [], "its code draws its own shots; compat: lm-eval uses them", False
        fewshot = config.fewshot_config
        scored = config.test_split or config.validation_split
        split = fewshot.split or (
            None if fewshot.samples else config.training_split or config.validation_split or scored
        )
        if split == scored:
            return [], f"set aside from its split {scored}: a tenth, at most {MAX_POOL}", True
        found = list(sampler.df)[:MAX_POOL_READ]
        if split is None or fewshot.sampler == "first_n":
            return found, f"its split {split}" if split else "written in its file", False
        found.sort(key=lambda document: rank("pool", document_key(document)))
        return found, f"its split {split}", False


class _FirstOfPool(ContextSampler):  # type: ignore[misc]
    """Draws the first k documents of a fixed pool."""

    def sample(self, n: int, *_: Any, **__: Any) -> list[Any]:
        """The first ``n``."""
        return list(self.df[:n])


class Relabelled(dict[str, Any]):
    """A document that is shown with another's answer.

    Attributes:
        answer: The other's, as it is written.
    """

    def __init__(self, document: Mapping[str, Any], answer: str) -> None:
        super().__init__(document)
        self.answer = answer


def give_answers_of_others(task: Any) -> None:
    """Let a task of the harness answer `Relabelled` shots with what they were given."""
    own = task.doc_to_target

    def doc_to_target(document: Any, *further: Any) -> Any:
        return document.answer if isinstance(document, Relabelled) else own(document, *further)

    task.doc_to_target = doc_to_target


def _harness_division(keys: Sequence[str], limit: int | None) -> Division:
    """The first documents as they stand; all are reported, none chosen on."""
    seen: dict[str, int] = {}
    items = []
    for index, key in enumerate(keys[:limit]):
        count = seen[key] = seen.get(key, 0) + 1
        unique = key if count == 1 else f"{key}-{count}"
        items.append(Item(unique, key, "report", index))
    return Division((), tuple(items), len(keys), 0)


def _source_item(document: Any, key: str) -> str:
    """What a document shares with others: a field that says so, or its passage; else itself."""
    if isinstance(document, Mapping):
        for name in PASSAGES:
            value = document.get(name)
            if isinstance(value, str) and (
                len(value) >= MIN_PASSAGE or (name == "source_item" and value)
            ):
                return document_key(value)
    return key


def _identities(document: Any) -> tuple[str, str]:
    """Its key and its source item."""
    key = document_key(document)
    return key, _source_item(document, key)


def _call(instance: Any, called: str) -> Call:
    match instance.request_type:
        case "loglikelihood":
            return Pair(instance.args[0], instance.args[1], called)
        case "loglikelihood_rolling":
            return str(instance.args[0])
        case _:
            return Prompt(instance.args[0], dict(instance.args[1]), called)


def _response(reply: Reply) -> Any:
    """A reply as the harness's model would have given it."""
    if isinstance(reply, Answer):
        return (reply.loglikelihood, reply.is_greedy)
    return reply


def _is_text(metric: str) -> bool:
    """Whether an item's value is a log-likelihood and the number of units it is shared by."""
    return metric.partition(",")[0] in ("bits_per_byte", "byte_perplexity", "word_perplexity")


def _note_value(outcome: Outcome, metric: str, value: Any) -> None:
    """Keep one item's value of a metric: a number as it is, anything else as it came."""
    if isinstance(value, bool | int | float) or hasattr(value, "item"):
        outcome.metrics[metric] = float(value)
        return
    outcome.raw[metric] = value
    if isinstance(value, tuple) and len(value) == 2 and _is_text(metric):
        loglikelihood, count = value
        if metric == "bits_per_byte":
            outcome.nats, outcome.num_bytes = -loglikelihood, count
        if count:
            bits = metric == "bits_per_byte"
            nats = -loglikelihood / count
            outcome.metrics[metric] = nats / log(2) if bits else exp(nats)
