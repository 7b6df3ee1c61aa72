"""Six methods of other people, each in thirty lines, as a test of the interface; not shipped."""

from dataclasses import dataclass

import torch
from torch.func import functional_call
from torch.nn.functional import kl_div

from retain.methods.base import Method
from retain.methods.given import Memory


@dataclass(frozen=True, kw_only=True)
class Ewc(Method):
    """Elastic weight consolidation: what mattered for earlier phases is held by a spring."""

    name = "toy_ewc"
    needs_past = True

    strength: float = 1.0
    num_examples: int = 32

    def remember(self, model, examples, rng):
        weights = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
        fisher = {n: torch.zeros_like(p) for n, p in weights.items()}
        kept = examples[: self.num_examples]
        for one in kept:
            tokens, labels = torch.tensor([one.input_ids]), torch.tensor([one.labels()])
            inputs = {"input_ids": tokens, "labels": labels, "use_cache": False}
            loss = functional_call(model, weights, (), inputs).loss
            gradients = torch.autograd.grad(loss, list(weights.values()))
            for name, gradient in zip(weights, gradients, strict=True):
                fisher[name] += gradient**2 / len(kept)
        before = {f"weight/{n}": p.detach() for n, p in weights.items()}
        return Memory(tensors=before | {f"fisher/{n}": f for n, f in fisher.items()})

    def penalty(self, model, batch, hidden, head, memory):
        total = hidden.new_zeros(())
        for kept in memory:
            for name, p in model.named_parameters():
                moved = p - kept.tensors[f"weight/{name}"]
                total = total + (kept.tensors[f"fisher/{name}"] * moved**2).sum()
        return self.strength / 2 * total


@dataclass(frozen=True, kw_only=True)
class Lwf(Method):
    """Learning without forgetting: on the new data, say what the old model would have said."""

    name = "toy_lwf"
    needs_past = True

    strength: float = 1.0
    temperature: float = 2.0

    def remember(self, model, examples, rng):
        return Memory(tensors={n: p.detach().clone() for n, p in model.named_parameters()})

    def penalty(self, model, batch, hidden, head, memory):
        with torch.no_grad():
            inputs = {**batch.inputs, "use_cache": False}
            answer = functional_call(model, dict(memory[-1].tensors), (), inputs)
            old = (answer.logits[0, batch.rows].float() / self.temperature).log_softmax(-1)
        new = (head(hidden[batch.rows]).float() / self.temperature).log_softmax(-1)
        return self.strength * kl_div(new, old, log_target=True, reduction="batchmean")


@dataclass(frozen=True, kw_only=True)
class Agem(Method):
    """Averaged GEM: no step may raise the loss on remembered examples."""

    name = "toy_agem"
    needs_past = True

    num_examples: int = 16

    def remember(self, model, examples, rng):
        kept = rng.sample(list(examples), min(self.num_examples, len(examples)))
        return Memory(examples=tuple(kept))

    def project(self, gradients, past_gradients):
        if not past_gradients:
            return None
        past = {
            name: torch.stack([one[name] for one in past_gradients]).mean(0) for name in gradients
        }
        product = sum((gradients[name] * past[name]).sum() for name in gradients)
        if product >= 0:
            return None
        scale = product / sum((value**2).sum() for value in past.values())
        return {name: value - scale * past[name] for name, value in gradients.items()}


@dataclass(frozen=True, kw_only=True)
class OLora(Method):
    """O-LoRA: an adapter a phase, in directions that earlier adapters do not use."""

    name = "toy_olora"
    needs_past = True

    strength: float = 1.0
    rank: int = 4

    def prepare(self, model, rng):
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(r=self.rank, target_modules=["q_proj", "v_proj"])
        return inject_adapter_in_model(config, model)

    def penalty(self, model, batch, hidden, head, memory):
        total = hidden.new_zeros(())
        for name, p in model.named_parameters():
            for kept in memory:
                if name in kept.tensors:
                    total = total + (p @ kept.tensors[name].T).abs().sum()
        return self.strength * total

    def remember(self, model, examples, rng):
        parameters = model.named_parameters()
        return Memory(tensors={n: p.detach().clone() for n, p in parameters if "lora_A" in n})


@dataclass(frozen=True, kw_only=True)
class Ties(Method):
    """TIES: the phases' changes, trimmed, where they agree in sign, added to the base model."""

    name = "toy_ties"

    density: float = 0.5

    def finish(self, history):
        for name, base in history.base.items():
            changes = [weights[name] - base for weights in history.checkpoints.values()]
            trimmed = torch.stack([self._trim(one) for one in changes])
            sign = trimmed.sum(0).sign()
            agreeing = torch.where(trimmed.sign() == sign, trimmed, 0)
            count = (agreeing != 0).sum(0).clamp(min=1)
            yield name, base + agreeing.sum(0) / count

    def _trim(self, change):
        count = max(1, round(self.density * change.numel()))
        smallest = change.abs().flatten().topk(count).values[-1]
        return torch.where(change.abs() >= smallest, change, 0)


@dataclass(frozen=True, kw_only=True)
class PullBack(Method):
    """After every step, go a part of the way back to where the phase before ended."""

    name = "toy_pull_back"
    needs_past = True

    part: float = 0.1

    def remember(self, model, examples, rng):
        return Memory(tensors={n: p.detach().clone() for n, p in model.named_parameters()})

    def after_step(self, parameters, memory, step):
        old = memory[-1].tensors
        return {name: p + self.part * (old[name] - p) for name, p in parameters.items()}
