"""Amazon Comprehend, which finds the language and the entities of a text."""

from mlcommons_py.remote.provider import Preset, Provider
from mlcommons_py.remote.schemas import array, number, output, record, string, with_parameters

_LANGUAGE = record(("LanguageCode", "Score"), LanguageCode=string, Score=number)

PROVIDER = Provider(
    name="comprehend",
    interfaces={
        ("comprehend", "DetectDominantLanguage"): Preset(
            with_parameters(("Text",), Text=string),
            # Upstream asks for {"response": {"Languages": …}}, an answer that no connector of its own makes any more.
            output(record(("Languages",), Languages=array(_LANGUAGE))),
        )
    },
)
