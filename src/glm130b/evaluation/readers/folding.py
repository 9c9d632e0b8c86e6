"""Which texts are the same text."""

from __future__ import annotations

import hashlib
import unicodedata


def folded(text: str) -> str:
    """A text without what typing it again would change: width and case (NFKC), and white space."""
    return "".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def cluster_of(*texts: str) -> str:
    """A short name that items have in common if their texts are the same, one by one, once folded."""
    return hashlib.sha256("\0".join(map(folded, texts)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
