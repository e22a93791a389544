"""The causes of deaths, from log lines and exit statuses."""

import signal

import pytest

from remuda.engine.diagnosis.deaths import Ending, explain_death, last_meaningful_line

CORE_FAILED = """\
(EngineCore pid=2) ERROR 11-21 10:47:06 [core.py:900] Traceback (most recent call last):
(EngineCore pid=2) ERROR 11-21 10:47:06 [core.py:900]   File "core.py", line 1, in __init__
(EngineCore pid=2) ERROR 11-21 10:47:06 [core.py:900] ValueError: the real reason, with a number 7
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   raise RuntimeError("Engine core initialization failed")
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
""".splitlines()
CORE_KILLED = """\
(APIServer pid=1) ERROR [core_client.py:600] Engine core proc EngineCore died unexpectedly, shutting down client.
(APIServer pid=1) ERROR [async_llm.py:700] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue
INFO:     Application shutdown complete.
""".splitlines()

CORE_FAILED_AFTER_A_WARNING = """\
(APIServer pid=1) WARNING 11-26 06:17:40 [audio.py:478] torchcodec unavailable (ImportError('torchcodec is missing')).
(EngineCore pid=2) ERROR 11-26 06:17:40 [core.py:1] EngineCore encountered a fatal error.
(EngineCore pid=2) ERROR 11-26 06:17:40 [core.py:1] Traceback (most recent call last):
(EngineCore pid=2) ERROR 11-26 06:17:40 [core.py:1] NotImplementedError: CrossAttentionManager does not support caching
(APIServer pid=1) ERROR 11-26 06:17:40 [async_llm.py:906] EngineDeadError: EngineCore encountered an issue.
(APIServer pid=1) WARNING 11-26 06:17:41 [x.py:1] MemoryError is what this line is about, but it is a warning
""".splitlines()

CASES = {
    "gpu memory": (
        Ending(1, ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."]),
        "out of memory: the GPU's memory is full (torch.OutOfMemoryError: CUDA out of memory. Tried",
    ),
    "no blocks": (
        Ending(1, ["ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`."]),
        "out of memory: the weights leave no memory for the KV cache",
    ),
    "main memory": (
        Ending(1, ["RuntimeError: [enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"]),
        "out of memory: the machine's memory is full",
    ),
    "python memory": (Ending(1, ["MemoryError"]), "out of memory: the machine's memory is full"),
    "node memory": (
        Ending(
            1, ["ValueError: Available memory on node 0 (10.2/11.21 GiB) on startup is less than desired CPU memory"]
        ),
        "out of memory: less memory is free than the engine wants",
    ),
    "kernel killed the leader": (
        Ending(-signal.SIGKILL, [], machine_oom_kills=1, was_ready=True),
        "out of memory: the kernel killed a process of the engine",
    ),
    "kernel killed the core": (
        Ending(0, CORE_KILLED, machine_oom_kills=1, was_ready=True),
        "out of memory: the kernel killed a process of the engine",
    ),
    "kernel killed a worker, counted for the engine": (
        Ending(1, ["ValueError: x"], own_oom_kills=1, was_ready=True),
        "out of memory: the kernel killed a process of the engine",
    ),
    "kernel killed another process, none of the engine": (
        Ending(-signal.SIGKILL, [], machine_oom_kills=2, own_oom_kills=0, was_ready=True),
        "it was killed by SIGKILL",
    ),
    "killed by hand": (Ending(-signal.SIGKILL, [], was_ready=True), "it was killed by SIGKILL"),
    "another's memory": (
        Ending(1, ["ValueError: x"], machine_oom_kills=3),
        "it ended while starting with status 1: ValueError: x",
    ),
    "core killed": (Ending(0, CORE_KILLED, was_ready=True), "it exited by itself (its core is gone)"),
    "cause behind the consequence": (
        Ending(1, CORE_FAILED),
        "it ended while starting with status 1: ValueError: the real reason, with a number 7",
    ),
    "warning before the cause": (
        Ending(0, CORE_FAILED_AFTER_A_WARNING),
        "it ended while starting: NotImplementedError: CrossAttentionManager does not support caching",
    ),
    "nothing said": (Ending(3, []), "it ended while starting with status 3"),
    "never started": (Ending(None, []), "it could not be started"),
}


@pytest.mark.parametrize(("ending", "reason"), CASES.values(), ids=CASES)
def test_the_cause_of_a_death_is_named(ending, reason):
    death = explain_death(ending)
    assert death.reason.startswith(reason)
    assert death.hint


PERMANENT = {
    "kv too small": "ValueError: To serve at least one request with the models's max seq len (2048), (1 GiB KV",
    "too long": "ValueError: User-specified max_model_len (9999) is greater than the derived max_model_len",
    "argument": "api_server.py: error: unrecognized arguments: --frob",
    "value": "api_server.py: error: argument --block-size: invalid int value: 'x'",
    "architecture": "ValueError: Model architectures ['FooForBar'] are not supported for now.",
    "environment": "ModuleNotFoundError: No module named 'torch'",
    "weights": "safetensors_rust.SafetensorError: Error while deserializing header: incomplete",
}


@pytest.mark.parametrize("line", PERMANENT.values(), ids=PERMANENT)
def test_an_error_that_would_come_again_is_permanent_unless_the_engine_was_ready_before(line):
    assert explain_death(Ending(1, [line])).is_permanent
    assert not explain_death(Ending(1, [line], was_ready=True)).is_permanent


def test_the_last_meaningful_line_has_no_prefix_and_a_bounded_length():
    assert last_meaningful_line([*CORE_FAILED, "(APIServer pid=1) INFO 11-21 10:46:51 [x.py:1] "]).startswith(
        "ValueError"
    )
    assert len(last_meaningful_line(["RuntimeError: " + "x" * 5000])) <= 300
    assert last_meaningful_line(["just words", "INFO:     Shutting down"]) == "just words"
    assert last_meaningful_line([]) == ""


def test_an_engine_that_was_killed_has_not_failed_for_good_whatever_its_log_says():
    warned = "WARNING 11-21 10:46:51 [cpu.py:645] Failed to import from vllm._C: ImportError('libtcmalloc')"
    death = explain_death(Ending(-signal.SIGKILL, [warned]))
    assert death.reason.startswith("it was killed while starting by SIGKILL")
    assert not death.is_permanent


def test_a_signal_without_a_name_has_a_number():
    assert explain_death(Ending(-40, [], was_ready=True)).reason == "it was killed by signal 40"
