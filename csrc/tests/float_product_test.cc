// Products of float matrices of any layout against plain loops.
#include "core/float_product.h"

#include <algorithm>
#include <vector>

#include "check.h"
#include "contrast_problem.h"
#include "instructions.h"

namespace hybrid_fast {
namespace {

// Numbers by rows, by columns, or with gaps between rows.
struct Numbers {
  std::vector<float> data;
  FloatMatrix matrix;

  Numbers(std::int64_t rows, std::int64_t columns, char layout) {
    const std::int64_t width = layout == 'g' ? columns + 3 : columns;
    data.resize(rows * width + 1);
    for (float& number : data) number = static_cast<float>(uniform(-1, 1));
    matrix = layout == 'c' ? FloatMatrix{data.data(), rows, columns, 1, rows}
                           : FloatMatrix{data.data(), rows, columns, width, 1};
  }
  double at(std::int64_t r, std::int64_t c) const {
    return matrix.data[r * matrix.stride + c * matrix.step];
  }
};

enum class Start { kNothing, kSums, kBias };

void test_product(std::int64_t rows, std::int64_t columns, std::int64_t depth, Start start) {
  const bool add = start == Start::kSums;
  const Numbers biases(1, columns, 'r');
  const float* bias = start == Start::kBias ? biases.data.data() : nullptr;
  for (const char left : {'r', 'c', 'g'}) {
    for (const char right : {'r', 'c', 'g'}) {
      const Numbers a(rows, depth, left), b(depth, columns, right);
      std::vector<float> out(rows * columns + 1, 0.5f), alone = out;
      multiply_float(a.matrix, b.matrix, out.data(), add, bias, 3);
      multiply_float(a.matrix, b.matrix, alone.data(), add, bias, 1);
      CHECK(out == alone);  // whatever the number of threads
      CHECK(out.back() == 0.5f);
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < columns; ++j) {
          double dot = add ? 0.5 : bias != nullptr ? bias[j] : 0;
          for (std::int64_t k = 0; k < depth; ++k) dot += a.at(i, k) * b.at(k, j);
          CHECK(near(out[i * columns + j], dot, double(depth), 1e-6));
        }
      }
    }
  }
}

void test_products() {
  for (const std::int64_t rows : {1, 5, 6, 97}) {
    for (const std::int64_t columns : {1, 16, 63, 64, 130}) {
      for (const std::int64_t depth : {1, 17, 257}) {
        test_product(rows, columns, depth, Start((rows + columns + depth) % 3));
      }
    }
  }
  for (const Start start : {Start::kSums, Start::kBias}) {
    test_product(390, 390, 70, start);  // several blocks
    test_product(7, 70, 800, start);    // several depths
  }
}

// The last columns, which fill no panel, have the bits that they have in a whole one.
void test_columns_are_the_same_wherever_they_stand(Start start) {
  const std::int64_t rows = 7, columns = 64, depth = 800;  // several depths
  const Numbers a(rows, depth, 'r'), b(depth, columns, 'c'), biases(1, columns, 'r');
  const bool add = start == Start::kSums;
  const float* bias = start == Start::kBias ? biases.data.data() : nullptr;
  std::vector<float> whole(rows * columns, 0.5f);
  multiply_float(a.matrix, b.matrix, whole.data(), add, bias, 1);
  for (const std::int64_t first : {1, 40, 63}) {
    FloatMatrix part = b.matrix;
    part.data += first * part.step;
    part.num_columns -= first;
    std::vector<float> alone(rows * part.num_columns, 0.5f);
    multiply_float(a.matrix, part, alone.data(), add, bias == nullptr ? nullptr : bias + first, 1);
    for (std::int64_t r = 0; r < rows; ++r) {
      CHECK(std::equal(whole.begin() + r * columns + first, whole.begin() + (r + 1) * columns,
                       alone.begin() + r * part.num_columns));
    }
  }
}

void test_nothing() {
  for (const Start start : {Start::kNothing, Start::kSums, Start::kBias}) {
    test_product(0, 5, 5, start);
    test_product(5, 0, 5, start);
    test_product(2, 3, 0, start);
  }
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  if (asks_for_absent_instructions()) return kSkipped;
  test_products();
  for (const Start start : {Start::kNothing, Start::kSums, Start::kBias}) {
    test_columns_are_the_same_wherever_they_stand(start);
  }
  test_nothing();
}
