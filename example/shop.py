#!/usr/bin/python3
"""The HTTP API of a ticket shop, as thin as it can be.

A request becomes one call of one SQL function, and its row becomes the answer.
What is sold, to whom, and whether it may be, is decided in the database; this
file knows who is asking, how arguments arrive, and which HTTP status goes with
which SQLSTATE.  Look at ROUTES first.

    shop.py [--port N]              0: any free port; it is printed

    DATABASE_URL                    a role with grant_role(..., 'buyer')
    WEBHOOK_DATABASE_URL            a role that may only report payments
    WEBHOOK_SECRET                  what the payment provider signs with
    PROVIDER                        the name of that provider (card)
    POOL                            connections of each kind, at most (10)
    REQUEST_TIMEOUT                 seconds in which a request must have arrived (10)

SIGTERM ends it when every request that has come is answered.

`application` is WSGI, so any WSGI server can run it in place of the simple one
here.
"""
import argparse
import datetime
import hashlib
import hmac
import http
import io
import json
import math
import os
import queue
import re
import signal
import socketserver
import sys
import threading
import time
import urllib.parse
import wsgiref.simple_server

import psycopg2

# Method, path, and the statement that answers, with a row or with rows.  %(name)s is
# a part of the path, a parameter of the query or a member of the JSON body; what is
# not given is NULL.  Four names come from elsewhere: user is who has logged in; token,
# a secret that must not stand in a URL, is the header Ticket; key is Idempotency-Key;
# provider is the shop's own, as a payment that is begun keeps a hold alive.
ROW, ROWS = "row", "rows"
ROUTES = [
    # The catalogue
    ("GET", "/concerts", ROWS,
     "SELECT * FROM ticket.concerts(after => %(after)s)"),
    ("GET", "/concerts/{concert}/performances", ROWS,
     "SELECT * FROM ticket.performances(%(concert)s, after => %(after)s)"),
    ("GET", "/performances/{performance}/sections", ROWS,
     "SELECT * FROM ticket.sections(%(performance)s, since => %(since)s)"),
    ("GET", "/performances/{performance}/map", ROWS,
     "SELECT * FROM ticket.seat_map(%(performance)s, since => %(since)s)"),
    # The waiting room
    ("POST", "/queues/{queue}/tickets", ROW,
     "SELECT * FROM ticket.ticket_enqueue(%(queue)s, %(user)s)"),
    ("GET", "/ticket", ROW,
     "SELECT * FROM ticket.ticket_status(%(token)s)"),
    ("DELETE", "/ticket", ROW,
     "SELECT ticket.ticket_leave(%(token)s) AS left"),
    # Seats
    ("POST", "/performances/{performance}/reservations", ROW,
     "SELECT * FROM ticket.seat_hold(%(performance)s, %(seat_ids)s, %(user)s, %(token)s, %(key)s)"),
    ("POST", "/performances/{performance}/reservations/best", ROW,
     "SELECT * FROM ticket.seat_hold_best(%(performance)s, %(seat_count)s, %(user)s,"
     " %(section_id)s, %(token)s, %(key)s)"),
    # Money
    ("GET", "/points", ROW,
     "SELECT ticket.point_balance(%(user)s) AS balance"),
    ("POST", "/reservations/{reservation}/pay", ROW,
     "SELECT * FROM ticket.pay_reservation(%(reservation)s, %(user)s, %(key)s)"),
    ("POST", "/reservations/{reservation}/payments", ROW,
     "SELECT * FROM ticket.payment_begin(%(reservation)s, %(user)s, %(provider)s,"
     " idempotency_key => %(key)s)"),
    ("POST", "/reservations/{reservation}/cancel", ROW,
     "SELECT * FROM ticket.reservation_cancel(%(reservation)s, %(user)s, %(seat_ids)s)"),
    # What one has
    ("GET", "/reservations", ROWS,
     "SELECT * FROM ticket.user_reservations(%(user)s, after => %(after)s)"),
    ("GET", "/reservations/{reservation}", ROW,
     "SELECT * FROM ticket.user_reservation(%(reservation)s, %(user)s)"),
]
PATTERNS = [re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path)) for _, path, _, _ in ROUTES]

