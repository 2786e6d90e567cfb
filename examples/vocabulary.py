"""Train a small vocabulary on a text file, in the layout that mixkd_plugin.tools.encode takes.

    python vocabulary.py wordpiece|sentencepiece TSV OUT_DIR SIZE

TSV has a header and the text in its first column. OUT_DIR gets tokenizer.json or
sentencepiece.bpe.model, and fairseq's dict.txt of the same pieces in the same order; the
tokenizer's own special symbols are left out of it, since fairseq adds its own.
"""

import os
import sys
from typing import List, Sequence

# what BERT calls fairseq's <pad> <unk> <s> </s> <mask>
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def wordpiece(texts: Sequence[str], folder: str, size: int) -> List[str]:
    import tokenizers

    tokenizer = tokenizers.BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(
        iter(texts), vocab_size=size, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    names = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    return [name for name in names if name not in SPECIAL]


def sentencepiece(texts: Sequence[str], folder: str, size: int) -> List[str]:
    import sentencepiece

    prefix = os.path.join(folder, "sentencepiece.bpe")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=prefix, vocab_size=size
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    ids = (i for i in range(len(pieces)) if not (pieces.is_control(i) or pieces.is_unknown(i)))
    return [pieces.id_to_piece(i) for i in ids]


KINDS = {"wordpiece": wordpiece, "sentencepiece": sentencepiece}


def train(kind: str, texts: Sequence[str], folder: str, size: int) -> None:
    os.makedirs(folder, exist_ok=True)
    names = KINDS[kind](texts, folder, size)
    with open(os.path.join(folder, "dict.txt"), "w", encoding="utf-8") as f:
        f.writelines(f"{name} 1\n" for name in names)


def main() -> None:
    kind, tsv, folder, size = sys.argv[1:]
    with open(tsv, encoding="utf-8") as f:
        texts = [line.split("\t")[0] for line in f][1:]
    train(kind, texts, folder, int(size))


if __name__ == "__main__":
    main()
