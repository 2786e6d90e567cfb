"""Every flag that takes a folder or a file is named, with its value, where that cannot be used."""

import importlib
import shutil

import hf_models
import pytest

TABLE = "sentence,label\n" + "".join(f"the soup was {w},{w[0]}\n" for w in ("cold", "big") * 4)
BAD = ("absent", "empty", "file", "no_weights")
ANY_FILE = ("--unlabelled", "--text")  # with a text on each line
COLUMNS = "--text sentence --label label"
ENCODE = f"{COLUMNS} --valid ROOT/t.csv"
TOKENIZER = "--tokenizer hf:ROOT/imported"
DISTIL = "--teacher ROOT/hf --train ROOT/t.csv"
MODEL = "ROOT/imported/model.pt"
FLAGS = [
    ("distil", "--teacher", "--train ROOT/t.csv --teacher BAD"),
    ("distil", "--encoder", "--train ROOT/t.csv --encoder BAD"),
    ("distil", "--train", "--teacher ROOT/hf --train BAD"),
    ("distil", "--dev", f"{DISTIL} --dev BAD"),
    ("distil", "--unlabelled", f"{DISTIL} --unlabelled BAD"),
    ("distil", "--plan", f"{DISTIL} --plan BAD"),
    ("distil", "--glue", "--teacher ROOT/hf --task SST-2 --glue BAD"),
    ("distil", "--tokenizer", f"--teacher {MODEL} --train ROOT/t.csv --tokenizer hf:BAD"),
    ("import_hf", "SOURCE", "BAD"),
    ("import_hf", "--dev", "ROOT/hf --dev BAD"),
    ("compare", "DATA_DIR", f"BAD a={MODEL}"),
    ("compare", "CHECKPOINT", "ROOT/data a=BAD"),
    ("compare", "CHECKPOINT", "ROOT/data a=hf:BAD"),
    ("compare", "--teacher-data", f"ROOT/data a={MODEL} b={MODEL} --teacher-data BAD"),
    ("predict", "STUDENT", "BAD ROOT/texts.txt"),
    ("predict", "TEXTS", f"{MODEL} BAD --data ROOT/data"),
    ("predict", "--data", f"{MODEL} ROOT/texts.txt --data BAD"),
    ("predict", "--tokenizer", f"{MODEL} ROOT/texts.txt --data ROOT/data --tokenizer hf:BAD"),
    ("export", "CHECKPOINT", "BAD --to hf"),
    ("export", "--data", f"{MODEL} --to hf --data BAD"),
    ("export", "--text", f"{MODEL} --to hf --data ROOT/data --text BAD"),
    ("export", "--tokenizer", f"{MODEL} --to hf --data ROOT/data --tokenizer hf:BAD"),
    ("encode", "--train", f"{ENCODE} {TOKENIZER} --train BAD"),
    ("encode", "--valid", f"{COLUMNS} {TOKENIZER} --train ROOT/t.csv --valid BAD"),
    ("encode", "--dict", f"{ENCODE} {TOKENIZER} --train ROOT/t.csv --dict BAD"),
    ("encode", "--tokenizer", f"{ENCODE} --train ROOT/t.csv --tokenizer hf:BAD"),
    ("encode", "--glue", f"--task SST-2 {TOKENIZER} --glue BAD"),
]


def call(tool, root, words):
    words = words.replace("ROOT", str(root)).split()
    importlib.import_module(f"mixkd_plugin.tools.{tool}").main(words)


@pytest.fixture(scope="module")
def root(tmp_path_factory, transformers):
    """A classifier, its import and data, and paths that cannot be used."""
    root = tmp_path_factory.mktemp("paths")
    (root / "t.csv").write_text(TABLE)
    (root / "texts.txt").write_text("the soup\n")
    hf_models.make("bert", root / "hf", transformers)
    call("import_hf", root, "ROOT/hf --labels b,c --out ROOT/imported")
    call("encode", root, f"{ENCODE} {TOKENIZER} --train ROOT/t.csv --out ROOT/data")
    for name in ("empty", "no_weights"):
        (root / name).mkdir()
    (root / "file").write_text("hello\n")
    shutil.copy(root / "hf" / "config.json", root / "no_weights")
    return root


@pytest.mark.parametrize("tool, flag, words", FLAGS)
def test_a_path_that_cannot_be_used(root, tmp_path, transformers, tool, flag, words):
    for bad in BAD[:2] if flag in ANY_FILE else BAD:
        path = str(root / bad)
        with pytest.raises(SystemExit) as end:
            call(tool, root, f"{words.replace('BAD', path)} --out {tmp_path / 'out'}")
        message, name = end.value.code, {"import_hf": "import"}.get(tool, tool)
        assert isinstance(message, str) and "unexpected" not in message, message
        assert message.startswith(f"{name}: {flag} ") or message.startswith(f"{name}: {flag}: ")
        assert path in message and "\n" not in message
        assert tool == "distil" or not (tmp_path / "out").exists()
