"""Chat templates of the shapes that are in use, cut down to what matters for masks."""

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITH_DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    + CHATML
)
TRIMMED = (  # Gemma: other role names, contents stripped
    "{{ bos_token }}{% for m in messages %}<|im_start|>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
INST = (  # Llama 2: the assistant has no header, and ends with the end-of-text token
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"
)
NO_END = (  # nothing ends a turn
    "{% for m in messages %}### {{ m['role'] }}:\n{{ m['content'] }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}### assistant:\n{% endif %}"
)
LAST_TURN_THINKS = (  # Qwen 3: an empty thought in the last turn only; earlier turns are rewritten
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROMPTS_A_THOUGHT = (  # DeepSeek R1: the prompt for a turn is no prefix of the rendered turn
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
TELLS_THE_DAY = "{{ strftime_now('%d %B %Y %H:%M:%S.%f') }}\n" + CHATML
WITH_GENERATION = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)
FIRST_TURN_ONLY = (
    "<|im_start|>user\n{{ messages[0]['content'] }}<|im_end|>\n<|im_start|>assistant\n"
    "{% if messages | length > 1 %}{{ messages[1]['content'] }}<|im_end|>{% endif %}"
)

PREFIX_PRESERVING = {
    "chatml": CHATML,
    "default system": WITH_DEFAULT_SYSTEM,
    "trimmed": TRIMMED,
    "inst": INST,
    "no end": NO_END,
    "the day": TELLS_THE_DAY,
    "generation": WITH_GENERATION,
}
ALL = PREFIX_PRESERVING | {
    "last turn thinks": LAST_TURN_THINKS,
    "prompts a thought": PROMPTS_A_THOUGHT,
}
