"""Texts that stay, junk that goes, and each measure against a slow obvious version."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.config import ChineseFilter, EnglishFilter, FiltersConfig
from glm130b.corpus.quality import RULES, STOP_WORDS, _Text, judge
from glm130b.corpus.units import units

FILTERS = FiltersConfig()

GOOD = {
    "verse": (
        "Tyger Tyger, burning bright,\nIn the forests of the night;\nWhat immortal hand or eye,\n"
        "Could frame thy fearful symmetry?"
    ),
    "villanelle": (
        "The lamp is lit, the evening comes again.\nWe sit and hear the rain upon the roof.\n"
        "The road is long and you are far from home.\n\nThe kettle sings, the cat has gone to sleep.\n"
        "The lamp is lit, the evening comes again.\n\n"
        "I count the hours, I count them like a child.\nThe road is long and you are far from home."
    ),
    "dialogue": "User: i want to book a table\nAssistant: for how many people\nUser: two of us at seven please",
    "statute": (
        "Section 12. (1) No person shall operate a ferry without a licence. (2) A licence is valid for 36 months "
        "from the date of issue. (3) A fee of 250.00 is payable upon application."
    ),
    "manual": (
        "To install the tool:\n\n- Download the archive and unpack it.\n- Run `make install` in the folder.\n"
        "- Check that `tool --version` prints 2.0.\n\nIf it fails with error 127, the folder is not on the path."
    ),
    "sentence for children": "The cat sat on the mat and it was happy to be in the sun.",
    "reference": 'GET /items/{id} returns the item with this id, or 404 if there is none. The body is JSON: {"id": 7}.',
}
GOOD_CHINESE = {
    "quatrain": "静夜思\n床前明月光，疑是地上霜。\n举头望明月，低头思故乡。",
    "quatrain of images": "江雪\n千山鸟飞绝，万径人踪灭。\n孤舟蓑笠翁，独钓寒江雪。",
    "classical": "子曰：學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？人不知而不慍，不亦君子乎？",
    "statute": "第十二条 未取得许可证的，任何人不得经营渡船。许可证自签发之日起36个月内有效。申请时应当缴纳费用。",
    "dialogue": "求助者：我最近总是睡不着，怎么办？\n支持者：是从什么时候开始的？\n求助者：大概是换了工作以后。",
    "manual": "安装步骤如下：\n\n- 下载压缩包并解压。\n- 在目录中运行 `make install`。\n- 检查是否输出 2.0。",
    "recipe": "番茄炒蛋的做法\n\n鸡蛋两个打散，番茄切块。锅中放油，先炒鸡蛋盛出，再炒番茄，最后放盐出锅。",
    "pairs": "I have to go.\n我得去睡觉了。\nIt is fine.\n今天天气不错，是不是？\nHe is late again.\n他又迟到了。",
}
rng = random.Random(0)
JUNK = {
    "too short": "Page not found",
    "odd word length": " ".join("asdkjfhqwpeoriuzxmcnvbalskdj" for _ in range(30)),
    "too few words with letters": "\n".join(f"{n} {n * 7} {n * n} the of" for n in range(100, 140)),
    "lost characters": "The caf\ufffd was full and the na\ufffdve waiter said that it would be full until the evening.",
    "too many digits": "id of row " + " ".join(f"the{rng.randrange(10**9)} and" for _ in range(50)),
    "too many symbols": "$$$the$$$ price+++ =of= ==it== ~~is~~ ^^not^^ >>for<< |everyone| <but> =that= $$is$$ ++fine++",
    "too few stop words": "qwe asd zxc rty fgh vbn uio jkl mnb poi lkj hgf dsa trewq yuiop hjkl bnm cvb xcv sdf",
    "mostly bullets": "\n".join(
        f"- the item of number {word} is in the list" for word in ("one", "two", "three", "four", "five", "six")
    ),
    "mostly ellipses": "\n".join(f"The {word} of the day is that you will not believe it..." for word in "abcde"),
    "no sentences": "\n".join(
        ["Home", "About us", "Contact", "Sign in to my account", "Terms of use", "Help", "All of it"]
    ),
    "repeated lines": "\n".join(["Click here to see all of the offers that we have."] * 9 + ["This is the end of it."]),
    "repeated phrase": "Buy the best watches " * 12 + "and it is on sale that you are in for",
    "repeated passages": " ".join(
        ["of all the shops in this town we have the lowest price for a new sofa and it is delivered to your door"] * 4
    ),
}
JUNK_CHINESE = {
    "too short": "页面不存在",
    "lost characters": "这是一个关于编码的例子，其中有些\ufffd字已经丢失\ufffd了，所以它不能用来训练。",
    "too many digits": "的".join(f"第{n * 7919}期开奖号码是{n * 104729}" for n in range(20)) + "。",
    "too many symbols": "★★★★★特价★★★★★的商品☆☆☆☆☆就在这里☆☆☆☆☆快来抢购吧★★★★★不要错过这个机会★★★★★",
    "too few stop words": "".join(rng.choice([chr(p) for p in range(0x4E00, 0x9FA5)]) for _ in range(300)) + "。",
    "mostly bullets": "\n".join(f"· 这是{word}个项目的说明" for word in "一二三四五六七八"),
    "mostly ellipses": "\n".join(f"{word}个你不知道的秘密，看完我都惊呆了……" for word in "一二三四五"),
    "no sentences": "\n".join(
        ["首页", "关于我们", "产品中心", "新闻动态", "联系我们", "人才招聘", "在线留言", "友情链接"]
    ),
    "repeated lines": "\n".join(["点击这里就可以看到我们所有的优惠信息。"] * 9 + ["这是最后一行的内容。"]),
    "repeated phrase": "加我微信领取" * 12 + "，这是一个不容错过的机会，你还在等什么。",
    "repeated passages": "".join(
        ["本市所有的家具店里，我们的新沙发价格最低，并且可以免费送货到您的家门口，欢迎来选购。"] * 5
    ),
}


def verdict(text: str, language: str, filters: FiltersConfig = FILTERS) -> str | None:
    return judge(text, units(text), language, filters)


@pytest.mark.parametrize("name", GOOD)
def test_good_english_stays(name: str) -> None:
    assert verdict(GOOD[name], "en") is None


@pytest.mark.parametrize("name", GOOD_CHINESE)
def test_good_chinese_stays(name: str) -> None:
    assert verdict(GOOD_CHINESE[name], "zh") is None


@pytest.mark.parametrize("reason", JUNK)
def test_english_junk_goes(reason: str) -> None:
    assert verdict(JUNK[reason], "en") == reason


@pytest.mark.parametrize("reason", JUNK_CHINESE)
def test_chinese_junk_goes(reason: str) -> None:
    assert verdict(JUNK_CHINESE[reason], "zh") == reason


def test_every_reason_has_its_junk() -> None:
    assert {rule.reason for rule in RULES["en"]} == JUNK.keys()
    assert {rule.reason for rule in RULES["zh"]} == JUNK_CHINESE.keys()


def test_every_threshold_is_used() -> None:
    for language, kind in (("en", EnglishFilter), ("zh", ChineseFilter)):
        used = {name for rule in RULES[language] for name in rule.thresholds}
        assert used == kind.model_fields.keys() - {"enabled"}


def test_nothing_to_judge() -> None:
    for text in ("", "!!!", "\n \n"):
        assert verdict(text, "en") == verdict(text, "zh") == "too short"


def test_a_filter_can_be_turned_off_and_loosened() -> None:
    off = FiltersConfig(en=EnglishFilter(enabled=False))
    assert {verdict(text, "en", off) for text in JUNK.values()} == {None}
    assert verdict(JUNK_CHINESE["no sentences"], "zh", off) == "no sentences"
    loose = FiltersConfig(en=EnglishFilter(min_sentence_share=0))
    assert verdict(JUNK["no sentences"], "en", loose) is None


def measure(text: str, language: str) -> dict[tuple[str, ...], float]:
    seen = _Text(text, units(text), language)
    return {rule.thresholds: rule.measure(seen) for rule in RULES[language]}


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["the", "cat", "of", "x1", "42", "$$", "-", "...", "\n", "and", "na\u00efve", "\ufffd", "The."]
        ),
        min_size=1,
        max_size=40,
    )
)
def test_english_measures(pieces: list[str]) -> None:
    """Word by word."""
    text = " ".join(pieces)
    found = measure(text, "en")
    words, visible = text.split(), "".join(text.split())
    if not words:
        return
    assert found["min_words",] == len(words)
    assert found["min_mean_word_length", "max_mean_word_length"] == pytest.approx(len(visible) / len(words))
    assert found["min_alphabetic_words",] == pytest.approx(sum(any(map(str.isalpha, w)) for w in words) / len(words))
    assert found["max_digit_share",] == pytest.approx(sum(map(str.isdigit, visible)) / len(visible))
    assert found["max_symbol_share",] == pytest.approx(sum(c in "$\ufffd" for c in visible) / len(visible))
    assert found["max_lost_characters",] == pytest.approx(visible.count("\ufffd") / len(visible))
    folded = [w.strip(".").lower() for w in words if any(map(str.isalnum, w))]
    stops = [w for w in folded if w in STOP_WORDS["en"].split()]
    assert found["min_stop_words",] == len(set(stops))
    assert found["min_stop_share",] == pytest.approx(len(stops) / max(1, len(folded)))
    assert_line_measures(found, text, 30)
    assert_phrases(found, folded, 3, 8)


@settings(max_examples=120, deadline=None)
@given(st.text("的是山水，。1a\n… 龍龙", max_size=60))
def test_chinese_measures(text: str) -> None:
    """Character by character."""
    found = measure(text, "zh")
    han = [c for c in text.replace("龍", "龙") if c in "的是山水龙"]
    assert found["min_characters",] == len(han)
    assert found["min_stop_words",] == len({c for c in han if c in "的是"})
    assert found["min_stop_share",] == pytest.approx(sum(c in "的是" for c in han) / max(1, len(han)))
    assert_line_measures(found, text, 10)
    cut: list[str] = []
    for before, c in zip(" " + text, text, strict=False):
        if c in "1a" and before in "1a":
            cut[-1] += c
        elif c in "的是山水龍龙1a":
            cut.append("龙" if c == "龍" else c)
    assert_phrases(found, cut, 4, 10)


def assert_line_measures(found: dict[tuple[str, ...], float], text: str, long: int) -> None:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    total = sum(len(line) for line in lines) or 1
    many = len(lines) if len(lines) >= 4 else 10**9
    assert found["max_bullet_lines",] == pytest.approx(sum(line[0] == "-" for line in lines) / many, abs=1e-6)
    ellipses = sum(line.endswith(("...", "…")) for line in lines)
    assert found["max_ellipsis_lines",] == pytest.approx(ellipses / many, abs=1e-6)
    sentences = sum(len(line) for line in lines if len(line) >= long or line[-1] in ".…，。")
    assert found["min_sentence_share",] == pytest.approx(sentences / total)
    repeated = sum(len(line) for place, line in enumerate(lines) if line in lines[:place])
    if lines:
        assert found["max_repeated_lines",] == pytest.approx(repeated / total)


def assert_phrases(found: dict[tuple[str, ...], float], cut: list[str], short: int, long: int) -> None:
    def ngrams(n: int) -> Counter[tuple[str, ...]]:
        return Counter(tuple(cut[i : i + n]) for i in range(len(cut) - n + 1))

    top = max(ngrams(short).values(), default=0)
    assert found["max_top_phrase",] == pytest.approx(top * short / len(cut) if top >= 3 else 0)
    passages = ngrams(long)
    repeated = passages.total() - len(passages)
    if passages:
        assert found["max_repeated_phrases",] == pytest.approx(repeated / passages.total())
