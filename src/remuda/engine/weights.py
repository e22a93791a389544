"""Finds a model's weights on this machine, or downloads them with the hub's own client.

    locate_weights   the folders of a model's sources (nothing is downloaded)
    find_folder      the folder of one source, or None
    fetch_weights    download what is missing

huggingface_hub downloads `hf://` sources in the engine's environment (inside/fetch.py), so Remuda itself needs no
client. The token goes through a pipe, never into argv or the environment. A downloaded folder is complete when its
marker exists; an interrupted download continues where it ended.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from remuda import spec
from remuda.engine.download import FetchJob, run_fetch
from remuda.engine.errors import WeightsError
from remuda.engine.install.installation import Installation
from remuda.engine.status import Progress, ProgressCallback
from remuda.machine.files import replace_file
from remuda.machine.home import Home
from remuda.machine.secrets import read_secret

MARKER: Final = ".remuda-weights.json"
_DEMO: Final = Path(__file__).parent / "demo"
_DEMO_NAME: Final = "remuda-demo"
_ELSEWHERE: Final[Mapping[str, str]] = {
    "gs": "copy the folder to this disk (gcloud storage cp -r) and use file:///…",
    "s3": "copy the folder to this disk (aws s3 cp --recursive) and use file:///…",
    "oci": "extract the image's folder to this disk and use file:///…",
    "pvc": "a claim exists in a cluster only; use file:///… here",
}


@dataclass(frozen=True, slots=True)
class WeightPaths:
    """Local folders of one model."""

    model: Path
    adapters: Mapping[str, Path] = field(default_factory=dict)
    draft: Path | None = None


def locate_weights(model: spec.Model, home: Home) -> WeightPaths:
    """Where the weights are; WeightsError when they are missing, or cannot be on this machine."""
    paths = {place: _locate(source, home, place) for place, source in _sources(model)}
    return WeightPaths(
        model=paths["source"],
        adapters={adapter.name: paths[f"adapter {adapter.name}"] for adapter in model.spec.engine.adapters},
        draft=paths.get("speculative model"),
    )


def find_folder(source: spec.Source, home: Home) -> Path | None:
    """The folder of a source if it is complete on this machine; else None."""
    try:
        return _locate(source, home, "source")
    except WeightsError:
        return None


async def fetch_weights(
    model: spec.Model, installation: Installation, home: Home, progress: ProgressCallback = lambda _: None
) -> WeightPaths:
    """Download every `hf://` source of the model that is missing."""
    for place, source in _sources(model):
        folder = _folder(source, home, place)
        if source.scheme == "hf" and read_marker(folder) is None:
            token = model.spec.source_token
            job = FetchJob(
                repo=source.location,
                revision=source.revision,
                folder=folder,
                token=read_secret(token, f"model {model.metadata.name}: sourceToken") if token else None,
            )
            done = await run_fetch(job, installation.python, progress)
            await asyncio.to_thread(_write_marker, folder, done)
            progress(Progress("fetched", str(source), done["bytes"], done["bytes"]))
    return locate_weights(model, home)


def read_marker(folder: Path) -> dict[str, Any] | None:
    """What was downloaded into this folder; None when the download did not end, or a file is missing."""
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in marker["files"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return marker if whole else None


def _write_marker(folder: Path, done: dict[str, Any]) -> None:
    try:
        replace_file(folder / MARKER, json.dumps(done).encode(), public=True)  # other users may read these weights
    except OSError as error:
        raise WeightsError(f"{folder / MARKER}: {error.strerror}", "check the disk, or set REMUDA_HOME") from error


def _sources(model: spec.Model) -> Iterator[tuple[str, spec.Source]]:
    """Every source of a model, with a name for messages."""
    assert model.spec.source is not None, "models with endpoints have no engine"
    yield "source", spec.parse_source(model.spec.source)
    for adapter in model.spec.engine.adapters:
        yield f"adapter {adapter.name}", spec.parse_source(adapter.source)
    speculative = model.spec.engine.speculative
    if speculative is not None and speculative.model is not None:
        yield "speculative model", spec.parse_source(speculative.model)


def _locate(source: spec.Source, home: Home, place: str) -> Path:
    folder = _folder(source, home, place)
    if source.scheme == "hf" and read_marker(folder) is None:
        raise WeightsError(f"{place}: {source} is not downloaded", "`remuda up` downloads it")
    return folder


def _folder(source: spec.Source, home: Home, place: str) -> Path:
    """The folder of a source on this machine. A local folder is checked."""
    if source.scheme == "hf":
        name = source.location.replace("/", "--")
        return home.weights / "hf" / f"{name}@{(source.revision or 'main').replace('/', '--')}"
    if source.scheme == "file":
        return _checked(Path(source.location), source, place)
    if source.scheme == "demo":
        return _checked(_demo_folder(source), source, place)
    raise WeightsError(f"{place}: {source} cannot be read on this machine yet", _ELSEWHERE[source.scheme])


def _demo_folder(source: spec.Source) -> Path:
    """`demo://remuda-demo`, and its adapters as `demo://remuda-demo/adapters/NAME`."""
    name, _, rest = source.location.partition("/")
    if name != _DEMO_NAME:
        raise WeightsError(f"there is no bundled model {name!r}", f"there is one: demo://{_DEMO_NAME}")
    return _DEMO / rest if rest else _DEMO


def _checked(folder: Path, source: spec.Source, place: str) -> Path:
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # reported below
    except OSError as error:
        raise WeightsError(f"{place}: {folder}: {error.strerror}", "check the path and who may read it") from error
    if not folder.is_dir():
        what = "is a file; name its folder" if folder.exists() else "does not exist"
        raise WeightsError(f"{place}: {source}: {folder} {what}", "name the folder that holds config.json")
    wanted = ("adapter_config.json",) if place.startswith("adapter") else ("config.json", "params.json")
    if not any((folder / name).is_file() for name in wanted):
        raise WeightsError(f"{place}: {folder} has no {wanted[0]}", "name the folder that holds the weights")
    return folder
