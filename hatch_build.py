"""Compiles the gateway's hot modules into the wheel, when REMUDA_COMPILE=1 (`make wheel`).

mypyc turns the very sources that are tested into a C extension; they stay in the wheel beside it, for tracebacks. An
editable installation is never compiled: an edited file must be what runs. Needs a C compiler and what the `dev` group
locks (mypy with mypyc, setuptools), so it builds without isolation. Called by hatchling.
"""

import fcntl
import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path("src")
COMPILED = (
    *(
        f"remuda/gateway/{name}.py"
        for name in (
            "flow",
            "head_memo",
            "waiting",
            "access/admission",
            "access/identify",
            "api/ask",
            "api/body/edit",
            "api/body/forms",
            "api/body/scan",
            "api/body/slices",
            "api/body/watch",
            "api/refusals",
            "api/routes",
            "api/rules",
            "http/body",
            "http/body_budget",
            "http/clients",
            "http/connection",
            "http/exchange",
            "http/head",
            "http/refusal",
            "http/request_id",
            "record/ledger",
            "record/record",
            "serving/attempt",
            "serving/choose",
            "serving/collect",
            "serving/directory",
            "serving/forward",
            "serving/generate",
            "serving/live_engine",
            "serving/live_model",
            "serving/relay",
            "serving/side",
            "upstream/connection",
            "upstream/head",
            "upstream/pool",
            "upstream/request",
            "upstream/taker",
            "upstream/trace",
        )
    ),
    "remuda/observe/metrics.py",
    "remuda/policy/retry.py",
    "remuda/policy/route.py",
    "remuda/policy/split.py",
    "remuda/vllm/markers.py",
)  # fmt: skip
"""Everything a request or a chunk runs through, and nothing that pydantic or msgspec builds classes of."""


class CompileHook(BuildHookInterface[Any]):
    """See the module."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "standard" or os.environ.get("REMUDA_COMPILE") != "1":
            return
        root = Path(self.root)
        out = root / "build" / "compiled"
        out.parent.mkdir(exist_ok=True)
        # Held until this process ends: the wheel takes its files from `out`.
        self._lock = (out.parent / "compiled.lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        for built in compile_modules(root / SOURCES, out):
            build_data["force_include"][str(built)] = str(built.relative_to(out / "lib"))
        build_data["infer_tag"] = True
        build_data["pure_python"] = False


def compile_modules(sources: Path, out: Path) -> list[Path]:
    """The extension modules, below `out` as they lie in a wheel."""
    import shutil

    from mypyc.build import mypycify
    from setuptools import Distribution

    shutil.rmtree(out, ignore_errors=True)
    before = Path.cwd()
    os.chdir(sources)  # mypyc names modules by their paths from here
    try:
        options = ["--cache-dir", str(out / "mypy")]
        extensions = mypycify([*options, *COMPILED], opt_level="3", debug_level="0", target_dir=str(out / "c"))
        command = Distribution({"name": "remuda", "ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib = str(out / "lib")
        command.build_temp = str(out / "temp")
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(before)
    return sorted((out / "lib").rglob("*.so"))
