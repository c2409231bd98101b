// The sets of instructions that kernels are compiled for, and the one that this process takes.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace hybrid_fast {

struct InstructionSet {
  const char* name;
  bool (*present)();  // whether this process may use it on this processor
};

// All of them, the widest first, each with what the next one has; the last one every processor has.
std::span<const InstructionSet> instruction_sets();

// The name of the one to take: the widest that is present or, unless `asked` is empty, that one,
// in lower or upper case.
// Only sets that may be taken are asked whether they are present.
// Throws std::invalid_argument if `asked` is no name of `sets`, or of one that is not present; the
// message begins with `variable`.
const char* choose_instructions(std::span<const InstructionSet> sets, std::string_view asked,
                                const std::string& variable);

// The choice for this process, by the environment variable HYBRID_FAST_CPU, read once.
// Throws as choose_instructions.
const char* chosen_instructions();

// The name of the set whose vectors go with a choice: its own, or "avx512" for "amx", whose tiles
// serve products of matrices alone.
std::string_view vectors_of(std::string_view chosen);

// Those of kernels for vectors that go with the choice for this process. Throws as
// choose_instructions.
template <typename Kernels>
const Kernels& of_chosen_vectors(const Kernels& portable, const Kernels* avx2 = nullptr,
                                 const Kernels* avx512 = nullptr) {
  const std::string_view vectors = vectors_of(chosen_instructions());
  if (vectors == "avx512" && avx512 != nullptr) return *avx512;
  if (vectors == "avx2" && avx2 != nullptr) return *avx2;
  return portable;
}

// The same of the kernels name_portable and, where they are compiled, name_avx2 and name_avx512.
#if defined(__x86_64__)
#define HYBRID_FAST_CHOSEN(name) of_chosen_vectors(name##_portable, &name##_avx2, &name##_avx512)
#else
#define HYBRID_FAST_CHOSEN(name) of_chosen_vectors(name##_portable)
#endif

// Whether this processor has tiles for products of matrices (AMX), which torch may use whatever our
// kernels take.
bool has_amx();

}  // namespace hybrid_fast
