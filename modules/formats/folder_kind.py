"""What a Hugging Face folder is for - text, embeddings, ranking, pictures, speech - and what chats with it can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modules.formats.gguf_tables import FIM_TOKENS
from modules.formats.hf_config import HfConfig
from modules.formats.model_card import ModelCard
from modules.formats.plain_json import JsonError, read_json
from modules.formats.problems import Reason
from modules.formats.template_traits import template_traits

_MOST_TEMPLATE = 1024 * 1024
_ENCODERS = frozenset({
    "bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "nomic_bert", "modernbert", "deberta", "deberta-v2",
    "electra", "albert", "camembert", "new", "eurobert", "jina_bert", "gte", "neobert", "xlm-roberta-xl", "ernie",
})  # fmt: skip
_SPEECH = (
    "whisper",
    "wav2vec2",
    "hubert",
    "speecht5",
    "bark",
    "vits",
    "musicgen",
    "encodec",
    "seamless",
    "parler",
    "moonshine",
    "dac",
    "mimi",
    "csm",
    "dia",
    "kyutai",
)
_PICTURES = (
    "clip",
    "siglip",
    "vit",
    "dinov2",
    "detr",
    "yolos",
    "swin",
    "convnext",
    "segformer",
    "sam",
    "beit",
    "resnet",
)
_RANKING = frozenset({"text-ranking", "text-classification"})


def folder_kind(config: HfConfig, names: Sequence[str], card: ModelCard) -> tuple[str, Reason | None]:
    """Kind, and the reason where no loader of text models opens such a one."""
    arch, family = config.architecture, config.model_type
    if "modules.json" in names or "config_sentence_transformers.json" in names:
        ranks = card.task == "text-ranking" or "CrossEncoder" in card.tags
        return ("reranker" if ranks else "embedding"), None
    if arch.endswith("ForSequenceClassification"):
        labels = config.extra().get("labels", 2)
        if labels == 1 or (card.task == "text-ranking") or {"cross-encoder", "reranker"} & set(card.tags):
            return "reranker", None
        return "classifier", Reason.CLASSIFIER
    if arch.endswith(("ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")):
        return "classifier", Reason.TAGGER
    if family.startswith(_SPEECH):
        return "speech", Reason.SPEECH
    if arch.endswith(("ForImageClassification", "ForObjectDetection")) or family in _PICTURES or arch == "CLIPModel":
        return "other", Reason.NOT_CHAT_IMAGES
    if arch.endswith("ForMaskedLM") or (family in _ENCODERS and not arch.endswith("ForCausalLM")):
        return "embedding", None
    if card.task == "text-ranking":
        return "reranker", None
    if arch.endswith("Model") and card.task in ("sentence-similarity", "feature-extraction"):
        return "embedding", None
    if not arch and not family:
        return "other", Reason.NO_ARCHITECTURE
    return "model", None


def folder_capabilities(folder: Path, names: Sequence[str], kind: str, config: HfConfig) -> tuple[str, ...]:
    """What a person can do with it, before it is loaded."""
    if kind in ("embedding", "reranker"):
        return ("embeddings",) if kind == "embedding" else ("rerank",)
    if kind != "model":
        return ()
    tokenizer = _object(folder, "tokenizer_config.json", names)
    found = [*config.media(), *template_traits(*_templates(folder, names, tokenizer))]
    if _fills(
        tokenizer, _object(folder, "special_tokens_map.json", names), _object(folder, "added_tokens.json", names)
    ):
        found.append("fill in the middle")
    return tuple(found)


def _templates(folder: Path, names: Sequence[str], tokenizer: Mapping[str, Any]) -> list[str]:
    """The chat templates, from wherever Transformers would take them."""
    if "chat_template.jinja" in names:
        try:
            with (folder / "chat_template.jinja").open("rb") as file:
                return [file.read(_MOST_TEMPLATE).decode("utf-8", "replace")]
        except OSError:
            return []
    for holder in (_object(folder, "chat_template.json", names), tokenizer):
        found = holder.get("chat_template")
        if isinstance(found, str):
            return [found]
        if isinstance(found, list):  # several by name
            return [one["template"] for one in found if isinstance(one, dict) and isinstance(one.get("template"), str)]
    return []


def _fills(tokenizer: Mapping[str, Any], special: Mapping[str, Any], added: Mapping[str, Any]) -> bool:
    """Whether the tokenizer has tokens for filling in the middle."""
    marks = {text.decode() for text in FIM_TOKENS}
    words = set(added)
    listed = tokenizer.get("added_tokens_decoder")
    if isinstance(listed, dict):
        words |= {str(one.get("content")) for one in listed.values() if isinstance(one, dict)}
    for holder in (tokenizer, special):
        more = holder.get("additional_special_tokens")
        if isinstance(more, list):
            words |= {str(one.get("content") if isinstance(one, dict) else one) for one in more}
        words |= {str(holder[name]) for name in ("prefix_token", "fim_prefix_token") if name in holder}
    return bool(words & marks)


def _object(folder: Path, name: str, names: Sequence[str]) -> Mapping[str, Any]:
    """A JSON file of the tokenizer; one that is not there or broken says nothing before loading."""
    if name not in names:
        return {}
    try:
        return read_json(folder / name)
    except JsonError:
        return {}
