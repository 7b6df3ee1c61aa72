"""Our engine as a model of lm-evaluation-harness: ``lm_eval.simple_evaluate(model=…)``."""

from typing import Any

from jinja2 import TemplateError
from lm_eval.api.model import TemplateLM

from retain.decode.prefix_tree import Request
from retain.evaluate.engine import Engine, Pair
from retain.evaluate.generate import Prompt


class RetainLM(TemplateLM):  # type: ignore[misc]
    """The harness's ``LM`` interface over an ``Engine``; same answers as its ``HFLM``, sooner.

    Args:
        engine: What computes.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.tokenizer = engine.tokenizer
        self.backend = "seq2seq" if engine.encoder.separate else "causal"

    @property
    def device(self) -> Any:
        """Where the weights lie."""
        return self.engine.model.device

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What the first token of a text is conditioned on."""
        return self.engine.encoder.prefix_token_id

    @property
    def max_length(self) -> int:
        """What the model reads, in tokens."""
        return self.engine.max_length

    @property
    def tokenizer_name(self) -> str:
        """A name that tells tokenizers apart in the harness's caches."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Tokens of one text."""
        return list(self.engine.encoder.encode([string], add_special_tokens)[0])

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as the tokenizer's template writes it.

        A template that refuses it is asked again without the system turns, as ``HFLM`` does.
        """
        without = [message for message in chat_history if message["role"] != "system"]
        try:
            return self._by_template(chat_history, add_generation_prompt)
        except TemplateError:
            if len(without) == len(chat_history):
                raise
            return self._by_template(without, add_generation_prompt)

    def _by_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def loglikelihood(
        self, requests: list[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Log-likelihood in nats, and whether greedy decoding would have written it."""
        pairs = [Pair(request.args[0], request.args[1], _called(request)) for request in requests]
        answers = self.engine.loglikelihoods(pairs)
        results = [(answer.loglikelihood, answer.is_greedy) for answer in answers]
        self._remember("loglikelihood", requests, results)
        return results

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        **_: Any,
    ) -> list[tuple[float, bool]]:
        asked = [
            Request(tuple(context), tuple(continuation), repr(texts)[:80])
            for texts, context, continuation in requests
        ]
        answers = self.engine.scorer.loglikelihoods(asked)
        return [(answer.loglikelihood, answer.is_greedy) for answer in answers]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of each whole text, in nats."""
        results = self.engine.rolling(
            [request.args[0] for request in requests], names=[_called(r) for r in requests]
        )
        self._remember("loglikelihood_rolling", requests, results)
        return results

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each prompt, cut at its stop strings."""
        prompts = [
            Prompt(request.args[0], dict(request.args[1]), name=_called(request))
            for request in requests
        ]
        results = self.engine.generate(prompts)
        self._remember("generate_until", requests, results)
        return results

    def _remember(self, kind: str, requests: list[Any], results: list[Any]) -> None:
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial(kind, request.args, result)


def _called(request: Any) -> str:
    return f"{request.task_name}, document {request.doc_id}, request {request.idx}"
