#!/usr/bin/env python3
"""Checks evidence from a gatelog ledger with nothing but Python's standard library.

    python3 verify_evidence.py evidence.zip --vkey VKEY [--vkey VKEY ...] [--pr REPO#NUMBER | --entry N | ...]

Written to be read. It checks, in this order:

 1. the signature of the checkpoint (C2SP signed-note, Ed25519 as in RFC 8032) by a key that you trust;
 2. that the entries of the range are those of the signed Merkle tree (RFC 6962, RFC 9162 section 2.1),
    that each names the hash of the one before it, and that their times never go back;
 3. the entries from elsewhere, each by an inclusion proof in the same tree;
 4. that what was asked for is all there, and nothing else is called so;
 5. that every body is what its entry commits to, or was erased by an erasure that is in the tree;
 6. that entries say what the verdicts in their bodies say, that what allows rests on facts, and that a success
    was shown only of what was allowed;
 7. with --pr, --entry, --since, --until or --repo: that it is about that, and not about something else.

It does not judge verdicts again: `gatelog audit evidence verify --replay` does.
Exit code 0: verified. 3: something does not hold. 4: what was asked for cannot be told. 5: it cannot be read.
"""

import argparse
import base64
import datetime
import hashlib
import json
import re
import sys
import zipfile

FORMAT = "gatelog-evidence/1"

# A zip file of a few megabytes can say that it holds terabytes, and hold them.
MAX_FILE = 1 << 30
MAX_TOTAL = 8 << 30

# All that is in it beside the bodies. README.txt and index.html are for reading: nothing proves them.
FILES = {"README.txt", "index.html", "manifest.json", "checkpoint", "tree.json", "entries.jsonl", "others.jsonl",
         "salts.json"}


class Wrong(Exception):
    """Something does not hold."""


class Unreadable(Exception):
    """It is no evidence, or a part of it is not there."""


class NotProved(Exception):
    """All of it holds, and it does not tell what was asked."""


def check(holds, what):
    if not holds:
        raise Wrong(what)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# ---- Ed25519 signatures, RFC 8032 section 5.1. Slow and plain; a few milliseconds are enough here.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    """x of the point with this y, or None if there is none."""
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P != 0:
        return None
    return P - x if (x & 1) != sign else x


