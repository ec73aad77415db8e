"""The backend for language models: requests become rows, rows are computed by the scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from loaders.base import Feature, LoaderSpec, LoadRequest, NamedFile
from loaders.hf.adapters import Switch
from loaders.hf.chunked_prefill import goes_on
from loaders.hf.forward import Forward
from loaders.hf.loading import OpenModel, main_device, open_model, read_model_config
from loaders.hf.out_of_memory import trim
from loaders.hf.prefix_cache import PrefixCache
from loaders.hf.scheduler import Scheduler
from loaders.hf.sequence import Adapters, Part, SequenceState
from loaders.hf.speculative import Draft, PromptLookup, Speculator
from loaders.hf.tokenizer import HfTokenizer
from loaders.hf.vision import ImageProcessor
from loaders.text.hf_folder import choose_context
from loaders.text.template import ChatTemplate
from loaders.text.template_probe import probe
from loaders.torch_sampling.chain import Sampler
from loaders.torch_sampling.grammar import Grammar
from modules.errors import BadRequest, ContextOverflow, LoadFailed, Unsupported
from modules.types import Chunk, EngineInfo, GenerationRequest, Message, ParamValue

_SPACES = {"whitespace_pattern": r" ?|\n{1,2}[ \t]{0,20}"}
"""Between the parts of JSON, as llama.cpp allows: a small model may write blank lines to the end of its reply."""
_PIECE = {"cpu": 256}
_PIECE_ON_A_CARD = 2048


class HfEngine:
    """One loaded language model. Thread-safe: the model is touched by the scheduler's thread only."""

    def __init__(
        self, info: EngineInfo, words: HfTokenizer, template: ChatTemplate, scheduler: Scheduler, switch: Switch,
        device: torch.device, pictures: ImageProcessor | None = None,
    ) -> None:  # fmt: skip
        self._pictures = pictures
        self.info = info
        self._words = words
        self._template = template
        self._scheduler = scheduler
        self._switch = switch
        self._device = device

    def generate(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Chunk]:
        """Answer `request.prompt`."""
        row = self._row(request, cancelled)
        self._scheduler.submit(row)
        yield from row.chunks()

    def _row(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> SequenceState:
        """What the request asks for, made ready to compute. Raises a BadRequest for what cannot be done."""
        part, images = self._part(request)
        prompt = part.prompt
        params = request.params
        seed = params.get("seed", -1)
        sampler = Sampler(
            params, self._words.vocabulary, prompt, seed=int(seed) if isinstance(seed, (int, float)) else -1,
            grammar=self._grammar(request), logprobs=request.logprobs, device=self._device,
        )  # fmt: skip
        parts, guidance = [part], _number(params.get("guidance_scale", 1.0))
        if guidance != 1.0:
            parts.append(Part(self._negative(request, prompt)))
        room = self.info.context - max(len(part.prompt) for part in parts)
        limit = int(_number(params.get("max_tokens", 0))) or room
        return SequenceState(
            self._words, sampler, parts, max(1, min(limit, room)), self.info.context, cancelled,
            self._switch.wanted(request.lora), guidance, fresh=isinstance(seed, int) and seed >= 0,
            images=images,
        )  # fmt: skip

    def _part(self, request: GenerationRequest) -> tuple[Part, str]:
        """The prompt, with its pictures, and what tells them from others."""
        if not request.images:
            prompt = request.prompt or ""
            if self._pictures is not None and isinstance(prompt, str):
                prompt = self._pictures.without(prompt)
            return Part(self._prompt(prompt)), ""
        if self._pictures is None:
            raise Unsupported("This model takes no images.", param="images")
        if not isinstance(request.prompt, str):
            raise BadRequest("Images go with a prompt of text, not of token ids.", param="images")
        read = self._pictures.read(request.prompt, request.images)
        return Part(self._prompt(tuple(read.tokens)), inputs=read.inputs, pictured=read.pictured), read.mark

    def _prompt(self, prompt: str | tuple[int, ...]) -> list[int]:
        tokens = self._words.encode(prompt) if isinstance(prompt, str) else list(prompt)
        if not tokens:
            raise BadRequest("The prompt is empty.", hint="Send at least one character or token.", param="prompt")
        if wrong := next((token for token in tokens if not 0 <= token < self._words.size), None):
            raise BadRequest(f"The prompt has the token {wrong}, but the model has only {self._words.size:,}.",
                             param="prompt")  # fmt: skip
        if len(tokens) >= self.info.context:
            raise ContextOverflow(
                f"The prompt has {len(tokens)} tokens, but the context is {self.info.context}.",
                hint="Shorten it, or load the model with a larger context.",
            )
        return tokens

    def _negative(self, request: GenerationRequest, prompt: list[int]) -> list[int]:
        """The prompt guidance moves away from; without one, the last token alone: what the model says unasked."""
        return self._prompt(request.negative_prompt) if request.negative_prompt else prompt[-1:]

    def _grammar(self, request: GenerationRequest) -> Grammar | None:
        if request.grammar and request.json_schema is not None:
            raise BadRequest("A reply can keep to a grammar or to a JSON schema, not to both.", param="grammar")
        if request.grammar:
            return Grammar.for_gbnf(request.grammar, self._words.for_grammars)
        if request.json_schema is not None:
            spaced = {"x-guidance": _SPACES, **request.json_schema}
            return Grammar.for_schema(spaced, self._words.for_grammars)
        return None

    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool) -> str:
        """The model's own template, or a plain one."""
        if self._pictures is not None and self._pictures.in_parts:
            return self._pictures.render(messages, variables, continue_last)
        return self._template.render(messages, variables, continue_last)

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Ids of a text."""
        return self._words.encode(text, special)

    def detokenize(self, tokens: list[int]) -> str:
        """Text of ids; those the tokenizer does not know have none."""
        return self._words.decode(tokens)

    def close(self) -> None:
        """End the model's thread."""
        self._scheduler.close()


