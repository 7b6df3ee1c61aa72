import pytest

from retain.data.example import Example
from retain.data.mix_step import run
from retain.data.pairs import pair_blocks, read_tokens, render_all_pairs, render_pairs
from retain.data.render import continuation_tokens, continuations
from retain.data.show import segments
from retain.errors import DataError
from tests.train.families import make_t5_tokenizer

END = 2  # <|im_end|>


@pytest.fixture(scope="module")
def t5_tokenizer():
    return make_t5_tokenizer()


def dialogue(*turns, **fields):
    roles = ("user", "assistant")
    messages = tuple({"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns))
    return Example(source="s", messages=messages, **fields)


def parts(tokens, tokenizer):
    seam = tokens.trained.index(True)
    assert all(tokens.trained[seam:])
    return tokenizer.decode(tokens.input_ids[:seam]), tokenizer.decode(tokens.input_ids[seam:])


def test_the_encoder_reads_the_prompt_and_the_decoder_writes_the_answer(t5_tokenizer):
    example = dialogue("where is the cat", "on a mat", is_completion=True)
    (pair,) = render_pairs(example, t5_tokenizer)
    assert parts(pair, t5_tokenizer) == ("where is the cat<|im_end|>", "on a mat<|im_end|>")


def test_without_a_chat_template_it_is_a_transcript(t5_tokenizer):
    (pair,) = render_pairs(dialogue("where", "here"), t5_tokenizer)
    read, written = parts(pair, t5_tokenizer)
    assert read == "User: where\n\nAssistant:<|im_end|>"
    assert written == " here<|im_end|>"


def test_every_trained_turn_is_a_sequence_that_reads_all_before_it(t5_tokenizer):
    example = dialogue("one", "two", "three", "four", "five", "six")
    example.messages[3]["train"] = False
    pairs = [parts(one, t5_tokenizer) for one in render_pairs(example, t5_tokenizer)]
    assert [written for _, written in pairs] == [" two<|im_end|>", " six<|im_end|>"]
    assert pairs[1][0] == (
        "User: one\n\nAssistant: two<|im_end|>\n\nUser: three\n\nAssistant: four<|im_end|>\n\n"
        "User: five\n\nAssistant:<|im_end|>"
    )


def test_a_chat_template_is_cut_where_generation_begins(tokenizer):
    (pair,) = render_pairs(dialogue("where", "here"), tokenizer)
    read, written = parts(pair, tokenizer)
    assert read == "<|im_start|>user\nwhere<|im_end|>\n<|im_start|>assistant\n"
    assert written == "here<|im_end|>"


@pytest.mark.parametrize("is_completion", [True, False])
def test_training_reads_and_writes_what_evaluation_asks(t5_tokenizer, is_completion):
    example = dialogue("where is it", "on the mat", is_completion=is_completion)
    asked = dialogue(
        "where is it", "on the mat", is_completion=is_completion, reference="on the mat"
    )
    (pair,) = render_pairs(example, t5_tokenizer)
    read = read_tokens(asked, t5_tokenizer)
    (answer,) = continuations(asked, t5_tokenizer)
    assert pair.input_ids == [*read, *continuation_tokens(answer, t5_tokenizer), END]


def test_a_text_is_cut_in_the_middle(t5_tokenizer):
    example = Example(source="s", text="the cat sat on a mat and the dog ran")
    (pair,) = render_pairs(example, t5_tokenizer)
    whole = t5_tokenizer(example.text).input_ids
    middle = len(whole) // 2
    assert pair.input_ids == [*whole[:middle], END, *whole[middle:]]
    assert pair.trained.index(True) == middle + 1
    assert pair.num_trained == len(whole) - middle


def test_blocks_lose_nothing_and_fit(t5_tokenizer):
    texts = ["the cat sat on a mat and the dog ran to the sea"] * 20
    blocks = pair_blocks(texts, t5_tokenizer, 16)
    whole = [token for text in texts for token in t5_tokenizer(text).input_ids]
    found = []
    for _, tokens in blocks:
        assert len(tokens.input_ids) <= 16
        seam = tokens.trained.index(True)
        read = tokens.input_ids[:seam]
        found += read[:-1] if read[-1] == END and len(read) > 7 else read
        found += tokens.input_ids[seam:]
    assert [t for t in found if t != END] == [t for t in whole if t != END][: len(found)][
        : len([t for t in found if t != END])
    ]
    assert len(whole) - len(found) < 16
    assert len({name for name, _ in blocks}) == len({tuple(t.input_ids) for _, t in blocks})


def test_what_is_shown_is_what_each_side_gets(t5_tokenizer):
    example = dialogue("where", "here", "when", "now", is_completion=False)
    shown = segments(example, t5_tokenizer, has_encoder=True)
    assert [part.trained for part in shown] == [False, True, False, True]
    assert shown[0].text == "User: where\n\nAssistant:<|im_end|>"
    assert shown[3].text == " now<|im_end|>"


def test_what_is_too_long_is_cut_from_the_answer_and_counted(t5_tokenizer):
    long = dialogue("where " * 5, "here " * 30, is_completion=True)
    lost = dialogue("where " * 60, "here", is_completion=True)
    rendered = render_all_pairs([long, lost], t5_tokenizer, 20, source="s")
    assert [len(tokens.input_ids) for _, tokens in rendered.sequences] == [20]
    assert rendered.dropped == [lost.id]
    assert rendered.num_truncated == 2
    with pytest.raises(DataError, match="none has a trained token left"):
        render_all_pairs([lost], t5_tokenizer, 20, source="s")


@pytest.mark.parametrize(
    ("values", "said"),
    [({"objective": "pretrain"}, "pretrain trains"), ({"completion_only_loss": False}, "false")],
)
def test_what_an_encoder_cannot_learn_is_refused(
    tmp_path, fake_work, write_jsonl, tiny_model_folder, values, said
):
    from retain.data.step import run as run_data

    path = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b"}] * 3)
    data = fake_work(tmp_path / "data", {"sources": [{"source": str(path)}], "held_out": None})
    run_data(data)
    part = {"role": "new", "max_length": 64, "batch_size": 1, "num_train_epochs": 1} | values
    work = fake_work(
        tmp_path / "mix", {"parts": [part], "sources": [], "seed": 0}, {"new": data.output}
    )
    with pytest.raises(DataError, match=said):
        run(work, tiny_model_folder, has_encoder=True)
