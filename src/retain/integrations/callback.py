"""What a trainer of transformers or TRL makes a model forget, measured while it trains.

    trainer = SFTTrainer(..., callbacks=[retain.RetentionCallback(["general"], limit=100)])

The model is scored before the first step, and after the last one or each epoch, on the same items.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from warnings import warn

from transformers import TrainerCallback

from retain.evaluate.api import evaluation, write
from retain.evaluate.catalog import Name
from retain.evaluate.compare import compare
from retain.evaluate.run import Evaluation
from retain.model.adapters import plain


class RetentionCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Scores the model that is trained, and says what changed from before.

    What comes out stands in ``rows`` (one per scoring, task, metric and number of shots: ``step``,
    ``value``, ``difference`` from before the training with its paired interval, see
    ``evaluate.compare``), in the trainer's log history as ``retention/<task>/<metric>`` and
    ``…/change``, and, with ``output``, in a folder per scoring. The last rows are of the model that
    comes out: with ``load_best_model_at_end``, of that step's.

    Limits: a training that is resumed is compared with the model as it was resumed, and says so;
    weights that are spread over processes (FSDP, ZeRO-3) are not scored.

    Args:
        tasks: Names, as a recipe writes them.
        num_fewshot: Numbers of shots.
        limit: Items per task.
        every: ``train`` scores after the last step, ``epoch`` after each epoch.
        output: Folder for scores and items.
        tokenizer: Where the trainer has none.
        options: Further ones of ``retain.evaluate``.
    """

    def __init__(
        self,
        tasks: str | Sequence[Name] = "general",
        *,
        num_fewshot: Sequence[int] = (0,),
        limit: int | None = 200,
        every: Literal["train", "epoch"] = "train",
        output: str | Path | None = None,
        tokenizer: Any = None,
        **options: Any,
    ) -> None:
        if every not in ("train", "epoch"):
            raise ValueError(f"every '{every}': allowed are train and epoch")
        self.tasks, self.num_fewshot, self.limit = tasks, num_fewshot, limit
        self.every, self.output, self.tokenizer = every, output, tokenizer
        self.options = options
        self.rows: list[dict[str, Any]] = []
        self._before: Evaluation | None = None
        self._scored_at: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Score the model as it comes."""
        if state.is_world_process_zero and self._before is None:
            if state.global_step:
                warn(
                    f"training goes on at step {state.global_step}: what RetentionCallback calls "
                    "a change is the change since then, not since training began",
                    stacklevel=2,
                )
            self._score(state.global_step, state, given)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Score the model after an epoch, where that is asked for."""
        if state.is_world_process_zero and self.every == "epoch":
            self._score(state.global_step, state, given)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Score the model that comes out."""
        best = state.best_global_step if args.load_best_model_at_end else None
        step = best or state.global_step
        if state.is_world_process_zero and self._scored_at != step:
            self._score(step, state, given)

    def _score(self, step: int, state: Any, given: dict[str, Any]) -> None:
        tokenizer = self.tokenizer or given.get("processing_class") or given.get("tokenizer")
        with _own_forward(given["model"]):
            found = evaluation(
                given["model"],
                self.tasks,
                self.num_fewshot,
                self.limit,
                tokenizer=tokenizer,
                **self.options,
            )
        self._before = self._before or found
        self._scored_at = step
        rows = compare(found, self._before)
        self.rows += [{"step": step, **row} for row in rows]
        logged: dict[str, Any] = {"step": step, "epoch": state.epoch}
        for row in rows:
            shots = f"@{row['num_fewshot']}" if len(set(self.num_fewshot)) > 1 else ""
            name = f"retention/{row['task']}{shots}/{row['metric']}"
            logged |= {name: row["value"], f"{name}/change": row["difference"]}
        state.log_history.append(logged)
        if self.output is not None:
            config = {"model": str(given["model"].name_or_path), "step": step}
            write(found, Path(self.output) / f"step-{step}", config, rows)


@contextmanager
def _own_forward(model: Any) -> Iterator[None]:
    """Inside, a model computes as its class does, in the type of its weights.

    Accelerate puts a forward with autocast in place of a model's own (``bf16=True``), TRL one with
    its loss; the parts below, which are called apart, would compute otherwise than the whole.
    """
    places = [vars(one) for one in {id(one): one for one in (model, plain(model))}.values()]
    put = [(place, place.pop("forward")) for place in places
           if "forward" in place and "_hf_hook" not in place]  # fmt: skip
    try:
        yield
    finally:
        for place, forward in put:
            place["forward"] = forward
