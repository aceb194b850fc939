"""How a text may be written where something was made of it: JSON, URLs and forms, HTML, base64."""

import base64
import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote

_UNESCAPED = ("", "/", "/-_.~!'()*", "-_.~!'()*", "-_.~!*'();/?:@&=+$,#")
"""What URLs are left to have beside letters and digits: by RFC 3986, in paths, by JavaScript's ``encodeURIComponent``
and ``encodeURI``, by Java's and Python's ``quote``."""

_IN_JSON = ("<>&", "<>&='", "<>&='\"+`")
"""What is escaped although JSON can have it: by Go, by Gson, by .NET."""

_QUOTES = ("&#x27;", "&#39;", "&#039;", "&apos;")
_IN_HTML = {ord("'"): "&#39;", ord("`"): "&#x60;", ord("="): "&#x3D;"}
"""What templates of JavaScript escape beside what all do."""

_LEAST_ENCODED = 8
"""Characters of base64 that say enough to be looked for; fewer might be part of anything."""


def spellings(text: str) -> set[str]:
    r"""Return how a text may be written, the text itself among it.

    In base64 it may stand behind anything and before anything, as behind the user of basic authentication: what is
    returned are the characters that depend on nothing else. They may be escaped in their turn.

    >>> sorted(spellings("a&b"))
    ['a%26b', 'a&amp;b', 'a&b', 'a\\u0026b']
    """
    return {spelled for one in (text, *_encoded(text)) for spelled in _escaped(one)}


def _escaped(text: str) -> set[str]:
    return {text, *_in_json(text), *_in_url(text), *_in_html(text)}


def _in_json(text: str) -> Iterator[str]:
    for written in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        for each in (written, re.sub(r"\\u[0-9a-f]{4}", lambda found: f"\\u{found[0][2:].upper()}", written)):
            yield each
            yield each.replace("/", "\\/")
        yield json.dumps(written)[1:-1]  # as a text within a text
        for characters in _IN_JSON:
            numbered = written.replace('\\"', '"') if '"' in characters else written
            for form in ("\\u{:04x}", "\\u{:04X}"):
                yield numbered.translate({ord(one): form.format(ord(one)) for one in characters})


def _in_url(text: str) -> Iterator[str]:
    for safe in _UNESCAPED:
        written = quote(text, safe=safe, errors="surrogatepass")
        for each in (written, re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), written)):
            yield each
            yield each.replace("%20", "+")
    # A form, as browsers and Java have it.
    yield quote(text, safe="*", errors="surrogatepass").replace("~", "%7E").replace("%20", "+")


def _in_html(text: str) -> Iterator[str]:
    bare = html.escape(text, quote=False)
    yield bare
    yield bare.replace('"', "&quot;")
    for quoted in _QUOTES:
        yield bare.replace('"', "&quot;").replace("'", quoted)
        yield bare.replace('"', "&#34;").replace("'", quoted)
    of_template = bare.replace('"', "&quot;").translate(_IN_HTML)
    yield of_template
    yield of_template.replace("/", "&#x2F;")


def _encoded(text: str) -> Iterator[str]:
    """Yield what base64 has of a text at each of the three places where it can begin, in both alphabets."""
    raw = text.encode("utf-8", "surrogatepass")
    for before in range(3):
        written = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        first = -(-before * 8 // 6)
        sure = written[first : (before + len(raw)) * 8 // 6]
        if len(sure) >= _LEAST_ENCODED:
            yield sure
            yield sure.replace("+", "-").replace("/", "_")
