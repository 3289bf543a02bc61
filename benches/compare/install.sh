#!/usr/bin/env bash
# Installs what the comparison needs beside Rust: DuckDB's and chdb's libraries from the npm packages in which their
# publishers ship them (into peers/, or the folder given), and PostgreSQL from Debian's packages if it is not there.
set -euo pipefail
cd "$(dirname "$0")"
peers=${1:-peers}

duckdb=@duckdb/node-bindings-linux-x64@1.5.6-r.1
chdb=@chdb/lib-linux-x64-gnu@26.5.3

library() { # package, file
    local folder
    [[ ! -e $peers/$2 ]] || return 0
    folder=$(mktemp -d)
    (cd "$folder" && npm pack --silent "$1" >/dev/null && tar xzf ./*.tgz)
    mv "$folder/package/$2" "$peers/$2"
    rm -r "$folder"
}

mkdir -p "$peers"
library "$duckdb" libduckdb.so
library "$chdb" libchdb.so

if ! command -v postgres >/dev/null && ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then
    if [[ $(id -u) == 0 ]]; then apt-get install -y --no-install-recommends postgresql; else
        echo 'PostgreSQL is missing; install it with: apt-get install postgresql' >&2
    fi
fi
