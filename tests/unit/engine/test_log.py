"""The log of an engine: lines, rotation, masked secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.engine import log as engine_log
from remuda.engine.log import EngineLog
from remuda.gateway.access.keys import make_key


def test_chunks_are_joined_to_lines_and_carriage_returns_end_lines(tmp_path):
    seen: list[str] = []
    log = EngineLog(tmp_path / "a.log", on_line=seen.append)
    for chunk in (b"one\ntw", b"o\r 50%\r100%\r\n", b"\n\nlast"):
        log.write(chunk)
    log.close()
    assert seen == ["one", "two", " 50%", "100%", "last"]
    assert (tmp_path / "a.log").read_text() == "one\ntwo\n 50%\n100%\nlast\n"
    assert list(log.recent) == seen


@given(st.lists(st.integers(1, 30), max_size=20))
def test_lines_are_the_same_however_the_output_is_cut_into_chunks(tmp_path_factory, cuts):
    text = b"first line\nsecond \xe2\x82\xac line\nthird\n" * 3
    seen: list[str] = []
    log = EngineLog(tmp_path_factory.mktemp("log") / "a.log", on_line=seen.append)
    rest = text
    for cut in cuts:
        log.write(rest[:cut])
        rest = rest[cut:]
    log.write(rest)
    log.close()
    assert seen == text.decode().splitlines()


def test_files_are_rotated_and_stay_within_their_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_log, "MAX_FILE_BYTES", 100)
    log = EngineLog(tmp_path / "a.log")
    for number in range(100):
        log.write(f"line {number:04}\n".encode())
    log.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["a.log", "a.log.1", "a.log.2"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    assert (tmp_path / "a.log").read_text().endswith("line 0099\n")
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_a_log_that_exists_is_appended_to(tmp_path):
    for word in (b"one\n", b"two\n"):
        log = EngineLog(tmp_path / "a.log")
        log.write(word)
        log.close()
    assert (tmp_path / "a.log").read_text() == "one\ntwo\n"


SECRETS = {
    "given": "the word is s3cret-value",
    "hub token": "token hf_abcdefghijklmnop123",
    "openai key": "key sk-abcdefghijklmnopqrst",
    "our own key": f"key {make_key('acme', 'k1')}",
    "header": "Authorization: Bearer abcdefgh12345678",
}


@pytest.mark.parametrize("line", SECRETS.values(), ids=SECRETS)
def test_secrets_are_masked_on_disk_and_for_the_reader(tmp_path, line):
    seen: list[str] = []
    log = EngineLog(tmp_path / "a.log", ["s3cret-value"], seen.append)
    log.write(line.encode() + b"\n")
    log.close()
    assert "***" in seen[0]
    assert line.split()[-1] not in (tmp_path / "a.log").read_text()


def test_an_endless_line_is_cut(tmp_path):
    seen: list[str] = []
    log = EngineLog(tmp_path / "a.log", on_line=seen.append)
    for _ in range(20):
        log.write(b"x" * 4096)
    log.close()
    assert max(map(len, seen)) <= engine_log.MAX_LINE_BYTES


def test_a_log_that_cannot_be_written_does_not_stop_the_engine(tmp_path):
    (tmp_path / "file").write_text("")
    log = EngineLog(tmp_path / "file" / "a.log")
    log.write(b"line\n")
    log.close()
    assert list(log.recent) == ["line"]


def test_a_rotation_that_fails_loses_only_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_log, "MAX_FILE_BYTES", 20)
    log = EngineLog(tmp_path / "a.log")
    log.write(b"a line of this log\n")
    with monkeypatch.context() as full:
        full.setattr(type(tmp_path), "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        log.write(b"lost\nlost as well\n")
    log.write(b"told again\n")
    log.close()
    assert list(log.recent) == ["a line of this log", "lost", "lost as well", "told again"]
    assert (tmp_path / "a.log").read_text() == "told again\n"


def test_a_secret_of_several_lines_is_masked_line_by_line(tmp_path):
    log = EngineLog(tmp_path / "a.log", ["-----BEGIN-----\nc2VjcmV0\n-----END-----"])
    log.write(b"read -----BEGIN-----\nc2VjcmV0\n-----END-----\n")
    log.close()
    assert list(log.recent) == ["read ***", "***", "***"]
