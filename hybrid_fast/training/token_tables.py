"""Large tables of token embeddings: sparse gradients, and rows that are caught up before use.

A batch contains a few thousand of the 250,000 tokens of a vocabulary, so anything as large as the
whole table, such as a dense gradient, costs more than the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import get_total_norm

from hybrid_fast.models.backbones.token_means import TokenMeans
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.training.compat import sparse_entries

# From so many rows on, work proportional to the table costs more than work proportional to a batch.
_LARGE_TABLE = 10_000

Table = nn.Embedding | TokenMeans
CatchUp = Callable[[Tensor, Tensor | None], None]


def large_tables(encoder: nn.Module) -> list[Table]:
    """Return the large token embeddings of an encoder that are trained."""
    return [
        module
        for module in encoder.modules()
        if isinstance(module, Table)
        and module.num_embeddings >= _LARGE_TABLE
        and module.weight.requires_grad
    ]


@contextmanager
def sparse_gradients(encoder: nn.Module, *, stay_sparse: bool = False) -> Iterator[None]:
    """Let large tables collect sparse gradients of micro-batches, and sum them at the end.

    A dense gradient would be as large as the whole table, filled with zeros and added to the sum
    for every micro-batch.

    Args:
        encoder: whose backward passes run within.
        stay_sparse: whether the sum stays sparse (coalesced) or becomes dense.
    """
    tables = large_tables(encoder)
    weights = {id(table.weight): table.weight for table in tables}.values()  # several may share one
    sums = [_sums_of(weight) for weight in weights]
    try:
        with ExitStack() as changed:
            for table in tables:
                changed.enter_context(_giving_sparse_gradients(table))
            yield
    finally:
        for each in sums:
            each.detach()
    for weight in weights:
        gradient = weight.grad
        if gradient is not None and gradient.is_sparse:
            gradient = coalesce(gradient)
            weight.grad = gradient if stay_sparse else gradient.to_dense()


@contextmanager
def _giving_sparse_gradients(table: Table) -> Iterator[None]:
    is_changed = (
        isinstance(table, nn.Embedding)
        and type(table).forward is nn.Embedding.forward
        and "forward" not in vars(table)
        and table.padding_idx is not None
        and _waits(table.weight)
    )
    if is_changed:
        vars(table)["forward"] = partial(_embed, table)
    table.sparse = True
    try:
        yield
    finally:
        table.sparse = False
        if is_changed:
            del vars(table)["forward"]


def _embed(table: Any, input: Tensor) -> Tensor:
    """Return embeddings, of which the padding token's have no gradient, as of the module.

    torch would leave out its gradients, and wait for a GPU to know how many others there are.
    """
    rows = functional.embedding(
        input, table.weight, None, table.max_norm, table.norm_type, table.scale_grad_by_freq, True
    )
    is_padding = torch.eq(input, table.padding_idx)[..., None]
    return torch.where(is_padding, rows.detach(), rows)


def _waits(weight: Tensor) -> bool:
    """Tell whether the device of a weight has to be waited for where a size depends on numbers."""
    return not weight.is_cpu


def _sums_of(weight: Tensor) -> _RowSums | _DenseSums:
    # Sums of rows have as many rows as there are different tokens, and a GPU is waited for to know.
    return _DenseSums(weight) if _waits(weight) else _RowSums(weight)


class _DenseSums:
    """Adds the sparse gradients of a weight to one dense `weight.grad`, on a GPU.

    Autograd would make a dense gradient of each, or wait for the number of different tokens. Rows
    are added in the order of the tokens, so that results are the same twice.
    """

    def __init__(self, weight: Tensor) -> None:
        self._sum: Tensor | None = None  # as weight.grad
        self._hooks = [
            weight.register_hook(partial(self._before, weight)),
            weight.register_post_accumulate_grad_hook(self._after),
        ]

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _before(self, weight: Tensor, gradient: Tensor) -> None:
        self._sum = weight.grad
        if gradient.is_sparse:
            weight.grad = None  # or autograd would add to it

    @torch.no_grad()
    def _after(self, weight: Tensor) -> None:
        if weight.grad is None or not weight.grad.is_sparse:
            return
        indices, values = sparse_entries(weight.grad)
        total = torch.zeros_like(weight) if self._sum is None else self._sum.to_dense()
        weight.grad = total.index_put_((indices[0],), values, accumulate=True)


class _RowSums:
    """Sums the sparse gradients of a weight in `weight.grad`, with one row for each token in any.

    Autograd would keep a row for each occurrence of a token, and copy all of them whenever a
    micro-batch adds its own. Where `weight.grad` is something else than the sum, such as None, the
    sum begins anew with it; dense gradients are autograd's business.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        self._given: Tensor | None = None  # the sum so far, as weight.grad
        self._hooks = [
            weight.register_hook(self._before),
            weight.register_post_accumulate_grad_hook(self._after),
        ]

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self) -> None:
        weight = self._weight
        self._places = torch.full((len(weight),), -1, device=weight.device)  # of tokens, or -1
        self._tokens = torch.empty(0, dtype=torch.int64, device=weight.device)  # by place
        self._sums = weight.new_empty(0, weight.shape[1])  # by place, with room for more

    def _before(self, gradient: Tensor) -> None:
        if self._given is None or self._weight.grad is not self._given:
            self._begin()
        elif gradient.is_sparse:
            self._weight.grad = None  # or autograd would add to it

    @torch.no_grad()
    def _after(self, weight: Tensor) -> None:
        if weight.grad is None or not weight.grad.is_sparse:
            return
        # Summed by itself first, so that no token occurs twice below: in any order, on a GPU.
        gradient = coalesce(weight.grad)
        tokens = gradient.indices()[0]
        self._make_room(tokens[self._places[tokens] < 0])
        self._sums.index_add_(0, self._places[tokens], gradient.values())
        self._given = weight.grad = torch.sparse_coo_tensor(
            self._tokens[None],
            self._sums[: len(self._tokens)],
            weight.shape,
            check_invariants=False,
        )

    def _make_room(self, tokens: Tensor) -> None:
        first, count = len(self._tokens), len(self._tokens) + len(tokens)
        self._places[tokens] = torch.arange(first, count, device=tokens.device)
        self._tokens = torch.cat([self._tokens, tokens])
        if count > len(self._sums):
            room = min(2 * count, len(self._places))
            sums = self._sums.new_zeros(room, self._sums.shape[1])
            sums[:first] = self._sums[:first]
            self._sums = sums


