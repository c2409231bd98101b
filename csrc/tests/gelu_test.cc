// GELU against its definition in double, of both types and any number of entries.
#include "core/gelu.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "instructions.h"

namespace hybrid_fast {
namespace {

double definition(double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; }

float widened(std::uint16_t x) {
  const std::uint32_t bits = std::uint32_t{x} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

void test_floats() {
  std::vector<float> x;
  for (float at = -12; at < 12; at += 0.0011f) x.push_back(at);
  for (const float at : {0.0f, -0.0f, 1e-30f, -1e-30f, 5.6f, -5.6f, 1e30f, -1e30f}) x.push_back(at);
  std::vector<float> out(x.size()), alone = x;
  gelu(x.data(), out.data(), std::int64_t(x.size()), 3);
  gelu(alone.data(), alone.data(), std::int64_t(x.size()), 1);  // in place
  CHECK(out == alone);
  for (std::size_t i = 0; i < x.size(); ++i) {
    CHECK(std::abs(out[i] - definition(x[i])) <= 3e-7 * std::abs(x[i]));
  }
}

void test_what_is_no_number() {
  const float infinity = std::numeric_limits<float>::infinity();
  const float x[] = {std::nanf(""), infinity, -infinity};
  float out[3];
  gelu(x, out, 3, 1);
  CHECK(std::isnan(out[0]) && out[1] == infinity && std::isnan(out[2]));
}

void test_halves() {
  std::vector<std::uint16_t> x, out;
  for (std::uint32_t bits = 0; bits < 65536; bits += 7) {
    if (std::abs(widened(std::uint16_t(bits))) < 100) x.push_back(std::uint16_t(bits));
  }
  out.resize(x.size());
  gelu(x.data(), out.data(), std::int64_t(x.size()), 2);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double truth = definition(widened(x[i]));
    const double rounding = std::abs(truth) / 256 + 1e-38;
    CHECK(std::abs(widened(out[i]) - truth) <= rounding + 3e-7 * std::abs(widened(x[i])));
  }
}

void test_sizes() {
  for (std::int64_t size = 0; size < 70; ++size) {
    const std::vector<float> x(size, 1.5f);
    std::vector<float> out(size + 1, -7.0f);
    gelu(x.data(), out.data(), size, 1);
    for (std::int64_t i = 0; i < size; ++i) CHECK(std::abs(out[i] - definition(1.5)) < 1e-6);
    CHECK(out[size] == -7.0f);
  }
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  if (asks_for_absent_instructions()) return kSkipped;
  test_floats();
  test_what_is_no_number();
  test_halves();
  test_sizes();
}
