"""Our batcher against fairseq's compiled one, and the properties that need no reference.

tests/data/compiled_batches.jsonl holds random cases with what the compiled one (fairseq-fixed
0.12.3.1) made of them, for installations that have no compiled one to ask.
"""

import importlib.util
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import fairseq
import numpy as np
import pytest

from mixkd_plugin.fairseq_fixes import data_utils_fast

SETUP = """
import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

extension = Extension(
    "data_utils_fast", ["data_utils_fast.pyx"], language="c++", include_dirs=[numpy.get_include()]
)
setup(name="data_utils_fast", ext_modules=cythonize([extension]))
"""


def load_extension(folder):
    paths = [
        path for path in Path(folder).glob("data_utils_fast*") if path.suffix in (".so", ".pyd")
    ]
    if not paths:
        return None
    spec = importlib.util.spec_from_file_location("data_utils_fast", paths[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """fairseq's own module: as installed, else built from the source that fairseq came with."""
    folder = Path(fairseq.__file__).parent / "data"
    module = load_extension(folder)
    if module is not None:
        return module
    source = folder / "data_utils_fast.pyx"
    if not source.exists():
        pytest.skip("this fairseq has neither its compiled batcher nor the source of it")
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler")
    pytest.importorskip("Cython")
    build = tmp_path_factory.mktemp("compiled")
    shutil.copy(source, build)
    (build / "setup.py").write_text(SETUP)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=build, check=True, capture_output=True)
    return load_extension(build)


def random_case(rng):
    """Indices, their lengths, and limits, among them none, tight and odd ones."""
    n, longest = rng.randint(0, 60), rng.choice([1, 3, 10, 50])
    lengths = np.array([rng.randint(1, longest) for _ in range(n)], dtype=np.int64)
    if rng.random() < 0.5:
        lengths.sort()
    indices = np.array(rng.sample(range(n), n), dtype=np.int64)
    max_tokens = rng.choice([-1, 0, longest, longest + 1, 2 * longest, 5 * longest, 17 * longest])
    max_sentences = rng.choice([-1, 0, 1, 2, 3, 8, 13])
    return indices, lengths, max_tokens, max_sentences, rng.choice([1, 2, 3, 4, 8])


def as_lists(batches):
    return [list(map(int, batch)) for batch in batches]


COMPILED = Path(__file__).resolve().parents[2] / "data" / "compiled_batches.jsonl"
RECORDED = [json.loads(line) for line in COMPILED.read_text().splitlines()]


def test_same_batches_as_recorded():
    for case in RECORDED:
        lengths = np.array(case["lengths"], dtype=np.int64)
        indices = np.arange(len(lengths))
        limits = case["max_tokens"], case["max_sentences"], case["multiple"]
        batches = data_utils_fast.batch_by_size_vec(indices, lengths, *limits)
        assert [len(batch) for batch in batches] == case["batch_sizes"], case
        assert [i for batch in batches for i in batch] == indices.tolist()


def test_same_batches_as_the_compiled_one(compiled):
    rng = random.Random(1)
    for _ in range(5000):
        case = random_case(rng)
        expected = as_lists(compiled.batch_by_size_vec(*case))
        assert as_lists(data_utils_fast.batch_by_size_vec(*case)) == expected, case
        indices, lengths, *limits = case
        by_index = dict(zip(indices.tolist(), lengths.tolist()))
        batches = data_utils_fast.batch_by_size_fn(indices, by_index.__getitem__, *limits)
        assert as_lists(batches) == expected, case


def test_batches_of_fixed_shapes_are_for_the_compiled_one():
    with pytest.raises(NotImplementedError, match="--num-batch-buckets"):
        data_utils_fast.batch_fixed_shapes_fast(np.arange(2), len, np.ones((1, 2)))


def test_every_example_once_in_order_within_limits():
    rng = random.Random(3)
    for _ in range(3000):
        case = indices, lengths, max_tokens, max_sentences, multiple = random_case(rng)
        batches = data_utils_fast.batch_by_size_vec(*case)
        assert [i for batch in batches for i in batch] == indices.tolist()
        by_index = dict(zip(indices.tolist(), lengths.tolist()))
        for batch in batches:
            assert len(batch) > 0
            padded = len(batch) * max(by_index[i] for i in batch)
            assert max_tokens <= 0 or padded <= max_tokens
            assert max_sentences <= 0 or len(batch) <= max_sentences


@pytest.mark.parametrize(
    "n, sizes", [(0, []), (5, [5]), (8, [8]), (19, [16, 3]), (37, [16, 16, 5])]
)
def test_sizes_are_multiples_but_for_the_rest(n, sizes):
    indices, lengths = np.arange(n), np.full(n, 7, dtype=np.int64)
    batches = data_utils_fast.batch_by_size_vec(indices, lengths, 7 * 20, -1, 8)  # 20 would fit
    assert [len(batch) for batch in batches] == sizes


def test_example_longer_than_a_batch_is_refused():
    with pytest.raises(AssertionError, match="9 tokens.*8"):
        data_utils_fast.batch_by_size_vec(np.arange(2), np.array([3, 9]), 8, -1, 1)


def test_fast_enough_for_a_large_corpus():
    n = 400_000
    lengths = np.sort(np.random.RandomState(0).randint(3, 120, n)).astype(np.int64)
    start = time.process_time()
    data_utils_fast.batch_by_size_vec(np.arange(n), lengths, 4096, -1, 8)
    assert time.process_time() - start < 5  # 0.15 s on a laptop core; a quadratic loop takes hours
