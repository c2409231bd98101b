// Permutations are bijections for every size, differ by key, and spread evenly.
#include "core/random.h"

#include <vector>

#include "core/order.h"
#include "tests/check.h"

using namespace hybrid_fast;

namespace {

void PermutationIsBijection() {
  for (std::uint64_t size : {1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 1000, 4097}) {
    for (std::uint64_t key : {0ull, 1ull, ~0ull, 0x123456789ABCDEFull}) {
      const Permutation permutation(size, mix(key));
      std::vector<int> seen(size);
      for (std::uint64_t i = 0; i < size; ++i) ++seen[permutation(i)];
      for (int count : seen) CHECK(count == 1);
    }
  }
}

// Chi-square of where each of 16 inputs lands over 16,000 keys: 15 degrees of freedom, and 60 is
// exceeded by chance with probability 2e-7.
void PermutationSpreads() {
  constexpr int kSize = 16, kKeys = 16000;
  for (std::uint64_t i = 0; i < kSize; ++i) {
    std::vector<double> count(kSize);
    for (std::uint64_t key = 0; key < kKeys; ++key) ++count[Permutation(kSize, mix(key))(i)];
    double chi = 0;
    const double expected = double(kKeys) / kSize;
    for (double c : count) chi += (c - expected) * (c - expected) / expected;
    CHECK(chi < 60);
  }
}

// Any window of an order holds no entry twice, also across passes, for all sizes around the
// boundary where passes stop being shuffled.
void OrderKeepsWindowsFree() {
  constexpr std::uint64_t kWindow = 8;
  for (std::uint64_t size = kWindow; size < 5 * kWindow; ++size) {
    std::vector<std::uint64_t> entries;
    for (std::uint64_t n = 0; n < 6 * size; ++n) {
      entries.push_back(PassOrder(size, kWindow, 42, n / size)(n % size));
    }
    for (std::size_t first = 0; first + kWindow <= entries.size(); ++first) {
      std::vector<bool> seen(size);
      for (std::size_t i = first; i < first + kWindow; ++i) {
        CHECK(!seen[entries[i]]);
        seen[entries[i]] = true;
      }
    }
  }
}

// The plan is fixed for ever by these values: a change here changes every user's batches.
void ValuesAreFixed() {
  CHECK(mix(1) == 0x5692161D100B05E5u);
  CHECK(derive(1, 2) == derive(1, 2));
  CHECK(derive(1, 2) != derive(2, 1));
}

}  // namespace

int main() {
  PermutationIsBijection();
  PermutationSpreads();
  OrderKeepsWindowsFree();
  ValuesAreFixed();
}
