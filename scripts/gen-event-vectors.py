#!/usr/bin/env python3
"""Writes testdata/vectors-own/python-events.json: what producers send, and the sealed events that it becomes.

Source: the CPython that runs this, by the rules of docs/format.md and nothing of the project's code: a body is
`json.dumps(event, sort_keys=True, separators=(",", ":"))`, a hash its SHA-256. The events are one chain, those of the first
version and those of the second mixed. Seeded, so a second run gives the same file. Tests read the file, never Python.
"""

import datetime
import hashlib
import json
import pathlib
import platform
import random
import uuid

OUT = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "vectors-own"
EVENTS = 100
EXTENDED = ["id", "v", "schema_version", "subject", "tenant", "session", "grant", "run", "attempt_id", "trace_id", "actor",
            "resource", "changes", "outcome", "request", "severity"]


def text(rng, length_max):
    alphabet = "abcXYZ019 -_/.:'\"\\äß€中😀\u2028\u00ad\ufeff"
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(1, length_max)))


def value(rng, depth):
    form = rng.randrange(9 if depth else 7)
    if form == 7:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if form == 8:
        return {text(rng, 6): value(rng, depth - 1) for _ in range(rng.randrange(5))}
    return [None, True, rng.randint(-10**20, 10**20), rng.uniform(-1, 1) * 10.0 ** rng.randint(-30, 30), 0.0,
            text(rng, 12), "\x00\x1f\x7f\n"][form]


def some(rng, names, make):
    names = rng.sample(names, rng.randint(1, len(names)))
    return {name: make(name) for name in names}


def member(rng, name):
    if name == "id":
        return str(uuid.UUID(int=rng.getrandbits(128)))
    if name == "v":
        return 2
    if name == "schema_version":
        return rng.choice([1, 2, 2**31 - 1])
    if name == "outcome":
        return rng.choice(["attempt", "success", "failure", "denied", "unknown"])
    if name == "severity":
        return rng.choice(["debug", "info", "notice", "warning", "error", "critical"])
    if name == "actor":
        return some(rng, ["type", "id", "name", "on_behalf_of"], lambda _: text(rng, 20))
    if name == "resource":
        return some(rng, ["type", "id", "name"], lambda _: text(rng, 30))
    if name == "request":
        return some(rng, ["id", "ip", "user_agent"],
                    lambda part: rng.choice(["10.0.0.1", "2001:db8::7"]) if part == "ip" else text(rng, 40))
    if name == "changes":
        return [{"path": text(rng, 9), **some(rng, ["old", "new"], lambda _: value(rng, 2))}
                for _ in range(rng.randrange(4))]
    return text(rng, 24)


def sent_event(rng):
    event = {"kind": rng.choice(["other", "request_denied", "watch_drifted"]), "source": text(rng, 20)}
    if rng.random() < 0.8:
        event["payload"] = {text(rng, 6): value(rng, 3) for _ in range(rng.randrange(5))}
    if rng.random() < 0.4:
        event["timestamp"] = rng.choice(["2026-05-15T03:14:15+00:00", "last \"week\"", "gestern, spät"])
    if rng.random() < 0.75:
        for name in rng.sample(EXTENDED, rng.randint(1, len(EXTENDED))):
            event[name] = member(rng, name)
    members = list(event.items())
    rng.shuffle(members)
    return dict(members)


def main():
    rng = random.Random(20260515)
    received_at = datetime.datetime(2026, 5, 15, 3, 14, 15, 999_990, tzinfo=datetime.timezone.utc)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    prev_hash, vectors = "0" * 64, []
    for event_id in range(1, EVENTS + 1):
        event = sent_event(rng)
        received_at += datetime.timedelta(microseconds=rng.choice([0, 1, 7, 10**6, 86_400 * 10**6]))
        stamp = received_at.isoformat(timespec="microseconds")
        stamp_id, nonce = rng.getrandbits(128), rng.getrandbits(128)
        sealed = {"payload": {}, "timestamp": stamp, **event, "event_id": event_id, "prev_hash": prev_hash}
        if any(name in event for name in EXTENDED):
            sealed = {"id": str(uuid.UUID(int=stamp_id)), **sealed, "v": 2, "received_at": stamp, "nonce": f"{nonce:032x}"}
        body = json.dumps(sealed, sort_keys=True, separators=(",", ":"))
        prev_hash = hashlib.sha256(body.encode()).hexdigest()
        vectors.append({
            "sent": json.dumps(event, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1])),
            "stamp_id": f"{stamp_id:032x}", "stamp_nonce": f"{nonce:032x}",
            "received_at": (received_at - epoch) // datetime.timedelta(microseconds=1),
            "body": body, "hash": prev_hash,
        })
    document = {"about": "one chain: what a producer sends, its stamps, the sealed body and its hash",
                "source": f"CPython {platform.python_version()}, scripts/gen-event-vectors.py", "vectors": vectors}
    (OUT / "python-events.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
