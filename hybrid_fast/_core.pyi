"""
C++ core of hybrid_fast: batch plan, kernels of the loss, dropout, ranks, texts and tokens.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['NegativeMask', 'PackedColumns', 'PlanIndex', 'Planner', 'Share', 'add_column_sums', 'add_positives', 'attend', 'attend_backward', 'contrast_bf16_rows', 'contrast_instructions', 'contrast_rows', 'count_ranks', 'drop', 'find_first', 'gelu', 'has_amx', 'has_bf16_product', 'hash_texts', 'multiply_float', 'pad_tokens', 'rank_rows', 'search', 'sum_by_token', 'take_tokens', 'update_rows']
class PlanIndex:
    """
    The language-pair index of a table, with a note.
    """
    @staticmethod
    def build(*, groups: typing.Any, languages: typing.Any, queries: typing.Any, passages: typing.Any, uses: typing.Any, sources: typing.Any, num_languages: typing.SupportsInt | typing.SupportsIndex, num_sources: typing.SupportsInt | typing.SupportsIndex, note: str = '', progress: typing.Any = None) -> PlanIndex:
        """
        Index the columns of a table; progress(done, total) is called between stages.
        
        groups, queries and passages: int64; languages and sources: int32; uses: uint8.
        """
    @staticmethod
    def open(path: str) -> PlanIndex:
        """
        Map a saved index; ValueError if it is damaged.
        """
    def __getstate__(self) -> bytes:
        ...
    def __setstate__(self, arg0: bytes) -> None:
        ...
    def save(self, path: str) -> None:
        """
        Write the index to a file, which `open` maps; OSError if it cannot.
        """
    @property
    def mixes_sources(self) -> bool:
        """
        Whether the rows of some group are of several sources.
        """
    @property
    def note(self) -> str:
        ...
    @property
    def num_bytes(self) -> int:
        ...
    @property
    def num_passages(self) -> int:
        """
        Number of different passages.
        """
    @property
    def num_queries(self) -> int:
        """
        Number of different queries; 0 if the index was built without their ids.
        """
    @property
    def num_rows(self) -> int:
        ...
class Share:
    """
    The share that sampling weights ask for and the one in effect.
    """
    @property
    def asked(self) -> float:
        ...
    @property
    def capacity(self) -> int:
        ...
    @property
    def effective(self) -> float:
        ...
    @property
    def passage_language(self) -> int:
        ...
    @property
    def query_language(self) -> int:
        ...
    @property
    def size(self) -> int:
        ...
    @property
    def source(self) -> int:
        ...
class Planner:
    """
    The batch plan: a pure function of (index, options, step).
    """
    def __init__(self, index: PlanIndex, *, batch_size: typing.SupportsInt | typing.SupportsIndex, kind: typing.SupportsInt | typing.SupportsIndex, alpha: typing.SupportsFloat | typing.SupportsIndex, exponent: typing.SupportsFloat | typing.SupportsIndex, language_weights: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], pair_weights: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], source_weights: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], single_pair: bool, seed: typing.SupportsInt | typing.SupportsIndex, world_size: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def plan(self, step: typing.SupportsInt | typing.SupportsIndex, begin: typing.SupportsInt | typing.SupportsIndex, end: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.int64], int, int, int]:
        """
        Return rows of slots [begin, end) of a step: (query_rows, passage_rows, kind,
        substituted_entries, substituted_streams).
        """
    @property
    def last_step(self) -> int:
        ...
    @property
    def mono_shares(self) -> list[Share]:
        ...
    @property
    def pair_shares(self) -> list[Share]:
        ...
class NegativeMask:
    """
    Which columns of a chunk of scores are no negatives of its rows.
    
    A column is excluded if any rule that was asked for says so; the row's
    positive never is.
    """
    def __init__(self, num_rows: typing.SupportsInt | typing.SupportsIndex, num_columns: typing.SupportsInt | typing.SupportsIndex, *, query_groups: typing.Any = None, passage_groups: typing.Any = None, query_passage_ids: typing.Any = None, passage_ids: typing.Any = None, mask: typing.Any = None, excluded_columns: typing.Any = None, owners: typing.Any = None, in_batch: typing.Any = None, margin: typing.SupportsFloat | typing.SupportsIndex | None = None) -> None:
        """
        query_groups and query_passage_ids: int64 (num_rows,); passage_groups and
        passage_ids: int64 (num_columns,); those of a row's group, and those with the id of
        its positive, are excluded; -1 matches nothing. mask: bool (num_rows, num_columns),
        True: excluded; its rows may lie apart. excluded_columns: bool (num_columns,).
        owners: int64 (num_columns,), the row whose hard negative a column is. in_batch: bool
        (num_rows,), False: the row keeps its own hard negatives alone, and is no negative of
        others. margin: excludes scores that exceed the positive's by more, but for a row's
        own hard negatives.
        """
    @property
    def num_columns(self) -> int:
        ...
    @property
    def num_rows(self) -> int:
        ...
class PackedColumns:
    """
    A matrix of bfloat16 in the order in which the core multiplies it.
    """
    def __init__(self, columns: typing.Any, *, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        columns: bfloat16 as uint16 (N, K), the transpose of the matrix; the numbers of its
        rows or of its columns lie side by side. RuntimeError without has_bf16_product().
        """
    def multiply(self, rows: typing.Any, out: typing.Any, *, add: bool, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Write rows times the matrix to `out`, float32 (M, N), or add it. Rows: bfloat16 as
        uint16 (M, K), laid out as columns may be.
        """
    @property
    def dim(self) -> int:
        ...
    @property
    def num_columns(self) -> int:
        ...
def add_column_sums(scores: typing.Any, positives: typing.Any, negative_mask: typing.Any, *, logit_scale: typing.SupportsFloat | typing.SupportsIndex, sums: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex) -> typing.Any:
    """
    Add a chunk of scores, which are overwritten, to the sums of its columns (2, N): the
    largest logit, and the sum of exponentials relative to it. Return the logits of the
    positives (R,).
    """
def add_positives(weights: typing.Any, vectors: typing.Any, sums: typing.Any, *, num_threads: typing.SupportsInt | typing.SupportsIndex, from_rows: typing.Any = None, into_rows: typing.Any = None) -> None:
    """
    Add weight i, float32, times row from_rows[i] of vectors, bfloat16 as uint16 (.., K), to
    row into_rows[i] of sums, float32 (.., K); rows are 0, 1, .. for None.
    """
def attend(*, queries: typing.Any, keys: typing.Any, values: typing.Any, seen: typing.Any, offsets: typing.Any, scale: typing.SupportsFloat | typing.SupportsIndex, causal: bool, window: typing.SupportsInt | typing.SupportsIndex, rate: typing.SupportsFloat | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex, out: typing.Any, log_sums: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Write drop(softmax(scale queries keys^T)) values and the logarithms of its rows' sums.
    
    Queries and `out`: (texts, queries, heads, dim), keys and values (texts, keys, heads or
    a divisor, dim), float32, or uint16 for bfloat16; log_sums: float32 (texts, heads,
    queries), or None; seen: bool (texts or 1, heads or 1, queries or 1, keys), or None for all.
    With offsets, int64 (n + 1,), arrays have one row of n texts, text i from offsets[i] to
    offsets[i + 1], and log_sums has the (heads, queries) of one after another. Queries see
    keys less than `window` away; 0: any.
    """
def attend_backward(*, queries: typing.Any, keys: typing.Any, values: typing.Any, seen: typing.Any, offsets: typing.Any, scale: typing.SupportsFloat | typing.SupportsIndex, causal: bool, window: typing.SupportsInt | typing.SupportsIndex, rate: typing.SupportsFloat | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex, log_sums: typing.Any, out_gradient: typing.Any, query_gradient: typing.Any, key_gradient: typing.Any, value_gradient: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Write the gradients of the inputs of `attend` from that of `out`, with its log_sums.
    """
def contrast_bf16_rows(queries: typing.Any, passages: typing.Any, positives: typing.Any, negative_mask: typing.Any, *, logit_scale: typing.SupportsFloat | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, coefficients: typing.Any = None, column_lse: typing.Any = None, column_coefficients: typing.Any = None, gradient: typing.Any = None) -> tuple:
    """
    As contrast_rows on the product of queries, bfloat16 as uint16 (R, K), and passages,
    PackedColumns; other numbers are float32. With coefficients the gradient is written,
    bfloat16 as uint16 (R, N), with 0 at the positives, and that of these, float32 (R,), is
    the third result.
    """
def contrast_instructions() -> str:
    """
    The instruction set of the contrastive kernels: amx, avx512, avx2 or portable; the
    widest of this processor, or the one that HYBRID_FAST_CPU names.
    """
def contrast_rows(scores: typing.Any, positives: typing.Any, negative_mask: typing.Any, *, logit_scale: typing.SupportsFloat | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, coefficients: typing.Any = None, column_lse: typing.Any = None, column_coefficients: typing.Any = None) -> tuple:
    """
    Return the losses of rows of scores (R,), and None; the scores are overwritten.
    
    With coefficients (R,) the scores become the gradients of their logits, and the second
    result is the sum of gradient times logit (R,). With column_lse and column_coefficients
    (N,) all are those of both directions. scores: (R, N), float32 or float64, as the other
    numbers then are. positives: int64 (R,).
    """
def count_ranks(scores: typing.Any, block_starts: typing.Any, offsets: typing.Any, columns: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex = 1) -> tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.int64]]:
    """
    Return the ranks of chosen columns within their block and within their row of scores.
    
    Row r asks for columns[offsets[r]:offsets[r + 1]]; block b holds the columns
    block_starts[b]:block_starts[b + 1]. Ranks start at 1, highest score first, equal scores
    in the order of columns. Scores: float32, C-contiguous, no NaN; the rest int64.
    """
def drop(values: typing.Any, out: typing.Any, *, rate: typing.SupportsFloat | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Write values / (1 - rate), or 0 where they are dropped, a function of seed and place.
    
    Arrays of one dimension, float32, or uint16 for bfloat16; `out` may be `values`.
    """
def find_first(scores: typing.Any, num_first: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex = 1) -> numpy.typing.NDArray[numpy.int64]:
    """
    Return the best columns of each row, int64 (rows, num_first), as rank_rows does.
    """
def gelu(values: typing.Any, out: typing.Any, *, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Write x Phi(x) of each value, arrays as of `drop`.
    """
def has_amx() -> bool:
    """
    Whether this processor has tiles for products (AMX).
    """
def has_bf16_product() -> bool:
    """
    Whether this processor multiplies bfloat16 (AMX or AVX-512 BF16).
    """
def hash_texts(offsets: typing.Any, data: typing.Any) -> numpy.typing.NDArray[numpy.uint64]:
    """
    Return a 64-bit hash of each text data[offsets[i]:offsets[i + 1]], on all cores.
    
    offsets: int64; data: uint8.
    """
def multiply_float(a: typing.Any, b: typing.Any, out: typing.Any, *, add: bool, bias: typing.Any = None, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Write a b to `out`, or add it: float32 (M, K), (K, N), in any layout, and (M, N),
    contiguous. Or write a b + bias, (N,).
    """
def pad_tokens(ids: typing.Any, offsets: typing.Any, rows: typing.Any, length: typing.SupportsInt | typing.SupportsIndex, pad_id: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.int64]:
    """
    Return the chosen texts, padded with pad_id, int64 (rows, length).
    
    ids: uint16 or int32; offsets and rows: int64.
    """
def rank_rows(scores: typing.Any, num_first: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex = 1) -> tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.int64]]:
    """
    Return the rank of every score in its row, and the best columns of each row.
    
    Ranks start at 1, highest score first, equal scores at the mean of the ranks they take:
    float32 (rows, columns). Best columns: int64 (rows, num_first), equal scores in the
    order of columns. Scores: float32, C-contiguous, no NaN.
    """
def search(queries: typing.Any, candidates: typing.Any, k: typing.SupportsInt | typing.SupportsIndex, *, num_threads: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.int64]]:
    """
    Return the k highest inner products of each query and the rows of their candidates.
    
    Float32 and int64 (num_queries, k), highest first, of equal ones the lower row first.
    Queries and candidates: float32 (n, D), in any layout; no product may be NaN. A product
    is the same whatever else is searched, on any number of threads.
    """
