"""
The labelled texts: sentences of our own with made-up values in them, and sentences with numbers
that are nobody's. Seeded, so that the file can be made again: ``python -m benchmarks.guards.made``.
"""

import hashlib
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

FILE = Path(__file__).parent / "data" / "pii.jsonl"
SEED = 20_261_122
ROWS_EACH = 75  # of each entity
HARMLESS_ROWS = 400

CARRIERS = [
    "Please send it to {}.", "My details: {} - thanks!",
    "You can reach the customer under {}, she said.",
    "Old: {}\nNew: unknown", "contact={}; status=open", '{{"value": "{}", "ok": true}}', "({})",
    "Could you check whether {} is still right?", "I wrote down {} during the call", "{}",
    "- {}\n- nothing else", "From the form: {} (not verified)", "Bitte {} im System ändern.",
    "Le numéro est {} je crois.", "Her record shows {}, his shows none.", "re: {}",
    "| id | {} | x |",
    "We use {} for the account of Maria Keller in Lyon.", "Is «{}» yours?", "test,{},2026-11-22,ok",
]  # fmt: skip
HINTED = {
    "PHONE_NUMBER": [
        "Call me at {} tonight.",
        "Phone: {}",
        "Tel. {} (mornings)",
        "my number is {}",
    ],
    "US_SSN": ["SSN: {}", "social security number {} on file"],
    "IP_ADDRESS": ["login from {} failed", "host {} is down"],
    "CREDIT_CARD": ["card {} exp 04/29", "charge {} please"],
}
HARMLESS = [
    "Order {n8} was shipped on {date}.", "Version {v} fixes bug #{n4}.", "It costs {price} EUR.",
    "Meet at {time} on {date}.", "ISBN 978-{n1}-{n2}-{n6}-{n1}", "sha256: {hex}", "id {uuid}",
    "Tracking {n4} {n4} {n4} {n4} is void.", "Pages {n2}-{n3}, table {n1}.{n1}",
    "x = {n3} * {n4} + {n2}",
    "The population grew from {n1},{n3},{n3} to {n1},{n3},{n3}.", "lat {n2}.{n5}, lon -{n1}.{n5}",
    "Section {n1}.{n1}.{n1}.{n1} of the norm", "ratio {n2}:{n2}:{n2}", "color #{hex6}",
    "invoice {n4}-{n4}",
    "The code {n6} expires in {n1} minutes.", "for i in range({n3}): print(i, {n4})",
    "{n1}. {n2}. {n3}.",
    "follow @user{n2} on the site", "mail@ the office at noon", "part no. {n3}-{n2}-{n3}",
    "std::vector<int> v({n2});",
    "Room {n3}, floor {n1}, building {n2}", "Score {n1}:{n1} after {n2} minutes",
    "born in {year}, died in {year}",
    "export VAR_{n2}=${{HOME}}/x", "speed {n3} km/h at {n2}.{n1} degrees",
    "ticket ABC-{n5} is closed",
    "scores: {n2} {n2} {n2} {n2} {n2} {n2}", "{year}/{n2}/{n2} backup {n3} of {n3}",
    "10.{n1} percent of {n6}",
]  # fmt: skip

IBANS = {
    "DE": "{n18}",
    "GB": "NWBK{n14}",
    "FR": "{n23}",
    "NL": "ABNA{n10}",
    "ES": "{n20}",
    "CH": "{n17}",
}
Make = Callable[[random.Random], str]


def digits(chance: random.Random, count: int) -> str:
    return "".join(str(chance.randrange(10)) for _ in range(count))


def filled(pattern: str, chance: random.Random) -> str:
    """A pattern with ``{n4}`` for four digits and the like."""
    found = re.sub(r"\{n(\d+)\}", lambda n: digits(chance, int(n[1])), pattern)
    year = chance.randrange(1900, 2030)
    names = {
        "date": f"{year}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
        "time": f"{chance.randrange(24):02}:{chance.randrange(60):02}:{chance.randrange(60):02}",
        "v": ".".join(str(chance.randrange(20)) for _ in range(chance.choice([2, 3, 4]))),
        "price": f"{chance.randrange(1, 99)},{digits(chance, 3)}.{digits(chance, 2)}",
        "hex": hashlib.sha256(digits(chance, 9).encode()).hexdigest(),
        "hex6": f"{chance.randrange(16**6):06x}",
        "uuid": f"{chance.randrange(16**8):08x}-4a7b-4c2d-9e1f-{chance.randrange(16**12):012x}",
        "year": str(year),
    }
    for name, value in names.items():
        found = found.replace(f"{{{name}}}", value)
    return found.replace("{{", "{").replace("}}", "}")


