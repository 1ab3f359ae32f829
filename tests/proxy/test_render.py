"""The template of a node, and the two that render it: Nginx accepts it, and both give the same."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from proxy import PAGES, Node, NodeError, render
from proxy.render import HERE, TEMPLATES
from server.embedded.nodes import binary
from server.errors import CODES
from server.routes import API
from server.routes.socket import HEARTBEAT_SECONDS

NODE = Node(
    site="tokyo",
    user_listen="127.0.0.1:8080",
    staff_listen="127.0.0.1:8090",
    api=["127.0.0.1:8100", "127.0.0.1:8101"],
    secret="a-secret-of-more-than-16",
    origins=["https://chat.example.com", "http://localhost:8080"],
)
CONTAINER = replace(
    NODE,
    user_listen="8080",
    staff_listen="8090",
    api=["api:8000"],
    frontend="frontend:3000",
    resolver="127.0.0.11",
    limits=False,
)


def accepted(main: Path) -> bool:
    """Say whether Nginx accepts a configuration, and without a warning."""
    command = [binary(), "-t", "-q", "-p", f"{main.parent}/", "-c", main, "-e", "stderr"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    return done.returncode == 0


@pytest.mark.parametrize("node", [NODE, CONTAINER], ids=["embedded", "container"])
def test_nginx_accepts_what_is_rendered(node: Node, tmp_path: Path) -> None:
    main = render(node, tmp_path)
    assert accepted(main)
    for name in TEMPLATES:
        assert "${" not in (tmp_path / name).read_text()
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, "it holds the secret"


@pytest.mark.parametrize("node", [NODE, CONTAINER], ids=["embedded", "container"])
@pytest.mark.parametrize("tls", [None, ("/run/tls/certificate.pem", "/run/tls/key.pem")], ids=["plain", "tls"])
def test_a_container_renders_the_same(node: Node, tls: tuple[str, str] | None, tmp_path: Path) -> None:
    node = replace(node, tls=tls)
    render(node, tmp_path / "python")
    done = _shell(node, tmp_path / "shell")
    assert (done.returncode, done.stderr) == (0, "")
    for name in TEMPLATES:
        assert (tmp_path / "shell" / name).read_text() == (tmp_path / "python" / name).read_text()
        assert (tmp_path / "shell" / name).stat().st_mode & 0o077 == 0


def _shell(node: Node, directory: Path) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PATH": os.environ["PATH"],
        "CONCIERGE_RUN": str(directory),
        "CONCIERGE_SITE": node.site,
        "CONCIERGE_NODE_SECRET": node.secret,
        "CONCIERGE_API": ", ".join(node.api),
        "CONCIERGE_FRONTEND": node.frontend or "",
        "CONCIERGE_ALLOWED_ORIGINS": ",".join(f"{origin}/" for origin in node.origins),
        "CONCIERGE_LIMITS": "on" if node.limits else "off",
        "CONCIERGE_USER_LISTEN": node.user_listen,
        "CONCIERGE_STAFF_LISTEN": node.staff_listen,
        "CONCIERGE_RESOLVER": node.resolver or "none",
        "CONCIERGE_TLS_CERTIFICATE": node.tls[0] if node.tls else "",
        "CONCIERGE_TLS_KEY": node.tls[1] if node.tls else "",
    }
    command = [str(HERE / "entrypoint.sh"), "render"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "bad",
    [
        {"site": "two words"},
        {"site": ""},
        {"secret": "short"},
        {"secret": 'a quote " and more than 16'},
        {"api": []},
        {"api": ["host:1; }"]},
        {"origins": ['https://"quoted"']},
        {"user_listen": "80;"},
    ],
    ids=str,
)
def test_a_value_that_would_mean_something_else_to_nginx_is_refused(bad: dict[str, object], tmp_path: Path) -> None:
    node = replace(NODE, **bad)  # type: ignore[arg-type]
    with pytest.raises(NodeError):
        render(node, tmp_path)
    if bad != {"api": []}:  # an empty setting is the default in a container
        assert _shell(node, tmp_path / "shell").returncode == 2


def _template(name: str = "nginx.conf") -> str:
    return (HERE / name).read_text(encoding="utf-8")


def test_the_nodes_own_problems_have_the_words_of_the_application() -> None:
    words = dict(re.findall(r'^ +"(\w+ (?:en|ja))" "(.*)";$', _template(), re.MULTILINE))
    assert len(words) == 10
    for key, said in words.items():
        code, _, language = key.partition(" ")
        assert said == (CODES[code].english if language == "en" else CODES[code].japanese)
    retryable = re.search(r"map \$code \$retryable \{(.*)\}", _template())
    assert retryable is not None
    told = set(re.findall(r"(\w+) true;", retryable.group(1)))
    assert told == {code for code in {key.partition(" ")[0] for key in words} if CODES[code].retryable}


def test_every_header_that_a_call_understands_passes_a_node() -> None:
    passing = {name.lower() for name in re.findall(r"proxy_set_header ([\w-]+) ", _template())}
    understood = {name.lower() for route in API for name in route.headers}
    assert understood, "some call understands a header"
    assert understood <= passing
    assert "x-forwarded-for" in passing and "x-real-ip" not in passing


def test_the_nodes_patience_fits_the_application() -> None:
    timeouts = {
        place: int(seconds)
        for place, seconds in re.findall(
            r"location = (\S+) \{[^}]*?proxy_read_timeout (\d+)s", _template("entry.conf"), re.DOTALL
        )
    }
    assert timeouts["/api/v1/ws"] > 2 * HEARTBEAT_SECONDS
    assert timeouts["/node/held"] > 25, "calls are held for 25 s"
    assert timeouts["/node/quick"] == 5
    assert timeouts["/node/firm"] > 5, "what may have been done has the replica's own deadline"


def test_pages_name_no_outside_host() -> None:
    pages = list(PAGES.glob("*.html"))
    assert len(pages) == 3
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "//" not in text.replace("<!doctype html>", "") and "<script" not in text, page.name
