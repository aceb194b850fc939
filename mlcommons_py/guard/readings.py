r"""How a text may be read, so that what is spelled in another way is seen all the same.

A guardrail sees a request's body or an answer's, which is JSON: in it ``é`` may stand as ``\u00e9``, and a line's end
as ``\n``. A person, and a model, reads past both, past characters that show nothing, and past letters that only look
different (``ｂａｄ``). What this does not read past is a letter of another alphabet that looks alike: Cyrillic ``а``
stays what it is, for NFKC (Unicode Annex 15) keeps them apart.
"""

import re
import unicodedata

_ESCAPE = re.compile(
    r'\\(?:(["\\/bfnrt])|u([dD][89abAB][0-9A-Fa-f]{2})\\u([dD][c-fC-F][0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4}))'
)
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_DEEPEST = 3
"""How often JSON within JSON is read, at most."""

_BREAKS = re.compile("[\t\n\x0b\x0c\r\x85\u2028\u2029]")


def readings(text: str) -> list[str]:
    r"""Return the ways to read a text, none twice, itself first.

    They are: the text; the text with letters in place of their escapes; that in NFKC, without invisible characters;
    that with all escapes read, and each line's end a blank; and the same where JSON stands within JSON.

    >>> readings('{"a":"b\\u00e4\\nd"}')
    ['{"a":"b\\u00e4\\nd"}', '{"a":"bä\\nd"}', '{"a":"bä d"}']
    """
    shown = unescaped(text, controls=False)
    return list(dict.fromkeys((text, shown, folded(shown), *(_BREAKS.sub(" ", read) for read in plain(text)))))


def plain(text: str) -> list[str]:
    r"""Return a text as it is read: escapes resolved, in NFKC, without invisible characters.

    A second one follows where JSON stands as a text within JSON: its escapes are resolved as well.

    >>> plain('{"a":"ｂad\\u200b\\nword"}')
    ['{"a":"bad\nword"}']
    """
    once = inmost = unescaped(text, controls=True)
    for _ in range(_DEEPEST):
        inmost = unescaped(inmost, controls=True)
    return [folded(once)] if inmost == once else [folded(once), folded(inmost)]


def unescaped(text: str, *, controls: bool) -> str:
    r"""Return a text without JSON's escapes; those of quotes, backslashes and line ends only with ``controls``.

    >>> unescaped("\\u0041\\n\\ud83d\\ude00", controls=False)
    'A\\n😀'
    """
    if "\\" not in text:
        return text

    def read(escape: re.Match[str]) -> str:
        sign, high, low, single = escape.groups()
        if sign is not None:
            return _CONTROLS.get(sign, sign) if controls or sign == "/" else escape[0]
        if high is not None:
            return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
        code = int(single, 16)
        half = 0xD800 <= code < 0xE000  # of a pair is no character
        return escape[0] if half or (not controls and (code < 0x20 or code in (0x22, 0x5C))) else chr(code)

    return _ESCAPE.sub(read, text)


def folded(text: str) -> str:
    """Return a text in NFKC, without characters that show nothing.

    >>> folded("ﬁ\u200bne ｂａｄ")
    'fine bad'
    """
    if text.isascii():
        return text
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)))
