#include "core/index_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "core/parallel.h"
#include "core/random.h"

namespace hybrid_fast {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::array<char, 8> kMagic = {'h', 'f', '-', 'p', 'l', 'a', 'n', '\n'};
constexpr std::uint32_t kVersion = 4;
constexpr std::uint32_t kByteOrder = 0x01020304;
constexpr std::size_t kAlignment = 64;
constexpr std::size_t kNumArrays = 21;

struct Header {
  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t byte_order = kByteOrder;
  std::uint64_t num_bytes = 0;  // of the whole file
  std::uint64_t checksum = 0;
};

struct Sizes {
  std::uint64_t note = 0;
  std::array<std::uint64_t, kNumArrays> arrays{};
};

std::size_t aligned(std::size_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

// Four independent multiply chains, which a processor runs side by side.
std::uint64_t checksum_of_chunk(Bytes bytes) {
  constexpr std::size_t kSums = 4;
  std::array<std::uint64_t, kSums> sums = {1, 2, 3, 4};
  std::array<std::uint64_t, kSums> words;
  const auto add = [&] {
    for (std::size_t i = 0; i < kSums; ++i) {
      sums[i] = (sums[i] ^ words[i]) * 0x9E3779B97F4A7C15u;
      sums[i] ^= sums[i] >> 32;
    }
  };
  for (; bytes.size() >= sizeof(words); bytes = bytes.subspan(sizeof(words))) {
    std::memcpy(words.data(), bytes.data(), sizeof(words));
    add();
  }
  words.fill(0);
  if (!bytes.empty()) std::memcpy(words.data(), bytes.data(), bytes.size());
  add();
  std::uint64_t sum = bytes.size();
  for (std::uint64_t s : sums) sum = mix(sum ^ s);
  return sum;
}

std::uint64_t checksum(Bytes bytes) {
  constexpr std::size_t kChunk = std::size_t{1} << 22;
  std::vector<std::uint64_t> sums((bytes.size() + kChunk - 1) / kChunk);
  parallel_for(sums.size(), [&](std::size_t i) {
    sums[i] =
        checksum_of_chunk(bytes.subspan(i * kChunk, std::min(kChunk, bytes.size() - i * kChunk)));
  });
  std::uint64_t sum = bytes.size();
  for (std::uint64_t s : sums) sum = mix(sum ^ s);
  return sum;
}

template <typename T>
Bytes bytes_of(const T& object) {
  return std::as_bytes(std::span(&object, 1));
}

std::uint64_t checksum(const Sizes& sizes, std::string_view note,
                       const std::vector<Bytes>& arrays) {
  std::uint64_t sum = checksum(bytes_of(sizes)) ^ mix(checksum(std::as_bytes(std::span(note))));
  for (Bytes array : arrays) sum = mix(sum ^ checksum(array));
  return sum;
}

void require(bool condition, const std::string& what) {
  if (!condition) throw std::invalid_argument(what);
}

NotedIndex parse(Bytes bytes, std::shared_ptr<const void> backing) {
  Header header;
  require(bytes.size() >= sizeof(Header) &&
              std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0,
          "is not a saved index of a batch plan");
  std::memcpy(&header, bytes.data(), sizeof(Header));
  require(header.byte_order == kByteOrder, "was saved on a machine of another byte order");
  require(header.version == kVersion, "has version " + std::to_string(header.version) +
                                          " of the format, this is version " +
                                          std::to_string(kVersion));
  require(bytes.size() == header.num_bytes && bytes.size() >= sizeof(Header) + sizeof(Sizes),
          "is truncated or was appended to: it has " + std::to_string(bytes.size()) + " of " +
              std::to_string(header.num_bytes) + " bytes");
  Sizes sizes;
  std::memcpy(&sizes, bytes.data() + sizeof(Header), sizeof(Sizes));
  std::size_t offset = sizeof(Header) + sizeof(Sizes);
  const auto take = [&](std::uint64_t size) {
    require(size <= bytes.size() - std::min(offset, bytes.size()), "is damaged: sizes do not fit");
    const Bytes part = bytes.subspan(offset, size);
    offset = aligned(offset + size);
    return part;
  };
  const Bytes note = take(sizes.note);
  IndexViews views;
  std::vector<Bytes> arrays;
  for_each_array(
      [&]<typename T>(std::span<const T>& view) {
        const Bytes part = take(sizes.arrays[arrays.size()]);
        require(part.size() % sizeof(T) == 0, "is damaged: sizes do not fit");
        view = {reinterpret_cast<const T*>(part.data()), part.size() / sizeof(T)};
        arrays.push_back(part);
      },
      views);
  const std::string_view text(reinterpret_cast<const char*>(note.data()), note.size());
  require(header.checksum == checksum(sizes, text, arrays) && views.summary.size() == 1,
          "is damaged: its checksum does not fit its content");
  return {std::make_shared<PlanIndex>(views, std::move(backing)), std::string(text)};
}

[[noreturn]] void fail(const std::string& path) {
  throw std::system_error(errno, std::generic_category(), path);
}

}  // namespace

void write_index(const PlanIndex& index, std::string_view note,
                 const std::function<void(Bytes)>& sink) {
  Header header;
  Sizes sizes;
  sizes.note = note.size();
  std::vector<Bytes> arrays;
  IndexViews views = index.arrays();
  for_each_array(
      [&](const auto& array) {
        sizes.arrays[arrays.size()] = array.size_bytes();
        arrays.push_back(std::as_bytes(array));
      },
      views);
  header.checksum = checksum(sizes, note, arrays);
  std::size_t offset = aligned(sizeof(Header) + sizeof(Sizes) + note.size());
  for (Bytes array : arrays) offset = aligned(offset + array.size());
  header.num_bytes = offset;

  constexpr std::array<std::byte, kAlignment> kPadding{};
  offset = 0;
  const auto put = [&](Bytes part) {
    if (part.empty()) return;
    sink(part);
    offset += part.size();
  };
  const auto align = [&] { put(Bytes(kPadding).first(aligned(offset) - offset)); };
  put(bytes_of(header));
  put(bytes_of(sizes));
  put(std::as_bytes(std::span(note)));
  align();
  for (Bytes array : arrays) {
    put(array);
    align();
  }
}

void save_index(const PlanIndex& index, std::string_view note, const std::string& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wb"),
                                                       &std::fclose);
  if (!file) fail(path);
  write_index(index, note, [&](Bytes part) {
    if (std::fwrite(part.data(), 1, part.size(), file.get()) != part.size()) fail(path);
  });
  if (std::fclose(file.release()) != 0) fail(path);
}

NotedIndex open_index(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path);
  struct stat status{};
  const bool known = ::fstat(descriptor, &status) == 0;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* memory =
      known && size > 0 ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0) : MAP_FAILED;
  const int error = errno;
  ::close(descriptor);  // the mapping stays
  require(!known || size > 0, "is empty");
  if (memory == MAP_FAILED) {
    errno = error;
    fail(path);
  }
  std::shared_ptr<const void> backing(
      memory, [size](const void* p) { ::munmap(const_cast<void*>(p), size); });
  return parse({static_cast<const std::byte*>(memory), size}, std::move(backing));
}

NotedIndex read_index(std::string_view bytes) {
  auto words = std::make_shared<std::vector<std::uint64_t>>((bytes.size() + 7) / 8);
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(words->data()));
  const Bytes copy = std::as_bytes(std::span(*words)).first(bytes.size());
  return parse(copy, std::move(words));
}

}  // namespace hybrid_fast
