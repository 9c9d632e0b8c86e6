"""Raw documents to token shards."""

from glm130b.corpus.build import build
from glm130b.corpus.characters import printable
from glm130b.corpus.decontaminate import decontaminate
from glm130b.corpus.documents import Document, bundled_path, read_documents, source_files
from glm130b.corpus.engine import Reporter, Stopped, stopping
from glm130b.corpus.inputs import sources_of
from glm130b.corpus.prepare import PreparedCorpus, open_prepared, prepare
from glm130b.corpus.shards import TokenShard, write_shard
from glm130b.corpus.tokens import Pieces, Tokens, check_ids, find_shards, fingerprint
from glm130b.corpus.verify import num_files, read_ledger, verify

__all__ = [
    "Document",
    "Pieces",
    "PreparedCorpus",
    "Reporter",
    "Stopped",
    "TokenShard",
    "Tokens",
    "build",
    "bundled_path",
    "check_ids",
    "decontaminate",
    "find_shards",
    "fingerprint",
    "num_files",
    "open_prepared",
    "prepare",
    "printable",
    "read_documents",
    "read_ledger",
    "source_files",
    "sources_of",
    "stopping",
    "verify",
    "write_shard",
]
