#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>

#include "bindings/bindings.h"
#include "core/attention.h"
#include "core/dropout.h"
#include "core/gelu.h"

namespace hybrid_fast::bindings {
namespace {

constexpr const char* kTypes = "float32, or uint16 for bfloat16,";

// Calls call(T{}) for the type T of the numbers of an array.
template <typename Call>
auto with_type(const py::object& array, Call&& call) {
  return is_array<std::uint16_t>(array) ? call(std::uint16_t{}) : call(float{});
}

template <typename T>
void drop_numbers(const py::object& values, const py::object& out, DropoutLaw law,
                  int num_threads) {
  const auto from = checked<T>(values, "values", 1, kTypes);
  auto to = checked_output<T>(out, "out", 1, kTypes);
  require_shape(to, "out", {from.shape(0)}, "as values has");
  const T* x = from.data();
  T* dropped = to.mutable_data();
  const std::int64_t size = from.size();
  without_gil([&] { return "dropout of " + std::to_string(size) + " numbers"; },
              [&] { hybrid_fast::drop(x, dropped, size, law, num_threads); });
}

void drop(const py::object& values, const py::object& out, double rate, std::uint64_t seed,
          int num_threads) {
  with_type(values, [&](auto type) {
    drop_numbers<decltype(type)>(values, out, {rate, seed}, num_threads);
  });
}

void gelu(const py::object& values, const py::object& out, int num_threads) {
  with_type(values, [&](auto type) {
    using T = decltype(type);
    const auto from = checked<T>(values, "values", 1, kTypes);
    auto to = checked_output<T>(out, "out", 1, kTypes);
    require_shape(to, "out", {from.shape(0)}, "as values has");
    const T* x = from.data();
    T* activated = to.mutable_data();
    const std::int64_t size = from.size();
    without_gil([&] { return "GELU of " + std::to_string(size) + " numbers"; },
                [&] { hybrid_fast::gelu(x, activated, size, num_threads); });
  });
}

// What a call is told beside arrays of numbers.
struct AttentionLaw {
  double scale;
  bool causal;
  std::int64_t window;
  DropoutLaw dropout;
};

// Arrays of one call, and what they are to each other.
template <typename T>
struct Attention {
  Array<T> queries, keys, values;
  Array<bool> seen;
  Array<std::int64_t> offsets;
  AttentionShape shape{};

  Attention(const py::object& given_queries, const py::object& given_keys,
            const py::object& given_values, const py::object& given_seen,
            const py::object& given_offsets, const AttentionLaw& law)
      : queries(checked<T>(given_queries, "queries", 4, kTypes)),
        keys(checked<T>(given_keys, "keys", 4, kTypes)),
        values(checked<T>(given_values, "values", 4, kTypes)) {
    shape.num_texts = queries.shape(0);
    shape.num_heads = queries.shape(2);
    shape.num_key_heads = keys.shape(2);
    shape.num_queries = queries.shape(1);
    shape.num_keys = keys.shape(1);
    shape.dim = queries.shape(3);
    shape.scale = static_cast<float>(law.scale);
    shape.causal = law.causal;
    shape.window = law.window;
    shape.dropout = law.dropout;
    require_shape(keys, "keys", {shape.num_texts, keys.shape(1), keys.shape(2), shape.dim},
                  "texts and width of the queries");
    require_shape(values, "values", {keys.shape(0), keys.shape(1), keys.shape(2), keys.shape(3)},
                  "as keys has");
    if (law.window < 0) {
      throw py::value_error("window is " + std::to_string(law.window) + "; it must be at least 0");
    }
    if (!given_seen.is_none()) read_seen(given_seen);
    if (!given_offsets.is_none()) read_offsets(given_offsets);
  }

  AttentionInputs<T> inputs() const { return {queries.data(), keys.data(), values.data()}; }

  void require_queries(const py::array& array, const char* name) const {
    require_shape(array, name,
                  {queries.shape(0), queries.shape(1), queries.shape(2), queries.shape(3)},
                  "as queries has");
  }
  void require_log_sums(const py::array& array) const {
    require_shape(array, "log_sums", {queries.shape(0), queries.shape(2), queries.shape(1)},
                  "texts, heads and queries");
  }

  auto subject() const {
    return [this] {
      return "attention of queries " + describe(queries) + " to keys " + describe(keys);
    };
  }

 private:
  // An axis of length 1 stands for all of its entries.
  void read_seen(const py::object& given) {
    seen = checked<bool>(given, "seen", 4);
    const py::ssize_t whole[] = {shape.num_texts, shape.num_heads, shape.num_queries};
    std::vector<py::ssize_t> needed{0, 0, 0, shape.num_keys};
    for (int axis = 0; axis < 3; ++axis) {
      needed[axis] = seen.shape(axis) == 1 ? 1 : whole[axis];
    }
    require_shape(seen, "seen", needed, "or 1 for all of a kind");
    const auto stride = [&](int axis) { return seen.shape(axis) == 1 ? 0 : seen.strides(axis); };
    shape.seen = reinterpret_cast<const std::uint8_t*>(seen.data());
    shape.text_stride = stride(0);
    shape.head_stride = stride(1);
    shape.query_stride = stride(2);
  }

