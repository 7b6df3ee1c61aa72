"""Masks; each thread of users-and-peers "Loss masks and templates" is a test here."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retain.data.example import Example, Message
from retain.data.render import (
    blocks,
    continuation_tokens,
    continuations,
    prompt_text,
    prompt_tokens,
    render,
    render_all,
    with_shots,
)
from retain.errors import DataError
from tests.data import templates

END = "<|im_end|>"


def dialogue(*contents, **fields):
    """Turns that alternate between user and assistant."""
    roles = ["user", "assistant"] * len(contents)
    messages = tuple(Message(role=r, content=c) for r, c in zip(roles, contents, strict=False))
    return Example(source="s", messages=messages, **fields)


def stretches(tokens, tokenizer, trained=True):
    """The text of each run of trained (or untrained) tokens."""
    found, run = [], []
    for token, counts in [*zip(tokens.input_ids, tokens.trained, strict=True), (None, not trained)]:
        if counts is trained:
            run.append(token)
        elif run:
            found.append(tokenizer.decode(run))
            run = []
    return found


@pytest.mark.parametrize("name", templates.ALL)
def test_only_assistant_turns_are_trained_whatever_the_template(with_template, name):
    tokenizer = with_template(templates.ALL[name])
    tokens = render(dialogue("who sat?", "the cat", "and ran?", "the dog"), tokenizer)
    said = [text.removeprefix(" ") for text in stretches(tokens, tokenizer)]
    thought = "<think>\n\n</think>\n\n" if name == "last turn thinks" else ""
    end_of_first = "" if name == "no end" else END
    assert said == [f"the cat{end_of_first}", f"{thought}the dog{END}"]


@pytest.mark.parametrize("name", templates.PREFIX_PRESERVING)
def test_the_mask_is_what_rendering_prefixes_gives(with_template, name):
    """The same mask derived another way: from the lengths of the rendered prefixes."""
    tokenizer = with_template(templates.PREFIX_PRESERVING[name])
    example = dialogue("who sat?", "the cat", "and ran?", "the dog and one")
    messages = list(example.messages)

    def rendered(upto, **options):
        day = "{{ strftime_now('%d %B %Y %H:%M:%S.%f') }}"
        template = templates.PREFIX_PRESERVING[name].replace(day, "01 January 2025")
        return tokenizer.apply_chat_template(
            messages[:upto], chat_template=template, tokenize=False, **options
        )

    said = []
    for turn in (1, 3):
        before, after = rendered(turn, add_generation_prompt=True), rendered(turn + 1)
        assert rendered(4).startswith(after)
        assert after.startswith(before)
        said.append(after[len(before) :].rstrip())
    found = stretches(render(example, tokenizer), tokenizer)
    assert [text.removesuffix(END) for text in found] == [text.removesuffix(END) for text in said]


def test_the_mask_is_what_generation_markers_give(with_template):
    tokenizer = with_template(templates.WITH_GENERATION)
    example = dialogue("who sat?", "the cat", "and ran?", "the dog")
    marked = tokenizer.apply_chat_template(
        list(example.messages), return_assistant_tokens_mask=True, return_dict=True
    )
    tokens = render(example, tokenizer)
    length = len(tokens.input_ids)
    assert marked["input_ids"][:length] == tokens.input_ids
    assert marked["assistant_masks"][:length] == tokens.trained
    assert not any(marked["assistant_masks"][length:])


def test_the_tokens_are_those_of_the_template(tokenizer):
    """transformers gives a BatchEncoding, which is no dict; nothing here depends on what it is."""
    example = dialogue("who sat?", "the cat", "and ran?", "the dog")
    whole = tokenizer.apply_chat_template(list(example.messages), tokenize=False).rstrip()
    assert tokenizer.decode(render(example, tokenizer).input_ids) == whole
    encoded = tokenizer(whole, add_special_tokens=False)
    assert not isinstance(encoded, dict)
    assert encoded["input_ids"] == render(example, tokenizer).input_ids


def test_the_end_of_every_trained_turn_is_trained(tokenizer):
    tokens = render(dialogue("a", "one", "b", "two"), tokenizer)
    ends = [
        counts
        for token, counts in zip(tokens.input_ids, tokens.trained, strict=True)
        if token == tokenizer.eos_token_id
    ]
    assert ends == [False, True, False, True]


def test_a_turn_that_is_switched_off_is_not_trained_nor_its_end(tokenizer):
    example = dialogue("a", "one", "b", "two")
    off = example.messages[1] | {"train": False}
    example = Example(source="s", messages=(example.messages[0], off, *example.messages[2:]))
    assert stretches(render(example, tokenizer), tokenizer) == [f"two{END}"]


def test_what_stands_behind_the_last_trained_token_is_left_out(tokenizer):
    assert render(dialogue("a", "one"), tokenizer) == render(dialogue("a", "one", "b"), tokenizer)
    assert render(dialogue("a", "one", "b"), tokenizer).trained[-1]


def test_a_template_that_prints_the_day_is_rendered_alike_every_day(with_template):
    tokenizer = with_template(templates.TELLS_THE_DAY)
    first = prompt_text(dialogue("a", "one"), tokenizer)
    assert first.startswith("01 January 2025\n")
    assert first == prompt_text(dialogue("a", "one"), tokenizer)


def test_a_template_that_refuses_says_why(with_template):
    tokenizer = with_template(templates.REFUSES_SYSTEM)
    system = Message(role="system", content="s")
    example = Example(source="s", messages=(system, *dialogue("a", "one").messages))
    with pytest.raises(DataError, match=r"refuses a dialogue \(system, user, .*not supported"):
        render(example, tokenizer)


def test_a_template_that_hides_a_turn_is_refused(with_template):
    tokenizer = with_template(templates.FIRST_TURN_ONLY)
    assert stretches(render(dialogue("a", "one"), tokenizer), tokenizer) == [f"one{END}"]
    with pytest.raises(DataError, match=r"hides turn 4 \(assistant\).*'two'"):
        render(dialogue("a", "one", "b", "two"), tokenizer)


def test_a_template_runs_in_a_sandbox(with_template):
    tokenizer = with_template("{{ messages.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(DataError, match="refuses"):
        render(dialogue("a", "one"), tokenizer)


# ---------------------------------------------------------------- without a chat template


def test_prompt_and_completion_are_joined_as_they_are(with_template):
    tokenizer = with_template(None)
    example = dialogue("2 + 2 =", " 4", is_completion=True)
    tokens = render(example, tokenizer)
    assert tokenizer.decode(tokens.input_ids) == f"2 + 2 = 4{END}"
    assert stretches(tokens, tokenizer) == [f" 4{END}"]
    assert prompt_text(example, tokenizer) == "2 + 2 ="
    assert continuations(example, tokenizer) == []


def test_a_dialogue_becomes_a_transcript(with_template):
    tokenizer = with_template(None)
    tokens = render(dialogue("who?", "the cat", "and?", "the dog"), tokenizer)
    assert tokenizer.decode(tokens.input_ids) == (
        f"User: who?\n\nAssistant: the cat{END}\n\nUser: and?\n\nAssistant: the dog{END}"
    )
    assert stretches(tokens, tokenizer) == [f" the cat{END}", f" the dog{END}"]


def test_a_text_is_trained_whole_but_for_its_first_token(tokenizer):
    tokens = render(Example(source="s", text="the cat sat"), tokenizer)
    assert tokenizer.decode(tokens.input_ids) == f"the cat sat{END}"
    assert tokens.trained == [False] + [True] * (len(tokens.input_ids) - 1)


def test_pretraining_trains_a_dialogue_whole(tokenizer):
    tokens = render(dialogue("who?", "the cat"), tokenizer, "pretrain")
    assert tokens.trained == [False] + [True] * (len(tokens.input_ids) - 1)


# ---------------------------------------------------------------- the same in evaluation

contents = st.text(st.sampled_from(" \n\tabQZJ019न.<|>"), min_size=1, max_size=12).filter(
    lambda text: text.strip()
)


@pytest.mark.parametrize("name", [*templates.ALL, None])
@given(texts=st.lists(contents, min_size=2, max_size=6).filter(lambda texts: len(texts) % 2 == 0))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_prompt_and_continuation_are_the_trained_tokens(with_template, name, texts):
    tokenizer = with_template(templates.ALL.get(name))
    example = dialogue(*texts, choices=(texts[-1], "other"), answer=0)
    prompt = prompt_tokens(example, tokenizer)
    said = continuation_tokens(continuations(example, tokenizer)[0], tokenizer)
    tokens = render(example, tokenizer)
    assert [*prompt, *said] == tokens.input_ids[: len(prompt) + len(said)]
    assert all(tokens.trained[max(1, len(prompt)) :])
    assert tokens.input_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(prompt) == prompt_text(example, tokenizer)


def test_choices_stand_where_the_answer_stood(tokenizer):
    example = dialogue("which?", "heart", choices=("heart", "bones"), answer=0)
    assert continuations(example, tokenizer) == ["heart", "bones"]
    assert prompt_text(example, tokenizer).endswith("which?<|im_end|>\n<|im_start|>assistant\n")


def test_without_choices_the_reference_follows(with_template):
    assert continuations(dialogue("a", "one", reference="one"), with_template(None)) == [" one"]
    text = Example(source="s", text="the cat")
    tokenizer = with_template(templates.CHATML)
    assert (prompt_text(text, tokenizer), continuations(text, tokenizer)) == ("", [])


def test_shots_are_earlier_turns_with_one_system_message(tokenizer):
    system = Message(role="system", content="short")
    shot = Example(source="s", messages=(system, *dialogue("a", "one").messages))
    asked = Example(
        source="s",
        messages=(system, *dialogue("b", "two").messages),
        choices=("two", "three"),
        answer=0,
        item="7",
    )
    shown = with_shots(asked, [shot, shot])
    assert [m["content"] for m in shown.messages] == ["short", "a", "one", "a", "one", "b", "two"]
    assert (shown.choices, shown.answer, shown.item) == (asked.choices, 0, "7")
    assert with_shots(asked, []) is asked


def test_shots_of_completions_are_joined_with_blank_lines(with_template):
    tokenizer = with_template(None)
    shot = dialogue("1 + 1 =", " 2", is_completion=True)
    asked = dialogue("2 + 2 =", " 4", is_completion=True)
    assert prompt_text(with_shots(asked, [shot]), tokenizer) == "1 + 1 = 2\n\n2 + 2 ="


# ---------------------------------------------------------------- truncation


def test_what_is_over_the_length_is_cut_off_at_the_right(tokenizer):
    example = dialogue("who sat?", "the cat and the dog")
    whole = render(example, tokenizer)
    cut = render(example, tokenizer, "sft", len(whole.input_ids) - 2)
    assert cut.input_ids == whole.input_ids[:-2]
    assert (cut.num_cut, cut.num_trained) == (2, whole.num_trained - 2)


def test_examples_with_nothing_left_are_dropped_and_counted(tokenizer):
    short, long = dialogue("a", "one"), dialogue("the cat " * 40, "one")
    found = render_all([short, long], tokenizer, "sft", 40)
    assert [example_id for example_id, _ in found.sequences] == [short.id]
    assert (found.num_truncated, found.dropped) == (1, [long.id])
    assert found.num_cut_tokens > 20


def test_when_all_is_masked_the_run_stops_with_counts(tokenizer):
    examples = [dialogue("the cat " * 40 + str(n), "one") for n in range(3)]
    with pytest.raises(DataError, match=r"qa: nothing to train on: of 3 .* max_length 16 and lost"):
        render_all(examples, tokenizer, "sft", 16, source="qa")


# ---------------------------------------------------------------- running text


@given(
    texts=st.lists(st.text("abc न\n", min_size=1, max_size=40), max_size=8),
    max_length=st.integers(2, 20),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_lose_and_repeat_nothing(tokenizer, texts, max_length):
    cut = blocks(texts, tokenizer, max_length)
    wanted = [
        token
        for text in texts
        for token in [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    ]
    found = [token for _, tokens in cut for token in tokens.input_ids]
    assert found == (wanted if len(wanted) % max_length != 1 else wanted[:-1])
    assert all(len(tokens.input_ids) == max_length for _, tokens in cut[:-1])
    assert all(tokens.trained[0] is False and all(tokens.trained[1:]) for _, tokens in cut)


def test_every_block_starts_as_the_tokenizer_starts_a_text(tokenizer):
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    backend = tokenizer.backend_tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    starts = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|endoftext|>", eos_token="<|im_end|>"
    )
    cut = blocks(["the cat sat on a mat and the dog ran"] * 3, starts, 8)
    assert len(cut) > 3
    assert all(tokens.input_ids[0] == 0 and 0 not in tokens.input_ids[1:] for _, tokens in cut)
    tokens = render(Example(source="s", text="the cat"), starts)
    assert tokens.input_ids == [*starts.encode("the cat"), starts.eos_token_id]
    assert prompt_tokens(dialogue("a", "b"), starts)[0] == 0


def test_a_block_needs_two_tokens(tokenizer):
    with pytest.raises(DataError, match="at least 2"):
        blocks(["a"], tokenizer, 1)


def test_a_tokenizer_that_adds_spaces_encodes_an_answer_as_it_stands():
    """SentencePiece puts a space before a text; behind a prompt none may appear."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    letters = ["<s>", "</s>", "▁", "\n", *"abcdefUserAssistant: ", "▁a", "▁b"]
    vocabulary = {token: n for n, token in enumerate(dict.fromkeys(letters))}
    backend = Tokenizer(models.BPE(vocabulary, [("▁", "a"), ("▁", "b")]))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Replace("▁", " ")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    tokens = render(dialogue("ab", "ba", is_completion=True), tokenizer)
    assert tokenizer.convert_ids_to_tokens(tokens.input_ids) == ["▁a", "b", "b", "a", "</s>"]
