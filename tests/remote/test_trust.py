"""What connectors may call."""

import ipaddress
from urllib.parse import urlsplit

import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.addresses import is_public
from mlcommons_py.remote.endpoint import parse
from mlcommons_py.remote.trust import Reach, Trust
from tests.remote.conftest import settings_of

PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "169.254.0.1", "100.64.0.1", "100.127.255.255", "0.0.0.0", "0.1.2.3", "192.0.0.8"),
    *("192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "192.88.99.1", "224.0.0.1"),
    *("239.1.2.3", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fc00::1", "fd12:3456::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1"),
    *("::ffff:10.1.2.3", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2002:c0a8:101::1", "2001::1", "2001:db8::1", "3fff::1", "100::1", "5f00::1"),
]
PUBLIC = ["93.184.215.14", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "11.0.0.1"]
PUBLIC += ["2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]


def in_url(address: str) -> str:
    """Return an address as a host."""
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_refused(address: str) -> None:
    """No address of this machine, its networks or a special purpose may be called, in whatever disguise of IPv6."""
    trust = Trust(settings_of(connector__private_ip_enabled=False))

    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(IllegalArgument, match=r"^Remote inference host name has private ip address: "):
        trust.check(f"http://{in_url(address)}/v1")


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    """Addresses of the open internet may be called, right up to the borders of the private ranges."""
    trust = Trust(settings_of(connector__private_ip_enabled=False))

    assert trust.check(f"https://{in_url(address)}/v1").endpoint.address == ipaddress.ip_address(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_can_be_allowed(address: str) -> None:
    """With ``connector.private_ip_enabled``, or where a caller allows it, it may be called."""
    assert Trust(settings_of()).check(f"http://{in_url(address)}/v1").reach is Reach.ANY
    closed = Trust(settings_of(connector__private_ip_enabled=False))
    assert closed.check(f"http://{in_url(address)}/v1", private=True).reach is Reach.ANY


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "a.localhost", "localhost."])
def test_the_name_of_this_machine_is_its_address(host: str) -> None:
    """``localhost`` is refused as early as its address is."""
    trust = Trust(settings_of(connector__private_ip_enabled=False))

    with pytest.raises(IllegalArgument, match=r"^Remote inference host name has private ip address: "):
        trust.check(f"http://{host}/")


def test_the_settings_count_from_the_moment_they_change() -> None:
    """A trusted endpoint that is taken off the list is refused at the next check."""
    settings = settings_of()
    trust = Trust(settings)
    trust.check("https://api.example.com/v1")

    settings.transient["plugins.ml_commons.trusted_connector_endpoints_regex"] = [r"^https://other\.com/.*$"]

    with pytest.raises(IllegalArgument) as refused:
        trust.check("https://api.example.com/v1")
    assert refused.value.reason == "Connector URL is not matching the trusted connector endpoint regex"


def test_an_empty_list_trusts_nothing() -> None:
    """Without trusted endpoints every URL is refused, in ML Commons' words."""
    with pytest.raises(IllegalArgument) as refused:
        Trust(settings_of(trusted_connector_endpoints_regex=[])).check("https://api.openai.com/v1")

    assert refused.value.reason == (
        "Trusted connector endpoints regex is not configured."
        " Please set plugins.ml_commons.trusted_connector_endpoints_regex."
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com.evil.example/v1",
        "https://evil.example/https://api.openai.com/v1",
        "http://api.openai.com/v1",
        "https://xapi.openai.com/v1",
        "https://apiXopenai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com",
        " https://api.openai.com/v1",
        "https://api.openai.com/v1\n",
        "file:///etc/passwd",
        "gopher://api.openai.com/v1",
        "",
    ],
)
def test_the_whole_url_has_to_match(url: str) -> None:
    """A trusted endpoint is matched in full, never somewhere within the URL."""
    trust = Trust(settings_of(trusted_connector_endpoints_regex=[r"https://api\.openai\.com/.*"]))

    trust.check("https://api.openai.com/v1/embeddings")
    with pytest.raises(IllegalArgument, match="Connector URL is not matching the trusted connector endpoint regex"):
        trust.check(url)


TRICKS = {
    "https://api.openai.com@evil.example/v1": "has a user in it",
    "https://user:secret@api.openai.com/v1": "has a user in it",
    "https://api.openai.com#@evil.example/": "has a fragment",
    "https://api.openai.com/v1#x": "has a fragment",
    "https://api.openai.com\\@evil.example/": "a backslash",
    "https://api.openai.com/v1\\..\\x": "a backslash",
    "https://api.openai.com/v1\r\nX-Key: 1": "a control character",
    "https://api.openai.com/v1\tx": "a control character",
    "https://api.openai.com/v1 x": "a blank",
    "https://api.openai.com/v1\x00": "a control character",
    "https://2130706433/": "no valid IPv4 address",
    "https://0x7f000001/": "no valid IPv4 address",
    "https://0177.0.0.1/": "no valid IPv4 address",
    "https://0x7f.1/": "no valid IPv4 address",
    "https://127.1/": "no valid IPv4 address",
    "https://127.0.0.0x1/": "no valid IPv4 address",
    "https://017700000001/": "no valid IPv4 address",
    "https://1.2.3.4.5/": "no valid IPv4 address",
    "https://%31%32%37.0.0.1/": "no valid IPv4 address",
    "https://api.openai.com%2eevil.example/": "no valid host name",
    "https://${parameters.host}/v1": "no valid host name",
    "https://a..b/": "no valid host name",
    "https://[::1/": "no valid host and port",
    "https://[fe80::1%25eth0]/": "no valid host and port",
    "https://[::ffff:127.0.0.1.1]/": "no valid IPv6 address",
    "https:///v1": "no valid host and port",
    "https://host:0/": "no valid host and port",
    "https://host:65536/": "no valid host and port",
    "https://host:80:90/": "no valid host and port",
    "https://host:+80/": "no valid host and port",
    "https://api.openai.com/v1/../admin": "the segment . or ..",
    "https://api.openai.com/v1/%2E%2e/admin": "the segment . or ..",
    "https://api.openai.com/.": "the segment . or ..",
    "https:api.openai.com/": "no valid host and port",
    "ftp://api.openai.com/": "^Protocol is not http or https: ftp$",
    "javascript:alert(1)": "^Protocol is not http or https: javascript$",
    "//api.openai.com/": "^Protocol is not http or https: $",
    "https://\ud800.example/": "surrogate|international",
    "https://example.com/\ud800": "surrogate",
}


@pytest.mark.parametrize("url", TRICKS)
def test_a_url_that_can_be_read_in_two_ways_is_refused(url: str) -> None:
    """Even where the list trusts anything, a URL must leave no doubt about its host; the text does not repeat it."""
    trust = Trust(settings_of(trusted_connector_endpoints_regex=[r"(?s).*"]))

    with pytest.raises(IllegalArgument, match=TRICKS[url]) as refused:
        trust.check(url)
    assert "secret" not in refused.value.reason


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("HTTPS://API.Example.COM/V1?Q=A", "https://api.example.com/V1?Q=A"),
        ("https://api.example.com.:443/v1", "https://api.example.com/v1"),
        ("http://api.example.com:80", "http://api.example.com/"),
        ("http://api.example.com:8080?x=1", "http://api.example.com:8080/?x=1"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://[2606:4700:0::1111]/", "http://[2606:4700::1111]/"),
        ("https://h/model/a.b-v1:0/invoke?k=a%20b&é=ж", "https://h/model/a.b-v1:0/invoke?k=a%20b&%C3%A9=%D0%B6"),
        ("https://h/a{b}|c%zz", "https://h/a%7Bb%7D%7Cc%25zz"),
        ("http://my_service/", "http://my_service/"),
    ],
)
def test_the_url_that_is_checked_is_the_one_that_goes_out(url: str, sent: str) -> None:
    """One form of each URL is made, and nothing else reads the text again."""
    assert Trust(settings_of()).check(url).endpoint.url == sent if url.startswith("http") else parse(url).url == sent


