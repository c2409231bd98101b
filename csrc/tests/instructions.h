// Tests of kernels for instructions that the processor may lack.
#pragma once

#include <cstdlib>
#include <string>

#include "core/instructions.h"

namespace hybrid_fast {

constexpr int kSkipped = 77;  // the exit status that CMakeLists.txt names

// Whether HYBRID_FAST_CPU names instructions that this processor lacks.
inline bool asks_for_absent_instructions() {
  const char* asked = std::getenv("HYBRID_FAST_CPU");
  for (const InstructionSet& set : instruction_sets()) {
    if (asked != nullptr && std::string(asked) == set.name && !set.present()) return true;
  }
  return false;
}

}  // namespace hybrid_fast
