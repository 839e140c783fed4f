"""Any transformers checkpoint for sequence classification as a scorer, through a label map.

Only safetensors are read, code that comes with a checkpoint is never run, and a checkpoint whose weights
are incomplete is refused. The probabilities are the checkpoint's own: nobody calibrated them to feeds.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from scipy.special import expit, softmax
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from models.batches import padded, token_batches, within_memory
from models.bundled import is_hub_id
from models.device import Placement, place
from models.label_map import Activation, LabelMap, template
from models.scores import Content, HarmScores
from models.windows import windowed, windows

UNCALIBRATED_CONFIDENCE = 0.5
"""Of every score of a foreign checkpoint: demotion trusts it half as much as a certain estimate."""


class CheckpointScorer:
    """A loaded checkpoint of somebody else's, itself a `Scorer`."""

    def __init__(
        self, source: str, label_map: LabelMap, model: Any, tokenizer: Any, placement: Placement
    ) -> None:
        """For `load`; takes the parts of a checkpoint, and moves the model to its place."""
        self.labels = label_map.labels
        self.name = f"{Path(source).name}@{_digest(model, tokenizer, label_map)[:12]}"
        self._map = label_map
        self._theirs = _labels_of(model.config)
        self._model = model.to(device=placement.device, dtype=placement.dtype).eval()
        self._placement = placement
        self._pad_id = tokenizer.pad_token_id
        self._tokenizer = windowed(tokenizer.backend_tokenizer, label_map.max_tokens)

    @classmethod
    def load(
        cls, source: str | Path, label_map: LabelMap | Path | str | None, device: str = "auto"
    ) -> "CheckpointScorer":
        """The checkpoint in a directory or on the hub (downloaded), read through a label map or its file.

        Raises:
            OSError: there is no such checkpoint, or it has no safetensors.
            ValueError: the map is missing (the message has one to fill in) or does not fit, the weights
                are incomplete or need code of their own, or the device is not there.
        """
        if not Path(source).is_dir() and not is_hub_id(source):
            raise FileNotFoundError(f"{source}: expected a directory or a hub id (owner/name), got neither")
        source = str(source)
        placement = place(device)
        config = _told(source, AutoConfig.from_pretrained, trust_remote_code=False)
        theirs = _labels_of(config)
        if label_map is None:
            raise ValueError(
                f"{source}: expected a label map, got none; its labels: {list(theirs)}; one to fill in:\n\n"
                f"{template(theirs, _likely_activation(config), source)}"
            )
        chosen = label_map if isinstance(label_map, LabelMap) else LabelMap.read(label_map)
        try:
            chosen.check(theirs)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
        model = _complete_model(source)
        tokenizer = _told(source, AutoTokenizer.from_pretrained, trust_remote_code=False)
        if not tokenizer.is_fast or tokenizer.pad_token_id is None:
            raise ValueError(f"{source}: expected a fast tokenizer with a padding token, got another")
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id
        _check_length(source, chosen.max_tokens, model)
        return cls(source, chosen, model, tokenizer, placement)

    def __call__(self, content: Content, on_batch: Callable[[int], None] | None = None) -> HarmScores:
        """Probability of every post with text, at the constant confidence 0.5; NaN for the others.

        The checkpoint reads the text as it is, without normalisation and in whatever language. A long
        text is read in windows that overlap, and gets the largest probability of any. Equal texts are
        computed once. `on_batch` gets the number of distinct texts done so far.

        Raises:
            ValueError: the device has too little memory for a single text.
        """
        unique: dict[str, int] = {}
        position = np.full(content.n, -1, dtype=np.intp)  # (n,): row among the distinct texts, or -1
        for i, text in enumerate(content.text):
            if text and text.strip():
                position[i] = unique.setdefault(text, len(unique))
        probability = np.full((content.n, len(self.labels)), np.nan, dtype=np.float32)
        confidence = probability.copy()
        if unique:
            judged = position >= 0
            probability[judged] = self._probabilities(list(unique), on_batch)[position[judged]]
            confidence[judged] = UNCALIBRATED_CONFIDENCE
        return HarmScores(self.labels, probability, confidence, self.name)

    def _probabilities(self, texts: list[str], on_batch: Callable[[int], None] | None) -> NDArray[np.float64]:
        """The largest probabilities (n, L) over the windows of each text."""
        found = np.zeros((len(texts), len(self.labels)))
        for rows, ids in windows(self._tokenizer, texts):
            for batch in token_batches([len(entry) for entry in ids], self._placement.tokens_at_once):
                logits = within_memory(self._logits, [ids[i] for i in batch])
                each = expit(logits) if self._map.activation == "sigmoid" else softmax(logits, axis=1)
                np.maximum.at(found, [rows[i] for i in batch], self._map.combined(each, self._theirs))
            if on_batch is not None:
                on_batch(rows[-1] + 1)
        return found

    def _logits(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """float64 (n, C) of one batch."""
        tokens, mask = padded(ids, self._pad_id, self._map.max_tokens)
        device = self._placement.device
        with torch.inference_mode():
            found = self._model(input_ids=tokens.to(device), attention_mask=mask.to(device)).logits
        return np.asarray(found.double().cpu().numpy())


def _complete_model(source: str) -> Any:
    model, report = _told(
        source,
        AutoModelForSequenceClassification.from_pretrained,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"{source}: expected the weights of {type(model).__name__}, "
            f"got none for {missing[:3]} (of {len(missing)}): half written, or no classifier"
        )
    return model


def _told(source: str, load: Callable[..., Any], **options: Any) -> Any:
    """What a loader of the library returns; its errors in one line that names the checkpoint."""
    try:
        return load(source, **options)
    except SafetensorError as error:
        raise ValueError(f"{source}: expected whole safetensors, got {error} (half written)") from None
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        said = " ".join(str(error).split())
        raise kind(f"{source}: expected a checkpoint for sequence classification, got: {said}") from None


def _labels_of(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[i]) for i in range(config.num_labels))


def _likely_activation(config: Any) -> Activation:
    several = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return "sigmoid" if several else "softmax"


def _check_length(source: str, max_tokens: int, model: Any) -> None:
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None or positions <= 0:  # relative positions
        return
    embeddings = (part for name, part in model.named_modules() if name.endswith("position_embeddings"))
    padding = getattr(next(embeddings, None), "padding_idx", None)  # RoBERTa counts from the one after it
    most = positions if padding is None else positions - padding - 1
    if max_tokens > most:
        raise ValueError(f"{source}: max_tokens: expected at most {most} (its positions), got {max_tokens}")


def _digest(model: Any, tokenizer: Any, label_map: LabelMap) -> str:
    """sha256 of what decides the scores: weights, vocabulary and label map."""
    found = hashlib.sha256(json.dumps(label_map.as_dict(), sort_keys=True).encode())
    found.update(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().reshape(-1).contiguous().view(torch.uint8).numpy())
    return found.hexdigest()