def sum_by_token(ids: typing.Any, offsets: typing.Any, gradient: typing.Any, vocab_size: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.int64], numpy.ndarray]:
    """
    Return the distinct tokens, ascending, and the gradient of each one's embedding, where
    `gradient`, float32 or float64, is that of the texts' means. ids and offsets: int64; text i
    is ids[offsets[i]:offsets[i + 1]], the last one up to the end.
    """
def take_tokens(ids: typing.Any, offsets: typing.Any, rows: typing.Any) -> tuple[numpy.ndarray, numpy.typing.NDArray[numpy.int64]]:
    """
    Return the ids of the chosen texts, concatenated, and their offsets, int64 (rows + 1,).
    
    ids: uint16 or int32, which the result keeps; offsets and rows: int64.
    """
def update_rows(weights: typing.Any, first_moments: typing.Any, second_moments: typing.Any, places: typing.Any, weight_steps: typing.Any, moment_steps: typing.Any, *, history: typing.Any, begin: typing.SupportsInt | typing.SupportsIndex, betas: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex], epsilon: typing.SupportsFloat | typing.SupportsIndex, rows: typing.Any, gradient: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Give rows, which ascend, the last update of AdamW's history and all that they missed;
    without a gradient give rows, in any order, what they missed. All in place.
    
    weights, moments, gradient: float32 or float64, alike; rows: int64; history: float64
    (updates after the first `begin`, 3), 1 - learning rate * weight decay, learning rate /
    (1 - beta1^j) and 1 / sqrt(1 - beta2^j) of each; places: int32, of each row that of its
    moments, -1 without; steps: int32, of each row the last update of its weights, and of
    each place the one that left its moments, from 1.
    """
