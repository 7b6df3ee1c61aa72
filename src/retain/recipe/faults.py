"""What is wrong with a recipe, in words a person can act on.

A fault has a place (``phases.hindi.train.learning_rate``), the value got, what is allowed and, for
a misspelt word, the nearest known one. Pydantic's errors are turned into these words here; no
other text of pydantic's reaches the user.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from retain.errors import RecipeError

Loc = tuple[str | int, ...]
SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class Fault:
    """One fault: where (keys and indices, as pydantic counts them) and what."""

    loc: Loc
    message: str


class FaultyRecipeError(RecipeError):
    """A recipe with faults; ``faults`` holds one line of text each."""

    def __init__(self, origin: str, faults: Sequence[str]) -> None:
        self.faults = tuple(dict.fromkeys(faults))
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join((f"{origin}: {count}", *(f"  {one}" for one in self.faults))))


# Words that people bring from other tools, and what is meant here.
ELSEWHERE = {
    "per_device_train_batch_size": "use batch_size, the examples of one optimizer step; how many "
    "fit at once is found out",
    "micro_batch_size": "use batch_size, the examples of one optimizer step",
    "gradient_accumulation_steps": "not needed: batch_size is the whole optimizer step's",
    "train_batch_size": "use batch_size",
    "global_batch_size": "use batch_size",
    "lr": "use learning_rate",
    "lr_scheduler": "use lr_scheduler_type",
    "num_epochs": "use num_train_epochs",
    "epochs": "use num_train_epochs",
    "steps": "use max_steps",
    "cutoff_len": "use max_length",
    "sequence_len": "use max_length",
    "max_seq_length": "use max_length",
    "max_seq_len": "use max_length",
    "sample_packing": "use packing",
    "neat_packing": "use packing",
    "assistant_only_loss": "use completion_only_loss: true trains on the assistant's turns only",
    "train_on_prompt": "use completion_only_loss (the opposite)",
    "train_on_inputs": "use completion_only_loss (the opposite)",
    "finetuning_type": "use tuning",
    "stage": "use objective: sft or pretrain",
    "bf16": "use precision: auto, fp32 or bf16",
    "fp16": "use precision: auto, fp32 or bf16",
    "max_grad_value": "use max_grad_norm",
    "num_processes": "use processes",
    "nproc_per_node": "use processes",
    "per_node": "use processes, of this machine; one step across machines is not there yet",
    "nodes": "one step across machines is not there yet; processes are of this machine",
    "fsdp": "use shard, with processes",
    "deepspeed": "use shard, with processes",
    "optim": "use optimizer: adamw or adamw_8bit",
    "seed": "use seeds at the top of the recipe, a list",
    "model_name_or_path": "use model",
    "base_model": "use model",
    "model_id": "use model",
    "datasets": "use phases, each with its data",
    "dataset": "use data in a phase",
    "train_file": "use data in a phase",
    "val_set_size": "use held_out: {fraction: ...}",
    "output_dir": "a run's folder is runs/<name>; the command line's --runs moves it",
    "run_name": "use name",
    "trust_remote_code": "only the command line can say --trust-remote-code, never a recipe",
    "report_to": "it belongs to the train of a phase: train: {report_to: tensorboard}",
    "packing_strategy": "use packing: true; no sequence is cut to fill a row",
    "save_strategy": "not needed: a stopped run goes on by itself; save_steps says how often",
    "save_total_limit": "not needed: the two newest snapshots are kept, none when a phase is done",
    "resume_from_checkpoint": "not needed: the same command goes on",
    "logging_steps": "not needed: every optimizer step stands in the curve; report_to shows them",
    "group_by_length": "not needed: rows are packed, or sequences of like length",
    "dataset_text_field": "use columns in the data: {source: ..., columns: {text: ...}}",
    "eval_steps": "use evaluate.during_phase: how often a phase is scored inside",
    "eval_strategy": "use evaluate.during_phase",
    "shots": "use num_fewshot",
    "fewshot": "use num_fewshot",
    "ratio": "use share",
    "replay_ratio": "use share",
    "freeze_trainable_layers": "use the method freeze in an arm: {method: freeze, num_layers: ...}",
    "methods": "use arms: each arm is a list of methods",
    "load_in_4bit": "use tuning: qlora",
    "load_in_8bit": "weights of 8 bits are not trained on; use tuning: qlora (4 bits)",
    "lora_rank": "use lora_r",
    "r": "use lora_r",
    "lora_target": "use lora_target_modules",
    "target_modules": "use lora_target_modules",
    "modules_to_save": "use train_embeddings and train_head",
    "lora_modules_to_save": "use train_embeddings and train_head",
    "use_dora": "use tuning: dora",
    "use_rslora": "use tuning: rslora",
    "adapter": "use tuning: lora, qlora, dora, rslora or ia3",
    "peft": "use tuning: lora, qlora, dora, rslora or ia3",
    "<<": "YAML's merge key is not used in recipes; write the keys out",
}


def show(value: Any) -> str:
    """A value as an error shows it: one line, not too long."""
    text = {None: "null", True: "true", False: "false"}.get(value) if _is_word(value) else None
    text = text or (f"'{value}'" if isinstance(value, str) else repr(value))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def unknown(kind: str, got: str, known: Iterable[str]) -> str:
    """What is said about a word that is not known here.

    >>> unknown("key", "learning_rat", ["learning_rate", "max_steps"])
    "unknown key 'learning_rat'. Did you mean 'learning_rate'? Known: learning_rate, max_steps"
    """
    listed = list(known)
    if kind == "key" and got in ELSEWHERE:
        return f"unknown key '{got}': {ELSEWHERE[got]}"
    close = [word for word in listed if got.startswith(f"{word}_")]
    close = close or get_close_matches(got, listed, n=1, cutoff=0.6)
    close = close or [word for word in listed if len(got) > 2 and got in word]
    guess = f" Did you mean '{close[0]}'?" if close else ""
    return f"unknown {kind} '{got}'.{guess} Known: {', '.join(listed)}"


def refuse(faults: Iterable[Fault]) -> None:
    """Inside a validator of pydantic: raise these faults, if there are any."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("retain", "{message}", {"message": fault.message}),
            loc=fault.loc,
            input=None,
        )
        for fault in faults
    ]
    if details:
        raise ValidationError.from_exception_data("recipe", details)


