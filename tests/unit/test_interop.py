"""What `quiet` hides is seen again after it."""

import pytest

from mixkd_plugin.interop import quiet


@pytest.mark.parametrize("on", [True, False])
def test_progress_bars_are_as_they_were(transformers, monkeypatch, on):
    bars = transformers.utils.logging
    monkeypatch.setattr(bars, "_tqdm_active", on)
    with quiet(), quiet():
        assert not bars.is_progress_bar_enabled()
    assert bars.is_progress_bar_enabled() == on
