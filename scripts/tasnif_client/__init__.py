"""Articles to a running tasnif over HTTP, and verdicts back: a client, and files in and out."""

from .client import AsyncTasnifClient, TasnifClient
from .types import Article, ErrorRecord, TasnifError, Verdict

__all__ = ["Article", "AsyncTasnifClient", "ErrorRecord", "TasnifClient", "TasnifError", "Verdict"]
