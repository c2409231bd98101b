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

// The name of the set whose vectors go with the choice: its own, or "avx512" for "amx", whose tiles
// serve products of matrices alone. Throws as choose_instructions.
const char* chosen_vectors();

// Whether this processor has tiles for products of matrices (AMX), which torch may use whatever our
// kernels take.
bool has_amx();

}  // namespace hybrid_fast
