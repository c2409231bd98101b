"""The id of a passage that is given none."""

import pyarrow as pa

from hybrid_fast.data.text_ids import passage_text_ids


def passage_text_id(text):
    """Return the id that `passage_text_ids` gives one passage."""
    return passage_text_ids(pa.array([text]))[0].as_py()
