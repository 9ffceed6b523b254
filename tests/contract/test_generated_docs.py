"""What is written from the code says what the code says."""

import pytest
from docs.generate import SERVICES, configuration, environment_file, openapi, pages, settings_classes
from docs.reference_page import reference_page

PAGES = pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_is_written_from_the_code_is_the_code(path):
    assert path.read_text() == PAGES[path], "run `make docs`"


def test_the_reference_names_every_route_and_every_structure_once():
    described, lines = openapi(), reference_page(openapi()).splitlines()
    routes = [
        f"### `{method.upper()} {path}`"
        for path, operations in described["paths"].items()
        for method in operations
    ]
    structures = [f"### {name}" for name in described["components"]["schemas"]]

    assert sorted(line for line in lines if line.startswith("### ")) == sorted(routes + structures)


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
