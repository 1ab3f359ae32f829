"""Renders the configuration of a node: puts values into the templates beside this file.

The embedded stack calls it; in a container `entrypoint.sh` does the same with the shell, and a test holds them equal.
Only the standard library is needed.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEMPLATES = ("nginx.conf", "entry.conf")
PAGES = HERE / "pages"

# How often a replica may fail before the others take its calls, and for how long: a dead one refuses at once and costs
# nothing, a frozen one costs one call its 5 s each time it is tried again.
PATIENCE = "max_fails=2 fail_timeout=3s"
# The same replicas again, for when all have failed lately: one that is back is found at once, and no node ever answers
# 502 because of what it remembers.
LAST_RESORT = "max_fails=0 backup"
SITE = re.compile(r"[A-Za-z0-9._-]{1,100}")
SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{16,200}")
# What may stand between two blanks of the configuration without meaning anything to Nginx.
PLAIN = re.compile(r"[^\s;{}\"'$#\\]+")

_NAME = re.compile(r"\$\{([A-Z_]+)\}")


class NodeError(Exception):
    """A node cannot be configured like that; the message is one sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What makes one node different from another.

    Args:
        site: the name of its site, as admins see it.
        user_listen, staff_listen: where its entries listen, as `ADDRESS:PORT` or `PORT`.
        api: the replicas, as `HOST:PORT`; a name stands for all addresses that it resolves to.
        secret: what it proves itself with to the replicas.
        origins: where browsers may come from.
        frontend: the frontend, as `HOST:PORT`; None for the welcome page.
        resolver: the name server that is asked again and again for names; none for addresses.
        limits: False switches the limits of the node off.
        tls: paths of the certificate and its key; None for plain HTTP.
        workers: worker processes, or `auto` for one a core.
        files: file descriptors, and so connections, that each worker may have.
        pages: where its own pages lie.
    """

    site: str
    user_listen: str
    staff_listen: str
    api: Sequence[str]
    secret: str
    origins: Sequence[str] = ()
    frontend: str | None = None
    resolver: str | None = None
    limits: bool = True
    tls: tuple[str, str] | None = None
    workers: str = "auto"
    files: int = 16_384
    pages: str = str(PAGES)


def render(node: Node, directory: Path) -> Path:
    """Write a node's configuration into a directory, make what else it needs there, and give the main file.

    Raises:
        NodeError: a value cannot be used.
    """
    values = _values(node)
    (directory / "temp").mkdir(parents=True, exist_ok=True)
    for name in TEMPLATES:
        text = _NAME.sub(lambda found: values[found.group(1)], (HERE / name).read_text(encoding="utf-8"))
        _write_private(directory / name, text)
    return directory / TEMPLATES[0]


def copy_pages(directory: Path) -> Path:
    """Copy the node's own pages to where its workers can read them."""
    return Path(shutil.copytree(PAGES, directory / "pages", dirs_exist_ok=True))


def _values(node: Node) -> dict[str, str]:
    """Give what stands for each name in the templates."""
    if not SITE.fullmatch(node.site):
        raise NodeError(f"The site's name {node.site!r} cannot be used: letters, digits, `.`, `_` and `-` can.")
    if not SECRET.fullmatch(node.secret):
        raise NodeError("The node's secret cannot be used: it needs 16 to 200 of the characters of base64.")
    if not node.api:
        raise NodeError("A node needs at least one replica.")
    words = [node.user_listen, node.staff_listen, *node.api, *node.origins, node.workers, node.pages, *(node.tls or ())]
    for word in [*words, node.frontend or "-", node.resolver or "-"]:
        if not PLAIN.fullmatch(word):
            raise NodeError(f"{word!r} cannot stand in a node's configuration.")
    resolve = " resolve" if node.resolver else ""
    ssl = " ssl" if node.tls else ""
    return {
        "SITE": node.site,
        "NODE_SECRET": node.secret,
        "WORKERS": node.workers,
        "FILES": str(node.files),
        "RESOLVER": f"resolver {node.resolver} valid=2s ipv6=off;" if node.resolver else "",
        "API_SERVERS": " ".join(f"server {one}{resolve} {how};" for how in (PATIENCE, LAST_RESORT) for one in node.api),
        "FRONTEND_SERVERS": f"server {node.frontend}{resolve};" if node.frontend else "server 127.0.0.1:9 down;",
        "HAS_FRONTEND": "yes" if node.frontend else "no",
        "ORIGINS": " ".join(f'"{origin}" $http_origin;' for origin in node.origins),
        "LIMITS": "on" if node.limits else "off",
        "USER_LISTEN": node.user_listen + ssl,
        "STAFF_LISTEN": node.staff_listen + ssl,
        "TLS": f"ssl_certificate {node.tls[0]}; ssl_certificate_key {node.tls[1]}; http2 on;" if node.tls else "",
        "PAGES": node.pages,
    }


def _write_private(path: Path, text: str) -> None:
    """Write a file for our own eyes: it holds the secret."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
