// Gathering and padding of tokens, their gradients, and hashes of texts, against plain loops.
#include <algorithm>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "core/text_hash.h"
#include "core/token_rows.h"
#include "core/token_sums.h"

namespace hybrid_fast {
namespace {

using Ints = std::vector<std::int64_t>;

std::mt19937 random_bits(11);

// Where texts of up to `longest` entries begin and end.
Ints draw_offsets(std::size_t num_texts, std::uint32_t longest) {
  Ints offsets{0};
  for (std::size_t i = 0; i < num_texts; ++i) {
    offsets.push_back(offsets.back() + random_bits() % (longest + 1));
  }
  return offsets;
}

template <typename Id>
void test_take_and_pad(std::size_t num_texts) {
  const Ints offsets = draw_offsets(num_texts, 7);
  std::vector<Id> ids(offsets.back());
  for (auto& id : ids) id = static_cast<Id>(random_bits() % 60000);
  Ints rows(num_texts + num_texts / 2);
  for (auto& row : rows) row = random_bits() % num_texts;
  const TokenRows<Id> texts{ids, offsets};
  Ints places(rows.size() + 1);
  place_tokens(texts, rows, places);
  std::vector<Id> copy(places.back());
  copy_tokens<Id>(texts, rows, places, copy);
  Ints matrix(rows.size() * 7, -5);
  pad_tokens(texts, rows, 7, -1, matrix);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int64_t begin = offsets[rows[i]], size = offsets[rows[i] + 1] - begin;
    CHECK(places[i + 1] - places[i] == size);
    for (std::int64_t k = 0; k < 7; ++k) {
      const std::int64_t expected = k < size ? static_cast<std::int64_t>(ids[begin + k]) : -1;
      CHECK(matrix[i * 7 + k] == expected);
      if (k < size) CHECK(copy[places[i] + k] == ids[begin + k]);
    }
  }
}

void test_bad_texts() {
  const std::vector<std::int32_t> ids{1, 2, 3};
  const auto pad = [&](Ints offsets, std::int64_t row, std::int64_t length) {
    Ints matrix(length);
    pad_tokens(TokenRows<std::int32_t>{ids, offsets}, Ints{row}, length, 0, matrix);
  };
  pad({0, 3}, 0, 3);
  CHECK_THROWS(pad({0, 3}, 0, 2), std::invalid_argument);
  CHECK_THROWS(pad({0, 3}, 1, 3), std::out_of_range);
  CHECK_THROWS(pad({0, 3}, -1, 3), std::out_of_range);
  CHECK_THROWS(pad({0, 4}, 0, 9), std::invalid_argument);
  CHECK_THROWS(pad({2, 1}, 0, 9), std::invalid_argument);
  CHECK_THROWS(pad({-1, 1}, 0, 9), std::invalid_argument);
}

void test_sums(std::size_t num_texts, std::int64_t dim, int num_threads) {
  const std::int64_t vocab_size = 97;
  Ints offsets = draw_offsets(num_texts, 9), lengths;
  Ints ids(offsets.back());
  for (auto& id : ids) id = std::min(random_bits() % 97, random_bits() % 97);
  for (std::size_t i = 0; i < num_texts; ++i) lengths.push_back(offsets[i + 1] - offsets[i]);
  offsets.pop_back();
  std::vector<double> gradient(num_texts * dim), expected(vocab_size * dim);
  for (auto& g : gradient) g = random_bits() / 4e9;
  for (std::size_t text = 0; text < num_texts; ++text) {
    for (std::int64_t i = offsets[text]; i < offsets[text] + lengths[text]; ++i) {
      for (std::int64_t d = 0; d < dim; ++d) {
        expected[ids[i] * dim + d] += gradient[text * dim + d] * (1.0 / lengths[text]);
      }
    }
  }
  const TokenUses uses = find_uses(ids, offsets, vocab_size);
  std::vector<double> sums(uses.tokens.size() * dim);
  sum_by_token(uses, lengths, gradient.data(), dim, sums.data(), num_threads);
  for (std::size_t u = 0; u < uses.tokens.size(); ++u) {
    for (std::int64_t d = 0; d < dim; ++d) {
      CHECK(sums[u * dim + d] == expected[uses.tokens[u] * dim + d]);
    }
  }
}

void test_bad_uses() {
  CHECK_THROWS(find_uses(Ints{5}, Ints{0}, 5), std::invalid_argument);
  CHECK_THROWS(find_uses(Ints{-1}, Ints{0}, 5), std::invalid_argument);
  CHECK_THROWS(find_uses(Ints{1}, Ints{0}, -1), std::invalid_argument);
  CHECK_THROWS(find_uses(Ints{1}, Ints{1}, 5), std::invalid_argument);
  CHECK_THROWS(find_uses(Ints{1}, Ints{0, 2}, 5), std::invalid_argument);
  CHECK(find_uses(Ints{}, Ints{}, 0).tokens.empty());
}

void test_hashes() {
  std::string text;
  for (int i = 0; i < 40; ++i) text += static_cast<char>('a' + i % 26);
  Ints offsets;
  for (std::int64_t i = 0; i <= 40; ++i) offsets.push_back(i * (i + 1) / 2 % 41);
  std::ranges::sort(offsets);
  std::vector<std::uint8_t> data(text.begin(), text.begin() + offsets.back());
  std::vector<std::uint64_t> hashes(offsets.size() - 1);
  hash_texts(offsets, data, hashes);
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    std::vector<std::uint8_t> own(data.begin() + offsets[i], data.begin() + offsets[i + 1]);
    std::vector<std::uint64_t> alone(1);
    hash_texts(Ints{0, static_cast<std::int64_t>(own.size())}, own, alone);
    CHECK(alone[0] == hashes[i]);
  }
  std::vector<std::uint64_t> many(100'000);
  Ints ends(many.size() + 1);
  hash_texts(ends, {}, many);  // on all cores
  CHECK(std::ranges::count(many, many[0]) == 100'000);
  std::vector<std::uint64_t> one(1);
  CHECK_THROWS(hash_texts(Ints{0, 2}, std::vector<std::uint8_t>{1}, one), std::invalid_argument);
  CHECK_THROWS(hash_texts(Ints{1, 0}, std::vector<std::uint8_t>{1}, one), std::invalid_argument);
  CHECK_THROWS(hash_texts(Ints{-1, 0}, std::vector<std::uint8_t>{1}, one), std::invalid_argument);
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  for (const std::size_t num_texts : {1, 3, 9000}) {
    test_take_and_pad<std::uint16_t>(num_texts);
    test_take_and_pad<std::int32_t>(num_texts);
  }
  test_bad_texts();
  test_sums(1, 1, 1);
  test_sums(50, 7, 3);
  test_sums(9000, 33, 4);
  test_bad_uses();
  test_hashes();
}
