"""Access control: hosts, origins, tokens."""

import pytest
from served import open_tiny, serving

from llmkit.errors import UserError
from llmkit.serving.security import Access, read_token

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("header", "is_allowed"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8000", True),
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("[::1]:8000", True),
        ("proxy.example", True),
        ("", False),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("192.168.1.5", False),
        ("user@localhost", False),
        ("localhost:port", False),
        ("localhost/x", False),
        ("[::1", False),
        ("\x00", False),
    ],
)
def test_the_host_header_must_name_the_server(header, is_allowed):
    assert Access("127.0.0.1", None, hosts=("proxy.example",)).allows_host(header) == is_allowed


def test_a_server_with_a_token_accepts_any_ip_address_as_host():
    access = Access("0.0.0.0", TOKEN)
    assert access.allows_host("192.168.1.5:8000")
    assert access.allows_host("[fe80::1]")
    assert not access.allows_host("evil.example")


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("http://localhost:8000", True),
        ("https://localhost:8000", True),
        ("https://friend.example", True),
        ("http://localhost:9000", False),
        ("http://localhost", False),
        ("https://evil.example", False),
        ("https://friend.example.evil.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_only_the_servers_own_page_and_allowed_origins_have_access(origin, is_allowed):
    access = Access("127.0.0.1", None, origins=("https://friend.example",))
    assert access.allows_origin(origin, "localhost:8000") == is_allowed


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_an_address_that_other_machines_can_reach_requires_a_token(host):
    with pytest.raises(UserError, match="LLMKIT_TOKEN"):
        Access(host, None)
    Access(host, TOKEN)


@pytest.mark.parametrize("host", ["proxy.example", "PROXY-1.local", "my_box", "10.0.0.2", "::1"])
def test_an_allowed_host_is_a_name_or_an_address(host):
    header = f"[{host}]:8000" if ":" in host else f"{host}:8000"
    assert Access("0.0.0.0", TOKEN, hosts=(host,)).allows_host(header)


@pytest.mark.parametrize(
    "host",
    ["", " ", "*", "*.example", "proxy.example:8000", "https://proxy.example", "[::1]", "a/b"],
)
def test_an_allowed_host_that_no_host_header_can_match_is_rejected(host):
    with pytest.raises(UserError, match="give it without scheme and port"):
        Access("127.0.0.1", None, hosts=(host,))


@pytest.mark.parametrize(
    "origin",
    ["example.org", "https://", "https://a.example/", "*", "https://a.example?x", "https://a#x",
     "https://A.example", "//a.example", "http://[::1", "https://a:b", "https://u@a.example", ""],
)  # fmt: skip
def test_an_allowed_origin_must_be_a_scheme_and_a_host(origin):
    with pytest.raises(UserError, match="--allow-origin"):
        Access("127.0.0.1", None, origins=(origin,))


@pytest.mark.parametrize(
    ("header", "is_allowed"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN}", True),
        (f"Basic {TOKEN}", False),
        (TOKEN, False),
        ("Bearer ", False),
        ("Bearer \xff", False),
        ("", False),
    ],
)
def test_the_token_is_read_from_the_authorization_header(header, is_allowed):
    assert Access("127.0.0.1", TOKEN).allows_token(header) == is_allowed


def test_the_token_is_read_from_a_file_or_the_environment(monkeypatch, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(str(file)) == TOKEN
    assert read_token(None) is None
    monkeypatch.setenv("LLMKIT_TOKEN", TOKEN[::-1])
    assert read_token(None) == TOKEN[::-1]
    assert read_token(str(file)) == TOKEN
    for content in (b"short", b"", "ä".encode() * 20, b"two lines\nof a token", b"\xff" * 20):
        file.write_bytes(content)
        with pytest.raises(UserError, match="ASCII characters"):
            read_token(str(file))
    with pytest.raises(UserError, match="no such file"):
        read_token(str(tmp_path / "none"))


def test_cors_allows_only_the_given_origins(tiny_gpt2):
    access = Access("127.0.0.1", TOKEN, origins=("https://friend.example",))
    with serving(open_tiny(tiny_gpt2), access=access) as served:
        preflight = {
            "origin": "https://friend.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        response = served.client.options("/v1/completions", headers=preflight)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://friend.example"
        headers = {"origin": "https://friend.example", "authorization": f"Bearer {TOKEN}"}
        response = served.client.get("/v1/models", headers=headers)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://friend.example"
        for changed in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
            response = served.client.options("/v1/completions", headers={**preflight, **changed})
            assert response.status_code == 403
            response = served.client.get("/v1/models", headers={**headers, **changed})
            assert response.status_code == 403
            assert "access-control-allow-origin" not in response.headers
