"""`fairseq-train` whose teacher is asked in many small batches, so that processes share them."""

import fairseq_cli.train

from mixkd_plugin.teacher import logits

if __name__ == "__main__":
    logits.BATCH_TOKENS = 60
    fairseq_cli.train.cli_main()
