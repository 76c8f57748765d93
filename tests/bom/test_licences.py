"""Licences are what an artifact declares, in its own words."""

from __future__ import annotations

import pytest

from reprise.bom.licences import Licences, conda_licences, debian_licences, wheel_licences

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: small

Files: *
Copyright: 2020 somebody
License: Expat

Files: debian/*
Copyright: 2021 somebody
License: GPL-2+ with
 exception text that goes on

License: Unused-1.0
 A licence's text that no file of the package names by itself.
"""


def test_an_spdx_expression_wins_over_classifiers_and_the_old_field() -> None:
    text = "Name: a\nLicense: whatever\nClassifier: License :: OSI Approved :: MIT License\nLicense-Expression: MIT\n"
    assert wheel_licences(text) == Licences("MIT")


def test_classifiers_win_over_the_old_field() -> None:
    classifiers = "Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: BSD License\n"
    text = f"Name: a\nLicense: BSD\n{classifiers}"
    assert wheel_licences(text) == Licences(names=("BSD License",))


def test_the_old_field_counts_only_while_it_is_a_name() -> None:
    assert wheel_licences("Name: a\nLicense: BSD\n") == Licences(names=("BSD",))
    assert wheel_licences("Name: a\nLicense: Permission is\n        granted\n") == Licences()
    assert wheel_licences(f"Name: a\nLicense: {'x' * 200}\n") == Licences()


def test_nothing_is_guessed_where_a_wheel_declares_nothing() -> None:
    assert wheel_licences("Name: a\n\nLicense: MIT (in the description)\n") == Licences()


def test_debian_names_come_from_the_paragraphs_about_files() -> None:
    assert debian_licences(COPYRIGHT) == Licences(names=("Expat", "GPL-2+ with"))


@pytest.mark.parametrize("text", ["", "This package was put together by hand.\n\nLicense: MIT\n"])
def test_a_copyright_in_free_text_gives_none(text: str) -> None:
    assert debian_licences(text) == Licences()


def test_conda_gives_the_recipes_own_word() -> None:
    assert conda_licences({"license": "BSD-3-Clause"}) == Licences(names=("BSD-3-Clause",))
    assert conda_licences({"license": None}) == conda_licences({}) == Licences()
