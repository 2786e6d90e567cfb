"""What tests run in their own process is what the command line runs."""

import inprocess
import pytest
import toy
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from same_end import assert_same

LISTS = [
    ["--kd-weight", 1, "--teacher-path", "a:b", "--lr", "0.1,0.2", "--adam-betas", "(0.9, 0.98)"],
    ["--mixup-alpha", 0.7, "--fp16", "--valid-subset", "valid,train"],
    ["--lr-scheduler", "polynomial_decay", "--total-num-update", 9],
    ["--lr-scheduler", "polynomial_decay", "--total-num-update", 7, "--update-freq", "1,2",
     "--save-dir", "it's = a=b"],
    [],
]  # fmt: skip


@pytest.mark.slow
def test_a_configuration_is_fairseqs_whatever_was_composed_before():
    lists = [list(map(str, toy.train_flags("data", "here", *flags))) for flags in LISTS]
    parsed = [options.parse_args_and_arch(options.get_training_parser(), flags) for flags in lists]
    fairseqs = [convert_namespace_to_omegaconf(args) for args in parsed]
    for flags, theirs in (*zip(lists, fairseqs), *zip(lists[::-1], fairseqs[::-1])):
        ours = inprocess.training_config(flags)
        assert {type(v) for v in ours.values()} == {type(v) for v in theirs.values()}
        for name, section in theirs.items():
            if name == "model":  # a Namespace
                assert vars(ours[name]) == vars(section)
            else:
                assert_same(ours[name], section, name)


def test_a_value_that_fits_no_flag_is_fairseqs_error():
    flags = toy.train_flags("data", "here")
    args = options.parse_args_and_arch(options.get_training_parser(), list(map(str, flags)))
    inprocess.config_of(args)
    args.ddp_backend = "none such"
    for convert in (convert_namespace_to_omegaconf, inprocess.config_of):
        with pytest.raises(Exception, match="ddp_backend"):
            convert(args)
    args.ddp_backend = "legacy_ddp"
    assert inprocess.config_of(args).distributed_training.ddp_backend == "legacy_ddp"
