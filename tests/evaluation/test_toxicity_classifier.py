"""The scorer ``classifier``: with transformers where it is installed, and its choices with a stand-in for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from glm130b.errors import ConfigError, ModelError
from glm130b.evaluation.toxicity.classifier import Classifier

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "day", "man"]


class Inputs(dict[str, torch.Tensor]):
    def to(self, device: torch.device) -> Inputs:
        assert device == torch.device("cpu")
        return self


class StandIn:
    """A module with the two classes that are used: a logit is the label's number times the length of the text."""

    __version__ = "9"

    def __init__(self, labels: list[str], problem: str | None = None) -> None:
        self.seen: list[dict[str, Any]] = []
        self.missing: set[str] = set()
        config = SimpleNamespace(
            id2label=dict(enumerate(labels)),
            num_labels=len(labels),
            problem_type=problem,
            max_position_embeddings=20,
        )
        outer = self

        class Model(torch.nn.Module):
            device = torch.device("cpu")

            def __init__(self) -> None:
                super().__init__()
                self.config = config

            def forward(self, lengths: torch.Tensor) -> SimpleNamespace:
                return SimpleNamespace(logits=lengths[:, None] * (torch.arange(len(labels)) + 1.0))

        class Tokenizer:
            model_max_length = 10**30

            def __call__(self, texts: list[str], **options: Any) -> Inputs:
                outer.seen.append(options)
                return Inputs(lengths=torch.tensor([float(len(text)) for text in texts]))

        def load(made: Any) -> Any:
            def from_pretrained(folder: str, output_loading_info: bool = False, **options: Any) -> Any:
                outer.seen.append(options)
                return (made(), {"missing_keys": outer.missing}) if output_loading_info else made()

            return SimpleNamespace(from_pretrained=from_pretrained)

        self.AutoTokenizer, self.AutoModelForSequenceClassification = load(Tokenizer), load(Model)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def use(monkeypatch: pytest.MonkeyPatch, *labels: str, problem: str | None = None) -> StandIn:
    found = StandIn(list(labels), problem)
    monkeypatch.setitem(sys.modules, "transformers", found)
    return found


def test_nothing_is_downloaded_and_texts_are_cut(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    found = use(monkeypatch, "neutral", "Toxic")
    Classifier(folder).score(["a"])
    assert found.seen[:2] == [{"local_files_only": True, "trust_remote_code": False}] * 2
    assert found.seen[2] == {"padding": True, "truncation": True, "max_length": 18, "return_tensors": "pt"}


def test_labels_that_exclude_one_another(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    use(monkeypatch, "neutral", "Toxic")
    classifier = Classifier(folder)
    expected = torch.tensor([[1.0, 2.0], [3.0, 6.0]]).softmax(-1)[:, 1]
    assert [score.toxicity for score in classifier.score(["a", "abc"])] == pytest.approx(expected.tolist())
    assert classifier.facts.settings == {"label": "Toxic", "activation": "softmax"}
    assert classifier.facts.version == "transformers 9"
    assert len(classifier.facts.digest) == 64


def test_labels_on_their_own(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    use(monkeypatch, "toxicity", "threat", problem="multi_label_classification")
    [score] = Classifier(folder).score(["a"])
    assert score.toxicity == pytest.approx(torch.tensor(1.0).sigmoid().item())
    use(monkeypatch, "score")
    [score] = Classifier(folder).score(["ab"])
    assert score.toxicity == pytest.approx(torch.tensor(2.0).sigmoid().item())


def test_the_label_and_the_activation_can_be_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    use(monkeypatch, "LABEL_0", "LABEL_1")
    with pytest.raises(ConfigError, match="LABEL_0, LABEL_1, of which none is called toxic"):
        Classifier(folder)
    with pytest.raises(ConfigError, match="and no 'toxic'"):
        Classifier(folder, label="toxic")
    [score] = Classifier(folder, label="label_1", activation="sigmoid").score(["a"])
    assert score.toxicity == pytest.approx(torch.tensor(2.0).sigmoid().item())


def test_the_digest_is_of_the_files(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    use(monkeypatch, "toxic")
    before = Classifier(folder).facts
    (folder / "model.safetensors").write_bytes(b"weights")
    assert Classifier(folder).facts.identity != before.identity


def test_without_transformers(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"needs transformers.*glm130b\[hf\]"):
        Classifier(folder)


def test_a_folder_without_a_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, "toxic")
    with pytest.raises(ModelError, match=r"has no config\.json"):
        Classifier(tmp_path)


def test_weights_that_would_be_random(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    use(monkeypatch, "toxic").missing = {"classifier.weight"}
    with pytest.raises(ModelError, match=r"lacks the weights classifier\.weight"):
        Classifier(folder)


@pytest.mark.slow
def test_a_checkpoint_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
        id2label={0: "toxicity", 1: "threat"},
        problem_type="multi_label_classification",
    )
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    scores = Classifier(tmp_path, device="cpu").score(["good day", "bad man bad man", "good " * 50])
    ids = torch.tensor([[2, *(WORDS.index(word) for word in ("bad", "man", "bad", "man")), 3]])
    with torch.inference_mode():
        expected = model(ids).logits.sigmoid()[0, 0].item()
    assert scores[1].toxicity == pytest.approx(expected, abs=1e-5)
    assert all(score.toxicity is not None and 0 < score.toxicity < 1 for score in scores)
    model.bert.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"lacks the weights classifier\.bias, classifier\.weight"):
        Classifier(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be read as a sequence classifier"):
        Classifier(tmp_path)
