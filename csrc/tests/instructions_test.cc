// The choice among instruction sets by name.
#include "core/instructions.h"

#include <stdexcept>
#include <vector>

#include "check.h"

namespace hybrid_fast {
namespace {

bool present() { return true; }
bool absent() { return false; }
bool not_to_be_asked() {
  CHECK(!"asked for permission to use what was turned off");
  return true;
}

const std::vector<InstructionSet> kOlder{
    {"amx", &absent}, {"avx512", &absent}, {"avx2", &present}, {"portable", &present}};
const std::vector<InstructionSet> kNewer{
    {"amx", &not_to_be_asked}, {"avx512", &present}, {"portable", &present}};

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

void test_those_that_are_turned_off_are_not_asked() {
  CHECK(choose_instructions(kNewer, "avx512", "CPU") == std::string("avx512"));
  CHECK(choose_instructions(kNewer, "portable", "CPU") == std::string("portable"));
  CHECK_THROWS(choose_instructions(kNewer, "avx", "CPU"), std::invalid_argument);
}

void test_a_name_in_any_case() {
  for (const char* name : {"portable", "PORTABLE", "Portable"}) {
    CHECK(choose_instructions(kOlder, name, "CPU") == std::string("portable"));
  }
  CHECK(choose_instructions(kOlder, "AVX2", "CPU") == std::string("avx2"));
}

struct Kernels {
  const char* vectors;
};
constexpr Kernels kKernels_portable{"portable"};
#if defined(__x86_64__)
constexpr Kernels kKernels_avx2{"avx2"}, kKernels_avx512{"avx512"};
#endif

// A processor with tiles has the widest vectors too.
void test_the_vectors_that_go_with_a_choice() {
  CHECK(vectors_of("amx") == "avx512");
  for (const char* name : {"avx512", "avx2", "portable"}) CHECK(vectors_of(name) == name);
  CHECK(HYBRID_FAST_CHOSEN(kKernels).vectors == vectors_of(chosen_instructions()));
  CHECK(of_chosen_vectors(kKernels_portable).vectors == kKernels_portable.vectors);
}

void test_what_is_refused() {
  const std::string one_of = "; it must be one of 'amx', 'avx512', 'avx2', 'portable'";
  CHECK(refused("avx-2") == "CPU is 'avx-2'" + one_of + "; did you mean 'avx2'?");
  CHECK(refused("AVX512F") == "CPU is 'AVX512F'" + one_of + "; did you mean 'avx512'?");
  CHECK(refused("AMXT") == "CPU is 'AMXT'" + one_of + "; did you mean 'amx'?");
  CHECK(refused("sse") == "CPU is 'sse'" + one_of);
  CHECK(refused("avx2 ") == "CPU is 'avx2 '" + one_of + "; did you mean 'avx2'?");
  CHECK(refused("AVX512") ==
        "CPU is 'AVX512', which this process cannot use; it can use 'avx2', 'portable'");
}

void test_those_of_this_processor() {
  const auto sets = instruction_sets();
  CHECK(sets.size() == 4);
  CHECK(sets.front().name == std::string("amx") && (has_amx() || !sets.front().present()));
  CHECK(sets.front().present() == sets.front().present());  // asking twice changes nothing
  CHECK(sets.back().name == std::string("portable") && sets.back().present());
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  test_the_widest_that_is_present();
  test_those_that_are_turned_off_are_not_asked();
  test_a_name_in_any_case();
  test_the_vectors_that_go_with_a_choice();
  test_what_is_refused();
  test_those_of_this_processor();
}
