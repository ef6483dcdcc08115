#!/bin/sh
# Entry point of the Redis stand-in: `redis-server` options or a .conf file may be given without the program's name.
set -eu

case ${1:-} in -* | *.conf) set -- redis-server "$@" ;; esac

if [ "${1:-}" = redis-server ]; then
  if [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis '{}' +
    exec /usr/bin/setpriv --reuid=redis --regid=redis --init-groups -- "$0" "$@"
  fi
  # The official build has protected mode off, because in a container nobody connects from 127.0.0.1.
  case "$*" in *protected-mode*) ;; *) set -- "$@" --protected-mode no ;; esac
  [ "$(umask)" != 0022 ] || umask 0077
fi
exec "$@"
