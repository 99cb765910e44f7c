"""The protocols that the field uses, frozen.

A preset never changes under its name: a changed field changes the hash, and
`tests/evaluation/test_protocols.py` keeps the hashes. Where a source is silent, `assumed` says what
was chosen and why.
"""

from __future__ import annotations

import dataclasses

from evaluation.protocols.protocol import METRICS, Protocol
from lightning_artv.errors import UserError

_WITHOUT_IS = tuple(name for name in METRICS if name != "is")

_SILENT = {
    "stride": "not stated; consecutive frames, as StyleGAN-V and TATS take them",
    "fps": "not stated; real videos at their own rate, whatever the model was trained at",
    "real_clip": "not stated; one random clip a video, as StyleGAN-V and TATS take it",
    "resolution": "not stated; 256, which VideoGen evaluates at",
    "fit": "not stated; the square crop keeps the picture's proportions",
    "resize": "not stated; the TensorFlow original stretches to 224",
    "antialias": "not stated; the TensorFlow original's bilinear resize has none",
    "eps": "not stated; the TF-Hub graph's value",
    "ddof": "not stated; numpy.cov's N - 1, as VideoGPT and TATS have it",
    "splits": "not stated; 10, as TGANv2 reports the Inception Score",
}
_CAPTIONED = {k: v for k, v in _SILENT.items() if k != "splits"}

UCF101_10K = Protocol(
    name="ucf101-10k",
    source="Make-A-Video, VidRD, PYoCo: 10,000 videos in the class distribution of the training "
    "set, 16 frames, one sentence a class",
    dataset="ucf101",
    split="train01",
    real_count=None,
    fake_count=10_000,
    assumed={
        **_SILENT,
        "split": "'the training set' is not named further; the first official split",
        "real_count": "not stated; every video of the split",
    },
)

UCF101_2048 = dataclasses.replace(
    UCF101_10K,
    name="ucf101-2048",
    source="2,048 real and 2,048 generated videos over all 101 classes, 16 frames, one sentence a "
    "class",
    split="all",
    real_count=2048,
    fake_count=2048,
    assumed={**_SILENT, "split": "not stated; all 13,320 videos, in which every class is found"},
)

UCF101_2K = dataclasses.replace(
    UCF101_2048,
    name="ucf101-2k",
    source="ART•V's ablations, 'UCF-101-2k' (Fig. 8), not defined further in the paper",
    real_count=2000,
    fake_count=2000,
    assumed={
        **UCF101_2048.assumed,
        "real_count": "'2k' read as 2,000",
        "fake_count": "'2k' read as 2,000",
        "sampling": "not stated; every class in its proportion",
        "frames": "not stated; 16, as in the works that the paper compares with",
        "prompts": "not stated; one sentence a class, as Make-A-Video introduced it",
        "clip_model": "not stated; ViT-B/32, as in the works that the paper compares with",
        "fid_skip": "not stated; the first frame is given in two of the three modes of Table 1",
    },
)

MSRVTT_2990 = Protocol(
    name="msrvtt-2990",
    source="LaVie: the 2,990 videos of the MSR-VTT test set, one caption each",
    dataset="msrvtt",
    split="test",
    real_count=None,
    sampling="random",
    fake_count=2990,
    prompts="caption",
    metrics=_WITHOUT_IS,
    assumed={**_CAPTIONED, "seed": "which of the 20 captions is not stated; drawn with this seed"},
)

MSRVTT_59800 = dataclasses.replace(
    MSRVTT_2990,
    name="msrvtt-59800",
    source="VideoGen: all 59,800 captions of the MSR-VTT test set (2,990 videos × 20)",
    fake_count=59_800,
    captions_per_video=20,
    assumed=_CAPTIONED,
)

MSRVTT_2K = dataclasses.replace(
    MSRVTT_2990,
    name="msrvtt-2k",
    source="ART•V's ablations, 'MSR-VTT-2k' (Fig. 8), not defined further in the paper",
    real_count=2000,
    fake_count=2000,
    assumed={
        **MSRVTT_2990.assumed,
        "real_count": "'2k' read as 2,000",
        "fake_count": "'2k' read as 2,000",
        "split": "not stated; the test set",
        "sampling": "not stated; drawn at random from the test set",
    },
)

WEBVID_2K = dataclasses.replace(
    MSRVTT_2990,
    name="webvid-2k",
    source="ART•V's ablations, 'WebVid-2k' (Fig. 8), not defined further in the paper",
    dataset="webvid",
    split="all",
    real_count=2000,
    fake_count=2000,
    assumed={
        **_CAPTIONED,
        "real_count": "'2k' read as 2,000",
        "fake_count": "'2k' read as 2,000",
        "sampling": "not stated; drawn at random from the held-out videos that the csv lists",
    },
)

STYLEGAN_V = Protocol(
    name="stylegan-v",
    source="StyleGAN-V's fvd2048_16f: 2,048 real and generated videos of 16 consecutive frames at "
    "256, covariance over N, the resize inside its TorchScript I3D",
    dataset="folder",
    sampling="random",
    ddof=0,
    assumed={
        "eps": "inside the TorchScript; the TF-Hub graph's value",
        "prompts": "the work has no text; sentences are used where a text model is measured",
        "fid_skip": "the work has no given frame",
    },
)

TATS = Protocol(
    name="tats",
    source="TATS: 2,048 real and generated UCF-101 videos of 16 frames at 128, stretched without "
    "antialiasing, batch normalisation eps 1e-5, covariance over N - 1",
    dataset="ucf101",
    split="train01",
    sampling="random",
    resolution=128,
    eps=1e-5,
    assumed={
        "split": "the training split; the first official one",
        "prompts": "the work has class labels; one sentence a class serves a text model",
        "fid_skip": "the work has no given frame",
    },
)

PRESETS: dict[str, Protocol] = {
    preset.name: preset
    for preset in (
        UCF101_10K,
        UCF101_2048,
        UCF101_2K,
        MSRVTT_2990,
        MSRVTT_59800,
        MSRVTT_2K,
        WEBVID_2K,
        STYLEGAN_V,
        TATS,
    )
}


def get_protocol(name: str) -> Protocol:
    """The preset of that name.

    Raises:
        UserError: there is none.
    """
    if name not in PRESETS:
        raise UserError(f"There is no protocol '{name}': use one of {', '.join(PRESETS)}.")
    return PRESETS[name]
