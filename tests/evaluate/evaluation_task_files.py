"""Tiny task files of lm-eval whose data lies beside them."""

import json

SUBJECTS = ("bones", "blood", "nerve", "muscle")


def question_documents(count=44):
    return [
        {
            "question": f"which one is number {number % 40} of the {SUBJECTS[number % 4]}",
            "choices": [f"the {word}" for word in SUBJECTS],
            "answer": number % 4,
        }
        for number in range(count)
    ]


DATA_PY = """
import json
from pathlib import Path
from datasets import Dataset

def documents(name, **_):
    splits = json.loads((Path(__file__).parent / f"{name}.json").read_text())
    return {split: Dataset.from_list(rows) for split, rows in splits.items()}
"""

CHOICES = """
task: tiny_choices
custom_dataset: !function tiny_data.documents
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1, name: choices}
"""

LETTERS = """
include: tiny_choices.yaml
task: tiny_letters
tag: tiny_tag
fewshot_split: train
doc_to_text: "{{question}}\\nA. {{choices[0]}}\\nB. {{choices[1]}}\\nAnswer:"
doc_to_choice: ["A", "B", "C", "D"]
"""

ROLLING = """
task: tiny_rolling
tag: tiny_tag
custom_dataset: !function tiny_data.documents
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
metric_list:
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
metadata: {version: 1, name: texts}
"""

GENERATION = """
task: tiny_generation
custom_dataset: !function tiny_data.documents
test_split: test
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["\\n", "cat"], max_gen_toks: 12, do_sample: false}
filter_list:
  - name: whole
    filter: [{function: take_first}]
  - name: one_word
    filter:
      - {function: regex, regex_pattern: "(\\\\w+)"}
      - {function: take_first}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 1, name: choices}
"""

GROUP = """
group: tiny_group
task: [tiny_letters, tiny_choices]
"""


def write_task_files(folder):
    """Fill a folder with the task files and their data."""
    texts = ["the cat sat on a mat " * n + f"and {n} dogs ran to the sea" for n in range(1, 25)]
    data = {
        "choices": {"test": question_documents(), "train": question_documents(8)[3:]},
        "texts": {"test": [{"text": text} for text in texts]},
    }
    for name, splits in data.items():
        (folder / f"{name}.json").write_text(json.dumps(splits))
    (folder / "tiny_data.py").write_text(DATA_PY)
    files = {
        "tiny_choices": CHOICES,
        "tiny_letters": LETTERS,
        "tiny_rolling": ROLLING,
        "tiny_generation": GENERATION,
        "tiny_group": GROUP,
    }
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder
