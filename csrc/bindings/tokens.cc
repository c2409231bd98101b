#include <cstdint>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "core/text_hash.h"
#include "core/token_rows.h"
#include "core/token_sums.h"

namespace hybrid_fast::bindings {
namespace {

Array<std::uint64_t> hash_texts(const Array<std::int64_t>& offsets,
                                const Array<std::uint8_t>& data) {
  require_dimensions(offsets, "offsets", 1);
  require_dimensions(data, "data", 1);
  if (offsets.size() == 0) throw std::invalid_argument("offsets is empty; it needs one entry");
  Array<std::uint64_t> hashes(offsets.size() - 1);
  const std::span<std::uint64_t> result = view(hashes);
  {
    py::gil_scoped_release release;
    hybrid_fast::hash_texts(view(offsets), view(data), result);
  }
  return hashes;
}

template <typename Id>
std::pair<Array<Id>, Array<std::int64_t>> take_tokens(const Array<Id>& ids,
                                                      const Array<std::int64_t>& offsets,
                                                      const Array<std::int64_t>& rows) {
  if (offsets.size() == 0) throw std::invalid_argument("offsets is empty; it needs one entry");
  const TokenRows<Id> texts{view(ids), view(offsets)};
  Array<std::int64_t> copy_offsets(rows.size() + 1);
  hybrid_fast::place_tokens(texts, view(rows), view(copy_offsets));
  Array<Id> copy(copy_offsets.data()[rows.size()]);
  const std::span<const std::int64_t> places = view(std::as_const(copy_offsets));
  const std::span<Id> result = view(copy);
  {
    py::gil_scoped_release release;
    hybrid_fast::copy_tokens(texts, view(rows), places, result);
  }
  return {copy, copy_offsets};
}

template <typename Id>
Array<std::int64_t> pad_tokens(const Array<Id>& ids, const Array<std::int64_t>& offsets,
                               const Array<std::int64_t>& rows, std::int64_t length,
                               std::int64_t pad_id) {
  if (offsets.size() == 0) throw std::invalid_argument("offsets is empty; it needs one entry");
  if (length < 0) throw std::invalid_argument("length is negative");
  const TokenRows<Id> texts{view(ids), view(offsets)};
  Array<std::int64_t> matrix({rows.size(), static_cast<py::ssize_t>(length)});
  const std::span<std::int64_t> result = view(matrix);
  {
    py::gil_scoped_release release;
    hybrid_fast::pad_tokens(texts, view(rows), length, pad_id, result);
  }
  return matrix;
}

template <typename Id>
void define_tokens(py::module_& m) {
  m.def("take_tokens", &take_tokens<Id>, py::arg("ids").noconvert(), py::arg("offsets").noconvert(),
        py::arg("rows").noconvert(),
        "Return the ids of the chosen texts, concatenated, and their offsets, int64 (rows + 1,).");
  m.def("pad_tokens", &pad_tokens<Id>, py::arg("ids").noconvert(), py::arg("offsets").noconvert(),
        py::arg("rows").noconvert(), py::arg("length"), py::arg("pad_id"),
        "Return the chosen texts, padded with pad_id, int64 (rows, length).");
}

template <typename T>
std::pair<Array<std::int64_t>, py::array> sum_by_token(const Array<std::int64_t>& ids,
                                                       const Array<std::int64_t>& offsets,
                                                       const Array<T>& gradient,
                                                       std::int64_t vocab_size, int num_threads) {
  require_dimensions(ids, "ids", 1);
  require_dimensions(offsets, "offsets", 1);
  require_dimensions(gradient, "gradient", 2);
  if (gradient.shape(0) != offsets.size()) {
    throw std::invalid_argument("gradient has " + std::to_string(gradient.shape(0)) +
                                " rows; offsets has " + std::to_string(offsets.size()) + " texts");
  }
  const std::span<const std::int64_t> id_span = view(ids), offset_span = view(offsets);
  TokenUses uses;
  std::vector<std::int64_t> lengths(offset_span.size());
  {
    py::gil_scoped_release release;
    uses = hybrid_fast::find_uses(id_span, offset_span, vocab_size);
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const auto end = i + 1 < lengths.size() ? offset_span[i + 1] : std::int64_t(id_span.size());
      lengths[i] = end - offset_span[i];
    }
  }
  const auto num_tokens = static_cast<py::ssize_t>(uses.tokens.size());
  Array<std::int64_t> tokens(num_tokens, uses.tokens.data());
  Array<T> sums({num_tokens, gradient.shape(1)});
  T* const out = sums.mutable_data();
  {
    py::gil_scoped_release release;
    hybrid_fast::sum_by_token(uses, lengths, gradient.data(), gradient.shape(1), out, num_threads);
  }
  return {tokens, sums};
}

template <typename T>
void define_token_gradients(py::module_& m) {
  m.def(
      "sum_by_token", &sum_by_token<T>, py::arg("ids").noconvert(), py::arg("offsets").noconvert(),
      py::arg("gradient").noconvert(), py::arg("vocab_size"), py::arg("num_threads"),
      "Return the distinct tokens, ascending, and the gradient of each one's embedding, where\n"
      "`gradient` is that of the texts' means. Text i is ids[offsets[i]:offsets[i + 1]], the last\n"
      "one up to the end.");
}

}  // namespace

void bind_tokens(py::module_& m) {
  m.def("hash_texts", &hash_texts, py::arg("offsets").noconvert(), py::arg("data").noconvert(),
        "Return a 64-bit hash of each text data[offsets[i]:offsets[i + 1]], on all cores.");
  define_tokens<std::uint16_t>(m);
  define_tokens<std::int32_t>(m);
  define_token_gradients<float>(m);
  define_token_gradients<double>(m);
}

}  // namespace hybrid_fast::bindings