def refuse_one(message: str) -> NoReturn:
    """Inside a validator of pydantic: raise this fault about the value being looked at."""
    raise PydanticCustomError("retain", "{message}", {"message": message})


def translate(error: ValidationError, known_keys: Any = None) -> list[Fault]:
    """Pydantic's errors in our words.

    Args:
        error: What pydantic found.
        known_keys: Gives the keys allowed at a place; needed for unknown keys.
    """
    found = error.errors(include_url=False)
    return [_one(details, known_keys) for details in found if not _echoes(details)]


def _echoes(details: ErrorDetails) -> bool:
    """Whether pydantic counts a list as too short only because its entries are faulty."""
    given = details["input"]
    return details["type"] == "too_short" and len(given) >= details["ctx"]["min_length"]


def _one(details: ErrorDetails, known_keys: Any) -> Fault:
    loc, kind = tuple(details["loc"]), details["type"]
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        known = known_keys(loc[:-1]) if known_keys else ()
        return Fault(loc, unknown("key", str(loc[-1]), known))
    return Fault(loc, message(details))


def message(details: ErrorDetails) -> str:
    """What one of pydantic's errors says, without its place."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "retain":
        return str(details["msg"])
    if kind == "missing":
        return "is missing"
    got = f"; got {show(details['input'])}"
    if kind == "literal_error":
        return f"must be {_either(context['expected'])}{got}{_closest(details)}"
    if kind in BOUNDS:
        return f"must be {BOUNDS[kind]} {_bound(context)}{got}"
    if kind in ("float_type", "float_parsing") and (part := _percentage(details["input"])):
        return f"must be {WANTED[kind]}{got} (a percentage is written as a fraction: {part})"
    if kind in WANTED:
        return f"must be {WANTED[kind]}{got}"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}{got}"
    return f"{details['msg']}{got}"


def _percentage(value: Any) -> str:
    """What ``10%`` is as a fraction; "" for what is no percentage.

    >>> _percentage("10%"), _percentage("a tenth")
    ('10 % is 0.1', '')
    """
    match = (
        re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*%\s*", value)
        if isinstance(value, str)
        else None
    )
    return f"{match[1]} % is {float(match[1]) / 100:g}" if match else ""


WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text (a number meant as text goes in quotes)",
    "string_too_short": "text that is not empty",
    "tuple_type": "a list",
    "list_type": "a list",
    "too_short": "a list that is not empty",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "dataclass_type": "a mapping (key: value)",
}
BOUNDS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}


def _bound(context: Mapping[str, Any]) -> str:
    limit = next(context[key] for key in ("gt", "ge", "lt", "le") if key in context)
    return f"{limit:g}"


def _either(expected: str) -> str:
    return expected.replace("'", "")


def _closest(details: ErrorDetails) -> str:
    words = details["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
    close = get_close_matches(str(details["input"]), words, n=1, cutoff=0.6)
    return f". Did you mean '{close[0]}'?" if close else ""
