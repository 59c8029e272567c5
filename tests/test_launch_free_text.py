"""A typed sentence reaches the program as it was typed, through Hydra's own grammar."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from src.launch.free_text import quote_free_text

SENTENCES = [
    "a plain sentence",
    "commas, and [brackets] {braces} (parens)",
    "don't",
    "it''s",
    'she said "no"',
    "a=b",
    "${oc.env:HOME}",
    "back\\slash",
    "ends in a backslash\\",
    "both \\' at once",
    "\\\\'",
    " leading and trailing ",
    "null and true",
    "true",
    "3.5",
    "caf\u00e9 \U0001f600",
    "",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_quoted_sentence_parses_back_to_itself(sentence):
    argument = quote_free_text([f"text={sentence}"], keys=("text",))[0]
    override = OverridesParser.create().parse_override(argument)
    config = OmegaConf.create({"text": override.value()})
    assert config.text == sentence


def test_other_arguments_are_left_alone():
    arguments = ["run=a,b", "--help", "text=null", "textual=x,y"]
    assert quote_free_text(arguments, keys=("text",)) == arguments
