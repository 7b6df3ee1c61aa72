"""Turns as small models wrote them, judged by a reader."""

import pytest

from retain.rehearse.turns import is_refusal, is_request

ASKS = [
    "What are the main causes of the French Revolution?",
    "Explain how vaccines work.",
    "Can you help me write a letter to my landlord",
    "I'm looking for a recipe with lentils.",
    "I have a dataset of 500 customers. Suggest a way to segment them.",
    "Please continue.",
    "Hello there! Write me a poem about the sea.",
    "What depends on the relation to that of the tutorial.",
    "1. Summarise the following text: The cat sat on the mat.",
    "Surely the moon is not made of cheese?",
    "Here is my essay about whales. Please correct it.",
    "नेपालको इतिहास बारे एउटा छोटो निबन्ध लेख्नुहोस्।",
    "Écris un poème sur la mer et les montagnes enneigées.",
    "请写一首诗。",
]
SPEAKS = [
    "Sure! Here are three tips for better sleep.",
    "I'd be happy to help you with that! What would you like to know?",
    "Certainly. The capital of France is Paris.",
    "Here are some ideas for your garden:\n1. Plant roses.\n2. Water them.",
    "The water cycle describes how water moves through the atmosphere.",
    "You're welcome! Let me know if you have any other questions.",
    "How can I help you today?",
    "I hope this helps. Good luck with your project.",
    "As an AI language model, I do not have feelings.",
    "Hello!",
    "Hi there, what can I do for you? I'm an assistant. Please describe something.",
    "The players are a British team, and they are based in Durban, South Africa.",
]


@pytest.mark.parametrize("text", ASKS)
def test_questions_and_requests_are_kept(text):
    assert is_request(text)


@pytest.mark.parametrize("text", SPEAKS)
def test_the_assistants_voice_is_not(text):
    assert not is_request(text)


@pytest.mark.parametrize("text", [*ASKS, *SPEAKS])
def test_the_kind_of_apostrophe_does_not_matter(text):
    assert is_request(text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")) == is_request(text)


def test_a_refusal_is_at_the_beginning():
    assert is_refusal("I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but I can't say.")
    assert not is_refusal("The form says: " + "x " * 150 + "I cannot assist")
    assert is_refusal("म मद्दत गर्न सक्दिनँ।", ("म मद्दत गर्न सक्दिनँ",))
