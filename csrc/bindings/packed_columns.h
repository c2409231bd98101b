// The Python class `PackedColumns`.
#pragma once

#include <cstdint>
#include <memory>

#include "bindings/bindings.h"

namespace hybrid_fast::bindings {

// A matrix of bfloat16 in the order in which the products of the core read it.
class PackedColumns {
 public:
  // REQUIRES: has_bf16_product(), or RuntimeError
  PackedColumns(const py::object& columns, int num_threads);

  std::int64_t num_columns() const { return num_columns_; }
  std::int64_t dim() const { return dim_; }
  const std::uint16_t* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(std::uint16_t* data) const;
  };

  std::int64_t num_columns_ = 0, dim_ = 0;
  std::unique_ptr<std::uint16_t[], Free> data_;
};

}  // namespace hybrid_fast::bindings