def build(
    request: LoadRequest, spec: LoaderSpec, opened: OpenModel, threads: int, progress: Callable[[float, str], None]
) -> HfEngine:
    """The engine around a model. Raises LoadFailed for adapters or a draft that do not fit it."""
    settings, model = request.settings, opened.model
    config = model.config.get_text_config(decoder=True)
    context = choose_context(int(_number(settings["context"])), getattr(config, "max_position_embeddings", None))
    device = main_device(model, opened.place)
    progress(0.96, "reading the adapters")
    switch = Switch(model, request.files.get("lora", ()))
    static = settings["cache"] == "static"
    forward = Forward(model, device, context.value, static, bool(settings["compile"]))
    words = tokenizer_of(opened)
    piece = int(_number(settings["batch_size"])) or _PIECE.get(device.type, _PIECE_ON_A_CARD)
    guesser = _guesser(request, forward, words, opened, progress, piece)
    source = chat_template(opened.tokenizer)
    tokenizer = opened.tokenizer
    template = ChatTemplate(source, str(tokenizer.bos_token or ""), str(tokenizer.eos_token or ""))
    pictures = None if opened.processor is None else ImageProcessor(opened.processor, device, opened.dtype)
    progress(0.98, "compiling, which can take minutes" if settings["compile"] else "trying it out")
    _try_out(forward, words)
    pieces = goes_on(forward, len(opened.tokenizer))
    trim()
    kept = 0 if static or not pieces.value else int(_number(settings["prompt_cache_mib"])) << 20
    prefixes: PrefixCache[Adapters] = PrefixCache(forward, kept)
    info = EngineInfo(
        model=request.model, loader=spec.name, context=context.value, slots=int(_number(settings["parallel"])),
        chat_template=bool(source), template=probe(template), adapters=switch.scales,
        features=tuple(sorted(
            feature for feature in spec.features - {Feature.EMBEDDINGS}
            if (feature != Feature.SPECULATION or guesser is not None)
            and (feature != Feature.VISION or pictures is not None)
        )),
        details={
            **opened.notes, "context_why": context.why, "threads": threads,
            "trained_context": getattr(config, "max_position_embeddings", None),
            "cache": str(settings["cache"]), "together": forward.shared.value, "together_why": forward.shared.why,
            "pieces": pieces.value, "pieces_why": pieces.why, "process": os.getpid(),
            **({} if pieces.value else {"notes": pieces.why}),
        },
    )  # fmt: skip
    scheduler = Scheduler(forward, prefixes, piece if pieces.value else context.value, switch.use, guesser)
    return HfEngine(info, words, template, scheduler, switch, device, pictures)


