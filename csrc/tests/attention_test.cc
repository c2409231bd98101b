// Attention with dropout against its definition in double, on odd shapes, with the instructions
// that HYBRID_FAST_CPU names.
#include "core/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "dropout_reference.h"
#include "instructions.h"

namespace hybrid_fast {
namespace {

constexpr std::uint64_t kSeed = 0xFEDCBA987654321;

double draw() {  // -1 to 1
  static std::uint32_t count = 0;
  return threefry({count++, 0, 0, 7}, {0, 0, 0, 0})[0] / 2147483648.0 - 1;
}

template <typename T>
T as(double x) {
  if constexpr (sizeof(T) == 2) return rounded_to_bf16(static_cast<float>(x));
  if constexpr (sizeof(T) == 4) return static_cast<T>(x);
}
double value(float x) { return x; }
double value(std::uint16_t x) { return widened_bf16(x); }

template <typename T>
struct Problem {
  AttentionShape s;
  std::vector<std::uint8_t> seen;
  std::vector<T> queries, keys, values, out_gradient;

  std::size_t query_at(std::int64_t t, std::int64_t h, std::int64_t i, std::int64_t k) const {
    return static_cast<std::size_t>(((t * s.num_queries + i) * s.num_heads + h) * s.dim + k);
  }
  std::size_t key_at(std::int64_t t, std::int64_t h, std::int64_t j, std::int64_t k) const {
    const std::int64_t of_keys = h / (s.num_heads / s.num_key_heads);
    return static_cast<std::size_t>(((t * s.num_keys + j) * s.num_key_heads + of_keys) * s.dim + k);
  }
  bool sees(std::int64_t t, std::int64_t h, std::int64_t i, std::int64_t j) const {
    if (s.causal && j > i) return false;
    if (s.window > 0 && std::abs(i - j) >= s.window) return false;
    return s.seen == nullptr ||
           s.seen[t * s.text_stride + h * s.head_stride + i * s.query_stride + j] != 0;
  }
};

enum class Mask { kNone, kOfKeys, kOfPairs };

template <typename T>
Problem<T> make(std::int64_t texts, std::int64_t heads, std::int64_t key_heads,
                std::int64_t queries, std::int64_t keys, std::int64_t dim, Mask mask, bool causal,
                double rate, std::int64_t window = 0) {
  const auto scale = static_cast<float>(2 / std::sqrt(static_cast<double>(dim)));
  Problem<T> p{{}, {}, {}, {}, {}, {}};
  p.s.num_texts = texts, p.s.num_heads = heads, p.s.num_key_heads = key_heads;
  p.s.num_queries = queries, p.s.num_keys = keys, p.s.dim = dim;
  p.s.scale = scale, p.s.causal = causal, p.s.window = window, p.s.dropout = {rate, kSeed};
  const auto size = [&](std::int64_t rows, std::int64_t of_heads) {
    return static_cast<std::size_t>(texts * rows * of_heads * dim);
  };
  p.queries.resize(size(queries, heads));
  p.out_gradient.resize(p.queries.size());
  p.keys.resize(size(keys, key_heads));
  p.values.resize(p.keys.size());
  for (auto* part : {&p.queries, &p.out_gradient, &p.keys, &p.values}) {
    for (T& x : *part) x = as<T>(2 * draw());
  }
  if (mask == Mask::kNone) return p;
  const std::int64_t rows = mask == Mask::kOfKeys ? 1 : heads * queries;
  p.seen.resize(static_cast<std::size_t>(texts * rows * keys));
  for (auto& seen : p.seen) seen = draw() > -0.4;
  if (mask == Mask::kOfPairs) {  // the first query sees nothing
    for (std::int64_t j = 0; j < keys; ++j) p.seen[static_cast<std::size_t>(j)] = 0;
  }
  p.s.seen = p.seen.data();
  p.s.text_stride = rows * keys;
  if (mask == Mask::kOfPairs) p.s.head_stride = queries * keys, p.s.query_stride = keys;
  return p;
}

struct Truth {
  std::vector<double> out, queries, keys, values, log_sums;
};

// Masks are those of texts from `first_text` on.
template <typename T>
Truth define(const Problem<T>& p, std::int64_t first_text = 0) {
  const AttentionShape& s = p.s;
  Truth truth{std::vector<double>(p.queries.size()),
              std::vector<double>(p.queries.size()),
              std::vector<double>(p.keys.size()),
              std::vector<double>(p.keys.size()),
              {}};
  const auto keys = static_cast<std::size_t>(s.num_keys);
  const double factor = 1 / (1 - s.dropout.rate);
  for (std::int64_t t = 0; t < s.num_texts; ++t) {
    for (std::int64_t h = 0; h < s.num_heads; ++h) {
      for (std::int64_t i = 0; i < s.num_queries; ++i) {
        std::vector<double> share(keys), scale(keys), gradient(keys);
        double sum = 0, dot = 0;
        for (std::size_t j = 0; j < keys; ++j) {
          double score = 0;
          for (std::int64_t k = 0; k < s.dim; ++k) {
            score += value(p.queries[p.query_at(t, h, i, k)]) *
                     value(p.keys[p.key_at(t, h, static_cast<std::int64_t>(j), k)]);
          }
          share[j] = p.sees(t, h, i, static_cast<std::int64_t>(j)) ? std::exp(s.scale * score) : 0;
          sum += share[j];
          scale[j] = is_kept(kSeed, s.dropout.rate, 1,
                             static_cast<std::uint32_t>((first_text + t) * s.num_heads + h),
                             static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j / 128),
                             static_cast<std::uint32_t>(j % 128))
                         ? factor
                         : 0;
        }
        truth.log_sums.push_back(sum > 0 ? std::log(sum) : std::numeric_limits<double>::infinity());
        for (std::size_t j = 0; j < keys; ++j) {
          share[j] = sum > 0 ? share[j] / sum : 0;
          for (std::int64_t k = 0; k < s.dim; ++k) {
            const std::size_t of_key = p.key_at(t, h, static_cast<std::int64_t>(j), k);
            const std::size_t of_query = p.query_at(t, h, i, k);
            truth.out[of_query] += share[j] * scale[j] * value(p.values[of_key]);
            gradient[j] += value(p.out_gradient[of_query]) * value(p.values[of_key]) * scale[j];
            truth.values[of_key] += share[j] * scale[j] * value(p.out_gradient[of_query]);
          }
          dot += share[j] * gradient[j];
        }
        for (std::size_t j = 0; j < keys; ++j) {
          const double of_score = share[j] * (gradient[j] - dot) * s.scale;
          for (std::int64_t k = 0; k < s.dim; ++k) {
            const std::size_t of_key = p.key_at(t, h, static_cast<std::int64_t>(j), k);
            const std::size_t of_query = p.query_at(t, h, i, k);
            truth.queries[of_query] += of_score * value(p.keys[of_key]);
            truth.keys[of_key] += of_score * value(p.queries[of_query]);
          }
        }
      }
    }
  }
  return truth;
}

template <typename T>
void check_near(const std::vector<T>& found, const std::vector<double>& truth, double tolerance) {
  for (std::size_t i = 0; i < truth.size(); ++i) {
    if (std::isinf(truth[i])) {
      CHECK(value(found[i]) == truth[i]);
    } else {
      CHECK(std::abs(value(found[i]) - truth[i]) <= tolerance * (1 + std::abs(truth[i])));
    }
  }
}

template <typename T>
struct Found {
  std::vector<T> out, queries, keys, values;
  std::vector<float> log_sums;
  bool operator==(const Found&) const = default;
};

template <typename T>
Found<T> run(const Problem<T>& p, int num_threads) {
  const auto rows = p.queries.size() / static_cast<std::size_t>(p.s.dim);
  Found<T> f{p.queries, p.queries, p.keys, p.keys, std::vector<float>(rows)};
  const AttentionInputs<T> inputs{p.queries.data(), p.keys.data(), p.values.data()};
  attend(p.s, inputs, f.out.data(), f.log_sums.data(), num_threads);
  attend_backward(p.s, inputs, p.out_gradient.data(), f.log_sums.data(),
                  {f.queries.data(), f.keys.data(), f.values.data()}, num_threads);
  return f;
}

template <typename T>
void check(const Problem<T>& p, const Truth& truth) {
  const double tolerance = sizeof(T) == 2 ? 1.0 / 256 : 2e-5;
  const Found<T> found = run(p, 3);
  check_near(found.out, truth.out, tolerance);
  check_near(found.log_sums, truth.log_sums, 2e-5);
  check_near(found.queries, truth.queries, tolerance);
  check_near(found.keys, truth.keys, tolerance);
  check_near(found.values, truth.values, tolerance);
  CHECK(run(p, 1) == found);
}

template <typename T>
void check(const Problem<T>& p) {
  check(p, define(p));
}

template <typename A>
void append(std::vector<A>& to, const std::vector<A>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// Texts of these lengths one after another, each as it is alone.
template <typename T>
void check_unpadded(const std::vector<std::int64_t>& lengths, std::int64_t heads,
                    std::int64_t key_heads, std::int64_t dim, bool causal, std::int64_t window,
                    double rate) {
  Problem<T> whole = make<T>(0, heads, key_heads, 0, 0, dim, Mask::kNone, causal, rate, window);
  Truth truth;
  std::vector<std::int64_t> offsets{0};
  for (const std::int64_t n : lengths) {
    const auto p = make<T>(1, heads, key_heads, n, n, dim, Mask::kNone, causal, rate, window);
    const Truth of_text = define(p, whole.s.num_texts);
    for (const auto part : {&Problem<T>::queries, &Problem<T>::keys, &Problem<T>::values,
                            &Problem<T>::out_gradient}) {
      append(whole.*part, p.*part);
    }
    for (const auto part :
         {&Truth::out, &Truth::queries, &Truth::keys, &Truth::values, &Truth::log_sums}) {
      append(truth.*part, of_text.*part);
    }
    offsets.push_back(offsets.back() + n);
    ++whole.s.num_texts;
    whole.s.num_queries = whole.s.num_keys = std::max(whole.s.num_keys, n);
  }
  whole.s.offsets = offsets.data();
  check(whole, truth);
}

template <typename T>
void test_against_the_definition() {
  constexpr std::int64_t kShapes[][6] = {
      {1, 1, 1, 1, 1, 1},    {2, 3, 3, 5, 5, 8},     {1, 4, 2, 13, 17, 33}, {2, 2, 1, 49, 12, 16},
      {1, 2, 2, 70, 53, 32}, {1, 1, 1, 97, 131, 20}, {1, 1, 1, 3, 300, 64}, {1, 6, 2, 24, 24, 128}};
  for (const auto& d : kShapes) {
    for (const Mask mask : {Mask::kNone, Mask::kOfKeys, Mask::kOfPairs}) {
      for (const bool causal : {false, true}) {
        for (const double rate : {0.0, 0.3}) {
          check(make<T>(d[0], d[1], d[2], d[3], d[4], d[5], mask, causal, rate));
        }
      }
    }
  }
  check(make<T>(7, 4, 4, 64, 64, 32, Mask::kOfKeys, false, 0.1));  // worth several threads
}

template <typename T>
void test_texts_one_after_another() {
  for (const bool causal : {false, true}) {
    for (const std::int64_t window : {0, 1, 7, 60}) {
      for (const double rate : {0.0, 0.3}) {
        check_unpadded<T>({5, 1, 70, 0, 13}, 4, 2, 12, causal, window, rate);
        check_unpadded<T>({300}, 1, 1, 16, causal, window, rate);
        check_unpadded<T>({}, 2, 1, 8, causal, window, rate);
        check(make<T>(2, 2, 1, 40, 53, 8, Mask::kOfKeys, causal, rate, window));
      }
    }
  }
  check_unpadded<T>({64, 65, 200, 3, 2, 1, 90}, 4, 4, 32, false, 0, 0.1);  // several threads
}

void test_nothing_to_see() {
  const auto p = make<float>(1, 2, 2, 3, 0, 4, Mask::kNone, false, 0.5);
  const Found<float> found = run(p, 1);
  for (float x : found.out) CHECK(x == 0);
  for (float x : found.queries) CHECK(x == 0);
  CHECK(run(make<float>(0, 2, 2, 3, 5, 4, Mask::kNone, false, 0.5), 1).out.empty());
}

void test_not_a_number() {
  auto p = make<float>(1, 1, 1, 3, 20, 4, Mask::kNone, false, 0.1);
  p.queries[p.query_at(0, 0, 1, 2)] = std::numeric_limits<float>::quiet_NaN();
  const Found<float> found = run(p, 1);
  for (std::int64_t k = 0; k < 4; ++k) {
    CHECK(!std::isnan(found.out[p.query_at(0, 0, 0, k)]));
    CHECK(std::isnan(found.out[p.query_at(0, 0, 1, k)]));
  }
}

void test_bad_arguments() {
  auto p = make<float>(1, 3, 3, 2, 2, 4, Mask::kNone, false, 0.5);
  p.s.num_key_heads = 2;
  CHECK_THROWS(run(p, 1), std::invalid_argument);
  p.s.num_key_heads = 3;
  CHECK_THROWS(run(p, 0), std::invalid_argument);
  p.s.dropout.rate = 2;
  CHECK_THROWS(run(p, 1), std::invalid_argument);
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  if (asks_for_absent_instructions()) return kSkipped;
  test_against_the_definition<float>();
  test_against_the_definition<std::uint16_t>();
  test_texts_one_after_another<float>();
  test_texts_one_after_another<std::uint16_t>();
  test_nothing_to_see();
  test_not_a_number();
  test_bad_arguments();
}
