"""docs/events.md and .env.example say what the code says."""

import pytest
from docs.generate import ROOT, environment_file, events_page, settings_classes


def test_the_events_page_is_the_code():
    assert (ROOT / "docs" / "events.md").read_text() == events_page(), "run `make docs`"


def test_the_example_environment_is_the_settings():
    assert (ROOT / ".env.example").read_text() == environment_file(), "run `make docs`"


@pytest.mark.parametrize("group", list(settings_classes()))
def test_every_setting_says_what_it_means(group):
    unexplained = [name for name, field in group.model_fields.items() if not field.description]

    assert not unexplained
