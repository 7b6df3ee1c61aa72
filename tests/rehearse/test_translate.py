"""Pairs by a translator: filtered with counts, in order, and gone on with after a stop."""

import json

import pytest

from retain import api
from retain.errors import DataError, ModelError, StoreError
from retain.model.load import load
from retain.rehearse.log import Log, Text
from retain.rehearse.translate import PairFilters, Pairs, translated, translator
from tests.train.families import make_t5_folder

TEXTS = [f"नेपाल हिमालयको काखमा अवस्थित एउटा सुन्दर देश हो {n}" for n in range(40)]


def quiet(done, total):
    pass


def test_each_filter_counts_what_it_removed():
    pairs = Pairs(PairFilters(max_length_ratio=2, languages=("en",), near_duplicates=None))
    original = "एउटा सुन्दर देश हो र यहाँ धेरै हिमाल छन्"
    english = "It is a beautiful country with mountains"
    written = [
        Text(english, 9, True),
        Text(original, 9, True),
        Text("A", 1, True),
        Text(english.upper(), 9, True),
        Text("Es ist ein schönes Land und hat viele Berge", 9, True),
        Text("There are many rivers in this country", 9, False),
        Text("", 0, True),
    ]
    for place, one in enumerate(written):
        pairs.add(place, original, one)
    assert pairs.kept == [(0, english)]
    assert dict(pairs.removed) == {
        "not translated": 1,
        "length ratio": 1,
        "duplicate": 1,
        "wrong language": 1,
        "cut off": 1,
        "empty": 1,
    }


def test_what_was_translated_is_not_translated_again(tmp_path):
    calls = []

    def translate(texts):
        calls.append(list(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return [Text(text[::-1], len(text), True) for text in texts]

    with pytest.raises(KeyboardInterrupt):
        list(translated(TEXTS, translate, Log(tmp_path / "log", "a"), quiet))
    found = list(translated(TEXTS, translate, Log(tmp_path / "log", "a"), quiet))
    assert [one.text for one in found] == [text[::-1] for text in TEXTS]
    assert calls[2] == TEXTS[16:32], "the first portion was there"


def test_a_tiny_translator_is_transformers_own(tmp_path):
    loaded = load(str(make_t5_folder(tmp_path / "t5")), precision="fp32")
    translate = translator(loaded, source=None, target=None, max_new_tokens=6)
    found = translate(["the cat sat", "a dog"])
    given = loaded.tokenizer(["a dog"], return_tensors="pt")
    made = loaded.model.generate(
        input_ids=given["input_ids"], do_sample=False, max_new_tokens=6
    )  # alone, no padding
    assert found[1].text == loaded.tokenizer.decode(made[0, 1:], skip_special_tokens=True).strip()
    with pytest.raises(ModelError, match="'npi_Deva' is no language"):
        translator(loaded, source="npi_Deva", target=None, max_new_tokens=6)


def test_a_decoder_is_no_translator(tiny_model_folder):
    with pytest.raises(ModelError, match="an encoder and a decoder"):
        translator(load(str(tiny_model_folder)), source=None, target=None, max_new_tokens=6)


def test_a_file_of_pairs(tmp_path, monkeypatch):
    folder = make_t5_folder(tmp_path / "t5")
    source = tmp_path / "ne.jsonl"
    source.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))

    def made(loaded, **options):
        return lambda texts: [Text(f"number {text[-2:]} of a country", 9, True) for text in texts]

    monkeypatch.setattr("retain.rehearse.translate.translator", made)
    output = tmp_path / "pairs.jsonl"
    told = api.translate_data(str(source), str(folder), output=output)
    rows = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert told.startswith(f"{output}: {len(rows)} pairs of 40 texts")
    assert all(row["english"] == f"number {row['text'][-2:]} of a country" for row in rows)
    assert not list(tmp_path.glob("*.begun"))
    with pytest.raises(StoreError, match="exists already"):
        api.translate_data(str(source), str(folder), output=output)
    source.write_text(json.dumps({"prompt": "a", "completion": "b"}))
    with pytest.raises(DataError, match="running texts"):
        api.translate_data(str(source), str(folder), output=tmp_path / "other.jsonl")
