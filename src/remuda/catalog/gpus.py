"""The table of GPU products: memory, number formats and links of each.

It does not know prices, machine types, or whether a model fits.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Literal, get_args

Format = Literal["float16", "bfloat16", "fp8", "fp4", "int8", "int4"]
Link = Literal["nvlink", "xgmi", "none"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU product."""

    name: str
    vendor: Literal["nvidia", "amd"]
    memory_gb: int
    """The vendor's figure. It is closer to GiB than to 10^9 bytes."""
    memory_mib: int
    """The memory that the driver reports. An engine can use a little less."""
    compute_capability: tuple[int, int] | None
    """NVIDIA's compute capability; None for other vendors."""
    formats: frozenset[Format]
    """Number formats that its matrix units compute in."""
    link: Link
    """The fast link to the other GPUs of the same machine."""
    names: tuple[str, ...]
    """Further names that Kubernetes labels and clouds use."""
    source: str
    date: date


@cache
def list_gpus() -> tuple[Gpu, ...]:
    """Every GPU of the table, sorted by memory."""
    text = resources.files("remuda.catalog").joinpath("data", "gpus.toml").read_text(encoding="utf-8")
    return tuple(sorted(map(_read_row, tomllib.loads(text)["gpu"]), key=lambda gpu: (gpu.memory_gb, gpu.name)))


def find_gpu(name: str) -> Gpu | None:
    """The GPU with this name in any spelling: `L4`, `nvidia-l4`, `NVIDIA-H100-80GB-HBM3`."""
    return _by_name().get(_squash(name))


def suggest_gpus(name: str) -> tuple[str, ...]:
    """Names that were probably meant. `A100`, for example, can mean two products."""
    squashed = _squash(name)
    products = [gpu.name for gpu in list_gpus()]
    longer = [product for product in products if len(squashed) > 1 and _squash(product).startswith(squashed)]
    if longer:
        return tuple(longer)
    near = get_close_matches(squashed, _by_name(), 1, cutoff=0.6)
    return (_by_name()[near[0]].name,) if near else ()


@cache
def _by_name() -> Mapping[str, Gpu]:
    return MappingProxyType({_squash(name): gpu for gpu in list_gpus() for name in (gpu.name, *gpu.names)})


def _squash(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum()).removeprefix("nvidia")


def _read_row(row: Mapping[str, object]) -> Gpu:
    """Read one row. A row without source or date, or with an unknown format, is a mistake in the table."""
    capability = row.get("compute_capability")
    formats = frozenset(row["formats"])  # type: ignore[call-overload]
    assert formats <= set(get_args(Format)), f"{row['name']}: {formats}"
    assert row["link"] in get_args(Link), f"{row['name']}: {row['link']}"
    assert str(row["source"]).startswith("https://"), row["name"]
    assert isinstance(row["date"], date), row["name"]
    major, _, minor = str(capability or "").partition(".")
    return Gpu(
        name=str(row["name"]),
        vendor=row["vendor"],  # type: ignore[arg-type]
        memory_gb=int(row["memory_gb"]),  # type: ignore[call-overload]
        memory_mib=int(row["memory_mib"]),  # type: ignore[call-overload]
        compute_capability=(int(major), int(minor)) if capability else None,
        formats=formats,
        link=row["link"],  # type: ignore[arg-type]
        names=tuple(row["names"]),  # type: ignore[arg-type]
        source=str(row["source"]),
        date=row["date"],
    )
