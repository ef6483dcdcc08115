#!/bin/sh
# Entry point of the PostgreSQL stand-in. Understands what the official image documents: POSTGRES_USER, POSTGRES_PASSWORD,
# POSTGRES_DB, POSTGRES_INITDB_ARGS (each also as *_FILE), POSTGRES_HOST_AUTH_METHOD, PGDATA, /docker-entrypoint-initdb.d.
set -eu

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

# file_env NAME DEFAULT: sets and exports NAME from NAME, or from the file that NAME_FILE names.
file_env() {
  eval "value=\${$1:-} file=\${$1_FILE:-}"
  # shellcheck disable=SC2154 # both are set by the eval
  [ -z "$value" ] || [ -z "$file" ] || fail "both $1 and $1_FILE are set (but are exclusive)"
  [ -z "$file" ] || value=$(cat "$file")
  export "$1=${value:-$2}"
  unset "$1_FILE"
}

initialize() {
  method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  if [ -z "$POSTGRES_PASSWORD" ] && [ "$method" != trust ]; then
    fail 'Database is uninitialized and superuser password is not specified. Set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE.'
  fi
  password_file=$(mktemp)
  printf '%s\n' "$POSTGRES_PASSWORD" >"$password_file"
  # shellcheck disable=SC2086 # arguments, plural
  initdb --username="$POSTGRES_USER" --pwfile="$password_file" --encoding=UTF8 $POSTGRES_INITDB_ARGS
  rm -f "$password_file"
  printf "\nlisten_addresses = '*'\n" >>"$PGDATA/postgresql.conf"
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"

  # A server that only the local socket reaches, so that nobody connects before the scripts have run.
  PGPASSWORD=$POSTGRES_PASSWORD pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
  if [ "$POSTGRES_DB" != postgres ]; then
    echo 'CREATE DATABASE :"db";' | psql -v ON_ERROR_STOP=1 -v db="$POSTGRES_DB" -U "$POSTGRES_USER" -d postgres --no-password
  fi
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh)
        # shellcheck disable=SC1090 # only known when it runs
        if [ -x "$script" ]; then "$script"; else . "$script"; fi
        ;;
      *.sql) psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" --no-password -f "$script" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
  echo 'PostgreSQL init process complete; ready for start up.'
}

case ${1:-} in -*) set -- postgres "$@" ;; esac
[ "${1:-}" = postgres ] || exec "$@"

# As root, so that a password file may be readable by root alone; the second pass, as postgres, finds the values set.
file_env POSTGRES_PASSWORD ''
file_env POSTGRES_USER postgres
file_env POSTGRES_DB "$POSTGRES_USER"
file_env POSTGRES_INITDB_ARGS ''

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 0700 "$PGDATA" || :
  chmod 3775 /var/run/postgresql || :
  find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres '{}' +
  # By its full path: Debian's busybox shells prefer their own, smaller setpriv.
  exec /usr/bin/setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi
[ -s "$PGDATA/PG_VERSION" ] || initialize
unset POSTGRES_PASSWORD
exec "$@"