  // Texts of one row of the arrays, one after another.
  void read_offsets(const py::object& given) {
    offsets = checked<std::int64_t>(given, "offsets", 1);
    require_shape(keys, "keys", {1, queries.shape(1), keys.shape(2), keys.shape(3)},
                  "one row of texts, of the length of queries");
    if (shape.seen != nullptr) throw py::value_error("with offsets there is no seen");
    const std::span<const std::int64_t> begins = view(std::as_const(offsets));
    if (begins.empty() || begins.front() != 0 || begins.back() != queries.shape(1) ||
        !std::is_sorted(begins.begin(), begins.end())) {
      throw py::value_error("offsets must rise from 0 to the " + std::to_string(queries.shape(1)) +
                            " rows of queries");
    }
    shape.num_texts = std::ssize(begins) - 1;
    shape.num_queries = 0;
    for (std::int64_t text = 0; text < shape.num_texts; ++text) {
      shape.num_queries = std::max(shape.num_queries, begins[text + 1] - begins[text]);
    }
    shape.num_keys = shape.num_queries;
    shape.offsets = begins.data();
  }
};

void attend(const py::object& queries, const py::object& keys, const py::object& values,
            const py::object& seen, const py::object& offsets, double scale, bool causal,
            std::int64_t window, double rate, std::uint64_t seed, const py::object& out,
            const py::object& log_sums, int num_threads) {
  with_type(queries, [&](auto type) {
    using T = decltype(type);
    const Attention<T> of(queries, keys, values, seen, offsets,
                          {scale, causal, window, {rate, seed}});
    auto to = checked_output<T>(out, "out", 4, kTypes);
    of.require_queries(to, "out");
    float* sum = nullptr;
    if (!log_sums.is_none()) {
      auto sums = checked_output<float>(log_sums, "log_sums", 3);
      of.require_log_sums(sums);
      sum = sums.mutable_data();
    }
    const AttentionInputs<T> inputs = of.inputs();
    T* result = to.mutable_data();
    without_gil(of.subject(),
                [&] { hybrid_fast::attend(of.shape, inputs, result, sum, num_threads); });
  });
}

void attend_backward(const py::object& queries, const py::object& keys, const py::object& values,
                     const py::object& seen, const py::object& offsets, double scale, bool causal,
                     std::int64_t window, double rate, std::uint64_t seed,
                     const py::object& log_sums, const py::object& out_gradient,
                     const py::object& query_gradient, const py::object& key_gradient,
                     const py::object& value_gradient, int num_threads) {
  with_type(queries, [&](auto type) {
    using T = decltype(type);
    const Attention<T> of(queries, keys, values, seen, offsets,
                          {scale, causal, window, {rate, seed}});
    const auto sums = checked<float>(log_sums, "log_sums", 3);
    of.require_log_sums(sums);
    const auto from = checked<T>(out_gradient, "out_gradient", 4, kTypes);
    of.require_queries(from, "out_gradient");
    auto of_queries = checked_output<T>(query_gradient, "query_gradient", 4, kTypes);
    of.require_queries(of_queries, "query_gradient");
    auto of_keys = checked_output<T>(key_gradient, "key_gradient", 4, kTypes);
    auto of_values = checked_output<T>(value_gradient, "value_gradient", 4, kTypes);
    const std::vector<py::ssize_t> key_shape(of.keys.shape(), of.keys.shape() + 4);
    require_shape(of_keys, "key_gradient", key_shape, "as keys has");
    require_shape(of_values, "value_gradient", key_shape, "as keys has");
    const AttentionInputs<T> inputs = of.inputs();
    const AttentionGradients<T> gradients{of_queries.mutable_data(), of_keys.mutable_data(),
                                          of_values.mutable_data()};
    const T* gradient = from.data();
    const float* sum = sums.data();
    without_gil(of.subject(), [&] {
      hybrid_fast::attend_backward(of.shape, inputs, gradient, sum, gradients, num_threads);
    });
  });
}

}  // namespace

void bind_layers(py::module_& m) {
  m.def("drop", &drop, py::arg("values"), py::arg("out"), py::kw_only(), py::arg("rate"),
        py::arg("seed"), py::arg("num_threads"),
        "Write values / (1 - rate), or 0 where they are dropped, a function of seed and place.\n\n"
        "Arrays of one dimension, float32, or uint16 for bfloat16; `out` may be `values`.");
  m.def("gelu", &gelu, py::arg("values"), py::arg("out"), py::kw_only(), py::arg("num_threads"),
        "Write x Phi(x) of each value, arrays as of `drop`.");
  m.def("attend", &attend, py::kw_only(), py::arg("queries"), py::arg("keys"), py::arg("values"),
        py::arg("seen"), py::arg("offsets"), py::arg("scale"), py::arg("causal"), py::arg("window"),
        py::arg("rate"), py::arg("seed"), py::arg("out"), py::arg("log_sums"),
        py::arg("num_threads"),
        "Write drop(softmax(scale queries keys^T)) values and the logarithms of its rows' sums.\n\n"
        "Queries and `out`: (texts, queries, heads, dim), keys and values (texts, keys, heads or\n"
        "a divisor, dim), float32, or uint16 for bfloat16; log_sums: float32 (texts, heads,\n"
        "queries), or None; seen: bool (texts or 1, heads or 1, queries or 1, keys), or None for "
        "all.\n"
        "With offsets, int64 (n + 1,), arrays have one row of n texts, text i from offsets[i] to\n"
        "offsets[i + 1], and log_sums has the (heads, queries) of one after another. Queries see\n"
        "keys less than `window` away; 0: any.");
  m.def("attend_backward", &attend_backward, py::kw_only(), py::arg("queries"), py::arg("keys"),
        py::arg("values"), py::arg("seen"), py::arg("offsets"), py::arg("scale"), py::arg("causal"),
        py::arg("window"), py::arg("rate"), py::arg("seed"), py::arg("log_sums"),
        py::arg("out_gradient"), py::arg("query_gradient"), py::arg("key_gradient"),
        py::arg("value_gradient"), py::arg("num_threads"),
        "Write the gradients of the inputs of `attend` from that of `out`, with its log_sums.");
}

}  // namespace hybrid_fast::bindings
