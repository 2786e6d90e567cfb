"""Label raw sentences.

python predict.py CHECKPOINT_DIR DATA_DIR SENTENCEPIECE_MODEL SENTENCE...
"""

import logging
import sys
import warnings

if __name__ == "__main__":  # libraries warn while they are imported, and fairseq logs its settings
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")

import torch

from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel


def main():
    checkpoint_dir, data, sentencepiece_model, *sentences = sys.argv[1:]
    model = MixKDRobertaModel.from_pretrained(
        checkpoint_dir,
        "checkpoint_last.pt",
        data,
        bpe="sentencepiece",
        sentencepiece_model=sentencepiece_model,
    )
    model.eval()
    labels = model.task.label_dictionary
    with torch.no_grad():
        for sentence in sentences:
            log_probs = model.predict("sentence_classification_head", model.encode(sentence))[0]
            best = int(log_probs.argmax())
            name = labels[best + labels.nspecial]
            print(f"  {name} ({log_probs[best].exp():.2f})  {sentence}")


if __name__ == "__main__":
    main()
