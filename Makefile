# ticket: a PostgreSQL extension that runs a concert sale inside the database.
#
#   make                the extension
#   make install        into the PostgreSQL of PG_CONFIG (default: pg_config)
#   make installcheck   regression and isolation tests against a running server
#                       that has ticket installed and preloaded (PGHOST etc.)
#   make demo           a whole sale on a throw-away cluster (FANS= SEATS= KEEP=1)
#   make check          every test, on throw-away clusters (ONLY="stage ...")
#   make bench          the table of figures
#   make data           a shop full of data, to try things out at size; data/run
#                       tells where and how much (DATABASE= CONCERTS= SEED= ...)
#   make format         clang-format over the C sources; format-check only looks
#   make check-builds   the tests with other compilers, flags and servers: with
#                       assertions, under sanitizers (ONLY, STAGES="flags cassert
#                       asan ubsan discard valgrind")
#   make check-pg17     make check against PostgreSQL 17, in a Debian 13 chroot
#   make check-pg18     the same against PostgreSQL 18, in one of forky
#   make check-fresh    make check and make demo from a fresh clone, in a bare
#                       Debian 12 chroot
#   make clean          what was built; distclean also the cached chroots and servers
#
# CC, CFLAGS and the like are the caller's to give: make CC=clang CFLAGS=-O3
#
# demo, check and bench first install the Debian packages that are missing
# (scripts/install-deps).  FANS, SEATS, KEEP and the like reach the scripts
# through the environment, where make puts what its command line sets.

PG_CONFIG ?= pg_config

FORMATTED = $(wildcard src/*.[ch] src/client/*.h test/*.[ch] test/unit/*.[ch] demo/*.[ch] bench/*.[ch])

tasks = demo check bench data format format-check check-builds check-pg17 check-pg18 check-fresh

ifneq (,$(filter $(tasks),$(MAKECMDGOALS)))

# Tasks must work before there is a PostgreSQL, so they are kept apart from
# PGXS: its variables are read when make starts, which is too early for a make
# that begins with installing it (and PGXS has a `check` of its own).  What
# builds the extension is a make below these scripts.

.NOTPARALLEL:
.PHONY: $(MAKECMDGOALS)

demo bench:
	scripts/install-deps $@
	$@/run

data:
	scripts/install-deps
	data/run

check:
	@scripts/check $(ONLY)

format:
	scripts/format $(FORMATTED)

format-check:
	@scripts/format --check $(FORMATTED)

check-builds:
	@scripts/check-builds $(STAGES)

check-pg17:
	scripts/chroot trixie scripts/check $(ONLY)

check-pg18:
	scripts/chroot forky scripts/check $(ONLY)

check-fresh:
	scripts/chroot --clone bookworm sh -c 'make check && make demo'

# `make clean check` and the like
$(filter-out $(tasks),$(MAKECMDGOALS)):
	$(MAKE) $@

else

EXTENSION = ticket
MODULE_big = ticket
# What CREATE EXTENSION runs is joined from these, in this order
SQL = start queue many venue concert performance section past seat map number money payment cancel operator outbox history people list_buyer list_seller totals seller run resync stats verify grant
DATA_built = ticket--1.0.sql
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))

# The server's headers aren't held to our warnings: they come as system headers.
# (make knows includedir_server by the time PGXS reads this.)  Hooks and
# PG_FUNCTION_ARGS dictate parameters that a function may not need; a table of
# ours may leave its last field zero.
PG_CPPFLAGS = -isystem $(includedir_server)
# Whatever CFLAGS somebody gives: the server's headers count on the first two.
# clang doesn't know the attribute of printf() that a gcc has left in them.  A
# warning is an error in our checks only: another compiler warns of other things.
PG_CFLAGS = -fno-strict-aliasing -fwrapv -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers \
	-Wno-ignored-attributes $(CHECK_CFLAGS)

REGRESS = $(sort $(basename $(notdir $(wildcard test/sql/*.sql))))
REGRESS_OPTS = --inputdir=test --load-extension=pgtap --load-extension=ticket
ISOLATION = $(sort $(basename $(notdir $(wildcard test/specs/*.spec))))
ISOLATION_OPTS = --inputdir=test --load-extension=ticket
# TAP tests make their own clusters; make check runs them (TAP_TESTS=1)
PROVE_TESTS = $(sort $(wildcard test/t/*.pl))

EXTRA_CLEAN = build/check build/unit results output_iso regression.* tmp_check

PGXS := $(shell $(PG_CONFIG) --pgxs 2>&1)
ifeq (,$(wildcard $(PGXS)))
$(error no PostgreSQL to build against ($(PG_CONFIG): $(PGXS)); scripts/install-deps installs it)
endif
include $(PGXS)

# Assertions of C are for servers that have PostgreSQL's own.
ifneq (--enable-cassert,$(findstring --enable-cassert,$(shell $(PG_CONFIG) --configure)))
override CPPFLAGS += -DNDEBUG
endif

ticket--1.0.sql: $(SQL:%=schema/%.sql)
	cat $^ >$@

# Few and small files: a changed header rebuilds them all
$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h src/client/*.h) Makefile

distclean: distclean-chroots
.PHONY: distclean-chroots
distclean-chroots:
	rm -rf build

endif
