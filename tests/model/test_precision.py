import subprocess
import sys

import pytest
import torch

from retain.errors import ModelError
from retain.model import precision
from retain.model.precision import Probe, autocast, device, doctor, probe, resolve

CPU = torch.device("cpu")


def test_bf16_only_where_it_is_clearly_faster():
    assert Probe(100, 119, 20).precision == "fp32"
    assert Probe(100, 121, 20).precision == "bf16"
    assert Probe(100, 3, 20).precision == "fp32"


def test_a_probe_is_short_and_plausible():
    found = probe(CPU, seconds=0.01)
    assert found.fp32_gflops > 0.5
    assert found.bf16_gflops > 0
    assert found.bandwidth_gb_per_s > 0.1


def test_auto_is_measured_once_and_then_known_without_torch(monkeypatch, tmp_path):
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path))
    measured = []
    monkeypatch.setattr(precision, "probe", lambda on: measured.append(on) or Probe(100, 300, 20))
    assert resolve("auto") == "bf16"
    assert resolve("auto") == "bf16"
    assert len(measured) == 1
    code = (
        "import sys; from retain.model.precision import resolve;"
        "print(resolve('auto'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "bf16 False\n"


def test_a_precision_that_is_none_is_refused():
    assert resolve("fp32") == "fp32"
    with pytest.raises(ModelError, match="precision 'fp16': allowed are auto, fp32, bf16"):
        resolve("fp16")


def test_devices():
    assert device("cpu") == CPU
    assert device().type in ("cpu", "cuda", "mps", "xpu")
    with pytest.raises(ModelError, match="device 'nonsense' is not there"):
        device("nonsense")


def test_autocast_is_for_bf16_only():
    x = torch.ones(2, 2)
    with autocast("bf16", CPU):
        assert (x @ x).dtype == torch.bfloat16
        with autocast("bf16", CPU, enabled=False):
            assert (x @ x).dtype == torch.float32
    with autocast("fp32", CPU):
        assert (x @ x).dtype == torch.float32


def test_the_doctor_says_what_will_be_used():
    said = doctor()
    assert said["device"]
    assert said["device_name"]
    assert said["threads"] >= 1
    assert {"torch", "transformers"} <= set(said["versions"])
    assert said["precision_in_use"] in ("fp32", "bf16")
