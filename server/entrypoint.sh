#!/bin/sh
# The command of the api's container: `concierge serve`, `concierge account create …` and all the others.
# What is secret may come from files: NAME_FILE names the file whose content becomes NAME.
set -eu
for name in DATABASE_URL PGPASSWORD REDIS_URL CONCIERGE_NODE_SECRET; do
    eval "file=\${${name}_FILE:-}"
    if [ -n "$file" ]; then
        value=$(cat "$file") || { echo "concierge: ${name}_FILE cannot be read" >&2; exit 2; }
        export "$name=$value"
    fi
done
# Replicas are told apart by their containers' names.
export CONCIERGE_REPLICA="${CONCIERGE_REPLICA:-$(cat /etc/hostname)}"
exec python -P -m server "$@"
