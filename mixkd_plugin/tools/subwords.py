"""Where `build_tokenizer` was in earlier versions: scripts that import it from here go on."""

from ..tokenizers.specs import TOKENIZERS
from ..tokenizers.subwords import build_tokenizer

__all__ = ["TOKENIZERS", "build_tokenizer"]
