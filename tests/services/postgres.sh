#!/bin/sh
# A private PostgreSQL server on this machine, for the tests. As root it runs as the user postgres.
#
#   postgres.sh start FOLDER   start it with its files in the new folder FOLDER, and print the URL of an
#                              empty database
#   postgres.sh stop FOLDER    end it and remove FOLDER
set -eu

action=$1
folder=$2
programs=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)

as_owner() {
    if [ "$(id -u)" = 0 ]; then
        su postgres -s /bin/sh -c "$*"
    else
        sh -c "$*"
    fi
}

case $action in
start)
    port=$(python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
    mkdir -p "$folder"
    [ "$(id -u)" = 0 ] && chown postgres "$folder"
    as_owner "cd '$folder' && '$programs/initdb' -D data -U test -A trust --no-sync > initdb.log"
    as_owner "cd '$folder' && '$programs/pg_ctl' -D data -w -l server.log start \
        -o \"-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='$folder' -c fsync=off\" > start.log"
    as_owner "'$programs/createdb' -h 127.0.0.1 -p $port -U test test"
    echo "postgresql://test@127.0.0.1:$port/test"
    ;;
stop)
    as_owner "cd '$folder' && '$programs/pg_ctl' -D data -w -m immediate stop > stop.log" || true
    rm -rf "$folder"
    ;;
esac
