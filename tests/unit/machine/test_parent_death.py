"""A child ends with its parent, also if the parent ends before the child asks for that."""

import os
import select
import signal
import subprocess
import sys

import pytest

from remuda.machine import parent_death

PARENT = """
import os, subprocess, sys
variable, module = sys.argv[1:3]
command = [sys.executable, "-IS", module, sys.executable, "-c", "import signal; print(flush=True); signal.pause()"]
child = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, variable: str(os.getpid())})
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_program_started_through_the_module_ends_with_its_parent():
    command = [sys.executable, "-c", PARENT, parent_death.PARENT_VARIABLE, parent_death.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        assert select.select([child], [], [], 20)[0] == [child], "the child lives on"
        os.close(child)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_whose_parent_is_gone_already_ends_at_once(number):
    code = f"from remuda.machine.parent_death import die_with_parent; die_with_parent({number:d}); print('lives')"
    environ = {**os.environ, parent_death.PARENT_VARIABLE: str(2**22 + 1)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-number, "")