def email(chance: random.Random) -> str:
    first, last = chance.choice(["anna", "li.wei", "o'neil", "J", "karl_h"]), digits(chance, 2)
    tag = chance.choice(["", "", f"+{last}", f"-{last}", last])
    host = chance.choice(
        ["example.org", "mail.example.co.uk", "EXAMPLE.COM", "ex-ample.io", "a.museum"]
    )
    return f"{first}{tag}@{host}"


def phone(chance: random.Random) -> str:
    area = f"{chance.randrange(2, 10)}{digits(chance, 2)}"
    near = f"{chance.randrange(2, 10)}{digits(chance, 2)}"
    forms = [
        f"({area}) {near}-{{n4}}", f"{area}-{near}-{{n4}}", f"+1 {area} {near} {{n4}}",
        f"+1-{area}-{near}-{{n4}}",
        f"{area}.{near}.{{n4}}", "+49 30 {n6}", "+49 (0)171 {n7}", "0171/{n7}", "030 {n6}",
        "+44 20 7946 {n4}",
        "020 7946 {n4}", "+33 1 42 68 {n2} {n2}", "01 42 68 {n2} {n2}", "0041 44 {n3} {n2} {n2}",
        "+91 98765 {n5}",
        "+86 138 0013 {n4}", "+5511987{n6}",
    ]  # fmt: skip
    return filled(chance.choice(forms), chance)


def luhn(number: str) -> str:
    """The number with its check digit."""
    total = 0
    for index, digit in enumerate(reversed(number)):
        value = int(digit) << (1 - (index & 1))
        total += value - 9 if value > 9 else value
    return f"{number}{-total % 10}"


def card(chance: random.Random) -> str:
    prefix, length = chance.choice([("4", 16), ("51", 16), ("2221", 16), ("37", 15), ("6011", 16)])
    number = luhn(prefix + digits(chance, length - 1 - len(prefix)))
    gap = chance.choice(["", " ", "-"])
    groups = (4, 6, 5) if length == 15 else (4, 4, 4, 4)
    parts, at = [], 0
    for size in groups:
        parts.append(number[at : at + size])
        at += size
    return gap.join(parts)


def iban(chance: random.Random) -> str:
    country = chance.choice([*IBANS])
    account = filled(IBANS[country], chance)
    spelled = "".join(str(int(letter, 36)) for letter in f"{account}{country}00")
    whole = f"{country}{98 - int(spelled) % 97:02}{account}"
    if chance.random() < 0.5:
        return whole
    return " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))


def ssn(chance: random.Random) -> str:
    area, group = chance.randrange(100, 666), chance.randrange(1, 100)
    return f"{area}-{group:02}-{chance.randrange(1, 10_000):04}"


def address(chance: random.Random) -> str:
    if chance.random() < 0.6:
        return ".".join(str(chance.randrange(1, 255)) for _ in range(4))
    groups = [f"{chance.randrange(16**4):x}" for _ in range(8)]
    return ":".join(groups) if chance.random() < 0.5 else f"2001:db8::{groups[0]}:{groups[1]}"


def mac(chance: random.Random) -> str:
    pairs = [f"{chance.randrange(256):02x}" for _ in range(6)]
    if chance.random() < 0.1:
        return ".".join("".join(pairs[at : at + 2]) for at in (0, 2, 4))
    return chance.choice([":", "-"]).join(pairs).upper()


def coin(chance: random.Random) -> str:
    if chance.random() < 0.4:
        return f"0x{chance.randrange(16**40):040x}"
    if chance.random() < 0.3:
        letters = "023456789acdefghjklmnpqrstuvwxyz"
        return "bc1q" + "".join(chance.choice(letters) for _ in range(38))
    raw = bytes([0]) + chance.randbytes(20)
    number = int.from_bytes(raw + hashlib.sha256(hashlib.sha256(raw).digest()).digest()[:4], "big")
    letters, shown = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", ""
    while number:
        number, rest = divmod(number, 58)
        shown = letters[rest] + shown
    return f"1{shown}"


MAKERS: dict[str, Make] = {
    "EMAIL_ADDRESS": email, "PHONE_NUMBER": phone, "CREDIT_CARD": card, "IBAN_CODE": iban,
    "US_SSN": ssn, "IP_ADDRESS": address, "MAC_ADDRESS": mac, "CRYPTO": coin,
}  # fmt: skip


def rows() -> list[dict[str, object]]:
    """All rows: a text, and what is in it as entity, start and end."""
    chance = random.Random(SEED)
    found: list[dict[str, object]] = []
    for entity, make in MAKERS.items():
        for _ in range(ROWS_EACH):
            carrier, value = chance.choice(CARRIERS + 4 * HINTED.get(entity, [])), make(chance)
            text = carrier.format(value)
            start = text.index(value)
            found.append({"text": text, "spans": [[entity, start, start + len(value)]]})
    harmless = (filled(chance.choice(HARMLESS), chance) for _ in range(HARMLESS_ROWS))
    found.extend({"text": text, "spans": []} for text in harmless)
    return found


def written() -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
