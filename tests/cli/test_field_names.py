"""The names read from sources are the fields of the class."""

import dataclasses

from hybrid_fast.cli.field_names import training_field_names
from hybrid_fast.training import HybridTrainingArguments


def test_they_are_the_fields_that_can_be_given():
    fields = dataclasses.fields(HybridTrainingArguments)
    names = training_field_names()
    assert sorted(names) == sorted(set(names))  # a field that we redefine is named once
    assert set(names) == {field.name for field in fields if field.init}
