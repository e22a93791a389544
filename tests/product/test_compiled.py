"""The gateway that is compiled into the wheel passes the tests of the gateway."""

import subprocess

import pytest
from scripts import compiled_env
from tests.product.driving import ROOT


@pytest.mark.timeout(400)
def test_compiled_gateway_passes_the_gateways_tests():
    try:
        python = compiled_env.make_environment()
    except compiled_env.CannotCompileError as problem:
        pytest.skip(f"the compiled gateway was NOT tested: {problem}")
    look = "import remuda.gateway.serving.relay as r; print(r.__file__)"
    assert subprocess.check_output([python, "-P", "-c", look], text=True, cwd=ROOT).strip().endswith(".so")
    # mypyc compiles `await` to a call of throw() with three arguments, and Python 3.12 warns about that.
    ignored = "ignore:the (type, exc, tb) signature of throw:DeprecationWarning"
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "pythonpath=.", "-W", ignored, "tests/gateway"],
        cwd=ROOT, text=True, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
