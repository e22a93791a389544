"""Environments on disk, built with a double of uv. tests/engine uses the real one."""

import multiprocessing
import re
import shutil
from pathlib import Path

import pytest

from remuda.engine.errors import InstallError
from remuda.engine.install import build, installer, variants
from remuda.engine.install.installation import environment_path, python_version
from remuda.engine.install.installer import find_installation, install_engine
from remuda.engine.install.inventory import list_environments
from remuda.engine.install.variants import VARIANTS
from remuda.engine.status import Progress
from remuda.machine.home import Home

FAKE_UV = Path(__file__).with_name("fake_uv.sh")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("REMUDA_UV", str(FAKE_UV))
    monkeypatch.setenv("FAKE_UV_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("FAKE_UV_PYTHON", python_version())
    return Home.from_environment({"REMUDA_HOME": str(tmp_path / "home")})


def count_builds(home: Home) -> int:
    calls = home.engines.parent.parent / "calls"
    return calls.read_text().count("pip install") if calls.exists() else 0


def test_an_environment_is_built_once_and_found_afterwards(home):
    assert find_installation(home, variant="cpu-pypi") is None
    seen: list[Progress] = []
    built = install_engine(home, variant="cpu-pypi", progress=seen.append)
    assert install_engine(home, variant="cpu-pypi") == built == find_installation(home, variant="cpu")
    assert count_builds(home) == 1
    assert (built.version, built.variant, built.python_version) == ("0.32.0", "cpu-pypi", python_version())
    assert [progress.stage for progress in seen][:3] == ["creating", "resolving", "downloading"]
    assert max(progress.done_bytes or 0 for progress in seen) == 500 * 1024**2


def test_nothing_is_downloaded_without_hashes(home):
    install_engine(home, variant="cpu-pypi")
    call = (home.engines.parent.parent / "calls").read_text()
    assert "--require-hashes" in call
    assert "--no-deps" in call
    assert "--compile-bytecode" in call
    assert "--index" not in call


def test_the_distribution_vllm_has_a_version_that_names_the_cpu(home):
    built = install_engine(home, variant="cpu-pypi")
    metadata = built.site_packages / "vllm-0.32.0+cpu.dist-info" / "METADATA"
    assert "Version: 0.32.0+cpu" in metadata.read_text()


def test_another_user_can_run_what_one_user_installed(home):
    """An image is built by root and run by somebody else."""
    built = install_engine(home, variant="cpu-pypi")
    assert (built.path / "remuda-engine.json").stat().st_mode & 0o777 == 0o644


DAMAGE = {
    "no marker": lambda path: (path / "remuda-engine.json").unlink(),
    "half a marker": lambda path: (path / "remuda-engine.json").write_text('{"version": "0.'),
    "a package is gone": lambda path: shutil.rmtree(path / f"lib/python{python_version()}/site-packages/torch"),
    "the interpreter is gone": lambda path: (path / "bin/python").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_environment_is_not_found_and_is_built_again(home, damage):
    built = install_engine(home, variant="cpu-pypi")
    damage(built.path)
    assert find_installation(home, variant="cpu-pypi") is None
    assert [environment.state for environment in list_environments(home)] == ["broken"]
    assert install_engine(home, variant="cpu-pypi") == built
    assert count_builds(home) == 2


def test_repair_imports_vllm_and_rebuilds_only_when_that_fails(home, monkeypatch):
    built = install_engine(home, variant="cpu-pypi")
    install_engine(home, variant="cpu-pypi", repair=True)
    assert count_builds(home) == 1
    (built.path / "bin/python").write_text("#!/bin/sh\nexit 1\n")
    assert install_engine(home, variant="cpu-pypi", repair=True) == built
    assert count_builds(home) == 2


def test_an_interrupted_build_leaves_no_environment(home, monkeypatch):
    monkeypatch.setenv("FAKE_UV_FAILS", "dns error")
    with pytest.raises(InstallError, match="cannot be reached"):
        install_engine(home, variant="cpu-pypi")
    assert list_environments(home) == ()
    assert [entry for entry in home.engines.iterdir() if entry.is_dir()] == []
    path = environment_path(home, "0.32.0", "cpu-pypi")
    killed = path.with_name(f".building-{path.name}-1")
    killed.mkdir()
    monkeypatch.delenv("FAKE_UV_FAILS")
    install_engine(home, variant="cpu-pypi")
    assert not killed.exists()


def test_an_environment_that_does_not_import_is_refused_with_pythons_message(home, monkeypatch):
    monkeypatch.setenv("FAKE_IMPORT_STATUS", "1")
    with pytest.raises(InstallError, match="environment is broken"):
        install_engine(home, variant="cpu-pypi")
    assert find_installation(home, variant="cpu-pypi") is None


def _install(home: Home) -> str:
    return str(install_engine(home, variant="cpu-pypi").path)


def test_engines_installed_at_the_same_time_are_built_once(home, monkeypatch):
    monkeypatch.setenv("FAKE_UV_SLEEP", "0.5")
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        paths = pool.map(_install, [home] * 3)
    assert len(set(paths)) == 1
    assert count_builds(home) == 1


def test_a_disk_too_small_is_refused_before_anything_is_downloaded(home, monkeypatch):
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 10**9))
    with pytest.raises(InstallError, match=r"5\.6 GiB .* 0\.9 GiB free"):
        install_engine(home, variant="cpu-pypi")
    assert count_builds(home) == 0


