"""What is noted about a request, its attempts, and the entries of a batch."""

from remuda.gateway.record.record import SEVERAL, AttemptRecord, Record
from remuda.observe.metrics import UNKNOWN


def attempt_at(engine_id: str) -> AttemptRecord:
    attempt = AttemptRecord()
    attempt.engine_id = engine_id
    attempt.previous = None
    return attempt


def entry(model: str = UNKNOWN, **figures: float) -> Record:
    made = Record()
    made.model_name = model
    for name, value in figures.items():
        setattr(made, name, value)
    return made


def test_attempts_are_linked_the_newest_first():
    record = Record()
    assert (record.engine_id, record.tries) == ("", 0)
    for name in ("m-0", "m-1", "m-2"):
        record.begin_attempt(attempt_at(name))
    assert (record.engine_id, record.tries) == ("m-2", 3)
    assert record.attempt.previous.engine_id == "m-1"
    assert record.attempt.previous.previous.previous is None


def test_batch_has_the_sum_of_its_entries():
    batch = Record()
    batch.add_entry(entry("m", prompt_tokens=5, generated_tokens=7, answer_bytes=100, tries=2, first_byte_at=3.0))
    batch.add_entry(entry("m", prompt_tokens=1, generated_tokens=2, answer_bytes=10, tries=1, first_byte_at=2.0))
    assert (batch.prompt_tokens, batch.generated_tokens) == (6, 9)
    assert (batch.answer_bytes, batch.tries, batch.first_byte_at) == (110, 3, 3.0)


def test_entries_whose_tokens_are_unknown_add_none():
    batch = Record()
    batch.add_entry(entry("m"))
    assert (batch.prompt_tokens, batch.generated_tokens) == (-1, -1)
    batch.add_entry(entry("m", prompt_tokens=5, generated_tokens=-1))
    assert (batch.prompt_tokens, batch.generated_tokens) == (5, 0)


def test_model_of_a_batch_is_that_of_all_entries_that_have_one():
    batch = Record()
    names = []
    for model in (UNKNOWN, "m", UNKNOWN, "m", "n", "m", UNKNOWN):
        batch.add_entry(entry(model))
        names.append(batch.model_name)
    assert names == [UNKNOWN, "m", "m", "m", SEVERAL, SEVERAL, SEVERAL]


def test_engine_of_a_batch_is_the_last_that_any_entry_was_sent_to():
    batch, first = Record(), entry("m")
    first.begin_attempt(attempt_at("m-1"))
    batch.add_entry(first)
    batch.add_entry(entry())
    assert batch.engine_id == "m-1"
