"""A model of ours in lm-evaluation-harness.

It is the harness's bare ``LM``: the classes above that one join a text and its continuation and move spaces between
them, which a blank in the middle of a text does not survive.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Self

from glm130b.errors import ConfigError
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.engine import Engine
from glm130b.evaluation.harness.cache import claim_cache
from glm130b.evaluation.harness.decoding import decode_of
from glm130b.evaluation.harness.greedy import greedy_options
from glm130b.evaluation.harness.grouping import by_context
from glm130b.evaluation.identity import identity_of, weights_digest
from glm130b.evaluation.items import Choose, Write
from glm130b.evaluation.requests import BUILDER_VERSION
from glm130b.evaluation.task import Attention, Mask
from glm130b.inference import conventions_of
from glm130b.interop import GroupChoice, load
from glm130b.model import GLM, Bits
from glm130b.tokenization import Tokenizer

try:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
    from tqdm import tqdm
except ModuleNotFoundError as error:
    raise ConfigError(
        f"lm-evaluation-harness cannot be imported: there is no module {error.name}.",
        "Install it with pip install 'glm130b[harness]'.",
    ) from None

_log = logging.getLogger(__name__)


class GLMHarness(LM):
    """Answers the harness's requests by the engine of ``glm eval run``, and so with its numbers.

    A continuation is put as an answer in the place of the context's ``[MASK]``, or else after it. Options of one
    document are read in one pass. A context too long for the model loses its beginning; that is logged.
    """

    def __init__(
        self,
        model: GLM,
        tokenizer: Tokenizer,
        *,
        mask: Mask = "[MASK]",
        attention: Attention = "bidirectional",
        window: int = 2048,
        scored: int = 1024,
        batch_tokens: int = 8192,
        seed: int = 0,
        weights: str | None = None,
    ) -> None:
        """Make ready.

        Args:
            mask: with ``[gMASK]`` the blank is at the end, and no context may hold another.
            attention: of contexts and of documents' windows.
            window, scored: tokens that a document's window holds and adds, see ``Encoder.windows``.
            batch_tokens: padded tokens that are read side by side, at most.
            seed: of answers that are drawn.
            weights: ``weights_digest`` of the model; a response cache is refused without it.

        Raises:
            ConfigError: the settings do not go together.
            DataError: the tokenizer is not the model's.
        """
        super().__init__()
        if mask not in ("[MASK]", "[gMASK]") or attention not in ("bidirectional", "unidirectional"):
            raise ConfigError(
                f"There is no mask {mask!r} with attention {attention!r}.",
                "Masks are [MASK] and [gMASK], attention is bidirectional or unidirectional.",
            )
        if mask == "[MASK]" and attention == "unidirectional":
            raise ConfigError("[MASK] has no unidirectional form.", "Use mask [gMASK], or bidirectional attention.")
        if not 0 < scored <= window:
            raise ConfigError(f"A window of {window} tokens cannot score {scored}.", "Give 0 < scored <= window.")
        self._network, self._tokenizer, self._weights = model, tokenizer, weights
        self._engine = Engine(model, tokenizer, batch_tokens=batch_tokens)
        conventions = conventions_of(model, tokenizer)
        self._encoder = Encoder(tokenizer, conventions, model.config.max_sequence_length)
        self._own_space = not conventions.joins_space
        self._mask, self._attention, self._seed = mask, attention, seed
        self._window, self._scored = window, scored
        self._device = model.word_embeddings.weight.device

    @classmethod
    def load(
        cls,
        pretrained: str | Path,
        *,
        bits: Bits | None = None,
        group_size: GroupChoice | None = None,
        device: str | None = None,
        dtype: Any = None,
        memory: str | Path | None = None,
        **settings: Any,
    ) -> Self:
        """Open a model folder, a run or an official checkpoint.

        Args:
            bits, group_size, device, dtype: as of ``glm130b.load``.
            memory: a folder; the weights' digest, which a response cache needs, is found out and remembered there.
            settings: as of the class.

        Raises:
            GLMError: as ``load``, ``weights_digest`` and the class.
        """
        digest = weights_digest(pretrained, Path(memory)) if memory else None
        model, tokenizer = load(pretrained, dtype=dtype, device=device or "cpu", bits=bits, group_size=group_size)
        return cls(model, tokenizer, weights=digest, **settings)

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None) -> Self:
        """What the harness makes of ``model="glm130b"`` and ``model_args``; its ``batch_size`` has no meaning here."""
        device = (additional_config or {}).get("device")
        return cls.load(**{"device": device, **arg_dict})

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> Self:
        """The same from ``"pretrained=FOLDER,mask=[gMASK]"``."""
        from lm_eval.utils import simple_parse_args_string

        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Summed log-probability of each continuation, in nats, and whether greedy decoding would write it.

        The second is said of the whole vocabulary, before ids that are never written are left out. Where the
        log-probabilities do not decide it, it costs another reading of the context.
        """
        keys: list[tuple[Hashable, str, str]] = [((one.task_name, one.doc_id), *one.args[:2]) for one in requests]
        groups = by_context(keys)
        asked = [
            self._encoder.choose(
                group.context, [*map(self._option, group.options)], mask=self._mask, attention=self._attention
            )
            for group in groups
        ]
        self._tell_cut(asked)
        found = [(0.0, False)] * len(requests)
        with tqdm(total=len(requests), desc="Options") as bar:
            for batch in self._engine.answer(asked):
                numbers, answers = zip(*batch, strict=True)
                chosen = [asked[n] for n in numbers]
                greedy = greedy_options(
                    self._network, self._tokenizer.special, chosen, answers, self._engine.batch_tokens
                )
                for n, answer, flags in zip(numbers, answers, greedy, strict=True):
                    for value, flag, places in zip(answer.log_probs, flags, groups[n].places, strict=True):
                        for place in places:
                            found[place] = (value, flag)
                            self._keep("loglikelihood", requests[place], found[place])
                            bar.update()
        return found

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Summed log-probability of each document, in nats, in the authors' windows; 0 for one without tokens."""
        windows = [
            self._encoder.windows(
                one.args[0], window=self._window, scored=self._scored, mask=self._mask, attention=self._attention
            )
            for one in requests
        ]
        owners = [(n, place) for n, those in enumerate(windows) for place in range(len(those))]
        values = [[0.0] * len(those) for those in windows]
        left = [len(those) for those in windows]
        with tqdm(total=len(owners), desc="Windows") as bar:
            for batch in self._engine.answer([window for those in windows for window in those]):
                for number, answer in batch:
                    n, place = owners[number]
                    values[n][place] = answer.log_probs[0]
                    left[n] -= 1
                    if not left[n]:
                        self._keep("loglikelihood_rolling", requests[n], sum(values[n]))
                    bar.update()
        return [float(sum(those)) for those in values]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Each answer as text, without blanks at its ends; see ``decode_of`` for what may be asked."""
        asked, times = [], Counter[str]()
        for one in requests:
            text, options = one.args[:2]
            decode, draws = decode_of(options, self._seed)
            key = json.dumps([text, options], sort_keys=True)
            times[key] += draws
            draw = times[key] if draws else 0
            asked.append(
                self._encoder.write(text, mask=self._mask, attention=self._attention, decode=decode, draw=draw)
            )
        self._tell_cut(asked)
        found = [""] * len(requests)
        with tqdm(total=len(requests), desc="Texts") as bar:
            for batch in self._engine.answer(asked):
                for n, answer in batch:
                    found[n] = answer.text
                    if not asked[n].draw:
                        self._keep("generate_until", requests[n], answer.text)
                    bar.update()
        return found

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Take the harness's response cache.

        Raises:
            ConfigError: it holds another model's answers, or of another mask, attention or window; or this model
                does not know its own weights.
        """
        if cache_hook.dbdict is not None:
            if self._weights is None:
                raise ConfigError(
                    "A response cache is asked for, and the model's weights have no digest to tell them by.",
                    "Give weights, or memory=FOLDER to load; or leave the cache out.",
                )
            claim_cache(cache_hook.dbdict, self.settings(), cache_hook.dbdict.filename)
        self.cache_hook = cache_hook

    def settings(self) -> dict[str, Any]:
        """All that answers depend on beside the request."""
        identity = identity_of(self._network, self._tokenizer, self._weights or "unknown")
        return {
            "mask": self._mask,
            "attention": self._attention,
            "window": self._window,
            "scored": self._scored,
            "seed": self._seed,
            "weights": identity.weights,
            "tokenizer": identity.tokenizer,
            "precision": identity.precision,
            "config": identity.config,
            "builder": BUILDER_VERSION,
        }

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes of the model into its results."""
        parameters = sum(parameter.numel() for parameter in self._network.parameters())
        return {"model_num_parameters": parameters, "glm130b": self.settings()}

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """There is none.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("GLM-130B was not trained on chats and has no chat template.", "Do without it.")

    @property
    def tokenizer_name(self) -> str:
        """Tells tokenizers apart."""
        return f"{self._tokenizer.name}-{self._tokenizer.fingerprint}"

    def _option(self, continuation: str) -> str:
        """Official models' tokenizer puts the space before an answer itself."""
        return continuation.removeprefix(" ") if self._own_space else continuation

    def _tell_cut(self, asked: Sequence[Choose | Write]) -> None:
        cut = sum(request.cut > 0 for request in asked)
        if cut:
            _log.warning("%d of %d contexts were too long and lost their beginning.", cut, len(asked))

    def _keep(self, method: str, request: Instance, answer: Any) -> None:
        self.cache_hook.add_partial(method, request.args, answer)


register_model("glm130b")(GLMHarness)
