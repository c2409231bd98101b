// The kernels of gelu.h, once for each instruction set; see vectors.h.
#include <cstddef>
#include <cstdint>

#include "core/gelu_table.h"
#include "core/vectors.h"

namespace hybrid_fast::HYBRID_FAST_ISA {

inline Floats floats_at(const float* x) { return load<Floats>(x); }
inline Floats floats_at(const std::uint16_t* x) { return from_bf16(load<Halves>(x)); }
inline void put(float* out, Floats x) { store(out, x); }
inline void put(std::uint16_t* out, Floats x) { store(out, to_bf16(x)); }

// A ratio of polynomials in x^2 that was fitted to erf(x / sqrt(2)) / x, to 1.9e-8 times 1 / x, up
// to 5.6, from where Phi is 1 or 0 in float.
inline Floats gelu_of(Floats x) {
  const Floats far = Floats{} + 5.6f;
  const Floats y = larger(Floats{} - far, x > far ? far : x);
  const Floats t = y * y;
  Floats p = t * 4.42907273e-8f + 1.27130623e-5f;
  p = p * t + 3.47700564e-4f;
  p = p * t + 9.41451312e-3f;
  p = p * t + 6.87521194e-2f;
  p = p * t + 7.97884443e-1f;
  Floats q = t * 1.18021344e-6f + 7.51017942e-5f;
  q = q * t + 1.91297555e-3f;
  q = q * t + 2.89400608e-2f;
  q = q * t + 2.52833716e-1f;
  q = q * t + 1.0f;
  const Floats share = (y * p / q) * 0.5f + 0.5f;
  return x * (x < Floats{} - far ? Floats{} : share);
}

template <typename T>
void gelu(const T* x, T* out, std::int64_t size) {
  std::int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) put(out + i, gelu_of(floats_at(x + i)));
  if (i == size) return;
  T last[kLanes] = {};
  __builtin_memcpy(last, x + i, static_cast<std::size_t>(size - i) * sizeof(T));
  put(last, gelu_of(floats_at(last)));
  __builtin_memcpy(out + i, last, static_cast<std::size_t>(size - i) * sizeof(T));
}

}  // namespace hybrid_fast::HYBRID_FAST_ISA
