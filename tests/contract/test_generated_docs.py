"""docs/events.md, docs/configuration.md and .env.example say what the code says."""

import pytest
from docs.generate import ROOT, SERVICES, configuration, environment_file, events_page, settings_classes


def test_the_events_page_is_the_code():
    assert (ROOT / "docs" / "events.md").read_text() == events_page(), "run `make docs`"


def test_the_example_environment_is_the_settings():
    assert (ROOT / ".env.example").read_text() == environment_file(), "run `make docs`"


def test_the_configuration_page_is_the_settings():
    assert (ROOT / "docs" / "configuration.md").read_text() == configuration(), "run `make docs`"


def test_the_configuration_page_names_every_setting_once_with_who_reads_it():
    rows = [line.split(" | ") for line in configuration().splitlines() if line.startswith("| `")]
    readers = {row[0].strip("|` "): row[2].split(", ") for row in rows}

    assert len(readers) == len(rows)
    for service, settings in SERVICES.items():
        read = {variable for variable, titles in readers.items() if service in titles}
        assert read == {name.upper() for name in settings.model_fields}


def test_every_line_of_the_example_environment_is_a_comment():
    assert [line for line in environment_file().splitlines() if line and not line.startswith("#")] == []


@pytest.mark.parametrize("group", list(settings_classes()))
def test_every_setting_says_what_it_means(group):
    unexplained = [name for name, field in group.model_fields.items() if not field.description]

    assert not unexplained
