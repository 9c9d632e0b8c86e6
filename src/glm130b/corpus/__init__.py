"""Raw documents to token shards."""

from glm130b.corpus.documents import Document, bundled_path, read_documents
from glm130b.corpus.prepare import PreparedCorpus, open_prepared, prepare
from glm130b.corpus.shards import TokenShard, write_shard

__all__ = [
    "Document",
    "PreparedCorpus",
    "TokenShard",
    "bundled_path",
    "open_prepared",
    "prepare",
    "read_documents",
    "write_shard",
]
