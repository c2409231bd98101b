// The sets of instructions that kernels are compiled for, and the one that this process takes.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace hybrid_fast {

struct InstructionSet {
  const char* name;
  bool present;  // whether this processor has it
};

// All of them, the widest first; the last one every processor has.
std::span<const InstructionSet> instruction_sets();

// The name of the one to take: the widest that is present or, unless `asked` is empty, that one,
// in lower or upper case.
// Throws std::invalid_argument if `asked` is no name of `sets`, or of one that is not present; the
// message begins with `variable`.
const char* choose_instructions(std::span<const InstructionSet> sets, std::string_view asked,
                                const std::string& variable);

// The choice for this process, by the environment variable HYBRID_FAST_CPU, read once.
// Throws as choose_instructions.
const char* chosen_instructions();

// Whether this processor has tiles for products of matrices (AMX), which our kernels do not use.
bool has_amx();

}  // namespace hybrid_fast
