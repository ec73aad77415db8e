"""Counts how often each model's worker crashed in a row, and how long to wait before it is loaded again."""

from __future__ import annotations

from collections.abc import Iterable

from modules.errors import EngineCrashed
from modules.models.loaded_model import LoadedModel

BACK_OFF = (0.0, 1.0, 4.0)
"""Seconds before each reload in a row after a crash; after that many the person has to load it again."""


class CrashCount:
    """Crashes in a row, by model name. A crash that a request brought about is excused."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._seen: set[LoadedModel] = set()

    def crashed(self, model: LoadedModel, living: Iterable[LoadedModel]) -> None:
        """Count the crash of this worker once. `living` are the models whose workers may still be told of."""
        if model not in self._seen:
            self._seen = {other for other in self._seen if other in list(living)} | {model}
            self.counts[model.model.name] = self.counts.get(model.model.name, 0) + 1

    def excuse(self, model: LoadedModel) -> None:
        """This worker's crash is not counted, whether or not its end has been noticed yet."""
        name = model.model.name
        if model in self._seen:
            self.counts[name] = max(0, self.counts.get(name, 0) - 1)
        else:
            self._seen.add(model)

    def forget(self, name: str) -> None:
        """A reply ended well, or a person loads the model: the count begins anew."""
        self.counts.pop(name, None)

    def pause(self, name: str) -> float:
        """Seconds to wait before a reload. Raises EngineCrashed when the model crashed too often in a row."""
        count = self.counts.get(name, 0)
        if count > len(BACK_OFF):
            raise EngineCrashed(
                f"{name} crashed {count} times in a row, so it is not started again automatically.",
                hint="Load it again on the Model tab, with a smaller context or other settings.",
                code="crashed_too_often",
            )
        return BACK_OFF[max(0, count - 1)]
