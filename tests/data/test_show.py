from retain.data.example import Example, Message
from retain.data.render import render
from retain.data.show import Segment, printable, segments


def test_segments_alternate_and_join_to_the_whole(tokenizer):
    messages = (Message(role="user", content="who?"), Message(role="assistant", content="the cat"))
    example = Example(source="s", messages=messages)
    tokens = render(example, tokenizer)
    untrained, trained = segments(example, tokenizer)
    assert untrained.text == "<|im_start|>user\nwho?<|im_end|>\n<|im_start|>assistant\n"
    assert trained == Segment("the cat<|im_end|>", True, tokens.num_trained)
    assert untrained.num_tokens + trained.num_tokens == len(tokens.input_ids)


def test_no_control_character_reaches_a_terminal(tokenizer):
    example = Example(source="s", text="a\x1b[31mred\x07\x9b\u202eb\n\tc")
    shown = "".join(segment.text for segment in segments(example, tokenizer))
    assert shown == "a[31mredb\n\tc<|im_end|>"
    assert printable("\r\x00\x7f\u2066ok") == "ok"