@pytest.mark.parametrize(
    "host", ["１２７.0.0.1", "127。0。0。1", "127.0.0.1.", "①②⑦.⓪.⓪.①", "[::FFFF:7F00:1]", "[0:0:0:0:0:0:0:1]"]
)
def test_a_disguised_address_is_an_address(host: str) -> None:
    """Full-width digits, ideographic full stops, a trailing dot and long forms come down to what they stand for."""
    trust = Trust(settings_of(connector__private_ip_enabled=False))

    with pytest.raises(IllegalArgument, match="Remote inference host name has private ip address"):
        trust.check(f"http://{host}/")


@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
        st.text("aZ09.-_:[]@#?/\\\\%x \t\r\n。１", max_size=20),
        st.from_regex(r"[a-z0-9]{1,5}([.:@/?#\\\\%][a-z0-9\\[\\]]{0,5}){0,5}", fullmatch=True),
    )
)
def test_the_client_reads_a_url_as_it_was_checked(rest: str) -> None:
    """Whatever text comes behind the scheme: it is refused, or the HTTP client calls the very host that was checked."""
    try:
        endpoint = parse("https://" + rest)
    except IllegalArgument:
        return
    called = yarl.URL(endpoint.url, encoded=True)

    assert (called.raw_host, called.port, called.raw_user) == (endpoint.host, endpoint.port, None)
    assert called.raw_path_qs == endpoint.target
    assert parse(endpoint.url) == endpoint
    split = urlsplit(endpoint.url)
    assert (split.hostname, split.port or 443, split.fragment) == (endpoint.host, endpoint.port, "")


