"""Which layers of a deep encoder a shallow student begins from."""

from typing import Any, Dict, List

INIT_LAYERS = "first, spaced, or positions such as 0,2,4"


def select_layers(
    spec: str, deep: int, shallow: int, source: str = "--student-init-path",
    flag: str = "--student-init-layers",
) -> List[int]:  # fmt: skip
    """Which of ``deep`` layers become the ``shallow`` student's, in order.

    ``first``: 0, 1, 2, ...; ``spaced``: evenly spread from the first on, as in 0, 2, 4 of six;
    or the positions themselves. ``source``: the flag that names the deep model; ``flag``: that of
    ``spec``.

    Raises:
        ValueError: for another ``spec``, a layer that does not exist, or a wrong number of layers.
    """
    spec = str(spec).strip("[]")  # a number or a list, in YAML
    if spec in ("first", "spaced"):
        if shallow > deep:
            raise ValueError(
                f"the student must have at most the {deep} layers of {source}, got "
                f"{shallow}: lower --encoder-layers, or choose another --arch"
            )
        return [i if spec == "first" else i * deep // shallow for i in range(shallow)]
    try:
        layers = [int(i) for i in spec.split(",")]
    except ValueError:
        raise ValueError(f"{flag} must be {INIT_LAYERS}, got {spec!r}") from None
    for layer in layers:
        if not 0 <= layer < deep:
            raise ValueError(
                f"{flag} {spec}: layer {layer} does not exist, {source} has layers 0 to {deep - 1}"
            )
    if len(layers) != shallow:
        raise ValueError(f"{flag} {spec}: {len(layers)} layers for a student of {shallow}")
    return layers


def keep_layers(state: Dict[str, Any], prefix: str, layers: List[int]) -> Dict[str, Any]:
    """The weights without the layers that are not chosen; the others are in their new places.

    Args:
        prefix: of the layers' names, up to their number, such as ``encoder.layers.``
    """
    kept = {name: value for name, value in state.items() if not name.startswith(prefix)}
    for place, layer in enumerate(layers):
        old = f"{prefix}{layer}."
        for name, value in state.items():
            if name.startswith(old):
                kept[f"{prefix}{place}.{name[len(old) :]}"] = value
    return kept