# What a provider reports, by the "type" of its message
WEBHOOK = "/webhooks/payment"
REPORTS = {
    "succeeded": "SELECT * FROM ticket.payment_confirm(%(payment_id)s, %(ref)s)",
    "failed": "SELECT * FROM ticket.payment_fail(%(payment_id)s, %(reason)s)",
    "refunded": "SELECT * FROM ticket.refund_confirm(%(refund_id)s, %(ref)s)",
}

MAX_BODY = 64 * 1024
REQUEST_TIMEOUT = float(os.environ.get("REQUEST_TIMEOUT", 10))
PROVIDER = os.environ.get("PROVIDER", "card")


class Refused(Exception):
    """An answer that is not 200."""

    def __init__(self, status, error, message, detail=None, hint=None):
        self.status = status
        self.body = {"error": error, "message": message, "detail": detail, "hint": hint}


class Database:
    """So many connections at most; whoever finds none free waits for one."""

    def __init__(self, dsn, size):
        self.dsn = dsn
        self.idle = queue.LifoQueue()
        for _ in range(size):
            self.idle.put(None)

    def call(self, statement, arguments=None):
        """One statement, which is a transaction of its own: its rows as dicts."""
        connection = self.idle.get()
        try:
            if connection is None or connection.closed:
                connection = psycopg2.connect(self.dsn)
                connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, arguments)
                names = [column.name for column in cursor.description]
                return [dict(zip(names, row)) for row in cursor]
        except ValueError:  # psycopg2: a NUL, or half a character
            raise Refused(400, "bad_argument", "an argument is not text")
        finally:
            self.idle.put(connection)


class Arguments(dict):
    """What is not given is NULL: the function called has a default or says what it lacks."""

    def __missing__(self, name):
        return None


shop = Database(os.environ.get("DATABASE_URL", "dbname=shop user=shop_api"),
                int(os.environ.get("POOL", 10)))
webhook = Database(os.environ.get("WEBHOOK_DATABASE_URL", "dbname=shop user=shop_webhook"),
                   int(os.environ.get("POOL", 10)))


def as_unicode(value):
    """What WSGI hands on of a path or a header is bytes, each as one character."""
    try:
        return value and value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise Refused(400, "bad_request", "the request is not in UTF-8")


def logged_in(environ):
    """Who asks.  Here a header that the proxy in front sets after the login, and lets
    nobody else set; a session or a token of your own would be looked up here.  It must
    never come from the path or the body."""
    return as_unicode(environ.get("HTTP_X_USER"))


def body_of(environ):
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = -1
    if length < 0:
        raise Refused(400, "bad_request", "Content-Length is not a length")
    if length > MAX_BODY:
        raise Refused(413, "too_large", "the body is too large", f"{MAX_BODY} bytes are allowed.")
    try:
        body = environ["wsgi.input"].read(length)
    except TimeoutError:
        raise Refused(408, "too_slow", "the body has not come in time")
    if len(body) < length:
        raise Refused(400, "bad_request", "the body is shorter than Content-Length")
    return body


def members(body):
    """The members of a JSON object; no body is an empty one."""
    try:
        value = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused(400, "bad_request", "the body is not a JSON object")
    return {name: as_text(name, item) for name, item in value.items()}


