"""Private or undocumented parts of other libraries that training relies on.

Each has a fallback here, except the hooks of transformers' Trainer: a hook that a new version no
longer calls would be skipped without a word, so they are checked when a HybridTrainer is made.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import CodeType
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from torch import Tensor

# Oldest and newest transformers that the tests have passed with.
TESTED_TRANSFORMERS = ("5.4", "5.24")

# Methods that HybridTrainer overrides and that transformers does not document as stable. Without
# `_get_grad_norm` non-finite gradients would reach the weights; without `get_batch_samples` the
# gradients of accumulated batches would not be averaged.
TRAINER_HOOKS = (
    "_clip_grad_norm",
    "_finish_current_push",
    "_get_grad_norm",
    "_get_learning_rate",
    "_load_best_model",
    "_load_from_checkpoint",
    "_load_optimizer_and_scheduler",
    "_push_from_checkpoint",
    "_save",
    "_save_checkpoint",
    "create_model_card",
    "get_batch_samples",
    "get_decay_parameter_names",
    "get_optimizer_cls_and_kwargs",
    "num_examples",
)
# Those that `resuming` calls itself.
TRAINER_METHODS = ("_determine_best_metric", "_evaluate")

# Codes of one function that torch.compile keeps, by default 8, after which it compiles no more. All
# layers of all trainings of a process may be calls of one function of transformers.
_MANY_CODES = 128

# The CPU allocator has no exception class of its own.
_OUT_OF_MEMORY_TEXTS = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory")


def check_trainer_hooks(trainer: type) -> None:
    """Check that a Trainer class has what HybridTrainer calls, and calls what it overrides.

    Args:
        trainer: transformers.Trainer.

    Raises:
        ImportError: it does not; the message names the hook and versions that work.
    """
    called = set(_names_in_methods(trainer))
    names = (*TRAINER_HOOKS, *TRAINER_METHODS)
    missing = [name for name in names if not hasattr(trainer, name) or name not in called]
    if missing:
        oldest, newest = TESTED_TRANSFORMERS
        raise ImportError(
            f"transformers {transformers.__version__} has no Trainer.{missing[0]}, or does not "
            f"call it, and HybridTrainer relies on it; versions {oldest} to {newest} are known to "
            f"work: pip install 'transformers=={newest}.*'"
        )


def _names_in_methods(trainer: type) -> Iterator[str]:
    for base in trainer.__mro__:
        for attribute in vars(base).values():
            function = inspect.unwrap(getattr(attribute, "__func__", attribute))
            if inspect.isfunction(function):
                yield from _names_in_code(function.__code__)


def _names_in_code(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in_code(constant)


def adamw_step(optimizer: torch.optim.AdamW) -> None:
    """Run torch.optim.AdamW's step without step hooks, which the caller's own step has run.

    The wrapper around it runs them. If torch no longer wraps it, this is the plain method.
    """
    inspect.unwrap(torch.optim.AdamW.step)(optimizer)


def state_of(accelerator: Accelerator) -> dict[str, Any]:
    """Return what an accelerator knows of its process; all accelerators of a process share it."""
    return dict(vars(accelerator.state))


def restore_state(accelerator: Accelerator, state: dict[str, Any]) -> None:
    """Bring back the state of an accelerator: every new TrainingArguments empties it."""
    vars(accelerator.state).update(state)


def set_rates(scheduler: Any, last_epoch: int, bases: Sequence[Any], rates: Sequence[Any]) -> None:
    """Let a LambdaLR stand at a step: the rates that it starts from and those in effect.

    torch has no public way to do it; the names are those of its `state_dict`.
    """
    state = {"last_epoch": last_epoch, "base_lrs": list(bases), "_last_lr": list(rates)}
    scheduler.load_state_dict({**scheduler.state_dict(), **state})


def note_rates(scheduler: Any, rates: Sequence[Any]) -> None:
    """Tell a schedule of any kind the rates in effect, which it reports."""
    if hasattr(scheduler, "_last_lr"):
        scheduler._last_lr = list(rates)


def sparse_entries(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return indices (1, n) and values (n, ...) of a sparse gradient, repeated rows as they are.

    torch's public accessors require a coalesced tensor; the fallback sorts it for them.
    """
    if hasattr(gradient, "_indices") and hasattr(gradient, "_values"):
        return gradient._indices(), gradient._values()
    coalesced = gradient.coalesce()
    return coalesced.indices(), coalesced.values()


@contextmanager
def compiling_layers() -> Iterator[None]:
    """Let torch.compile keep many codes of one function within, and look at states of layers.

    torch 2.6 to 2.13 have the limit in `torch._dynamo.config`. If a version does not, what is above
    it runs uncompiled, as torch says then. torch looks whether its inputs, such as the states that
    a layer gets, have a gradient, and hides its own warning unless it is an error.
    """
    config: Any = getattr(getattr(torch, "_dynamo", None), "config", None)
    limit = getattr(config, "recompile_limit", None)
    many = nullcontext() if limit is None else config.patch(recompile_limit=max(limit, _MANY_CODES))
    with many, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor", UserWarning)
        yield


@contextmanager
def watched_compilation(context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Let each compilation of torch.compile within run in a context, backward passes too.

    torch 2.8 to 2.13 have callbacks in `torch._dynamo.callback`. If a version does not, the context
    is never entered.
    """
    handler: Any = getattr(_callbacks(), "callback_handler", None)
    if not hasattr(handler, "remove_start_callback"):
        yield
        return
    entered: list[AbstractContextManager[Any]] = []

    def start(*_: Any) -> None:
        entered.append(context())
        entered[-1].__enter__()

    def end(*_: Any) -> None:
        entered.pop().__exit__(None, None, None)

    handler.register_start_callback(start)
    handler.register_end_callback(end)
    try:
        yield
    finally:
        with suppress(ValueError):  # `torch._dynamo.reset` has removed all
            handler.remove_start_callback(start)
            handler.remove_end_callback(end)


def _callbacks() -> Any:
    try:
        from torch._dynamo import callback
    except ImportError:
        return None
    return callback


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, on a GPU or the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        text in str(error) for text in _OUT_OF_MEMORY_TEXTS
    )
