"""Pays orders and notifies of each in the same transaction.

    python3 producer.py data/postrider.db 17 18            SQLite, with Python's own sqlite3
    python3 producer.py postgres://me@db/postrider 17 18   PostgreSQL, with psycopg 3: pip install 'psycopg[binary]'

Paying an order again does nothing, so whoever is in doubt may run it again.
"""

import json
import sys
from contextlib import closing

ORDERS = "CREATE TABLE IF NOT EXISTS orders (number integer PRIMARY KEY, total integer NOT NULL)"
PAY = "INSERT INTO orders (number, total) VALUES (?, ?) ON CONFLICT DO NOTHING"
NOTIFY = """
    INSERT INTO notifications (type, source, subject, labels, content, idempotency_key)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""


def connect(database):
    """A connection, and how its driver writes a parameter."""
    if database.startswith(("postgres://", "postgresql://")):
        import psycopg

        return psycopg.connect(database), "%s"
    import sqlite3

    # For as long as the daemon or another producer writes, this waits.
    return sqlite3.connect(database, timeout=5), "?"


def pay(connection, parameter, number, total):
    """The order and its notification: both, or neither if anything fails before the commit."""
    paid = json.dumps({"order": number, "total": total})
    labels = json.dumps({"env": "production"})
    notification = ("order.paid", "shop", f"order {number}", labels, paid, f"order-{number}-paid")
    connection.execute(PAY.replace("?", parameter), (number, total))
    connection.execute(NOTIFY.replace("?", parameter), notification)
    connection.commit()


def main(database, *numbers):
    connection, parameter = connect(database)
    with closing(connection):
        connection.execute(ORDERS)
        for number in numbers:
            pay(connection, parameter, int(number), total=4200)
            print(f"order {number} is paid")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