def test_restricted_patterns_hold_where_private_addresses_are_allowed() -> None:
    """``connector.restricted_ip_patterns`` refuses addresses, in full match, whatever else is allowed."""
    trust = Trust(settings_of(connector__restricted_ip_patterns=[r"169\.254\..*", "8.8.8.8"]))

    for host in ("169.254.169.254", "8.8.8.8", "[::ffff:169.254.1.1]"):
        with pytest.raises(IllegalArgument, match=r"^Remote inference host name has restricted ip address: "):
            trust.check(f"http://{host}/")
    trust.check("http://10.169.254.1/")
    trust.check("http://18.8.8.8/")


def test_private_endpoints_can_be_narrowed() -> None:
    """``trusted_connector_private_endpoints_regex`` says which URLs may have a private address at all."""
    trust = Trust(settings_of(trusted_connector_private_endpoints_regex=[r"^http://10\.0\.0\..*$"]))

    trust.check("http://10.0.0.1/v1")
    trust.check("http://8.8.8.8/v1")
    with pytest.raises(IllegalArgument) as refused:
        trust.check("http://10.0.1.1/v1")
    assert refused.value.reason == "Connector URL is not matching the trusted connector private endpoint regex"


def test_an_operator_lists_private_hosts_and_ranges() -> None:
    """What the operator lists may be called although it is private; nothing beside it."""
    trust = Trust(settings_of(connector__private_ip_enabled=False), "10.1.0.0/16, Models.internal, fd00::/8,::1")

    for host in ("10.1.2.3", "[fd00::1]", "[::1]", "models.internal"):
        trust.check(f"http://{host}/")
    inside = trust.check("http://models.internal/")
    trust.admit("models.internal", [ipaddress.ip_address("192.168.0.1")], inside.reach)
    beside = trust.check("http://other.internal/")
    for address in ("192.168.0.1", "10.2.0.1", "127.0.0.1"):
        with pytest.raises(IllegalArgument, match=r"has private ip address: other.internal"):
            trust.admit("other.internal", [ipaddress.ip_address(address)], beside.reach)


@pytest.mark.parametrize("listed", ["10.0.0.1/8", "a b", "http://x", "10.0.0.0/33", "*.internal"])
def test_a_list_with_something_else_in_it_is_refused(listed: str) -> None:
    """The operator's list has hosts and ranges; the text names what is neither."""
    with pytest.raises(IllegalArgument, match=r"\[private_endpoints\] takes hosts and ranges"):
        Trust(settings_of(), listed)


def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    """All addresses of a name are checked, not the first one only."""
    trust = Trust(settings_of(connector__private_ip_enabled=False))
    found = [ipaddress.ip_address(one) for one in ("8.8.8.8", "10.0.0.1")]

    with pytest.raises(IllegalArgument, match=r"^Remote inference host name has private ip address: a.example\. "):
        trust.admit("a.example", found, trust.check("https://a.example/").reach)
