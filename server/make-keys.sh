#!/bin/sh
# Writes the secrets that containers share into volumes, once: each from the environment, or made here of 256 random
# bits. So no secret has a default, and a first start needs none. One that the environment names always wins.
set -eu
umask 022 # readers have other users; who may read is decided by who has the volume

keep() { # FILE VALUE
    if [ -n "$2" ]; then
        printf '%s' "$2" >"$1"
    elif [ ! -s "$1" ]; then
        python -c 'import secrets; print(secrets.token_urlsafe(32), end="")' >"$1"
    fi
}
keep /keys/db/password "${POSTGRES_PASSWORD:-}"
keep /keys/node/secret "${CONCIERGE_NODE_SECRET:-}"
