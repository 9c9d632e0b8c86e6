"""Which evaluation tasks a dataset spoils, and which of them are not to be trained on."""

from __future__ import annotations

from glm130b.config import MipConfig, MipDataset
from glm130b.errors import ConfigError

_FAMILIES = """
    lambada mmlu pile bigbench bbh clue fewclue superglue math_qa mc_taco openbookqa pubmed_qa natural_questions
    strategyqa triviaqa webquestions winograd winogender winogrande commonsense_qa webnlg2020 e2e_clean wikilingua
    crows_pairs stereoset ethos real_toxicity_prompts wikitext-2 wikitext-103 ptbdataset
    glue/cola glue/mnli glue/qnli glue/wnli
"""
EVALUATED = frozenset(_FAMILIES.split())
"""Tasks that the paper reports (sections 5 and 6, appendix C) or that belong to the same families."""

_SEEN: dict[str, tuple[str, ...]] = {
    "ade_corpus_v2": ("ade",),
    "ai2_arc": ("arc",),
    "bbq": ("bigbench",),
    "cb": ("superglue",),
    "cos_e": ("commonsense_qa",),
    "copa": ("superglue",),
    "craffel": ("lambada",),
    "e2e_nlg": ("e2e_clean",),
    "e2e_nlg_cleaned": ("e2e_clean",),
    "enriched_web_nlg": ("webnlg2020",),
    "glue": (),
    "glue/ax": ("glue/mnli",),
    "glue/mnli_matched": ("glue/mnli",),
    "glue/mnli_mismatched": ("glue/mnli",),
    **{
        f"glue/{name}": (f"glue/{name}",)
        for name in ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli")
    },
    "hate_speech_ethos": ("ethos",),
    "hendrycks_test": ("mmlu",),
    "kilt_tasks/nq": ("natural_questions",),
    "lambada_openai": ("lambada",),
    "multi_nli": ("glue/mnli",),
    "multi_nli_mismatch": ("glue/mnli",),
    "mwsc": ("winograd",),
    "natural_questions_open": ("natural_questions",),
    "nq_open": ("natural_questions",),
    "ptb_text_only": ("ptbdataset",),
    "real-toxicity-prompts": ("real_toxicity_prompts",),
    "super_glue": ("superglue",),
    "trivia_qa": ("triviaqa",),
    "web_nlg": ("webnlg2020",),
    "web_questions": ("webquestions",),
    "wiki_lingua": ("wikilingua",),
    "wino_bias": ("winogender",),
    "winograd_wsc": ("winograd",),
    "wikitext": ("wikitext-2", "wikitext-103"),
    **dict.fromkeys(("afqmc", "c3", "cluewsc2020", "cmnli", "cmrc2018", "csl", "drcd", "ocnli"), ("clue",)),
    **dict.fromkeys(("bustm", "chid", "eprstmt"), ("fewclue",)),
}
"""Evaluation tasks by dataset or folder of templates, where the names differ."""


def seen_by(name: str, dataset: MipDataset) -> list[str]:
    """Evaluation tasks that count as seen once a dataset has been trained on, sorted.

    They follow from the folder of templates (with and without its subset), the dataset's own name and what
    the recipe declares. A name that is not known stands for the task of the same name.
    """
    names = {name.lower()}
    if dataset.templates is not None:
        folder = dataset.templates.lower().strip("/")
        names |= {folder, folder.split("/")[0]}
        names.discard(folder if "/" in folder and folder not in _SEEN else "")
    tasks = {task for key in names for task in _SEEN.get(key, (key,))}
    return sorted(tasks | set(dataset.evaluates))


def check_not_evaluated(config: MipConfig) -> None:
    """Refuse what would be trained on and then reported as if it had not been.

    Raises:
        ConfigError: naming the dataset and the task; ``allow_evaluated`` permits it.
    """
    for name, dataset in config.active_datasets.items():
        spoilt = [task for task in seen_by(name, dataset) if task in EVALUATED]
        if spoilt and not config.allow_evaluated:
            raise ConfigError(
                f"Dataset {name} belongs to {', '.join(spoilt)}, which the paper reports without training on it.",
                "Take it out, or set allow_evaluated: true; evaluation will then mark it as seen.",
            )
