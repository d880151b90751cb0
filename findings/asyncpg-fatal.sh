#!/bin/bash
#
# asyncpg: an ordinary error whose SQLSTATE class it does not know is a
# FatalPostgresError.
#
# One expects: RAISE EXCEPTION ... USING ERRCODE = 'AB001' is severity ERROR; the
# statement fails, the session goes on.  A program that handles FATAL errors by
# throwing the connection away has nothing to do.  PostgreSQL lets applications
# choose any SQLSTATE (documentation of PL/pgSQL, "Reporting Errors and Messages").
# What happens: the exception is an UnknownPostgresError, a subclass of
# FatalPostgresError, whose docstring says that the server has disconnected.
# The connection is open, and the next query works.  So `except
# FatalPostgresError` catches every error of the application's own.
# Seen with asyncpg 0.27.0 of Debian 12 (python3-asyncpg 0.27.0-1+b2).
# Source: asyncpg/exceptions/_base.py, class UnknownPostgresError(FatalPostgresError).
#
# Needs a PostgreSQL server's programs (initdb, postgres) on this machine;
# the package goes into a temporary directory and so does the server.

set -eu
dir=$(mktemp -d /tmp/finding.XXXXXX)
bin=$(pg_config --bindir)
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi; }
cleanup() {
	[ ! -e "$dir/data/postmaster.pid" ] || as "$bin/pg_ctl" -s -w -m immediate -D "$dir/data" stop || :
	rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"
apt-get -qq download python3-asyncpg=0.27.0-1+b2 2>/dev/null
dpkg -x python3-asyncpg_*.deb package
[ "$(id -u)" != 0 ] || chown postgres "$dir"
as "$bin/initdb" -D "$dir/data" -U postgres -A trust --no-sync >/dev/null
as "$bin/pg_ctl" -s -w -D "$dir/data" -l "$dir/log" -o "-c listen_addresses='' -k $dir" start

cat >probe.py <<'END'
import asyncio, sys
import asyncpg

async def main():
    c = await asyncpg.connect(host=sys.argv[1], user='postgres', database='postgres')
    print('asyncpg', asyncpg.__version__, 'server', c.get_server_version().major)
    try:
        await c.execute("DO $$BEGIN RAISE EXCEPTION 'sold out' USING ERRCODE = 'AB001'; END$$")
    except asyncpg.PostgresError as e:
        print(type(e).__name__, 'severity', e.severity, 'fatal class', isinstance(e, asyncpg.FatalPostgresError))
    print('closed', c.is_closed(), 'next query', await c.fetchval('SELECT 1'))
    await c.close()

asyncio.run(main())
END
PYTHONPATH=package/usr/lib/python3/dist-packages python3 probe.py "$dir" | tee output
grep -qx 'UnknownPostgresError severity ERROR fatal class True' output
grep -qx 'closed False next query 1' output
