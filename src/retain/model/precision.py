"""Which device and which precision this machine should train in, found by measuring.

``auto`` is settled by a probe of 150 ms and remembered in the cache folder, since a probe that
came out differently tomorrow would make every finished step new. bf16 made a training step 1.5
times faster on one processor and is reported 44 times slower on one without AVX-512
(pytorch #146508), so no list of processors would do.
"""

import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from retain.embedded.cache import cache_dir
from retain.errors import ModelError
from retain.model.reference import memorise, recall

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16"]
PRECISIONS = ("auto", "fp32", "bf16")
CLEARLY_FASTER = 1.2  # below this, bf16's rounding buys nothing
NUM_TURNS = 5
TOKENS, WIDTH, INNER = 512, 768, 2048  # shape of the probe: one projection of a small model
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "safetensors", "numpy")


@dataclass(frozen=True)
class Probe:
    """What a short measurement of this machine found.

    Attributes:
        fp32_gflops: Rate of a matrix product in float32, GFLOP/s.
        bf16_gflops: The same under bfloat16 autocast, casts included.
        bandwidth_gb_per_s: Rate of copying memory, bytes read and written.
    """

    fp32_gflops: float
    bf16_gflops: float
    bandwidth_gb_per_s: float

    @property
    def precision(self) -> Precision:
        """bf16 where it is clearly faster."""
        return "bf16" if self.bf16_gflops > CLEARLY_FASTER * self.fp32_gflops else "fp32"


def device(wanted: str = "auto") -> "torch.device":
    """The device to use: CUDA, else MPS, else CPU, unless one is named.

    Raises:
        ModelError: If the device named is not there.
    """
    import torch

    if wanted == "auto":
        there = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if there is None else there
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"device '{wanted}' is not there ({error}); use auto or cpu") from error
    return torch.device(wanted)


def resolve(precision: str) -> Precision:
    """``fp32`` or ``bf16``; ``auto`` is measured once per machine, and then remembered.

    Needs torch only the first time.

    Raises:
        ModelError: If the precision is not a known one.
    """
    match precision:
        case "fp32" | "bf16":
            return precision
        case "auto":
            memo = _memo()
            remembered = recall(memo).get("precision")
            if remembered in ("fp32", "bf16"):
                return remembered
            measured = probe(device())
            memorise(memo, {"precision": measured.precision, "probe": asdict(measured)})
            return measured.precision
        case _:
            raise ModelError(f"precision '{precision}': allowed are {', '.join(PRECISIONS)}")


def autocast(
    precision: Precision, on: "torch.device", *, enabled: bool = True
) -> AbstractContextManager[Any]:
    """Inside, matrix products run in bfloat16 where ``precision`` says so; weights stay float32."""
    import torch

    if precision == "fp32":
        return nullcontext()
    return torch.autocast(on.type, dtype=torch.bfloat16, enabled=enabled)


def probe(on: "torch.device", seconds: float = 0.15) -> Probe:
    """Measure matrix products and memory; the best of many tries, since others share the machine.

    The precisions take turns, so that a burst of other work slows both alike.

    Args:
        on: The device.
        seconds: Time spent in all.
    """
    import torch

    x = torch.randn(TOKENS, WIDTH, device=on)
    weight = torch.randn(INNER, WIDTH, device=on, requires_grad=True)
    block = torch.empty(16 * 2**20, device=on)
    target = torch.empty_like(block)

    def product(precision: Precision) -> Callable[[], object]:
        def call() -> object:
            with autocast(precision, on):
                return torch.nn.functional.linear(x, weight)

        return call

    def best(call: Callable[[], object]) -> float:
        return best_seconds(call, on, seconds / (2 * NUM_TURNS + 2))

    turns = [(best(product("fp32")), best(product("bf16"))) for _ in range(NUM_TURNS)]
    fp32_seconds, bf16_seconds = (min(times) for times in zip(*turns, strict=True))
    flops = 2 * TOKENS * WIDTH * INNER
    return Probe(
        fp32_gflops=flops / fp32_seconds / 1e9,
        bf16_gflops=flops / bf16_seconds / 1e9,
        bandwidth_gb_per_s=2 * block.nbytes / best(lambda: target.copy_(block)) / 1e9,
    )


def best_seconds(call: Callable[[], object], on: "torch.device", budget_seconds: float) -> float:
    """The shortest of the calls that fit in the budget, after one to warm up; two at least."""
    import torch

    def wait() -> None:
        if on.type != "cpu":
            torch.accelerator.synchronize()

    call()
    wait()
    times: list[float] = []
    end = perf_counter() + budget_seconds
    while len(times) < 2 or perf_counter() < end:
        start = perf_counter()
        call()
        wait()
        times.append(perf_counter() - start)
    return min(times)


def doctor() -> dict[str, Any]:
    """What `retain doctor` prints of the machine: device, threads, rates, versions."""
    import torch

    on = device()
    measured = probe(on)
    return {
        "device": on.type,
        "device_name": _device_name(on),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "precision": measured.precision,
        "precision_in_use": resolve("auto"),
        **{name: round(value, 1) for name, value in asdict(measured).items()},
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def _device_name(on: "torch.device") -> str:
    import torch

    return torch.cuda.get_device_name(on) if on.type == "cuda" else _processor()


def _processor() -> str:
    """The processor's name; Linux tells it only in /proc."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memo() -> Path:
    """Where this machine's answer is kept; another processor, device or torch asks again."""
    accelerator = [Path("/dev/nvidiactl").exists(), os.environ.get("CUDA_VISIBLE_DEVICES")]
    key = repr([platform.platform(), _processor(), os.cpu_count(), accelerator, version("torch")])
    return cache_dir() / "precision" / f"{sha256(key.encode()).hexdigest()[:16]}.json"