def as_text(name, value):
    """Arguments are sent as text: the database knows the type of each, and refuses what
    does not fit (1.5 is not a seat)."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, list) and all(type(item) is int for item in value):
        return "{%s}" % ",".join(map(str, value))
    raise Refused(400, "bad_argument", f"{name} is neither a value nor a list of whole numbers")


def arguments_of(environ, path_parts):
    """From the outside in: what is found later counts."""
    try:
        arguments = Arguments(urllib.parse.parse_qsl(as_unicode(environ.get("QUERY_STRING", "")),
                                                     errors="strict", max_num_fields=20))
    except ValueError:
        raise Refused(400, "bad_request", "the query is not in UTF-8, or too long")
    arguments.update(members(body_of(environ)))
    arguments["token"] = as_unicode(environ.get("HTTP_TICKET"))
    arguments["key"] = as_unicode(environ.get("HTTP_IDEMPOTENCY_KEY"))
    arguments["provider"] = PROVIDER
    arguments.update(path_parts)
    arguments["user"] = logged_in(environ)
    return arguments


def answer(environ):
    """The rows for a request, or the row; who is not served gets Refused or an error of
    the database."""
    method, path = environ["REQUEST_METHOD"], as_unicode(environ["PATH_INFO"])
    if (method, path) == ("POST", WEBHOOK):
        return report(environ)
    known = False
    for (route_method, _, kind, statement), pattern in zip(ROUTES, PATTERNS):
        match = pattern.fullmatch(path)
        known = known or match
        if match and method == route_method:
            arguments = arguments_of(environ, match.groupdict())
            if "%(user)s" in statement and not arguments["user"]:
                raise Refused(401, "not_logged_in", "log in first")
            rows = shop.call(statement, arguments)
            return rows[0] if kind == ROW else rows
    if known:
        raise Refused(405, "bad_request", f"{method} is not for {path}")
    raise Refused(404, "bad_request", f"there is no {path}")


def report(environ):
    """A provider's webhook.  It may come twice, late or out of order: the answer says what
    has become of the payment, and anything but 200 makes the provider repeat it."""
    body = body_of(environ)
    secret = os.environ.get("WEBHOOK_SECRET", "")
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not secret or not hmac.compare_digest(signature.encode(),
                                             environ.get("HTTP_X_SIGNATURE", "").encode()):
        raise Refused(401, "bad_signature", "this is not signed by the provider")
    arguments = Arguments(members(body))
    if arguments["type"] not in REPORTS:
        raise Refused(400, "bad_argument", "type is none of " + ", ".join(REPORTS))
    return webhook.call(REPORTS[arguments["type"]], arguments)[0]


def refusal(error):
    """What the database has refused: its own codes say which HTTP status they stand for."""
    code, diag = error.pgcode or "", error.diag
    if code in ERRORS:
        name, status = ERRORS[code]
        return Refused(status, name, diag.message_primary, diag.message_detail, diag.message_hint)
    if code[:2] == "22":
        return Refused(400, "bad_argument", diag.message_primary)
    print(f"shop.py: {code} {error}", file=sys.stderr)
    if code[:2] in ("", "08", "40", "53", "55", "57"):  # busy, gone, or to be repeated
        return Refused(503, "unavailable", "try again")
    return Refused(500, "failed", "this should not happen; it has been noted")


def as_json(value):
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return value.isoformat()


def application(environ, start_response):
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    try:
        status, body = 200, answer(environ)
        if isinstance(body, dict) and body.get("poll_after") is not None:
            headers.append(("Retry-After", str(math.ceil(body["poll_after"].total_seconds()))))
    except psycopg2.Error as error:
        refused = refusal(error)
        status, body = refused.status, refused.body
    except Refused as refused:
        status, body = refused.status, refused.body
    if status == 503:
        headers.append(("Retry-After", "1"))
    data = json.dumps(body, default=as_json).encode()
    headers.append(("Content-Length", str(len(data))))
    start_response(f"{status} {http.HTTPStatus(status).phrase}", headers)
    return [data]


ERRORS = {row["sqlstate"]: (row["name"], row["http_status"])
          for row in shop.call("SELECT * FROM ticket.error_codes")}


class Reader(io.RawIOBase):
    """Reads a connection until a moment: however slowly somebody sends, he keeps a thread
    no longer than that."""

    def __init__(self, connection):
        self.connection = connection
        self.end = time.monotonic() + REQUEST_TIMEOUT

    def readable(self):
        return True

    def readinto(self, buffer):
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        try:
            return self.connection.recv_into(buffer)
        finally:
            self.connection.settimeout(REQUEST_TIMEOUT)  # for all of the answer


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    def setup(self):
        super().setup()
        self.rfile = io.BufferedReader(Reader(self.connection))

    def handle(self):
        try:
            super().handle()
        except OSError as error:  # gone, or too slow to ask or to listen
            self.log_error("%r", error)


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = False  # so that server_close waits for the answers under way
    request_queue_size = 128

    def stop(self, *_):
        # Waits for the loop that the signal has interrupted
        threading.Thread(target=self.shutdown).start()

    def serve(self):
        """Until stop(), and then whoever is connected already."""
        self.serve_forever()
        self.timeout = 0
        self.empty = False
        while not self.empty:
            self.handle_request()
        self.server_close()

    def handle_timeout(self):
        self.empty = True


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    server = wsgiref.simple_server.make_server("127.0.0.1", parser.parse_args().port, application,
                                               Server, Handler)
    signal.signal(signal.SIGTERM, server.stop)
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve()