@contextmanager
def rows_caught_up(encoder: nn.Module, catch_up: CatchUp) -> Iterator[None]:
    """Catch up rows of large tables before they are read, and all of them at the end.

    Within, `forward`, `state_dict` and saving read tables up to date, and `load_state_dict` may
    replace them; whoever reads or copies a table in another way may find rows that have missed
    updates.

    Args:
        encoder: whose tables are trained by a LazyAdamW.
        catch_up: see LazyAdamW.
    """
    tables = large_tables(encoder)
    token_embeddings = _token_embeddings(encoder)
    with ExitStack() as hooks:
        for table in tables:
            rows_of_texts = partial(_catch_up_rows, catch_up, table in token_embeddings)
            all_rows = partial(_catch_up_all, catch_up)
            for handle in (
                table.register_forward_pre_hook(rows_of_texts),
                table.register_state_dict_pre_hook(all_rows),
                table.register_load_state_dict_pre_hook(all_rows),
            ):
                hooks.callback(handle.remove)
        try:
            yield
        finally:
            for table in tables:
                catch_up(table.weight, None)


def _token_embeddings(encoder: nn.Module) -> list[nn.Module]:
    """Return modules that are called with token ids, whatever their class."""
    models = [m.model for m in encoder.modules() if isinstance(m, TransformerBackbone)]
    return [model.get_input_embeddings() for model in models]


def _catch_up_rows(
    catch_up: CatchUp, takes_ids: bool, table: Table, arguments: tuple[Any, ...]
) -> None:
    """Catch up the rows that `forward` reads, or all if its arguments do not tell."""
    # Another class may take something else than ids.
    takes_ids = takes_ids or type(table).forward in (nn.Embedding.forward, TokenMeans.forward)
    rows = arguments[0].flatten().long() if takes_ids and arguments else None
    catch_up(table.weight, rows)


def _catch_up_all(catch_up: CatchUp, table: Table, *_: Any) -> None:
    catch_up(table.weight, None)


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Clip gradients to a total norm of at most `max_norm`; return their norm before, 0-dim.

    As torch.nn.utils.clip_grad_norm_, but for sparse gradients too.
    """
    gradients = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = coalesce(parameter.grad)
            gradients.append(parameter.grad.values())
        elif parameter.grad is not None:
            gradients.append(parameter.grad)
    norm: Tensor = get_total_norm(gradients)
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    if scale != 1:
        for gradient in gradients:
            gradient.mul_(scale)
    return norm


def coalesce(gradient: Tensor) -> Tensor:
    """Return a sparse gradient with ascending, unique rows, marked as coalesced."""
    indices, values = sparse_entries(gradient)
    rows = indices[0]
    if not bool((rows[1:] > rows[:-1]).all()):
        return gradient.coalesce()
    # Autograd loses the mark, and `coalesce` would sort again.
    return torch.sparse_coo_tensor(
        indices, values, gradient.shape, is_coalesced=True, check_invariants=False
    )
