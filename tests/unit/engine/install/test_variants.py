"""Which build of vLLM suits a machine."""

import pytest

from remuda.engine.errors import InstallError
from remuda.engine.install import variants
from remuda.engine.install.variants import check_cpu, choose_variant, find_wheel_folder, matching_variants


@pytest.fixture
def machine(monkeypatch):
    def make(*, gpu: bool, index: bool) -> None:
        monkeypatch.setattr(variants, "has_nvidia_gpu", lambda: gpu)
        monkeypatch.setattr(variants, "_index_answers", lambda _: index)

    return make


CHOICES = {
    "gpu": (True, True, None, "cuda"),
    "gpu, cpu asked": (True, True, "cpu", "cpu"),
    "cpu": (False, True, None, "cpu"),
    "only pypi": (False, False, None, "cpu-pypi"),
    "only pypi, cpu asked": (False, False, "cpu", "cpu-pypi"),
    "pypi asked": (False, True, "cpu-pypi", "cpu-pypi"),
    "cuda asked": (False, False, "cuda", "cuda"),
}


@pytest.mark.parametrize(("gpu", "index", "asked", "chosen"), CHOICES.values(), ids=CHOICES)
def test_the_build_follows_the_gpu_and_what_can_be_reached(machine, gpu, index, asked, chosen):
    machine(gpu=gpu, index=index)
    assert choose_variant(asked, {}).name == chosen
    assert chosen in matching_variants(asked)


def test_an_unknown_build_names_the_known_ones():
    with pytest.raises(InstallError) as caught:
        matching_variants("rocm")
    assert "cuda, cpu, cpu-pypi" in caught.value.hint


def test_a_folder_of_wheels_with_the_right_torch_makes_the_small_build_possible(machine, tmp_path):
    machine(gpu=False, index=False)
    environ = {"REMUDA_WHEELS": str(tmp_path)}
    assert choose_variant(None, environ).name == "cpu-pypi"
    (tmp_path / "torch-2.13.0+cpu-cp312-cp312-linux_x86_64.whl").touch()
    assert find_wheel_folder(environ, "2.13.0") == tmp_path
    assert find_wheel_folder(environ, "2.14.0") is None
    assert choose_variant(None, environ).name == "cpu"


@pytest.mark.parametrize(
    ("machine_name", "flags"),
    [("x86_64", "fpu sse avx2 fma"), ("x86_64", "avx avx2 avx512f avx512_bf16"), ("aarch64", ""), ("arm64", "")],
)
def test_a_cpu_with_the_instructions_of_vllms_kernels_is_accepted(machine_name, flags):
    check_cpu(f"processor: 0\nflags\t\t: {flags}\n" if flags else "", machine_name)


@pytest.mark.parametrize(("machine_name", "message"), [("x86_64", "no AVX2"), ("riscv64", "no CPU build for riscv64")])
def test_a_cpu_without_the_instructions_of_vllms_kernels_is_refused(machine_name, message):
    with pytest.raises(InstallError, match=message):
        check_cpu("flags\t: fpu sse4_2 avx\n", machine_name)


BROKEN_PROXIES = {
    "SOCKS": "socks5://127.0.0.1:9",
    "no scheme": "proxy.example",
    "not an address": "http://[::1",
}


@pytest.mark.parametrize("proxy", BROKEN_PROXIES.values(), ids=BROKEN_PROXIES)
def test_a_proxy_that_cannot_be_used_makes_the_index_unreachable(proxy, monkeypatch):
    monkeypatch.setattr(variants, "has_nvidia_gpu", lambda: False)
    for name in ("ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    assert choose_variant(None, {"REMUDA_TORCH_INDEX": "https://127.0.0.1:9/whl"}).name == "cpu-pypi"