def tokenizer_of(opened: OpenModel) -> HfTokenizer:
    """The tokenizer, with all ids that end a reply: the model's, its generation settings' and the tokenizer's."""
    model, tokenizer = opened.model, opened.tokenizer
    found: set[int] = set()
    for source in (getattr(model, "generation_config", None), model.config.get_text_config(decoder=True), tokenizer):
        ids = getattr(source, "eos_token_id", None)
        found |= set(ids) if isinstance(ids, (list, tuple)) else {ids} if isinstance(ids, int) else set()
    size = model.get_output_embeddings().weight.shape[0] if _has_head(model) else len(tokenizer)
    return HfTokenizer(tokenizer, max(size, model.config.get_text_config(decoder=True).vocab_size), frozenset(found))


def chat_template(tokenizer: Any) -> str:
    """The tokenizer's template; of several the default one."""
    template = getattr(tokenizer, "chat_template", None) or ""
    return str(template.get("default", "")) if isinstance(template, dict) else str(template)


def _has_head(model: Any) -> bool:
    head = model.get_output_embeddings()
    return head is not None and getattr(head, "weight", None) is not None and head.weight.dim() == 2


def _guesser(
    request: LoadRequest, forward: Forward, words: HfTokenizer, opened: OpenModel,
    progress: Callable[[float, str], None], piece: int,
) -> Speculator | None:  # fmt: skip
    settings, ahead = request.settings, int(_number(request.settings["draft_tokens"]))
    drafts: tuple[NamedFile, ...] = request.files.get("draft_model", ())
    if not drafts and not settings["prompt_lookup"]:
        return None
    if not forward.shared.value:
        raise LoadFailed(f"Speculative decoding is not possible here. {forward.shared.why}",
                         hint="Load it without a draft model and prompt lookup.")  # fmt: skip
    if not drafts:
        return PromptLookup(ahead)
    progress(0.97, "loading the draft model")
    path = Path(drafts[0].path)
    plain: dict[str, ParamValue] = {**settings, "quantization": "none", "attention": "auto"}
    draft = open_model(path, read_model_config(path), plain, opened.place, request.scratch, lambda *_: None)
    theirs = HfTokenizer(draft.tokenizer, words.size, words.eos)
    sample = "Hello, World! naïve 漢字 🎉\n\n  def f(x): return 1234567"
    if theirs.encode(sample) != words.encode(sample) or len(draft.tokenizer) != len(words.tokenizer):
        raise LoadFailed(f"The draft model {drafts[0].name} has another vocabulary than the model.",
                         hint="Take a smaller model of the same family.")  # fmt: skip
    small = Forward(draft.model, main_device(draft.model, opened.place), forward.context)
    if not small.shared.value:
        raise LoadFailed(f"The draft model {drafts[0].name} cannot be set back. {small.shared.why}",
                         hint="Take another draft model.")  # fmt: skip
    return Draft(small, ahead, piece)


def _try_out(forward: Forward, words: HfTokenizer) -> None:
    """A prompt and a token, so that what cannot run is told at loading, and what is compiled is compiled by then."""
    cache, token = forward.cache(), min(words.eos, default=0)
    for tokens in ([token, token], [token]):
        forward(cache, [tokens])


def _number(value: object) -> float:
    return value if isinstance(value, (int, float)) else 0
