// Dropout against its definition, on odd sizes, with the instructions that HYBRID_FAST_CPU names.
#include "core/dropout.h"

#include <limits>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "dropout_reference.h"
#include "instructions.h"

namespace hybrid_fast {
namespace {

constexpr std::uint64_t kSeed = 0x123456789ABCDEF;

// The known answers of the generator's authors (Random123, kat_vectors).
void test_known_answers() {
  CHECK((threefry({0, 0, 0, 0}, {0, 0, 0, 0}) ==
         Words4{0x9c6ca96a, 0xe17eae66, 0xfc10ecd4, 0x5256a7d8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  CHECK((threefry({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes, kOnes, kOnes}) ==
         Words4{0x2a881696, 0x57012287, 0xf6c7446e, 0xa16a6732}));
  CHECK((threefry({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                  {0xa4093822, 0x299f31d0, 0x082efa98, 0xec4e6c89}) ==
         Words4{0x59cd1dbb, 0xb8879579, 0x86b5d00c, 0xac8b6d84}));
}

void test_against_the_definition(std::size_t size, double rate, int num_threads) {
  std::vector<float> x(size), out(size);
  std::vector<std::uint16_t> half(size), half_out(size);
  for (std::size_t i = 0; i < size; ++i) {
    x[i] = static_cast<float>(i % 1000) - 500.5f;
    half[i] = rounded_to_bf16(x[i]);
  }
  const auto n = static_cast<std::int64_t>(size);
  drop(x.data(), out.data(), n, {rate, kSeed}, num_threads);
  drop(half.data(), half_out.data(), n, {rate, kSeed}, num_threads);
  const auto factor = static_cast<float>(rate == 1 ? 0 : 1 / (1 - rate));
  for (std::size_t i = 0; i < size; ++i) {
    const bool kept = is_kept(kSeed, rate, 0, 0, 0, static_cast<std::uint32_t>(i / 128),
                              static_cast<std::uint32_t>(i % 128));
    CHECK(out[i] == (kept ? x[i] * factor : 0));
    CHECK(half_out[i] == (kept ? rounded_to_bf16(widened_bf16(half[i]) * factor) : 0));
  }
  drop(x.data(), x.data(), n, {rate, kSeed}, 1);  // in place, and on one thread
  CHECK(x == out);
}

void test_not_a_number() {
  std::vector<float> x(300, std::numeric_limits<float>::quiet_NaN()), out(300);
  drop(x.data(), out.data(), 300, {0.5, kSeed}, 1);
  int kept = 0;
  for (float value : out) {
    kept += value != value;
    CHECK(value != value || value == 0);
  }
  CHECK(kept > 100 && kept < 200);
}

void test_bad_arguments() {
  float x = 1;
  for (const double rate : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_THROWS(drop(&x, &x, 1, {rate, kSeed}, 1), std::invalid_argument);
  }
  CHECK_THROWS(drop(&x, &x, 1, {0.5, kSeed}, 0), std::invalid_argument);
  CHECK(x == 1);
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  if (asks_for_absent_instructions()) return kSkipped;
  test_known_answers();
  for (const std::size_t size : {0, 1, 7, 16, 127, 128, 129, 255, 1000, 33000, 600001}) {
    for (const double rate : {0.0, 0.1, 0.5, 0.999999, 1.0}) {
      if (size < 1000 || rate == 0.1) test_against_the_definition(size, rate, 3);
    }
  }
  test_not_a_number();
  test_bad_arguments();
}
