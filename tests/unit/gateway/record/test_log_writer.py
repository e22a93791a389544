"""The log is written by a thread: whoever logs never waits for whoever reads."""

import fcntl
import os
import threading
import time

import pytest

from remuda.gateway.record.log_writer import LogWriter

DEADLINE_S = 20.0
LINE_BYTES = 1_000
LIMIT_BYTES = 4 * 1024 * 1024


class Pipe:
    """A pipe of which the test has both ends."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self.room = fcntl.fcntl(self.write_end, fcntl.F_GETPIPE_SZ)

    def fill(self) -> int:
        """Write until nothing fits; how much that was."""
        os.set_blocking(self.write_end, False)
        written = 0
        try:
            while True:
                written += os.write(self.write_end, b"." * 4096)
        except BlockingIOError:
            os.set_blocking(self.write_end, True)
        return written

    def read(self, size: int) -> bytes:
        """So many bytes."""
        data = b""
        while len(data) < size:
            data += os.read(self.read_end, size - len(data))
        return data

    def close_read_end(self) -> None:
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close_read_end()  # a thread that still writes ends its write
    os.close(made.write_end)


def line(number: int) -> bytes:
    return b"%d " % number + b"x" * (LINE_BYTES - 2 - len(str(number))) + b"\n"


def until(condition, what: str) -> None:
    deadline_at = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_at, f"never happened: {what}"
        time.sleep(0.002)


def test_lines_are_written_in_order(pipe):
    writer = LogWriter(pipe.write_end)
    for number in range(50):
        writer.put(line(number))
    assert pipe.read(50 * LINE_BYTES) == b"".join(map(line, range(50)))
    assert writer.dropped_lines == 0


def test_text_is_written_as_utf_8_and_what_is_no_text_is_escaped(pipe):
    writer = LogWriter(pipe.write_end)
    assert writer.write("grün \udc80\n") == 7
    writer.flush()
    expected = b"gr\xc3\xbcn \\udc80\n"
    assert pipe.read(len(expected)) == expected


def test_full_pipe_blocks_nobody_and_what_does_not_fit_is_dropped_and_counted(pipe):
    filled = pipe.fill()
    writer = LogWriter(pipe.write_end)
    writer.put(line(0))
    until(lambda: not writer._waiting, "the thread has taken the first line, and blocks")
    put = 10_000
    for number in range(1, put):
        writer.put(line(number))
    fit = LIMIT_BYTES // LINE_BYTES
    assert writer.dropped_lines == put - 1 - fit
    assert pipe.read(filled) == b"." * filled
    assert pipe.read((1 + fit) * LINE_BYTES) == b"".join(map(line, range(1 + fit)))


def test_lines_go_on_in_order_when_somebody_reads_again(pipe):
    filled = pipe.fill()
    writer = LogWriter(pipe.write_end)
    for number in range(10_000):
        writer.put(line(number))
    pipe.read(filled)
    kept = 10_000 - writer.dropped_lines
    pipe.read(kept * LINE_BYTES)
    writer.put(b"after\n")
    assert pipe.read(6) == b"after\n"
    assert writer.dropped_lines == 10_000 - kept


def test_lines_of_one_piece_are_dropped_together(pipe):
    pipe.fill()
    writer = LogWriter(pipe.write_end)
    writer.put(b"one\n")
    until(lambda: not writer._waiting, "the thread blocks")
    writer.put(b"x" * (LIMIT_BYTES - 10) + b"\n")
    writer.put(b"a\nb\nc\n" + b"x" * 10 + b"\n")
    assert writer.dropped_lines == 4
    writer.put(b"fits\n")
    assert writer.dropped_lines == 4


def test_lines_that_nobody_can_read_any_more_are_counted(pipe):
    writer = LogWriter(pipe.write_end)
    pipe.close_read_end()
    writer.put(b"one\ntwo\n")
    until(lambda: writer.dropped_lines == 2, "they are counted")
    writer.put(b"three\n")
    until(lambda: writer.dropped_lines == 3, "it is counted")


def test_terminal_that_another_process_made_non_blocking_loses_nothing(pipe):
    filled = pipe.fill()
    os.set_blocking(pipe.write_end, False)
    writer = LogWriter(pipe.write_end)
    for number in range(200):
        writer.put(line(number))
    assert pipe.read(filled) == b"." * filled
    assert pipe.read(200 * LINE_BYTES) == b"".join(map(line, range(200)))
    assert writer.dropped_lines == 0


def test_close_waits_until_everything_is_written(pipe):
    writer = LogWriter(pipe.write_end)
    lines = 2 * pipe.room // LINE_BYTES
    for number in range(lines):
        writer.put(line(number))
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read(lines * LINE_BYTES)))
    reader.start()
    writer.close(DEADLINE_S)
    assert (list(writer._waiting), writer._writing) == ([], False)
    reader.join()
    assert read == [b"".join(map(line, range(lines)))]


def test_close_gives_up_on_a_reader_that_never_comes(pipe):
    pipe.fill()
    writer = LogWriter(pipe.write_end)
    writer.put(b"one\n")
    writer.close(0.05)
    assert writer._writing


def test_close_of_a_writer_that_was_never_used_returns(pipe):
    LogWriter(pipe.write_end).close(DEADLINE_S)
