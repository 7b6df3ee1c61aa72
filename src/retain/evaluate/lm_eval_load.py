"""Opening a task of lm-evaluation-harness: quietly, from fixed seeds, with errors that name it."""

import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial, wraps
from pathlib import Path
from typing import Any
from unittest import mock

import datasets
import lm_eval.api.task
import numpy as np
import torch
from lm_eval.api.registry import metric_registry
from lm_eval.tasks._factory import TaskFactory
from lm_eval.tasks._index import TaskIndex

from retain.errors import TaskError
from retain.evaluate.identity import check_unchanged, hub_repository, local_files
from retain.evaluate.task_files import TaskFile, Text

RANDOM_SEED, OTHER_SEED = 0, 1234  # of simple_evaluate: Python's generator; numpy's and torch's


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, lm-eval and datasets say errors only, and draw no bars over ours."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    levels = [logger.level for logger in loggers]
    bars = datasets.are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        with _without_bars():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()


def _without_bars() -> Any:
    module = lm_eval.api.task
    return mock.patch.object(module, "tqdm", partial(module.tqdm, disable=True))


@contextmanager
def seeded() -> Iterator[None]:
    """Inside, a task's own code draws as under ``simple_evaluate``, in any process.

    Data sets transformed by earlier processes are not read again, since they hold those processes'
    draws. Afterwards every generator goes on where it was.
    """
    python, arrays = random.getstate(), np.random.get_state()
    caching = datasets.is_caching_enabled()
    datasets.disable_caching()
    try:
        with torch.random.fork_rng(devices=()):
            random.seed(RANDOM_SEED)
            np.random.seed(OTHER_SEED)
            torch.default_generator.manual_seed(OTHER_SEED)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        if caching:
            datasets.enable_caching()


class _Factory(TaskFactory):  # type: ignore[misc]
    """Makes tasks that prepare each split once, as they do where datasets keeps what it made."""

    def _load_full_config(self, *arguments: Any, **options: Any) -> Any:
        config = super()._load_full_config(*arguments, **options)
        if callable(config.get("process_docs")):
            config["process_docs"] = _once(config["process_docs"])
        return config


def _once(process_docs: Callable[[Any], Any]) -> Callable[[Any], Any]:
    made: dict[int, tuple[Any, Any]] = {}

    @wraps(process_docs)
    def do(split: Any) -> Any:
        if id(split) not in made:
            made[id(split)] = (split, process_docs(split))  # held, so that its id stays its own
        return made[id(split)][1]

    return do


def load_task(spec: Mapping[str, Any]) -> Any:
    """The harness's task object.

    Raises:
        TaskError: If its data or a metric cannot be had, or its data is empty.
        DataError: If a file of it changed since it was resolved.
    """
    file = TaskFile.of(spec)
    check_unchanged(spec)
    text = file.read()
    _check_trusted(file, text)
    entry = TaskIndex.entry_from_path(Path(file.location))
    if entry is None:
        raise TaskError(f"task '{file.name}': {file.location} is not there")
    made: list[Any] = []
    try:
        task = _build(entry, _overrides(spec, text.config), made)
    except TaskError:
        raise
    except Exception as error:
        fault = _fault(file, text.config, error, made[0] if made else None)
        raise TaskError(fault) from error
    listed = getattr(task, "_metric_fn_list", {})
    missing = [name for name, function in listed.items() if function is None]
    if missing and task.config.process_results is None:
        raise TaskError(
            f"task '{file.name}': its metric {', '.join(missing)} has to be fetched from the "
            "Hugging Face hub, which is not reachable; choose another task, or go online"
        )
    if getattr(task, "UNSAFE_CODE", False):
        raise TaskError(f"task '{file.name}' runs code that the model writes: not supported")
    return task


def _build(entry: Any, overrides: Mapping[str, Any], made: list[Any]) -> Any:
    """The task; ``made`` gets it once its data is there, before it is looked at."""
    download = lm_eval.api.task.ConfigurableTask.download

    def noted(task: Any, *arguments: Any, **options: Any) -> None:
        download(task, *arguments, **options)
        made.append(task)

    with mock.patch.object(lm_eval.api.task.ConfigurableTask, "download", noted):
        return _Factory().build(entry, overrides=dict(overrides), registry={})


def _fault(file: TaskFile, config: Mapping[str, Any], error: Exception, task: Any) -> str:
    """What is wrong with a task that does not load, and where."""
    splits = getattr(task, "dataset", None)
    if isinstance(splits, Mapping):
        for key in ("test_split", "validation_split", "training_split", "fewshot_split"):
            wanted = config.get(key)
            if wanted is not None and wanted not in splits:
                have = ", ".join(map(str, splits)) or "none"
                return f"task '{file.name}': {file.location}: {key} '{wanted}': its data has {have}"
    scored = config.get("test_split") or config.get("validation_split")
    if isinstance(splits, Mapping) and scored in splits and not len(splits[scored]):
        return f"task '{file.name}': no items to score; its split '{scored}' is empty"
    empty = [str(path) for _, _, path in local_files(file.name, config) if not path.stat().st_size]
    if empty:
        return f"task '{file.name}': no items to score; {', '.join(empty)} is empty"
    documents = getattr(task, "task_docs", None)
    if isinstance(error, IndexError) and documents is not None and len(documents):
        with suppress(Exception):  # what is wrong with the task is said below in any case
            if fault := wrong_gold(task, documents[0]) or _empty_choice(task, documents[0]):
                return f"task '{file.name}': {file.location}: document 0: {fault}"
    text = f"task '{file.name}': {file.location}: cannot be loaded: {type(error).__name__}: {error}"
    if (repository := hub_repository(config)) and task is None:
        text += f". Its data is '{repository}' on the Hugging Face hub; is it reachable?"
    return text


def wrong_gold(task: Any, document: Any) -> str:
    """What is wrong with the number of a document's right choice; "" if nothing is."""
    if task.OUTPUT_TYPE != "multiple_choice" or task.multiple_input:
        return ""
    gold, choices = task.doc_to_target(document), task.doc_to_choice(document)
    if isinstance(gold, int) and not 0 <= gold < len(choices):
        return f"its right choice is number {gold}; it has choices 0 to {len(choices) - 1}"
    return ""


def _empty_choice(task: Any, document: Any) -> str:
    """Which choice of a document has no text, where nothing parts it from the question."""
    choices = list(task.doc_to_choice(document)) if task.config.doc_to_choice else []
    return f"its choice {choices.index('')} is empty" if "" in choices else ""


def _check_trusted(file: TaskFile, text: Text) -> None:
    """Refuse Python of the user's task file, and metrics that the library evaluate would run."""
    file.check_trusted(text)
    listed = text.config.get("metric_list")
    for metric in listed if isinstance(listed, list) else []:
        name = metric.get("metric") if isinstance(metric, Mapping) else None
        if file.is_own and isinstance(name, str) and name not in metric_registry:
            code = f"{file.location}: metric {name} is not lm-eval's and would be fetched"
            file.check_trusted(Text({}, "", code))


def _overrides(spec: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What the group changes, and the commit of the hub's data that the spec names."""
    overrides = dict(spec["file"]["overrides"])
    options = config.get("dataset_kwargs") or {}
    repository = hub_repository(config)
    commit = spec.get("data_revisions", {}).get(repository)
    if commit is not None and "revision" not in options:
        overrides["dataset_kwargs"] = {**options, "revision": commit}
    return overrides
