// The choice among instruction sets by name.
#include "core/instructions.h"

#include <stdexcept>
#include <vector>

#include "check.h"

namespace hybrid_fast {
namespace {

const std::vector<InstructionSet> kOlder{{"avx512", false}, {"avx2", true}, {"portable", true}};

std::string refused(const char* asked) {
  try {
    choose_instructions(kOlder, asked, "CPU");
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

void test_the_widest_that_is_present() {
  CHECK(choose_instructions(kOlder, "", "CPU") == std::string("avx2"));
  CHECK(choose_instructions(std::span(kOlder).last(1), "", "CPU") == std::string("portable"));
}

void test_a_name_in_any_case() {
  for (const char* name : {"portable", "PORTABLE", "Portable"}) {
    CHECK(choose_instructions(kOlder, name, "CPU") == std::string("portable"));
  }
  CHECK(choose_instructions(kOlder, "AVX2", "CPU") == std::string("avx2"));
}

void test_what_is_refused() {
  const std::string one_of = "; it must be one of 'avx512', 'avx2', 'portable'";
  CHECK(refused("avx-2") == "CPU is 'avx-2'" + one_of + "; did you mean 'avx2'?");
  CHECK(refused("AVX512F") == "CPU is 'AVX512F'" + one_of + "; did you mean 'avx512'?");
  CHECK(refused("sse") == "CPU is 'sse'" + one_of);
  CHECK(refused("avx2 ") == "CPU is 'avx2 '" + one_of + "; did you mean 'avx2'?");
  CHECK(refused("AVX512") ==
        "CPU is 'AVX512', which this processor lacks; it has 'avx2', 'portable'");
}

void test_those_of_this_processor() {
  const auto sets = instruction_sets();
  CHECK(sets.size() == 3);
  CHECK(sets.back().name == std::string("portable") && sets.back().present);
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  test_the_widest_that_is_present();
  test_a_name_in_any_case();
  test_what_is_refused();
  test_those_of_this_processor();
}
