"""Picks the engine for a Hugging Face model: a language model, one that sees, or one that makes embeddings."""

from __future__ import annotations

from pathlib import Path

from transformers.utils import logging as hf_logging

from loaders.base import EngineBackend, LoaderSpec, LoadRequest
from loaders.hf import embedding, engine
from loaders.hf.device_map import choose_place, set_threads
from loaders.hf.loading import Report, explained, open_model, read_model_config
from loaders.text.hf_folder import folder_of


def open_backend(request: LoadRequest, spec: LoaderSpec, progress: Report) -> EngineBackend:
    """The engine for what the folder holds: a language model, one that sees, or one that makes embeddings."""
    hf_logging.disable_default_handler()
    hf_logging.enable_propagation()
    wanted = request.settings["threads"]
    threads = set_threads(wanted if isinstance(wanted, int) else 0)
    place = choose_place(request.settings)
    with explained(request):
        path = Path(request.path)
        config = read_model_config(path)
        if embedding.is_embedding(folder_of(path), config):
            return embedding.open_embedding(request, spec, config, place, progress)
        opened = open_model(path, config, request.settings, place, request.scratch, progress)
        return engine.build(request, spec, opened, threads, progress)
