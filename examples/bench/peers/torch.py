"""PyTorch, eager."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bench.workload import BETA1, BETA2, EPSILON, WARM_UP, Array, Entry, Ops, Step, Workload
from bench.workloads.embedding import EMBEDDING_RATE


def profiled_peak(entry: Entry) -> int:
    """Bytes that PyTorch's allocator gave out at most, above what it had given before a step."""
    profiler: Any = importlib.import_module("torch.profiler")
    state = entry.start()
    for _ in range(WARM_UP):
        entry.step(state, *entry.data)
    with profiler.profile(activities=[profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        entry.step(state, *entry.data)
    events = seen.profiler.kineto_results.events()
    changes = [event.nbytes() for event in events if event.name() == "[memory]"]
    return int(max(np.cumsum(changes), default=0))


def torch_entries(name: str, w: Workload) -> Iterator[Entry]:
    """Make the entries of PyTorch, eager."""
    torch: Any = importlib.import_module("torch")
    functional = torch.nn.functional
    ops = Ops(
        torch,
        torch.sigmoid,
        functional.cross_entropy,
        torch.relu,
        functional.scaled_dot_product_attention,
        affine=lambda x, w, b: torch.addmm(b, x, w),
        rows=lambda table, indices: functional.embedding(indices, table),
        convolution=lambda x, w, b, padding: functional.conv2d(x, w, b, padding=padding),
        pool=lambda x: functional.max_pool2d(x, 2),
        layer_norm=lambda x, w, b: functional.layer_norm(x, x.shape[-1:], w, b),
    )

    def tensors(arrays: Sequence[Array]) -> list[Any]:
        return [torch.from_numpy(np.array(a)) for a in arrays]

    def start() -> tuple[list[Any], Any]:
        # the parameters, and the same memory outside autograd to update, or an optimizer
        raw = tensors(w.leaves)
        params = [t.detach().requires_grad_() for t in raw]
        if w.decay is None:
            return params, raw
        given: dict[str, Any] = {"betas": (BETA1, BETA2), "eps": EPSILON, "foreach": True}
        return params, torch.optim.AdamW(params, w.rate, weight_decay=w.decay, **given)

    def read(state: Any) -> list[Any]:
        return [t.detach().numpy() for t in state[0]]

    def step_of(loss_of: Callable[..., Any]) -> Step:
        def step(state: Any, *data: Any) -> tuple[Any, Any]:
            params, raw = state
            loss = loss_of(params, *data)
            gradients = torch.autograd.grad(loss, params)
            if w.rate is None:
                return loss.detach(), (gradients, raw)
            if w.decay is not None:
                for p, g in zip(params, gradients, strict=True):
                    p.grad = g
                raw.step()
                return loss.detach(), state
            torch._foreach_add_(raw, gradients, alpha=-w.rate)
            return loss.detach(), state

        return step

    def entry(
        label: str, start: Callable[[], Any], step: Step, read: Callable[[Any], Any]
    ) -> Entry:
        return Entry(label, start, step, data, read, peak=profiled_peak)

    data = tuple(tensors(w.data))
    plain = functools.partial(w.loss, ops)
    label = {"lstm": "torch loop", "embedding": "torch dense"}.get(name, "torch")
    yield entry(label, start, step_of(plain), read)
    if name == "lstm":
        module = torch.nn.LSTM(w.data[0].shape[-1], w.data[1].shape[-1])
        weights = [module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0]
        module.bias_hh_l0.requires_grad_(False).zero_()

        def module_start() -> tuple[list[Any], list[Any]]:
            raw = [p.detach() for p in weights]
            for p, a in zip(raw, tensors(w.leaves), strict=True):
                p.copy_(a.T if a.ndim == 2 else a)
            return weights, raw

        def module_loss(params: Any, x: Any, start: Any, targets: Any) -> Any:
            _, (h, _) = module(x, (start[None], start[None]))
            return functional.mse_loss(h[0], targets)

        def module_read(state: Any) -> list[Any]:
            return [a.T for a in read(state)]

        yield entry("torch nn.LSTM", module_start, step_of(module_loss), module_read)
    if name == "embedding":

        def sparse_step(state: Any, indices: Any, targets: Any) -> tuple[Any, Any]:
            (table,), (raw,) = state
            d = functional.embedding(indices, table, sparse=True) - targets
            loss = (d * d).sum()
            raw.add_(torch.autograd.grad(loss, table)[0], alpha=-EMBEDDING_RATE)
            return loss.detach(), state

        yield entry("torch sparse", start, sparse_step, read)
