"""What the scripts that make a topic bundle do around their work: the log, the threads, and errors as one line."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

import torch

from tasnif_train.labelled import LabelledError
from tasnif_train.topic_bundle import BundleError

log = logging.getLogger("tool")


def run(args: argparse.Namespace, work: Callable[[argparse.Namespace], None]) -> int:
    """Does `work`; what its caller can mend is a message and an exit status, not a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        work(args)
    except (LabelledError, BundleError) as error:
        log.error("error: %s", error)
        return 1
    return 0
