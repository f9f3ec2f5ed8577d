"""Images: floats wherever they are used, bytes wherever they are kept."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from mirrorflow.data import Images


def test_another_dtype_shares_the_bytes() -> None:
    raw = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    kept = Images(raw, (0.0,) * 3, (1.0,) * 3).to(torch.float64)
    assert isinstance(kept, Images)
    assert kept.raw.data_ptr() == raw.data_ptr()


def test_images_travel_as_bytes() -> None:
    raw = torch.randint(0, 256, (40, 3, 5, 5), dtype=torch.uint8)
    images = Images(raw, (0.1, 0.2, 0.3), (1.0, 0.5, 0.25), torch.float64)
    text = pickle.dumps(images)
    assert len(text) < 2 * raw.numel()
    for other in (pickle.loads(text), copy.deepcopy(images)):
        assert type(other) is Images
        assert other.dtype == torch.float64
        assert torch.equal(other[:], images[:])
        assert other.raw.data_ptr() != raw.data_ptr()
    with pytest.raises(TypeError, match="uint8"):
        Images(raw.float(), (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(ValueError, match="C means"):
        Images(raw, (0.0,), (1.0,))
