#include <cstdint>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "core/text_hash.h"
#include "core/token_rows.h"
#include "core/token_sums.h"

namespace hybrid_fast::bindings {
namespace {

Array<std::int64_t> checked_offsets(const py::object& given) {
  auto offsets = checked<std::int64_t>(given, "offsets", 1);
  if (offsets.size() == 0) {
    throw py::value_error("offsets is empty; it needs one entry more than there are texts");
  }
  return offsets;
}

Array<std::uint64_t> hash_texts(const py::object& offsets, const py::object& data) {
  const Array<std::int64_t> places = checked_offsets(offsets);
  const auto bytes = checked<std::uint8_t>(data, "data", 1);
  Array<std::uint64_t> hashes(places.size() - 1);
  const std::span<std::uint64_t> result = view(hashes);
  without_gil([&] { return "hashes of " + std::to_string(hashes.size()) + " texts"; },
              [&] { hybrid_fast::hash_texts(view(places), view(bytes), result); });
  return hashes;
}

template <typename Id>
std::pair<py::array, Array<std::int64_t>> taken_tokens(const Array<Id>& ids,
                                                       const Array<std::int64_t>& offsets,
                                                       const Array<std::int64_t>& rows) {
  const TokenRows<Id> texts{view(ids), view(offsets)};
  Array<std::int64_t> copy_offsets(rows.size() + 1);
  hybrid_fast::place_tokens(texts, view(rows), view(copy_offsets));
  Array<Id> copy(copy_offsets.data()[rows.size()]);
  const std::span<const std::int64_t> places = view(std::as_const(copy_offsets));
  const std::span<Id> result = view(copy);
  without_gil([&] { return "the tokens of " + std::to_string(rows.size()) + " texts"; },
              [&] { hybrid_fast::copy_tokens(texts, view(rows), places, result); });
  return {copy, copy_offsets};
}

std::pair<py::array, Array<std::int64_t>> take_tokens(const py::object& ids,
                                                      const py::object& offsets,
                                                      const py::object& rows) {
  const Array<std::int64_t> places = checked_offsets(offsets);
  const auto row_array = checked<std::int64_t>(rows, "rows", 1);
  if (is_array<std::uint16_t>(ids)) {
    return taken_tokens(checked<std::uint16_t>(ids, "ids", 1, "uint16 or int32"), places,
                        row_array);
  }
  return taken_tokens(checked<std::int32_t>(ids, "ids", 1, "uint16 or int32"), places, row_array);
}

template <typename Id>
Array<std::int64_t> padded_tokens(const Array<Id>& ids, const Array<std::int64_t>& offsets,
                                  const Array<std::int64_t>& rows, std::int64_t length,
                                  std::int64_t pad_id) {
  if (length < 0) {
    throw py::value_error("length is " + std::to_string(length) + "; at least 0 is needed");
  }
  const TokenRows<Id> texts{view(ids), view(offsets)};
  Array<std::int64_t> matrix({rows.size(), static_cast<py::ssize_t>(length)});
  const std::span<std::int64_t> result = view(matrix);
  without_gil([&] { return "the tokens of " + std::to_string(rows.size()) + " texts"; },
              [&] { hybrid_fast::pad_tokens(texts, view(rows), length, pad_id, result); });
  return matrix;
}

Array<std::int64_t> pad_tokens(const py::object& ids, const py::object& offsets,
                               const py::object& rows, std::int64_t length, std::int64_t pad_id) {
  const Array<std::int64_t> places = checked_offsets(offsets);
  const auto row_array = checked<std::int64_t>(rows, "rows", 1);
  if (is_array<std::uint16_t>(ids)) {
    return padded_tokens(checked<std::uint16_t>(ids, "ids", 1, "uint16 or int32"), places,
                         row_array, length, pad_id);
  }
  return padded_tokens(checked<std::int32_t>(ids, "ids", 1, "uint16 or int32"), places, row_array,
                       length, pad_id);
}

template <typename T>
std::pair<Array<std::int64_t>, py::array> summed_by_token(const Array<std::int64_t>& ids,
                                                          const Array<std::int64_t>& offsets,
                                                          const Array<T>& gradient,
                                                          std::int64_t vocab_size,
                                                          int num_threads) {
  require_shape(gradient, "gradient", {offsets.size(), gradient.shape(1)},
                "a row for each text of offsets");
  const std::span<const std::int64_t> id_span = view(ids), offset_span = view(offsets);
  const auto subject = [&] {
    return "the gradients of " + std::to_string(vocab_size) + " tokens, of " +
           std::to_string(ids.size()) + " ids in " + std::to_string(offsets.size()) + " texts";
  };
  std::vector<std::int64_t> lengths(offset_span.size());
  const TokenUses uses = without_gil(subject, [&] {
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const auto end = i + 1 < lengths.size() ? offset_span[i + 1] : std::int64_t(id_span.size());
      lengths[i] = end - offset_span[i];
    }
    return hybrid_fast::find_uses(id_span, offset_span, vocab_size);
  });
  const auto num_tokens = static_cast<py::ssize_t>(uses.tokens.size());
  Array<std::int64_t> tokens(num_tokens, uses.tokens.data());
  Array<T> sums({num_tokens, gradient.shape(1)});
  T* const out = sums.mutable_data();
  without_gil(subject, [&] {
    hybrid_fast::sum_by_token(uses, lengths, gradient.data(), gradient.shape(1), out, num_threads);
  });
  return {tokens, sums};
}

std::pair<Array<std::int64_t>, py::array> sum_by_token(const py::object& ids,
                                                       const py::object& offsets,
                                                       const py::object& gradient,
                                                       std::int64_t vocab_size, int num_threads) {
  const auto id_array = checked<std::int64_t>(ids, "ids", 1);
  const auto places = checked<std::int64_t>(offsets, "offsets", 1);
  if (is_array<double>(gradient)) {
    return summed_by_token(id_array, places,
                           checked<double>(gradient, "gradient", 2, "float32 or float64"),
                           vocab_size, num_threads);
  }
  return summed_by_token(id_array, places,
                         checked<float>(gradient, "gradient", 2, "float32 or float64"), vocab_size,
                         num_threads);
}

}  // namespace

void bind_tokens(py::module_& m) {
  m.def("hash_texts", &hash_texts, py::arg("offsets"), py::arg("data"),
        "Return a 64-bit hash of each text data[offsets[i]:offsets[i + 1]], on all cores.\n\n"
        "offsets: int64; data: uint8.");
  m.def(
      "take_tokens", &take_tokens, py::arg("ids"), py::arg("offsets"), py::arg("rows"),
      "Return the ids of the chosen texts, concatenated, and their offsets, int64 (rows + 1,).\n\n"
      "ids: uint16 or int32, which the result keeps; offsets and rows: int64.");
  m.def("pad_tokens", &pad_tokens, py::arg("ids"), py::arg("offsets"), py::arg("rows"),
        py::arg("length"), py::arg("pad_id"),
        "Return the chosen texts, padded with pad_id, int64 (rows, length).\n\n"
        "ids: uint16 or int32; offsets and rows: int64.");
  m.def("sum_by_token", &sum_by_token, py::arg("ids"), py::arg("offsets"), py::arg("gradient"),
        py::arg("vocab_size"), py::arg("num_threads"),
        "Return the distinct tokens, ascending, and the gradient of each one's embedding, where\n"
        "`gradient`, float32 or float64, is that of the texts' means. ids and offsets: int64; text "
        "i\n"
        "is ids[offsets[i]:offsets[i + 1]], the last one up to the end.");
}

}  // namespace hybrid_fast::bindings