def test_a_folder_that_may_not_be_written_is_named(home):
    home.engines.parent.parent.mkdir(exist_ok=True)
    home.engines.parent.write_text("a file where the folder should be")
    with pytest.raises(InstallError) as caught:
        install_engine(home, variant="cpu-pypi")
    assert str(home.engines) in caught.value.message
    assert "REMUDA_HOME" in caught.value.hint


def test_an_unknown_version_names_the_known_ones(home):
    with pytest.raises(InstallError) as caught:
        install_engine(home, version="9.9.9", variant="cpu-pypi")
    assert "0.32.0" in caught.value.hint


def read_lock(variant):
    """The requirements of a lock file in order: (package, its hashes); markers may list a package twice."""
    text = installer.lock_text("0.32.0", variant)
    requirements = re.sub(r" \\\n *", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(line.split("==")[0], re.findall(r" --hash=sha256:([0-9a-f]{64})\b", line)) for line in requirements]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_package_of_every_lock_file_has_a_hash(variant):
    locked = read_lock(variant)
    assert len(locked) >= 150
    assert [name for name, hashes in locked if not hashes] == []


def test_a_build_for_cpus_locks_one_torch_wheel_for_each_python_and_architecture():
    assert len(set(dict(read_lock("cpu"))["torch"])) == len(variants.PYTHONS) * 2


@pytest.mark.parametrize("variant", ["cpu", "cpu-pypi"])
def test_a_build_for_cpus_leaves_out_companions_that_are_built_for_another_torch(variant):
    assert not {"torchvision", "torchaudio", "torchcodec"} & dict(read_lock(variant)).keys()


def test_the_address_of_a_mirror_is_not_in_the_arguments_of_a_process(home, monkeypatch):
    monkeypatch.setenv("REMUDA_TORCH_INDEX", "https://user:password@mirror.example/whl")
    monkeypatch.setenv("UV_INDEX", "https://other.example")
    monkeypatch.setattr(variants, "_index_answers", lambda _: True)
    monkeypatch.setattr(variants, "find_wheel_folder", lambda *_: None)
    install_engine(home, variant="cpu")
    told = [line for line in (home.engines.parent.parent / "calls").read_text().splitlines() if "password" in line]
    assert told == ["in the environment: https://user:password@mirror.example/whl https://other.example"]
