#!/usr/bin/env python3
"""Writes testdata/vectors-own/python-floats.json and python-documents.json.

Source: the CPython that runs this. A float's canonical text is `float.__repr__`; a document's is
`json.dumps(json.loads(input), sort_keys=True, separators=(",", ":"))`. Seeded, so a second run gives the same files
(unless CPython changed its mind, which is what one would want to see). Tests read the files, never Python.
"""

import decimal
import json
import math
import pathlib
import platform
import random
import struct

OUT = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "vectors-own"
SOURCE = f"CPython {platform.python_version()}, scripts/gen-python-vectors.py"


def finite(bits):
    value = struct.unpack(">d", struct.pack(">Q", bits))[0]
    return value if math.isfinite(value) else 0.5


def literal(rng, value):
    """One of the ways to write a double: all of them have to read back as the same one."""
    form = rng.randrange(5)
    if form == 0:
        return format(value, ".17e")
    if form == 1:
        return format(value, ".40E")
    text = format(decimal.Decimal(value), "f" if 1e-30 < abs(value) < 1e30 else "e")
    if form == 2 and len(text) < 120:
        return text if any(mark in text for mark in ".eE") else text + ".0"
    return repr(value)


def float_vectors(rng):
    values = [0.0, -0.0, 5e-324, 2.2250738585072014e-308, 2.225073858507201e-308, 1.7976931348623157e308]
    for exponent in range(-1074, 1024, 3):
        power = math.ldexp(1.0, exponent)
        values += [power, rng.choice([math.nextafter(power, 0), math.nextafter(power, math.inf)])]
    for exponent in range(-323, 309, 4):
        values.append(float(f"{rng.randint(1, 9)}e{exponent}"))
    # Around the places where the layout changes.
    for edge in (1e-5, 1e-4, 1e15, 1e16, 1e17, 1e22, 1e23, 2.0**53, 2.0**63, 2.0**64):
        values += [edge, -edge, math.nextafter(edge, 0), math.nextafter(edge, math.inf)]
    # Exactly half-way between two shortest texts: CPython takes the even one.
    values += [math.ldexp(rng.randint(2**50, 2**53) | 1, -rng.randint(2, 8)) for _ in range(150)]
    values += [2.0**-25, 2.0**-24, 2.0**-44, 1125899906842624.25, 26363981746409.3125]
    values += [finite(rng.getrandbits(64)) for _ in range(250)]
    values += [rng.randint(-(10**9), 10**9) / 10 ** rng.randint(0, 6) for _ in range(150)]
    vectors = [[literal(rng, value), repr(value)] for value in values]
    # Literals between two doubles, long ones, odd spellings.
    half = decimal.Decimal(1) + decimal.Decimal(2) ** -53
    smallest = decimal.Context(prec=2000)
    tiny_half = smallest.power(decimal.Decimal(2), -1075)
    texts = ["9007199254740993.0", "9007199254740995.0", "9007199254740992.99999999999999999999", "1e23", "8.5e22",
             "2.5e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "1.7976931348623158e308", "0e999999999999",
             "-0e-999999999999", "0.0e+99999999999999999999999999", "1e-999999999999999999999", "123e-0", "1E0000000000000001",
             f"{half}", f"{half}{'0' * 900}", f"{half}{'0' * 900}1", f"{tiny_half:f}", f"{tiny_half:f}1",
             "1." + "0" * 4400 + "1", "1" * 300 + ".5", "0." + "0" * 320 + "1", "7" * 4400 + "e-4390"]
    vectors += [[text, repr(float(text))] for text in texts]
    return vectors


ALPHABET = 'aZ09 _-/\\"\x00\x08\x09\x0a\x0c\x0d\x1f~\x7f\x80\xe9\xff\u0100\u2028\u4e2d\ud7ff\ue000\ufeff\uff61\uffff\U00010000\U0001f600\U0010ffff'


def text_of(rng):
    return "".join(rng.choice(ALPHABET) for _ in range(rng.randrange(7)))


def value_of(rng, depth):
    pick = rng.randrange(9 if depth else 7)
    if pick == 0:
        return rng.choice([None, True, False])
    if pick in (1, 2):
        return rng.randint(-(10 ** rng.randint(0, 40)), 10 ** rng.randint(0, 40))
    if pick in (3, 4):
        return finite(rng.getrandbits(64)) if rng.random() < 0.5 else rng.randint(-9999, 9999) / 100
    if pick in (5, 6):
        return text_of(rng)
    if pick == 7:
        return [value_of(rng, depth - 1) for _ in range(rng.randrange(5))]
    return {text_of(rng): value_of(rng, depth - 1) for _ in range(rng.randrange(6))}


def document_vectors(rng):
    vectors = []
    for _ in range(250):
        value = {text_of(rng): value_of(rng, 4) for _ in range(rng.randrange(7))}
        given = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, 1, "\t"]))
        if value and rng.random() < 0.3:
            # Some of its keys again, spelt with escapes.
            again = {key: rng.randint(0, 9) for key in value if rng.random() < 0.7}
            given = given.rstrip()[:-1] + ", " + json.dumps(again or {"": 0})[1:]
        canonical = json.dumps(json.loads(given), sort_keys=True, separators=(",", ":"))
        vectors.append([given, canonical])
    return vectors


def write(name, about, vectors):
    lines = ",\n".join(json.dumps(vector) for vector in vectors)
    head = json.dumps({"about": about, "source": SOURCE})[:-1]
    (OUT / name).write_text(f'{head}, "vectors": [\n{lines}\n]}}\n', encoding="ascii")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write("python-floats.json", "[JSON number literal, what CPython's repr prints for it]", float_vectors(random.Random(1)))
    write("python-documents.json", "[JSON text, its canonical form]", document_vectors(random.Random(2)))


if __name__ == "__main__":
    main()
