"""Tokens and masks against TRL's, on the training templates that TRL ships."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from retain.data.example import Example
from retain.data.render import render
from retain.data.template import FIXED_DATE
from retain.errors import DataError
from tests.conftest import make_tokenizer

FOLDER = Path(find_spec("trl").origin).parent / "chat_templates"
TEMPLATES = {path.stem.removesuffix("_training"): path for path in FOLDER.glob("*_training.jinja")}
OF_PARTS = {"idefics3", "llava_next", "smolvlm"}  # contents are lists of texts and images there
SPECIAL = re.compile(
    r"<[|\uff5c][^|\uff5c<>\s]*[|\uff5c]>|<(?:start_of_turn|end_of_turn)>|<turn\|>|<\|turn>|</?think>"
)


def tokenizer_for(name):
    """The tiny tokenizer with a template of TRL's and the special tokens it writes."""
    tokenizer = make_tokenizer()
    text = TEMPLATES[name].read_text("utf-8")
    special = sorted(set(SPECIAL.findall(text)))
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.chat_template = text
    return tokenizer


def dialogue(num_turns):
    said = ["which one sat?", "the cat sat", "and then?", "no, the dog ran", "ten?", "yes"]
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(said)]
    return Example(source="s", messages=tuple(messages[: 2 * num_turns]))


def by_trl(tokenizer, messages):
    """As TRL's ``SFTTrainer`` has it with ``assistant_only_loss``; the date stands still."""
    template = tokenizer.chat_template
    return tokenizer.apply_chat_template(
        [dict(message) for message in messages],
        chat_template=FIXED_DATE + template if "strftime_now" in template else template,
        return_assistant_tokens_mask=True,
        return_dict=True,
    )


def test_there_are_as_many_templates_as_expected():
    assert len(TEMPLATES) >= 31
    assert set(TEMPLATES) >= OF_PARTS


@pytest.mark.parametrize("num_turns", [1, 3])
@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - OF_PARTS))
def test_tokens_and_masks_are_those_of_trl(name, num_turns):
    tokenizer, example = tokenizer_for(name), dialogue(num_turns)
    expected = by_trl(tokenizer, example.messages)
    tokens = render(example, tokenizer)
    length = len(tokens.input_ids)
    assert tokens.input_ids == expected["input_ids"][:length]
    assert tokens.trained == [mask == 1 for mask in expected["assistant_masks"][:length]]
    assert not any(expected["assistant_masks"][length:])
    assert tokens.num_trained > num_turns


@pytest.mark.parametrize("name", sorted(OF_PARTS))
def test_a_template_of_parts_is_refused(name):
    with pytest.raises(DataError, match="the chat template of"):
        render(dialogue(1), tokenizer_for(name))


def test_a_turn_that_is_switched_off_is_not_trained():
    tokenizer, example = tokenizer_for("qwen3"), dialogue(2)
    whole = render(example, tokenizer)
    example.messages[1]["train"] = False
    tokens = render(example, tokenizer)
    assert tokens.input_ids == whole.input_ids
    first = whole.trained.index(True)
    behind = whole.trained.index(False, first)
    assert not any(tokens.trained[:behind])
    assert tokens.trained[behind:] == whole.trained[behind:]
