"""What is taken from the inside of other libraries: there, or one clear error."""

import pytest
from babel import Locale, localedata

from hybrid_fast.data import compat


def test_week_data_is_what_a_locale_states_itself():
    assert compat.stated_week("de_AT")["first_day"] == 0
    assert Locale("en", "NG").first_week_day == 0
    assert "first_day" not in compat.stated_week("en_NG")  # inherited from English of the world
    assert {"de", "en", "en_NG"} <= set(compat.locale_identifiers())


def test_stated_and_inherited_data_do_not_get_mixed_up():
    before = localedata.load("de_AT")
    assert compat.stated_week("de_AT")
    assert localedata.load("de_AT") is before
    localedata._cache.pop("fr_NE", None)
    assert "first_day" not in compat.stated_week("fr_NE")
    assert len(Locale("fr", "NE").languages) > 100


@pytest.mark.parametrize("name", ["locale_identifiers", "load"])
def test_another_form_of_the_data_is_named_with_the_versions_that_are_known(monkeypatch, name):
    monkeypatch.delattr(localedata, name)
    use = {
        "locale_identifiers": compat.locale_identifiers,
        "load": lambda: compat.stated_week("de"),
    }
    with pytest.raises(ImportError, match=r"babel \d.* install babel 2\.16"):
        use[name]()


def test_week_data_without_a_week(monkeypatch):
    monkeypatch.setattr(localedata, "load", lambda identifier, merge_inherited: {})
    with pytest.raises(ImportError, match="form that the built-in corpus does not know"):
        compat.stated_week("de")
