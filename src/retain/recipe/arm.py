"""An arm: one list of methods that is compared with others, and how its entries are read."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    model_validator,
)

from retain.methods import known, validate
from retain.methods.base import Method, MethodError, option_names
from retain.methods.given import DeclaredPast, Source
from retain.recipe.faults import Fault, refuse, refuse_one, translate, unknown
from retain.recipe.train import Part, Train

Budget = Literal["same_new_data", "same_total_tokens", "same_total_compute"]


def _method(value: Any) -> Any:
    """A method from its entry: a name, or a mapping with the key ``method``."""
    if isinstance(value, Method):
        return value
    entry = {"method": value} if isinstance(value, str) else value
    if not isinstance(entry, Mapping):
        refuse_one(f"must be {{method: NAME, ...}}; got {value!r}")
    if not isinstance(entry.get("method"), str):
        refuse_one(f"needs the key 'method' with the name of one; known: {', '.join(known())}")
    name = entry["method"]
    if name not in known():
        refuse([Fault(("method",), unknown("method", name, known()))])
    cls = known()[name]
    try:
        return validate(cls, {key: item for key, item in entry.items() if key != "method"})
    except MethodError as error:
        refuse(Fault((field,), text) for field, text in error.faults)
    except ValidationError as error:
        refuse(_merged(translate(error, lambda loc: _keys_of(cls, loc))))


def _keys_of(cls: type[Method], loc: tuple[str | int, ...]) -> tuple[str, ...]:
    """The keys allowed at a place of a method's entry."""
    if not loc:
        return option_names(cls)
    return tuple((DeclaredPast if len(loc) == 1 else Source).model_fields)


def _merged(faults: list[Fault]) -> Iterator[Fault]:
    """One fault a field: pydantic gives one for every alternative of a union."""
    by_place: dict[tuple[str | int, ...], list[str]] = {}
    for fault in faults:
        loc = tuple(one for one in fault.loc if not (isinstance(one, str) and "[" in one))
        by_place.setdefault(loc, []).append(fault.message)
    for loc, messages in by_place.items():
        wanted = " or ".join(one.partition("; got")[0].removeprefix("must be ") for one in messages)
        if len(messages) == 1:
            yield Fault(loc, messages[0])
        else:
            yield Fault(loc, f"must be {wanted}; got{messages[-1].partition('; got')[2]}")


AnyMethod = Annotated[
    Method,
    PlainValidator(_method, json_schema_input_type=str | dict[str, Any]),
    PlainSerializer(lambda method: method.entry(), return_type=dict[str, Any]),
]


def _train_values(values: dict[str, Any]) -> dict[str, Any]:
    """Some of :class:`Train`'s values, each sound."""
    Train.model_validate(values)
    return values


class Arm(Part):
    """What one arm does against forgetting."""

    methods: tuple[AnyMethod, ...] = ()
    """Methods, each `{method: NAME, ...}`; none at all is plain sequential fine-tuning."""
    train: Annotated[dict[str, Any], AfterValidator(_train_values)] = Field(default_factory=dict)
    """Training values that differ in this arm."""
    budget: Budget | None = None
    """What it gets alike with plain training; none: the recipe's `budget`."""
    from_phase: str | None = None
    """The phase from which methods and `train` act; none: the second, or the only one."""

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, value: Any) -> Any:
        if value is None:
            return {}
        if isinstance(value, list | tuple):
            return {"methods": value}
        if isinstance(value, str) or (isinstance(value, Mapping) and "method" in value):
            return {"methods": [value]}
        return value
