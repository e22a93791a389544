"""The short run: the whole corpus, then a fixed number of changed inputs from fixed seeds."""

import re
from random import Random

import pytest
from tests.fuzz.running import Reading, RuleBrokenError, Target, for_executions, fuzz
from tests.fuzz.targets import TARGETS

from remuda.gateway import head_memo
from remuda.gateway.api.body import forms, scan, watch
from remuda.gateway.http import body, head
from remuda.gateway.http import connection as http_connection
from remuda.gateway.serving import relay
from remuda.gateway.upstream import connection
from remuda.vllm import client_fields

SEED = 20261126
EXECUTIONS = {"connections": 1500}
MOST_EXECUTIONS = 8000

ENTRIES = [
    pytest.param(target, data, id=f"{target.name}, {name}")
    for target in TARGETS.values()
    for name, data in target.corpus.items()
]


@pytest.mark.parametrize(("target", "data"), ENTRIES)
def test_every_entry_of_the_corpus_keeps_the_rules_however_it_is_cut(target: Target, data: bytes):
    for cuts in range(10):
        assert isinstance(target.check(data, Random(cuts)), Reading)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_changed_inputs_keep_the_rules(target):
    count = EXECUTIONS.get(target.name, MOST_EXECUTIONS)
    report = fuzz(target, SEED, for_executions(count))
    assert report.broken == []
    assert report.executions == count
    # A fuzzer whose inputs are all refused, or all read alike, finds nothing.
    assert report.accepted > count / 20
    assert len(report.readings) > 30


def test_the_same_seed_gives_the_same_inputs():
    seen: list[list[bytes]] = []
    for _ in range(2):
        inputs: list[bytes] = []

        def note(data: bytes, rng: Random, inputs: list[bytes] = inputs) -> Reading:
            inputs.append(data)
            return TARGETS["requests"].check(data, rng)

        target = TARGETS["requests"]
        fuzz(Target(target.name, target.corpus, target.change, note), SEED, for_executions(200))
        seen.append(inputs)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 150


def codings_are_ignored(monkeypatch):
    monkeypatch.setattr(head, "_check_framing", lambda parsed: None)


def remembered_lengths(monkeypatch):
    """A head that comes again with another length keeps the first one."""
    match = head_memo.HeadMemo.match

    def match_old_length(self: head_memo.HeadMemo, data: bytes) -> tuple[int, int] | None:
        found = match(self, data)
        return None if found is None else (found[0], self._length)

    monkeypatch.setattr(head_memo.HeadMemo, "match", match_old_length)


def extensions_are_sizes(monkeypatch):
    monkeypatch.setattr(body, "_SIZE_LINE", re.compile(rb"(?:[0-9A-Fa-f]+ ?;)?([0-9A-Fa-f]+)"))


def no_trailers(monkeypatch):
    """The body ends right behind the last chunk's size."""
    monkeypatch.setattr(body.ChunkedBody, "_TRAILER", body.ChunkedBody._DONE)


def second_answers(monkeypatch):
    monkeypatch.setattr(connection.Upstream, "on_message_begin", lambda self: None)


def bodies_of_interim_answers(monkeypatch):
    monkeypatch.setattr(connection, "check_interim_head", lambda headers: None)


def kept_after_anything(monkeypatch):
    monkeypatch.setattr(connection, "ends_with_answer", lambda data, chunked, payload: True)
    monkeypatch.setattr(connection.Upstream, "_poisoned", property(lambda self: False, lambda self, value: None))


def bodies_are_served_as_requests(monkeypatch):
    take = http_connection.Connection.take_body

    def take_and_leave(self, head, length):
        buffer = self._buffer
        body = take(self, head, length)
        self._buffer = buffer
        return body

    monkeypatch.setattr(http_connection.Connection, "take_body", take_and_leave)


def reading_stays_paused(monkeypatch):
    monkeypatch.setattr(http_connection.Connection, "_resume_reading", lambda self: None)


def texts_are_no_numbers(monkeypatch):
    read = client_fields.read_number
    monkeypatch.setattr(client_fields, "read_number", lambda value: None if isinstance(value, str) else read(value))


def first_of_two_counts(monkeypatch):
    class First(dict):
        def __setitem__(self, key, value):
            self.setdefault(key, value)

    begin = scan.Scan.__init__

    def begin_with_first(self, *arguments, **options):
        begin(self, *arguments, **options)
        self.spans = First()

    monkeypatch.setattr(scan.Scan, "__init__", begin_with_first)


def escaped_keys_are_overlooked(monkeypatch):
    monkeypatch.setattr(watch, "_LETTER_ESCAPE", re.compile(rb"(?!)"))


def first_header_counts(monkeypatch):
    def read_first(head: bytes) -> dict[bytes, bytes]:
        headers: dict[bytes, bytes] = {}
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            headers.setdefault(name.lower(), value.strip())
        return headers

    monkeypatch.setattr(forms, "_read_headers", read_first)


def fields_twice(monkeypatch):
    monkeypatch.setattr(forms.FormReader, "_names", property(lambda self: set(), lambda self, value: None))


def short_chunks(monkeypatch):
    monkeypatch.setattr(relay, "_CHUNK", b"%x\r\n%.3b\r\n")


FAULTS = {
    "transfer codings are ignored": ("requests", codings_are_ignored),
    "a remembered head keeps its length": ("requests", remembered_lengths),
    "an extension is read as the chunk size": ("requests", extensions_are_sizes),
    "trailers are read as a request": ("requests", no_trailers),
    "a body is served as the next request": ("connections", bodies_are_served_as_requests),
    "reading stays paused": ("connections", reading_stays_paused),
    "a number in quotes is none": ("fields", texts_are_no_numbers),
    "the first of two fields counts": ("fields", first_of_two_counts),
    "a key spelt with escapes is overlooked": ("fields", escaped_keys_are_overlooked),
    "the first of two headers of a part counts": ("forms", first_header_counts),
    "a form's field may stand there twice": ("forms", fields_twice),
    "a second answer replaces the first": ("answers", second_answers),
    "interim answers may have bodies": ("answers", bodies_of_interim_answers),
    "the client's chunks are one byte short": ("relays", short_chunks),
    "a connection is kept whatever the engine sent": ("answers", kept_after_anything),
}


@pytest.mark.parametrize(("name", "plant"), FAULTS.values(), ids=FAULTS)
def test_planted_fault_is_found(name, plant, monkeypatch):
    plant(monkeypatch)
    target = TARGETS[name]
    broken = []
    for data in target.corpus.values():
        for cuts in range(5):
            try:
                target.check(data, Random(cuts))
            except RuleBrokenError as rule:
                broken.append(str(rule))
    broken += [
        rule for _, rule in fuzz(target, SEED, for_executions(EXECUTIONS.get(name, MOST_EXECUTIONS) // 3)).broken
    ]
    assert broken
