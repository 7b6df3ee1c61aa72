"""Texts written by vLLM (https://docs.vllm.ai), in the place of the live batch.

It opens the model folder as it lies on disk, in a process of its own, beside the model in memory;
an adapter goes with every prompt (``LoRARequest``). Prompts, limits, ends and what a text is told
by its key are those of the live batch; the noise is vLLM's own, so sampled texts are other ones.
Written against vLLM 0.32.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import find_spec
from math import isnan
from typing import Any

import torch

from retain.decode.choose import Sampling
from retain.decode.live import Writing, answers_nan
from retain.decode.writer import Ends, Writer
from retain.errors import ModelError
from retain.model.load import Loaded
from retain.model.reference import trust

PORTION = 256  # texts between two looks for a signal
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # of adapters, that vLLM makes room for
PART_OF_FREE = 0.9  # of the GPU's free memory: the model in memory stays there
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def check_engine() -> None:
    """See that vLLM can write here.

    Raises:
        ModelError: If the package or a GPU of CUDA is missing.
    """
    if find_spec("vllm") is None:
        raise ModelError("rehearse.engine: vllm needs vLLM: pip install 'retain[vllm]'")
    if not torch.cuda.is_available():
        raise ModelError(
            "rehearse.engine: vllm needs a GPU of CUDA, and this process sees none; "
            "leave it out, and the model in memory writes"
        )


@dataclass
class VllmWriter(Writer):
    """Writes after prompts by vLLM.

    Attributes:
        llm: The engine.
        adapter: What goes with every prompt; None for a whole model.
    """

    llm: Any = None
    adapter: Any = None
    _params: Any = field(init=False)

    def __post_init__(self) -> None:
        from vllm import SamplingParams

        self._params = SamplingParams

    def why_not_live(self, longest: int) -> str:
        """Nothing speaks against it: what vLLM cannot open was refused at the start."""
        return ""

    def alone_if(self, longest: int) -> bool:
        """No text is written alone."""
        return False

    def live(
        self,
        writings: Sequence[Writing],
        sampling: Sampling,
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Fill ``written``; signals are heard between portions.

        Raises:
            TaskError: If the model answers NaN.
        """
        for at in range(0, len(writings), PORTION):
            check_stop()
            part = writings[at : at + PORTION]
            found = self.llm.generate(
                [{"prompt_token_ids": list(one.prompt)} for one in part],
                [self._params(**options(one, sampling)) for one in part],
                use_tqdm=False,
                lora_request=self.adapter,
            )
            for one, answer in zip(part, found, strict=True):
                one.written[:] = taken(one, answer.outputs[0])


def options(writing: Writing, sampling: Sampling) -> dict[str, Any]:
    """What vLLM is told of one text: ends are ours, its own tokens of an end count for nothing."""
    key = sha256(f"{sampling.seed}:{writing.key}".encode()).digest()
    told: dict[str, Any] = {
        "max_tokens": writing.limit,
        "temperature": sampling.temperature,
        "seed": int.from_bytes(key[:8]) >> 2,
        "ignore_eos": True,
        "logprobs": 0,  # of the written token alone: a NaN shows there
        "detokenize": False,
    }
    if sampling.temperature > 0:
        told |= {"top_p": sampling.top_p, "top_k": sampling.top_k or 0}
    ends = writing.has_ended
    if isinstance(ends, Ends):
        told["stop_token_ids"] = sorted(ends.end_tokens)
        if ends.until:
            told |= {
                "stop": list(ends.until),
                "detokenize": True,
                "skip_special_tokens": False,
                "spaces_between_special_tokens": False,
                "include_stop_str_in_output": True,
            }
    return told


def taken(writing: Writing, found: Any) -> list[int]:
    """What vLLM wrote, up to where our rule ends it.

    Raises:
        TaskError: If the model answers NaN.
    """
    if isnan(found.cumulative_logprob):
        raise answers_nan(writing.name)
    written: list[int] = []
    for token in found.token_ids:
        written.append(int(token))
        if writing.has_ended(written):
            break
    return written


@contextmanager
def vllm_writer(loaded: Loaded, max_length: int, **engine: Any) -> Iterator[VllmWriter]:
    """Inside, vLLM has opened the folder of a model; after it, its memory is free again.

    Args:
        loaded: The model as it was loaded here.
        max_length: What it can read, in tokens.
        engine: Further arguments of ``vllm.LLM``.

    Raises:
        ModelError: If vLLM is missing, cannot write with such a model, or does not open it.
    """
    told, adapter = _of_adapter(loaded)
    from vllm import LLM, __version__

    own = {"gpu_memory_utilization": _part_of_gpu()} if torch.cuda.is_available() else {}
    try:
        with torch.random.fork_rng():
            llm = LLM(
                model=str(loaded.base),
                tokenizer=str(loaded.folder),
                dtype=DTYPES[loaded.precision],
                max_model_len=max_length,
                load_format="safetensors",
                trust_remote_code=trust.remote_code,
                **{**own, **told, **engine},
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"vLLM does not open {loaded.folder}: {error}") from error
    writer = VllmWriter(
        loaded.model, loaded.tokenizer, max_length, loaded.autocast, llm=llm, adapter=adapter
    )
    writer.say(f"texts written by vLLM {__version__}")
    try:
        yield writer
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()


def _of_adapter(loaded: Loaded) -> tuple[dict[str, Any], Any]:
    """What the engine is told of an adapter, and what goes with every prompt."""
    if loaded.quantisation is not None:
        raise ModelError(
            f"{loaded.folder}: its weights below have 4 bits, as bitsandbytes rounds them; vLLM "
            "was not tried with these. Leave rehearse.engine out"
        )
    if loaded.folder == loaded.base:
        return {}, None
    [config] = loaded.model.peft_config.values()
    faults = {
        f"it is of type {config.peft_type.value}": config.peft_type.value != "LORA",
        "it has magnitudes (DoRA)": bool(getattr(config, "use_dora", False)),
        "it holds whole modules": bool(getattr(config, "modules_to_save", None)),
        f"its rank is above {RANKS[-1]}": getattr(config, "r", 0) > RANKS[-1],
    }
    for fault, is_so in faults.items():
        if is_so:
            raise ModelError(
                f"{loaded.folder}: vLLM cannot write with this adapter: {fault}. Leave "
                "rehearse.engine out, or merge it (train.handover: merge_then_new)"
            )
    from vllm.lora.request import LoRARequest

    room = next(rank for rank in RANKS if rank >= config.r)
    return (
        {"enable_lora": True, "max_lora_rank": room},
        LoRARequest("adapter", 1, str(loaded.folder)),
    )


def _part_of_gpu() -> float:
    """The part of the GPU's memory that the engine may take: of what is free, the most."""
    free, total = torch.cuda.mem_get_info()
    return PART_OF_FREE * free / total
