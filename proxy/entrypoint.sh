#!/bin/sh
# Renders the node's configuration from the environment, as render.py does on the embedded stack, and starts Nginx.
#
#   CONCIERGE_SITE              the name of the site, as admins see it
#   CONCIERGE_NODE_SECRET       what the node proves itself with; or CONCIERGE_NODE_SECRET_FILE
#   CONCIERGE_API               the replicas, separated by commas (api:8000); a name stands for all its addresses
#   CONCIERGE_FRONTEND          the frontend, as HOST:PORT; empty for the welcome page
#   CONCIERGE_ALLOWED_ORIGINS   where browsers may come from, separated by commas; the same as the replicas' setting
#   CONCIERGE_LIMITS            `off` switches the node's limits off
#   CONCIERGE_USER_LISTEN, CONCIERGE_STAFF_LISTEN   where the entries listen (8080, 8090)
#   CONCIERGE_TLS_CERTIFICATE, CONCIERGE_TLS_KEY    paths; empty for plain HTTP
#   CONCIERGE_RESOLVER          the name server (the first of /etc/resolv.conf), or `none` where the API has addresses
#   CONCIERGE_WORKERS, CONCIERGE_FILES              worker processes (auto), connections of each (16384)
#
# `entrypoint.sh render` stops before Nginx starts.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
run=${CONCIERGE_RUN:-/run/node}

fail() { echo "node: $*" >&2; exit 2; }
plain() { # NAME VALUE: what may stand in the configuration without meaning anything to Nginx
    case $2 in
        '' | *[[:space:]\;\{\}\"\'\$\#\\]*) fail "$1 cannot be used: ${2:-it is empty}" ;;
    esac
}
each() { # LIST: its words, one a line
    printf '%s\n' "$1" | tr ',' '\n' | sed 's/^ *//; s/ *$//; s,/$,,; /^$/d'
}

SITE=${CONCIERGE_SITE:-}
case $SITE in
    '' | *[!A-Za-z0-9._-]*) fail "CONCIERGE_SITE cannot be used: letters, digits, '.', '_' and '-' can" ;;
esac
NODE_SECRET=${CONCIERGE_NODE_SECRET:-}
if [ -z "$NODE_SECRET" ] && [ -n "${CONCIERGE_NODE_SECRET_FILE:-}" ]; then
    NODE_SECRET=$(cat "$CONCIERGE_NODE_SECRET_FILE") || fail "CONCIERGE_NODE_SECRET_FILE cannot be read"
fi
case $NODE_SECRET in
    *[!A-Za-z0-9._~+/=-]*) fail "CONCIERGE_NODE_SECRET cannot be used: the characters of base64 can" ;;
    ????????????????*) ;;
    *) fail "CONCIERGE_NODE_SECRET cannot be used: it needs 16 characters at least" ;;
esac

WORKERS=${CONCIERGE_WORKERS:-auto}
FILES=${CONCIERGE_FILES:-16384}
PAGES=$here/pages
LIMITS=on
[ "${CONCIERGE_LIMITS:-on}" != off ] || LIMITS=off

resolver=${CONCIERGE_RESOLVER:-$(awk '$1 == "nameserver" { print $2; exit }' /etc/resolv.conf)}
RESOLVER=
resolve=
if [ "$resolver" != none ]; then
    plain CONCIERGE_RESOLVER "$resolver"
    case $resolver in *:*) resolver="[$resolver]" ;; esac
    RESOLVER="resolver $resolver valid=2s ipv6=off;"
    resolve=' resolve'
fi

API_SERVERS=
for how in PATIENCE LAST_RESORT; do
    how=$(sed -n "s/^$how = \"\(.*\)\"\$/\1/p" "$here/render.py")
    for one in $(each "${CONCIERGE_API:-api:8000}"); do
        plain CONCIERGE_API "$one"
        API_SERVERS="${API_SERVERS:+$API_SERVERS }server $one$resolve $how;"
    done
done
[ -n "$API_SERVERS" ] || fail "CONCIERGE_API names no replica"

HAS_FRONTEND=no
FRONTEND_SERVERS='server 127.0.0.1:9 down;'
if [ -n "${CONCIERGE_FRONTEND:-}" ]; then
    plain CONCIERGE_FRONTEND "$CONCIERGE_FRONTEND"
    HAS_FRONTEND=yes
    FRONTEND_SERVERS="server $CONCIERGE_FRONTEND$resolve;"
fi

ORIGINS=
for one in $(each "${CONCIERGE_ALLOWED_ORIGINS:-}"); do
    plain CONCIERGE_ALLOWED_ORIGINS "$one"
    ORIGINS="${ORIGINS:+$ORIGINS }\"$one\" \$http_origin;"
done

ssl=
TLS=
if [ -n "${CONCIERGE_TLS_CERTIFICATE:-}" ]; then
    plain CONCIERGE_TLS_CERTIFICATE "$CONCIERGE_TLS_CERTIFICATE"
    plain CONCIERGE_TLS_KEY "${CONCIERGE_TLS_KEY:-}"
    ssl=' ssl'
    TLS="ssl_certificate $CONCIERGE_TLS_CERTIFICATE; ssl_certificate_key $CONCIERGE_TLS_KEY; http2 on;"
fi
USER_LISTEN=${CONCIERGE_USER_LISTEN:-8080}
STAFF_LISTEN=${CONCIERGE_STAFF_LISTEN:-8090}
plain CONCIERGE_USER_LISTEN "$USER_LISTEN"
plain CONCIERGE_STAFF_LISTEN "$STAFF_LISTEN"
plain CONCIERGE_WORKERS "$WORKERS"
plain CONCIERGE_FILES "$FILES"
USER_LISTEN=$USER_LISTEN$ssl
STAFF_LISTEN=$STAFF_LISTEN$ssl

export SITE NODE_SECRET WORKERS FILES PAGES LIMITS RESOLVER API_SERVERS HAS_FRONTEND FRONTEND_SERVERS ORIGINS TLS \
    USER_LISTEN STAFF_LISTEN
umask 077  # the secret is in the file
mkdir -p "$run/temp"
for name in nginx.conf entry.conf; do
    awk '{
        while (match($0, /\$\{[A-Z_]+\}/)) {
            name = substr($0, RSTART + 2, RLENGTH - 3)
            $0 = substr($0, 1, RSTART - 1) ENVIRON[name] substr($0, RSTART + RLENGTH)
        }
        print
    }' "$here/$name" >"$run/$name"
done
[ "${1:-}" != render ] || exit 0
exec nginx -p "$run/" -c "$run/nginx.conf" -e stderr -g 'daemon off;'
