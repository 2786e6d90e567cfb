"""Parts of a classifier of transformers that are outside of it here: embeddings of words and types,
and the last layer.
"""

from typing import Any, List, NamedTuple, Optional, Tuple

from torch import Tensor, nn

UNLIMITED = 1 << 20  # tokens of a text


class Parts(NamedTuple):
    """What :func:`take_out` took.

    words: embeddings of the tokenizer's indices; types: (2, E) or None; last: the last layer
    """

    words: nn.Embedding
    types: Optional[Tensor]
    last: nn.Linear


class _NoTypes(nn.Module):
    """In the place of token types, which are part of the words' embeddings here."""

    def forward(self, types: Tensor) -> Tensor:
        return types.new_zeros(1)


class PartNames(NamedTuple):
    """Names of the same in a network; ``types`` is None for one type."""

    words: str
    types: Optional[str]
    last: str


def names_of_parts(network: nn.Module) -> PartNames:
    """What :func:`take_out` would take.

    Raises:
        ValueError: if it has no such layer, or more than two types.
    """
    words = network.get_input_embeddings()
    if not isinstance(words, nn.Embedding):
        raise ValueError(f"its words must have a table of embeddings, got {type(words).__name__}")
    (of_words,) = (n for n, module in network.named_modules() if module is words)
    of_types, table = embeddings_of(network, "token_type_embeddings")
    number = 1 if table is None else table.num_embeddings
    if number > 2:
        raise ValueError(f"type_vocab_size must be at most 2, got {number}")
    outputs = network.config.num_labels
    linear = [
        n
        for n, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == outputs
    ]
    if not linear:
        raise ValueError(f"its head must end with a linear layer of {outputs} outputs, got none")
    return PartNames(of_words, of_types if number == 2 else None, linear[-1])


def take_out(network: nn.Module) -> Parts:
    """Take embeddings of words and types, and the last layer, out of a network."""
    names = names_of_parts(network)
    words, types = _replace(network, names.words, nn.Identity()), None
    if names.types is not None:
        types = _replace(network, names.types, _NoTypes()).weight.detach()
    return Parts(words, types, _replace(network, names.last, nn.Identity()))


def longest_of(network: nn.Module) -> int:
    """Tokens of the longest text: RoBERTa's positions begin after the index of padding."""
    _, table = embeddings_of(network, "position_embeddings")
    if table is not None:
        return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    return positions_of(network.config)


def positions_of(config: Any) -> int:
    """By its max_position_embeddings; UNLIMITED without (XLNet has -1)."""
    found = getattr(config, "max_position_embeddings", None) or 0
    return min(found, UNLIMITED) if found > 0 else UNLIMITED


def layer_lists(network: nn.Module, count: int) -> List[str]:
    """Names of its lists of ``count`` layers; none where layers share their weights (ALBERT)."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]


def embeddings_of(network: nn.Module, name: str) -> Tuple[Optional[str], Optional[nn.Embedding]]:
    """Name and table of embeddings; None without them."""
    found = (
        (n, module)
        for n, module in network.named_modules()
        if n.endswith(name) and isinstance(module, nn.Embedding)
    )
    return next(found, (None, None))


def _replace(network: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Put a module in the place of another, which is returned."""
    parent, _, child = name.rpartition(".")
    replaced = network.get_submodule(name)
    setattr(network.get_submodule(parent), child, module)
    return replaced
