#include "core/instructions.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace hybrid_fast {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

// Fewest letters to insert, delete or replace (Levenshtein 1966).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// "; did you mean ...?", or nothing where no name is near.
std::string nearest(std::span<const InstructionSet> sets, const std::string& asked) {
  const auto far = [&](const InstructionSet& set) { return distance(asked, set.name); };
  const InstructionSet& best = *std::ranges::min_element(sets, {}, far);
  if (2 * far(best) > asked.size()) return "";
  return "; did you mean '" + std::string(best.name) + "'?";
}

std::string names(std::span<const InstructionSet> sets, bool present_alone) {
  std::string list;
  for (const InstructionSet& set : sets) {
    if (present_alone && !set.present()) continue;
    list += (list.empty() ? "'" : ", '") + std::string(set.name) + "'";
  }
  return list;
}

#if defined(__x86_64__)
// Tiles, and their products of bfloat16, by CPUID's leaf 7.
enum TileBits : unsigned { kAmxTile = 1u << 24, kAmxBf16 = 1u << 22 };

bool has_tiles(unsigned bits) {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & bits) == bits;
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
bool has_avx512() { return false; }
bool has_avx2() { return false; }
#endif

// Linux lets a process use the registers of tiles once it has asked, all of its threads, also those
// that run already. This stays for the life of the process. Only threads that hold tiles have more
// to save; stacks for signals must have room for it, and where one has not, Linux refuses.
bool may_use_tiles() {
#if defined(HYBRID_FAST_AMX) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
  static const bool permitted = has_avx512() && has_tiles(kAmxBf16 | kAmxTile) &&
                                syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
#else
  return false;
#endif
}

}  // namespace

std::span<const InstructionSet> instruction_sets() {
  static constexpr std::array sets{
      InstructionSet{"amx", &may_use_tiles}, InstructionSet{"avx512", &has_avx512},
      InstructionSet{"avx2", &has_avx2}, InstructionSet{"portable", [] { return true; }}};
  return sets;
}

const char* choose_instructions(std::span<const InstructionSet> sets, std::string_view asked,
                                const std::string& variable) {
  const auto present = [](const InstructionSet& set) { return set.present(); };
  if (asked.empty()) return std::ranges::find_if(sets, present)->name;
  const std::string wanted = lower(asked), given = variable + " is '" + std::string(asked) + "'";
  const auto set = std::ranges::find_if(sets, [&](const auto& s) { return wanted == s.name; });
  if (set == sets.end()) {
    throw std::invalid_argument(given + "; it must be one of " + names(sets, false) +
                                nearest(sets, wanted));
  }
  if (!set->present()) {
    throw std::invalid_argument(given + ", which this process cannot use; it can use " +
                                names(sets, true));
  }
  return set->name;
}

const char* chosen_instructions() {
  static const char* const chosen = [] {
    const char* asked = std::getenv("HYBRID_FAST_CPU");
    return choose_instructions(instruction_sets(), asked == nullptr ? "" : asked,
                               "HYBRID_FAST_CPU");
  }();
  return chosen;
}

std::string_view vectors_of(std::string_view chosen) { return chosen == "amx" ? "avx512" : chosen; }

bool has_amx() {
#if defined(__x86_64__)
  return has_tiles(kAmxTile);
#else
  return false;
#endif
}

}  // namespace hybrid_fast