def decompress(encoded):
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    total = (0, 1, 1, 0)
    while scalar > 0:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def equal(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = recover_x(BASE_Y, 0)
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def ed25519_verifies(public, message, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    key, r = decompress(public), decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= ORDER:
        return False
    # A key of small order would accept what nobody signed.
    if equal(multiply(8, key), (0, 1, 1, 0)):
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    return equal(multiply(s, BASE), add(r, multiply(h, key)))


# ---- Signed notes and checkpoints, C2SP signed-note and tlog-checkpoint


def parse_vkey(text):
    """name+hash+base64(0x01 || key): (name, key id, key)."""
    name, key_id, encoded = text.strip().split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    check(len(key) == 33 and key[0] == 1, f"{text}: not an Ed25519 key")
    check(sha256(name.encode(), b"\n", key)[:4].hex() == key_id, f"{text}: its key id does not fit")
    return name, bytes.fromhex(key_id), key[1:]


def open_checkpoint(note, vkeys):
    """(origin, size, root) of a checkpoint that one of the keys signed for its own log."""
    text, separator, signatures = note.decode().rpartition("\n\n")
    check(separator and signatures.endswith("\n"), "the checkpoint is not a signed note")
    text += "\n"
    signed_by = set()
    for line in signatures.splitlines():
        check(line.startswith("— ") and line.count(" ") == 2, "the checkpoint has a line that is no signature")
        _, name, encoded = line.split(" ")
        signature = base64.b64decode(encoded, validate=True)
        for trusted, key_id, key in vkeys:
            if (trusted, key_id) == (name, signature[:4]):
                check(ed25519_verifies(key, text.encode(), signature[4:]), f"the signature of {name} is wrong")
                signed_by.add(name)
    lines = text.split("\n")
    origin, size, root = lines[0], lines[1], base64.b64decode(lines[2], validate=True)
    check(origin in signed_by, "no key that you trust has signed the checkpoint")
    check(re.fullmatch("0|[1-9][0-9]*", size) and len(root) == 32, "the checkpoint is malformed")
    return origin, int(size), root


# ---- The Merkle tree, RFC 6962 section 2.1 and RFC 9162 section 2.1


def leaf_hash(raw):
    return sha256(b"\x00", raw)


def node_hash(left, right):
    return sha256(b"\x01", left, right)


class CompactRange:
    """The roots of the perfect subtrees over the first `size` leaves, largest first."""

    def __init__(self, size, peaks):
        check(len(peaks) == bin(size).count("1"), "the tree before the range has a wrong number of hashes")
        self.size, self.peaks = size, list(peaks)

    def push(self, leaf):
        size = self.size
        while size & 1:
            leaf = node_hash(self.peaks.pop(), leaf)
            size >>= 1
        self.peaks.append(leaf)
        self.size += 1

    def root(self):
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


def inclusion_holds(leaf, index, size, path, root):
    if index >= size:
        return False
    at, last = index, size - 1
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            leaf = node_hash(sibling, leaf)
            while not (at & 1 or at == 0):
                at, last = at >> 1, last >> 1
        else:
            leaf = node_hash(leaf, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and leaf == root


def consistency_holds(old, old_root, new, new_root, proof):
    if old == new:
        return not proof and old_root == new_root
    path = [old_root] + proof if old & (old - 1) == 0 else proof
    if not path:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not (at & 1 or at == 0):
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


# ---- The bytes of an entry, RFC 8785. Another form is hashed as it is, and no failure: gatelog does not write it.


def not_canonical(raw, entry):
    """What is not as gatelog writes it, or None."""
    if len(raw) > 16384:
        return f"it has {len(raw)} bytes, the limit is 16384"
    too_large = next((n for n in numbers(entry) if type(n) is not int or abs(n) >= 1 << 53), None)
    if too_large is not None:
        return f"{too_large} is not an integer below 2^53"
    return None if canonical(entry).encode() == raw else "not in the form of RFC 8785"


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def canonical(value):
    """Of values whose numbers are integers. Names go by their UTF-16 code units; Python escapes as RFC 8785 does."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


# ---- What it is about


CANONICAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def check_selection(selection):
    """Numbers are numbers: to Python, True is 1, and no entry is about "12"."""
    numbers_of = {"pull_request": ("repository", "number"), "entry": ("entry",), "time": ("repository",)}
    for name in numbers_of.get(selection["by"], ()):
        value = selection[name]
        if type(value) is not int and not (value is None and selection["by"] == "time"):
            raise Unreadable(f"the {name} that it is about is {value!r}, and no number")


def describe(selection, names):
    """In words; `names`: what the payloads in it call its repository."""
    called = f"{', '.join(sorted(names))}, as its payloads say" if names else "no payload in it says its name"
    repository = f"repository {selection.get('repository')} ({called})"
    if selection["by"] == "pull_request":
        return f"pull request {selection['number']} of {repository}"
    if selection["by"] == "entry":
        return f"entry {selection['entry']} and what belongs to it"
    of = "" if selection["repository"] is None else f" of {repository}"
    return f"everything{of} from {selection['since'] or 'the beginning'} until {selection['until'] or 'the checkpoint'}"


def check_asked(args, selection, names):
    """Evidence about something else is as genuine."""
    about = describe(selection, names)
    differs = Wrong(f"it is about {about}, and that was not asked for")
    repository = args.repo
    if args.pr is not None:
        repository, _, number = args.pr.rpartition("#")
        if (selection["by"], str(selection.get("number"))) != ("pull_request", number):
            raise differs
    elif args.entry is not None:
        if (selection["by"], selection.get("entry")) != ("entry", args.entry):
            raise differs
    elif args.since or args.until or args.repo:
        times = [selection.get("since"), selection.get("until")]
        if selection["by"] != "time" or [t and moment(t) for t in times] != [args.since, args.until]:
            raise differs
        if (repository is None) != (selection["repository"] is None):
            raise differs
    if repository is None:
        return
    if repository.isdigit():
        check(int(repository) == selection["repository"], str(differs))
    elif not names:
        raise NotProved("that it is about what was asked for: it is about "
                        f"{about}; ask by the number {selection['repository']}")
    else:
        check(repository.lower() in {name.lower() for name in names}, str(differs))


def is_pull(entry, selection):
    s = entry["subject"]
    return (s["kind"], s.get("repository"), s.get("id")) == (
        "pull_request", selection["repository"], selection["number"])


def is_asked_for(entry, selection, heads):
    s = entry["subject"]
    if selection["by"] == "pull_request":
        of_its_head = s["kind"] != "pull_request" and s.get("head") in heads
        return is_pull(entry, selection) or concerns(entry, selection) or (of_its_head and s.get("repository") == selection["repository"])
    if selection["by"] == "entry":
        return entry["seq"] == selection["entry"]
    check(selection["by"] == "time", "it is not known what was asked for")
    # Times are RFC 3339 in UTC with microseconds: their order is that of their text, if all are written so.
    for limit in (selection["since"], selection["until"]):
        check(limit is None or CANONICAL.fullmatch(limit), f"{limit!r} is not a time as gatelog writes it")
    return (
        (selection["since"] is None or entry["time"] >= selection["since"])
        and (selection["until"] is None or entry["time"] < selection["until"])
        and (selection["repository"] is None or s.get("repository") == selection["repository"])
    )


def is_number(value):
    return type(value) is int and 0 <= value < 2**64  # to Python, True is 1


def check_shape(entry):
    """By these it is found out what an entry is about: of another form, nobody could say that it is not."""
    at, data = f"entry {entry['seq']}", entry.get("data")
    check(isinstance(data, dict), f"{at}: its data is no object")
    for name in ("pulls", "waivers") if entry["kind"] == "verdict" else ():
        if name in data:
            holds = isinstance(data[name], list) and all(map(is_number, data[name]))
            check(holds, f"{at}: its {name} are no list of numbers")
    if entry["kind"] == "waiver":
        of = data.get("of")
        check(of is None or is_number(of), f"{at}: what it is a step of is no number")


def concerns(entry, selection):
    """A verdict on something else that says that it concerns the pull request."""
    here = entry["subject"].get("repository") == selection["repository"]
    return entry["kind"] == "verdict" and here and selection["number"] in entry["data"].get("pulls", [])


def heads_of(selection, entries):
    """Those it ever had, those of merge groups that carried it, and what it landed as."""
    if selection["by"] != "pull_request":
        return set()
    return {e["subject"].get("head") for e in entries if is_pull(e, selection) or concerns(e, selection)} - {None}


def rested_on(selected, entries):
    """The exceptions that what was selected rests on: the entries of the steps that made them."""
    verdicts = [e for e in entries if e["kind"] == "verdict" and e["seq"] in selected]
    return {seq for verdict in verdicts for seq in verdict["data"].get("waivers", [])}


def select(selection, entries):
    """What was asked for, what answers it, the exceptions that it rests on, and what all these refer to."""
    heads = heads_of(selection, entries)
    selected = set()
    for entry in entries:
        answers = entry["kind"] in ("verdict", "report") and selected.intersection(entry.get("refs", []))
        if answers or is_asked_for(entry, selection, heads):
            selected.add(entry["seq"])
    before = None
    while before != len(selected):  # what came in by a reference may rest on an exception of its own
        before = len(selected)
        exceptions = rested_on(selected, entries)
        for entry in entries:
            if entry["kind"] == "waiver" and exceptions.intersection((entry["seq"], entry["data"].get("of"))):
                selected.add(entry["seq"])
        for entry in reversed(entries):
            if entry["seq"] in selected:
                selected.update(ref for ref in entry.get("refs", []) if ref >= entries[0]["seq"])
    return selected


MERGES = ("merge_group", "merge", "squash", "rebase")


def unsaid(selection, entries):
    """Entries of what may concern a pull request and does not say so: merge groups and what landed on watched branches,
    each by its first, of which no verdict names all pull requests."""
    known = heads_of(selection, entries)
    verdicts_of_refs = [e for e in entries if e["kind"] == "verdict" and e["subject"]["kind"] == "ref"]
    answered = {ref for e in verdicts_of_refs for ref in e.get("refs", [])}
    may, told = {}, set()
    for entry in entries:
        subject, kind, data = entry["subject"], entry["kind"], entry["data"]
        if subject.get("repository") != selection["repository"] or kind not in ("event", "verdict"):
            continue
        if subject["kind"] == "merge_group":
            counts, tells = True, kind == "verdict"
        elif subject["kind"] == "ref" and kind == "verdict":
            # Of pushes to other branches nothing is told. What was no merge may have brought more than it names.
            landing = data.get("landing")
            counts, tells = landing is not None, isinstance(landing, dict) and landing.get("kind") in MERGES
        elif subject["kind"] == "ref":
            counts, tells = entry["seq"] not in answered, False
        else:
            continue
        # What has no head stands for itself.
        key = (subject["kind"], subject.get("head") or entry["seq"])
        if counts and subject.get("head") not in known and not is_asked_for(entry, selection, known):
            may.setdefault(key, entry["seq"])
        if tells and "pulls" in data:
            told.add(key)
    return [seq for key, seq in may.items() if key not in told]


CLOCKS = datetime.timedelta(hours=1)  # by less than this, clocks of GitHub and of the gate may differ


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def time_asked(text):
    at = moment(text)
    return at if at.tzinfo else at.replace(tzinfo=datetime.timezone.utc)


def created_at(selection, payload):
    """When GitHub says that the pull request was made, if this payload is about it."""
    pull, repository = payload.get("pull_request") or {}, payload.get("repository") or {}
    if (repository.get("id"), pull.get("number")) == (selection["repository"], selection["number"]):
        return moment(pull["created_at"]) if "created_at" in pull else None
    return None


def completeness(selection, created, entries, size):
    """(True, what is complete) or (False, what is not proved)."""
    first, last = entries[0], entries[-1]
    until = f"until entry {last['seq']}, {last['time']}"
    if last["seq"] + 1 == size:
        until = f"until the checkpoint of {size} entries, the last of {last['time']}"
    if selection["by"] == "entry":
        return False, "completeness: that no other entry says more about it"
    if selection["by"] == "pull_request":
        # What comes before the range is older still, and so than the pull request.
        if first["seq"] > 0 and not (created and moment(first["time"]) + CLOCKS < created):
            return False, "completeness: that nothing about it comes before the range"
        if untold := unsaid(selection, entries):
            return False, (f"completeness: which pull requests {len(untold)} merge groups or landings were of, the first "
                           f"of them in entry {min(untold)}; all else that names it or one of its heads is here, {until}")
        older = [seq for seq in rested_on(select(selection, entries), entries) if seq < first["seq"]]
        if older:
            return False, (f"completeness: what became of the exception of entry {min(older)} until entry {first['seq']}; "
                           f"all else about it is here, {until}")
        return True, ("everything that names it, its heads, merge groups that carried it and what landed of it on a "
                      f"watched branch is here, {until}")
    if first["seq"] > 0 and (selection["since"] is None or first["time"] >= selection["since"]):
        return False, "completeness: that nothing of that time comes before the range"
    if last["seq"] + 1 < size and (selection["until"] is None or last["time"] < selection["until"]):
        return False, "completeness: that nothing of that time comes after the range"
    return True, f"everything of that time is here, {until}"


NOT_IN_IT = ("pushes of its head from before it was opened, what it landed as on a branch that is not watched, "
             "deployments of later commits or of which GitHub did not tell what brought them")

# ---- The file


def check_sizes(archive):
    """What the directory at its end says is looked at first; `read` holds every file to it."""
    # Who unpacks it may see the one, and who verifies it the other.
    names = archive.namelist()
    if len(names) != len(set(names)):
        raise Unreadable("it holds two files of one name")
    total = sum(info.file_size for info in archive.infolist())
    if total > MAX_TOTAL:
        raise Unreadable(f"it unpacks to more than {MAX_TOTAL} bytes")


def read(archive, name):
    if name not in archive.NameToInfo:
        raise Unreadable(f"the file {name} is missing: this is no evidence of gatelog")
    info = archive.getinfo(name)
    if info.file_size > MAX_FILE:
        raise Unreadable(f"{name} has more than {MAX_FILE} bytes")
    # In pieces: asked for all at once, zipfile unpacks far more than the size before it cuts.
    pieces, left = [], info.file_size
    with archive.open(info) as file:
        while left > 0 and (piece := file.read(min(left, 1 << 20))):
            pieces.append(piece)
            left -= len(piece)
        # Its end: only there the checksum is compared.
        if left > 0 or file.read(1):
            raise Unreadable(f"{name} does not have the {info.file_size} bytes that it is said to have")
    return b"".join(pieces)


def read_json(archive, name):
    try:
        return json.loads(read(archive, name))
    except ValueError as e:
        raise Unreadable(f"the file {name} cannot be read: {e}") from e


def lines(archive, name):
    raw = [line for line in read(archive, name).split(b"\n") if line]
    return [(line, json.loads(line)) for line in raw]


def check_files(archive, manifest):
    names = set(archive.namelist()) - {"manifest.json"}
    for name in sorted(names.symmetric_difference(manifest["files"])):
        raise Wrong(f"the file {name} is missing, or is not in the manifest")
    for name, digest in manifest["files"].items():
        check(hashlib.sha256(read(archive, name)).hexdigest() == digest, f"the file {name} was changed")


def check_range(manifest, tree, entries, size, root):
    first, end = manifest["from"], manifest["to"]
    check(first < end <= size and end - first == len(entries), "the range is not what the manifest says")
    known = CompactRange(first, [bytes.fromhex(h) for h in tree["left"]])
    before, time = (bytes(32), "") if first == 0 else (None, "")
    for seq, (raw, entry) in enumerate(entries, first):
        check(entry["seq"] == seq, f"entry {seq}: in its place is entry {entry['seq']}")
        if before is not None:
            check(entry["prev"] == before.hex(), f"entry {seq}: it does not name the entry before")
        check(entry["time"] >= time, f"entry {seq}: its time is before that of the entry before")
        before, time = leaf_hash(raw), entry["time"]
        known.push(before)
    proof = [bytes.fromhex(h) for h in tree["right"]]
    check(consistency_holds(end, known.root(), size, root, proof), "the entries are not those of the checkpoint")


def check_others(tree, others, size, root):
    for raw, entry in others:
        path = [bytes.fromhex(h) for h in tree["others"].get(str(entry["seq"]), [])]
        holds = inclusion_holds(leaf_hash(raw), entry["seq"], size, path, root)
        check(holds, f"entry {entry['seq']}: it is not in the tree of the checkpoint")


def check_bodies(archive, manifest, with_bodies):
    """How many; (entry, body, erasure, reason) of those that were erased; when the pull request was made; what
    the payloads call its repository; the first verdict that rests on an exception which its entry does not name."""
    salts = read_json(archive, "salts.json")
    there, said = set(archive.namelist()), {(r["entry"], r["body"]) for r in manifest["redacted"]}
    count, gone, erasures, created, names, belongs = 0, [], {}, [], set(), set(FILES)
    unnamed = None
    selection = manifest["selection"]
    for _, entry in with_bodies:
        seq = entry["seq"]
        for name, promised in entry.get("bodies", {}).items():
            path = f"bodies/{seq}/{name}"
            if path not in there:
                check((seq, name) in said, f"entry {seq}: its body {name} is missing")
                gone.append((seq, name))
                # What it rests on stands nowhere any more, if its entry does not say so.
                if (entry["kind"], name) == ("verdict", "verdict") and "waivers" not in entry["data"]:
                    unnamed = seq if unnamed is None else unnamed
                continue
            body = read(archive, path)
            check(f"{seq}/{name}" in salts, f"entry {seq}: its body {name} has no salt")
            salt = bytes.fromhex(salts[f"{seq}/{name}"])
            holds = len(salt) == 32 and sha256(b"\x02", salt, body).hex() == promised["commit"]
            check(holds, f"entry {seq}: its body {name} is not what it commits to")
            count += 1
            belongs.add(path)
            if entry["kind"] == "event" and name == "payload":
                payload = payload_of(body)
                if selection["by"] == "pull_request":
                    created.append(created_of(selection, payload))
                names.update(name_of(selection, payload))
            if (entry["kind"], name) == ("verdict", "verdict"):
                if check_verdict(entry, payload_of(body)) and unnamed is None:
                    unnamed = seq
            if entry["kind"] == "erasure" and name == "list":
                erasures[seq] = read_erasure(entry, body)
    for name in archive.namelist():
        check(name in belongs, f"the file {name} belongs to nothing that it is about")
    explained = [(seq, name, *erasure_of(seq, name, erasures)) for seq, name in gone]
    return count, explained, min(filter(None, created), default=None), names, unnamed


def payload_of(body):
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def created_of(selection, payload):
    try:
        return created_at(selection, payload)
    except (ValueError, AttributeError, TypeError):
        return None


def name_of(selection, payload):
    repository = payload.get("repository") if isinstance(payload, dict) else None
    if isinstance(repository, dict) and repository.get("id") == selection.get("repository") is not None:
        return [repository["full_name"]] if isinstance(repository.get("full_name"), str) else []
    return []


def read_erasure(entry, body):
    """(reason, {body: [(first entry, last entry)]}) of an erasure; what it names came before it."""
    unreadable = Wrong(f"entry {entry['seq']}: its list of erased bodies cannot be read")
    ranges = {}
    try:
        for name, items in json.loads(body).items():
            pairs = [tuple(item) if isinstance(item, list) else (item, item) for item in items]
            ends = [end for pair in pairs for end in pair]
            orderly = all(len(pair) == 2 for pair in pairs) and ends == sorted(ends)
            if not orderly or not all(0 <= end < entry["seq"] for end in ends):
                raise unreadable
            ranges[name] = pairs
        return entry["data"]["reason"], ranges
    except (ValueError, AttributeError, TypeError, KeyError) as e:
        raise unreadable from e


def erasure_of(seq, name, erasures):
    """(entry, reason) of the erasure that took a body."""
    for erasure, (reason, ranges) in sorted(erasures.items()):
        if any(low <= seq <= high for low, high in ranges.get(name, [])):
            return erasure, reason
    raise Wrong(f"entry {seq}: its body {name} is missing, and no erasure names it")


def check_verdict(entry, body):
    """The gate and its lists go by the entry, whoever judges again by the body. Returns the exceptions that it rests
    on and its entry, of an older gatelog, does not name."""
    body, data = body if isinstance(body, dict) else {}, entry["data"]
    for name in ("decision", "bundle", "engine", "rewriter"):
        # As they are written: to Python, True is 1.
        same = json.dumps(data.get(name), sort_keys=True) == json.dumps(body.get(name), sort_keys=True)
        check(same and (name in data) == (name in body), f"entry {entry['seq']}: its {name} is {shown(data, name)}, and "
                                                f"{shown(body, name)} in its body `verdict`")
    # An entry may end to be valid before its policies ask for it, and not after.
    ends, asked = data.get("valid_until"), body.get("valid_until")
    fits = asked is None or ends is not None and moment(ends) <= moment(asked)
    check(fits, f"entry {entry['seq']}: it is valid until {shown(data, 'valid_until')}, and until "
                f"{shown(body, 'valid_until')} in its body `verdict`")
    used = exceptions_in(body)
    check(used is not None, f"entry {entry['seq']}: the exceptions in its body `verdict` cannot be read")
    unnamed = [seq for seq in used if seq not in data.get("waivers", [])]
    check(not unnamed or "waivers" not in data,
          f"entry {entry['seq']}: it does not name the exception of entry {min(unnamed, default=0)}, on which it rests "
          "by its body `verdict`")
    return unnamed


def exceptions_in(body):
    """The entries of those that a verdict rests on; None if that cannot be read."""
    used = []
    controls = body.get("controls", [])
    if not isinstance(controls, list):
        return None
    for control in controls:
        waived_by = control.get("waived_by", []) if isinstance(control, dict) else None
        if not isinstance(waived_by, list) or not all(isinstance(by, dict) for by in waived_by):
            return None
        used += [by["entry"] for by in waived_by if by.get("entry") is not None]
    return used if all(map(is_number, used)) else None


def shown(values, name):
    return json.dumps(values[name], ensure_ascii=False) if name in values else "nothing"


def check_judged(selected, entries):
    """What allows was made of something, and a success was shown only of what allows."""
    by_number = {entry["seq"]: entry for entry in entries}
    for entry in (e for e in entries if e["seq"] in selected):
        data, bodies, at = entry["data"], entry.get("bodies", {}), f"entry {entry['seq']}"
        if entry["kind"] == "verdict" and data.get("decision") == "allow":
            needed = ["verdict"] if data.get("target") is None else ["verdict", "facts"]
            for name in needed:
                check(name in bodies, f"{at}: it allows, and commits to no {name} that it was made of")
        written = data.get("result") in ("created", "updated", "unchanged")
        if entry["kind"] == "report" and data.get("conclusion") == "success" and written:
            covers = data["covers"]
            check(covers, f"{at}: it shows a success of no verdict")
            for seq in covers:
                of = by_number.get(seq)
                if of is None:
                    break  # of another pull request on the same head, from before the range
                decision = of["data"].get("decision")
                check(of["kind"] == "verdict" and decision is not None,
                      f"{at}: it shows a success of entry {seq}, no verdict")
                # Of a deployment, the newest one is answered.
                older = of["subject"]["kind"] == "deployment" and seq != max(covers)
                check(decision == "allow" or older,
                      f"{at}: it shows a success of entry {seq}, which decided {decision}")


def check_policies(selected, entries, others):
    policies = {e["data"].get("bundle") for _, e in others if e["kind"] == "policy"}
    for _, entry in entries:
        if entry["kind"] == "verdict" and entry["seq"] in selected:
            bundle = entry["data"].get("bundle")
            check(bundle in policies, f"the policies {bundle}, which judged, are missing")


def check_exceptions(selected, entries, others):
    """The exceptions that something rests on, though they are older than the range."""
    there = {e["seq"] for e in entries + [e for _, e in others] if e["kind"] == "waiver"}
    for seq in sorted(rested_on(selected, entries) - there):
        raise Wrong(f"the exception of entry {seq}, on which a verdict rests, is missing")


def verify(archive, vkeys, args):
    check_sizes(archive)
    manifest = read_json(archive, "manifest.json")
    check(manifest["format"] == FORMAT, f"its format is not {FORMAT}")
    check_selection(manifest["selection"])
    check_files(archive, manifest)
    origin, size, root = open_checkpoint(read(archive, "checkpoint"), vkeys)
    tree = read_json(archive, "tree.json")
    entries, others = lines(archive, "entries.jsonl"), lines(archive, "others.jsonl")
    check_range(manifest, tree, entries, size, root)
    check_others(tree, others, size, root)
    parsed = [entry for _, entry in entries]
    for _, entry in entries + others:
        check_shape(entry)
    selected = select(manifest["selection"], parsed)
    for seq in sorted(selected.symmetric_difference(manifest["selected"])):
        raise Wrong(f"entry {seq}: it was asked for and is not named, or is named and was not asked for")
    check(selected, "no entry in it belongs to what it is said to be about")
    with_bodies = [e for e in entries if e[1]["seq"] in selected] + others
    bodies, redacted, created, names, unnamed = check_bodies(archive, manifest, with_bodies)
    check_policies(selected, entries, others)
    check_exceptions(selected, parsed, others)
    check_judged(selected, parsed)
    complete, what = completeness(manifest["selection"], created, parsed, size)
    if complete and unnamed is not None:
        complete, what = False, f"completeness: the exceptions on which the verdict of entry {unnamed} rests"

    check_asked(args, manifest["selection"], names)
    lints = [(e["seq"], odd) for raw, e in entries + others if (odd := not_canonical(raw, e))]

    print(f"about: {ascii(describe(manifest['selection'], names))[1:-1]}")
    print(f"{bodies} bodies are what their entries commit to")
    for seq, name, erasure, reason in redacted:
        print(f"redacted at entry {seq} (erasure {erasure}: {ascii(reason)[1:-1]}): {ascii(name)[1:-1]}")
    for seq, odd in lints[:1]:
        print(f"lint: {len(lints)} entries are not in canonical form, first entry {seq}: {odd}")
    print(f"{'complete' if complete else 'not proved'}: {what}")
    if manifest["selection"]["by"] == "pull_request":
        print(f"not in it: {NOT_IN_IT}")
    print("not proved: what index.html says, which is for reading")
    print("not proved without a witness or an earlier checkpoint: that the log showed others the same")
    print(f"VERIFIED  {len(selected)} entries of {manifest['from']}..{manifest['to'] - 1}  "
          f"checkpoint {size} of {ascii(origin)[1:-1]}  root {root.hex()}")


def main():
    parser = argparse.ArgumentParser(description="Checks evidence from a gatelog ledger.")
    parser.add_argument("file")
    parser.add_argument("--vkey", action="append", required=True, help="key of the log, from somebody you trust")
    parser.add_argument("--pr", metavar="REPO#NUMBER", help="fail unless it is about this: owner/name#12, or id#12")
    parser.add_argument("--entry", type=int, help="fail unless it is about this entry")
    parser.add_argument("--since", type=time_asked, help="fail unless it is about the time from here on")
    parser.add_argument("--until", type=time_asked, help="fail unless it is about the time before this")
    parser.add_argument("--repo", help="fail unless it is about a time of this repository, by name or id")
    args = parser.parse_args()
    vkeys = []
    for vkey in args.vkey:
        try:
            vkeys.append(parse_vkey(vkey))
        except ValueError:
            print(f"verify_evidence: --vkey {ascii(vkey)[1:-1]}: it is not of the form NAME+KEYID+BASE64", file=sys.stderr)
            return 2
        except Wrong as wrong:
            print(f"verify_evidence: --vkey {ascii(str(wrong))[1:-1]}", file=sys.stderr)
            return 2
    try:
        with zipfile.ZipFile(args.file) as archive:
            verify(archive, vkeys, args)
    except Wrong as wrong:
        print(f"FAILED: {ascii(str(wrong))[1:-1]}")
        return 3
    except NotProved as what:
        print(f"not proved: {ascii(str(what))[1:-1]}")
        return 4
    except Unreadable as why:
        print(f"verify_evidence: {args.file}: {ascii(str(why))[1:-1]}", file=sys.stderr)
        return 5
    except KeyError as e:
        print(f"verify_evidence: {args.file}: {ascii(e.args[0])} is missing in one of its files", file=sys.stderr)
        return 5
    except (OSError, ValueError, TypeError, AttributeError, IndexError, RecursionError, zipfile.BadZipFile) as e:
        print(f"verify_evidence: {args.file} cannot be read: {type(e).__name__}: {ascii(str(e))}", file=sys.stderr)
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(main())
