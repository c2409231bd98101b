// Vectors of numbers, once for each instruction set: the kernels' files are compiled with their own
// flags, and name their namespace and the width of its vectors. Functions of the standard library
// that may be inlined are kept out: the linker would share them between sets.
#pragma once

#include <cstdint>

namespace hybrid_fast::HYBRID_FAST_ISA {

typedef float Floats __attribute__((vector_size(HYBRID_FAST_VECTOR_BYTES)));
typedef double Doubles __attribute__((vector_size(HYBRID_FAST_VECTOR_BYTES)));
typedef std::uint32_t Words __attribute__((vector_size(HYBRID_FAST_VECTOR_BYTES)));
typedef std::int32_t Integers __attribute__((vector_size(HYBRID_FAST_VECTOR_BYTES)));
typedef std::uint16_t Halves __attribute__((vector_size(HYBRID_FAST_VECTOR_BYTES / 2)));

constexpr int kLanes = HYBRID_FAST_VECTOR_BYTES / sizeof(float);

template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  using Type = Floats;
};
template <>
struct VectorOf<double> {
  using Type = Doubles;
};

template <typename V, typename T>
inline V load(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
template <typename V, typename T>
inline void store(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof(v));
}
// `b` if one of them is not a number: bounds stand first, so that what they bound stays visible.
template <typename V>
inline V larger(V a, V b) {
  return a > b ? a : b;
}

// The lanes taken together, half with half; a chain of them would wait for each.
template <typename Take>
inline float folded(Floats x, Take take) {
  float lanes[kLanes];
  store(lanes, x);
#pragma GCC unroll 4
  for (int width = kLanes / 2; width > 0; width /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < width; ++i) lanes[i] = take(lanes[i], lanes[i + width]);
  }
  return lanes[0];
}
inline float sum_of(Floats x) {
  return folded(x, [](float a, float b) { return a + b; });
}
inline float largest_of(Floats x) {
  return folded(x, [](float a, float b) { return larger(a, b); });
}

// exp to 2 units in the last place (Cephes' expf): 2^n times a polynomial on [-ln2 / 2, ln2 / 2].
// 0 below -87, not a number of one that is not. REQUIRES: x <= 88
inline Floats exp_of(Floats x) {
  const Floats low = Floats{} - 87.0f;
  const Floats y = larger(low, x);
  // Adding 1.5 * 2^23 rounds to a whole number, which then stands in the lowest bits.
  const Floats rounded = y * 1.44269504088896341f + 12582912.0f;
  const Floats n = rounded - 12582912.0f;
  const Floats r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  Words bits;
  __builtin_memcpy(&bits, &rounded, sizeof(bits));
  bits = (bits << 23) + (127 << 23);
  Floats power;
  __builtin_memcpy(&power, &bits, sizeof(power));
  return x < low ? Floats{} : p * power;
}
inline float exp_of(float x) { return exp_of(Floats{} + x)[0]; }
inline double exp_of(double x) { return __builtin_exp(x); }
inline Doubles exp_of(Doubles x) {
  for (unsigned i = 0; i < sizeof(x) / sizeof(double); ++i) x[i] = __builtin_exp(x[i]);
  return x;
}

// To bfloat16 and back, rounded to nearest, ties to even.
inline Halves to_bf16(Floats x) {
  Words bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  return __builtin_convertvector((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, Halves);
}
inline std::uint16_t to_bf16(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
inline Floats from_bf16(Halves x) {
  const Words bits = __builtin_convertvector(x, Words) << 16;
  Floats value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}
inline float from_bf16(std::uint16_t x) {
  const std::uint32_t bits = std::uint32_t{x} << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace hybrid_fast::HYBRID_FAST_ISA
