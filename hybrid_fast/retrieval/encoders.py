"""The methods by which a model encodes queries and passages, found by their usual names.

A method of one side (`encode_queries`, `encode_document`, ...) goes before an `encode` for both:
prompts, lengths or even weights of the sides may differ. What a method takes is read from the
annotation of its first parameter; without one it is given texts, and where it fails with them, one
text in each of the other forms.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hybrid_fast.models.similarity import Similarity, check_similarity
from hybrid_fast.retrieval.embeddings import to_float32

logger = logging.getLogger(__name__)

# Names of methods, the usual first: those of BiEncoder, sentence-transformers, BEIR, FlagEmbedding,
# DPR, LangChain and fastembed.
QUERY_METHODS = (
    "encode_queries", "encode_query", "encode_questions", "encode_question",
    "embed_queries", "embed_query", "query_embed",
)  # fmt: skip
PASSAGE_METHODS = (
    "encode_passages", "encode_passage", "encode_documents", "encode_document", "encode_docs",
    "encode_doc", "encode_corpus", "encode_contexts", "encode_context", "encode_ctxs",
    "encode_candidates", "encode_answers", "embed_passages", "embed_documents", "embed_corpus",
    "passage_embed",
)  # fmt: skip
# Names of the prompts of a side, for an `encode` that takes `prompt_name`.
_PROMPT_NAMES = {"queries": ("query",), "passages": ("document", "passage", "corpus")}

_Convert = Callable[[Callable[..., Any], Sequence[str], dict[str, Any]], Any]
_FORMS: dict[str, _Convert] = {
    "texts": lambda method, texts, options: method(list(texts), **options),
    # As BEIR passes documents; the titles of a task stand at the head of its texts.
    "dicts of title and text": lambda method, texts, options: method(
        [{"title": "", "text": text} for text in texts], **options
    ),
    "one text": lambda method, texts, options: [
        _only_row(method(text, **options)) for text in texts
    ],
}
_WRONG_FORM = (TypeError, ValueError, KeyError, AttributeError, IndexError)


@dataclass
class Encoder:
    """A method of a model that encodes the texts of one side.

    Attributes:
        method: the method.
        name: its name.
        form: what it takes, a key of `_FORMS`; "" until it is known.
        options: keyword arguments that tell it the side.
    """

    method: Callable[..., Any]
    name: str
    form: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, texts: Sequence[str], batch_size: int | None = None) -> Any:
        """Return what the method gives for texts, n rows.

        Args:
            texts: n texts, at least one.
            batch_size: what the method is to take at a time, if it has a parameter of that name;
                None leaves it to the method.

        Raises:
            TypeError: it takes texts in no form known here.
        """
        if self.form:
            return self._call(self.form, texts, batch_size)
        try:
            embeddings = self._call("texts", texts, batch_size)
        except _WRONG_FORM as error:
            self.form = _try_forms(self, texts[0])
            if self.form == "texts":  # it does take texts, but not all of these
                raise
            logger.debug("%s does not take texts: %s", self.name, error)
            return self._call(self.form, texts, batch_size)
        self.form = "texts"
        return embeddings

    def find_form(self, text: str) -> None:
        """Find what the method takes, if that is not known yet, by encoding one text.

        Raises:
            TypeError: it takes texts in no form known here.
        """
        self.form = self.form or _try_forms(self, text)

    def _call(self, form: str, texts: Sequence[str], batch_size: int | None = None) -> Any:
        options = dict(self.options)
        if batch_size is not None and takes_parameter(self.method, "batch_size"):
            options["batch_size"] = batch_size
        return _FORMS[form](self.method, texts, options)

    @property
    def description(self) -> str:
        """The name of the method, and how it is called if not with texts alone."""
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        form = "" if self.form in ("", "texts") else f" with {self.form}"
        return f"{self.name}{options}{form}"


def find_encoders(model: object) -> tuple[Encoder, Encoder]:
    """Return the model's methods that encode queries and passages.

    Raises:
        TypeError: it is no model, or lacks a method of a side and an `encode` for both.
    """
    if isinstance(model, str | type):
        raise TypeError(
            f"model is {model!r}; load it first: BiEncoder.from_pretrained(folder_or_hub_name)"
        )
    found = [
        _find(model, side, names)
        for side, names in (("queries", QUERY_METHODS), ("passages", PASSAGE_METHODS))
    ]
    if found[0] is None or found[1] is None:
        side = "queries" if found[0] is None else "passages"
        raise TypeError(
            f"model is a {type(model).__name__}, which cannot encode texts: it has no method for "
            f"{side}; it needs encode_queries and encode_passages (or others of QUERY_METHODS and "
            "PASSAGE_METHODS in hybrid_fast.retrieval.encoders), or encode for both"
        )
    return found[0], found[1]


def _find(model: object, side: str, names: Sequence[str]) -> Encoder | None:
    for name in names:
        method = getattr(model, name, None)
        if callable(method):
            return Encoder(method, name, _annotated_form(method, name))
    method = getattr(model, "encode", None)
    if not callable(method):
        return None
    return Encoder(method, "encode", "texts", _side_options(model, method, side))


def _side_options(model: object, method: Callable[..., Any], side: str) -> dict[str, Any]:
    """Return the arguments by which an `encode` for both sides is told the side, if it has any."""
    parameters = _parameters(method)
    for name in ("is_query", "is_queries"):
        if name in parameters:
            return {name: side == "queries"}
    prompts = getattr(model, "prompts", None)
    if "prompt_name" in parameters and isinstance(prompts, dict):
        for name in _PROMPT_NAMES[side]:
            if prompts.get(name):
                return {"prompt_name": name}
    return {}


def _annotated_form(method: Callable[..., Any], name: str) -> str:
    """Return the form that the first parameter is annotated with, "" if it does not tell."""
    first = next(iter(_parameters(method).values()), None)
    if first is None or first.annotation is inspect.Parameter.empty:
        return ""
    text = inspect.formatannotation(first.annotation).replace("typing.", "").strip("'\"")
    if text == "str":
        return "one text"
    element = r"(?:[^\[\]]|\[(?:[^\[\]]|\[[^\[\]]*\])*\])*"  # brackets within it, two deep
    without_dicts = re.sub(rf"(?i)\b(dict|mapping)\b(\[{element}\])?", "", text)
    if re.search(r"\bstr\b", without_dicts):
        return "texts"
    return "dicts of title and text" if without_dicts != text else ""


def _try_forms(encoder: Encoder, text: str) -> str:
    """Return the first form in which a method takes one text and returns one row.

    Texts go first: what wants dicts fails with a text, while a tokenizer may take a dict for
    something else without a word.
    """
    errors = []
    for form in _FORMS:
        try:
            embeddings = to_float32(encoder._call(form, [text]), encoder.name)
            if len(embeddings) == 1:
                return form
            errors.append(f"{form}: {len(embeddings)} rows for one text")
        except _WRONG_FORM as error:
            errors.append(f"{form}: {type(error).__name__}: {error}")
    raise TypeError(
        f"{encoder.name} of the model takes neither texts nor dicts of title and text "
        f"({'; '.join(errors)})"
    )


def _only_row(embedding: Any) -> Any:
    """Return the embedding of one text, (D,), of what a method gives for it."""
    shape = getattr(embedding, "shape", None)
    return embedding[0] if shape is not None and len(shape) == 2 and shape[0] == 1 else embedding


def _parameters(method: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(method).parameters)
    except (TypeError, ValueError):  # of a function in C
        return {}


def takes_parameter(method: Any, parameter: str) -> bool:
    """Tell whether a method has a parameter of a name, or takes any; None has none."""
    parameters = _parameters(method)
    return parameter in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def similarity_of(model: object) -> Similarity:
    """Return what a model's embeddings are compared by: what it says, or the dot product.

    A SentenceTransformer says it by `similarity_fn_name`, where None is "cosine"; a model of mteb
    by the same name in `mteb_model_meta`.

    Raises:
        ValueError: it asks for any other similarity.
    """
    remedy = "; set model.similarity_fn_name to one of them"
    for holder, name in (
        (model, "the model's similarity_fn_name"),
        (getattr(model, "mteb_model_meta", None), "similarity_fn_name of its mteb_model_meta"),
    ):
        if hasattr(holder, "similarity_fn_name"):
            return check_similarity(name, holder.similarity_fn_name, remedy)
    is_theirs = any(c.__module__.startswith("sentence_transformers.") for c in type(model).__mro__)
    return "cosine" if is_theirs else "dot"
