#include "core/gelu.h"

#include <algorithm>

#include "core/gelu_table.h"
#include "core/instructions.h"
#include "core/team.h"

namespace hybrid_fast {
namespace {

const GeluKernels& chosen() {
  static const GeluKernels& kernels = HYBRID_FAST_CHOSEN(kGelu);
  return kernels;
}

void gelu_of_piece(const float* x, float* out, std::int64_t size) {
  chosen().of_float(x, out, size);
}
void gelu_of_piece(const std::uint16_t* x, std::uint16_t* out, std::int64_t size) {
  chosen().of_bf16(x, out, size);
}

constexpr std::int64_t kEntriesOfPiece = 1 << 15;

}  // namespace

template <typename T>
void gelu(const T* x, T* out, std::int64_t size, int num_threads) {
  const auto pieces = static_cast<std::size_t>((size + kEntriesOfPiece - 1) / kEntriesOfPiece);
  constexpr std::int64_t kEntriesOfNanosecond = 4;
  parallel_for_in_team(pieces, size / kEntriesOfNanosecond, num_threads, [&](std::size_t piece) {
    const std::int64_t first = static_cast<std::int64_t>(piece) * kEntriesOfPiece;
    gelu_of_piece(x + first, out + first, std::min(kEntriesOfPiece, size - first));
  });
}

template void gelu(const float*, float*, std::int64_t, int);
template void gelu(const std::uint16_t*, std::uint16_t*, std::int64_t, int);

}  // namespace hybrid_fast
