#include "core/dropout.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <string_view>

#include "core/dropout_table.h"
#include "core/instructions.h"
#include "core/team.h"

namespace hybrid_fast {
namespace {

const DropoutKernels& chosen() {
  static const DropoutKernels& kernels = []() -> const DropoutKernels& {
#if defined(__x86_64__)
    const std::string_view name = chosen_vectors();
    if (name == "avx512") return kDropout_avx512;
    if (name == "avx2") return kDropout_avx2;
#else
    chosen_instructions();
#endif
    return kDropout_portable;
  }();
  return kernels;
}

void drop_piece(const float* x, float* out, std::int64_t first, std::int64_t count,
                const DropoutMask& mask) {
  chosen().drop(x, out, first, count, mask);
}
void drop_piece(const std::uint16_t* x, std::uint16_t* out, std::int64_t first, std::int64_t count,
                const DropoutMask& mask) {
  chosen().drop_bf16(x, out, first, count, mask);
}

constexpr std::int64_t kEntriesOfPiece = 1 << 15;
static_assert(kEntriesOfPiece % kDropoutBlock == 0);

}  // namespace

DropoutMask mask_of(DropoutLaw law, std::uint32_t kind) {
  if (!(law.rate >= 0 && law.rate <= 1)) {
    throw std::invalid_argument("rate is " + std::to_string(law.rate) + "; it must be from 0 to 1");
  }
  const double factor = law.rate == 1 ? 0 : 1 / (1 - law.rate);
  return {law.seed, static_cast<std::uint32_t>(std::lround(law.rate * 65536)), kind,
          static_cast<float>(factor)};
}

template <typename T>
void drop(const T* x, T* out, std::int64_t size, DropoutLaw law, int num_threads) {
  const DropoutMask mask = mask_of(law, kDropsStates);
  const auto pieces = static_cast<std::size_t>((size + kEntriesOfPiece - 1) / kEntriesOfPiece);
  constexpr std::int64_t kEntriesOfNanosecond = 4;
  parallel_for_in_team(pieces, size / kEntriesOfNanosecond, num_threads, [&](std::size_t piece) {
    const std::int64_t first = static_cast<std::int64_t>(piece) * kEntriesOfPiece;
    drop_piece(x, out, first, std::min(kEntriesOfPiece, size - first), mask);
  });
}

template void drop(const float*, float*, std::int64_t, DropoutLaw, int);
template void drop(const std::uint16_t*, std::uint16_t*, std::int64_t, DropoutLaw, int);

}  // namespace hybrid_fast
