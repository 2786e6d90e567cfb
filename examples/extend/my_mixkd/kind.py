"""``--mixup-kind sparse``: a mix has words from all over both texts."""

from mixkd_plugin import register_mixup_kind


@register_mixup_kind("sparse")
def sparse(own, partner, cuts):
    """Evenly spaced words of the example's text, then of the partner's: positions in both."""
    return evenly(own, 0) + evenly(partner, own.length)


def evenly(part, start):
    """``part.kept`` of ``part.length`` positions."""
    return [start + i * part.length // part.kept for i in range(part.kept)]
