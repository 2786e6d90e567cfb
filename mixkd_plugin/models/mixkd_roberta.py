"""The student: fairseq's RoBERTa, whose forward also computes mixes."""

import contextlib
import math
from functools import partial
from typing import Callable, Dict, List, Optional

from fairseq.models import MODEL_DATACLASS_REGISTRY, register_model, register_model_architecture
from fairseq.models.roberta import model as roberta
from fairseq.utils import safe_getattr
from omegaconf import OmegaConf, open_dict
from torch import Tensor
from torch.nn import Module, Parameter

from ..checkpoints.outputs import check_head
from ..checkpoints.settings import FAIRSEQ_EPS
from ..errors import prefixed
from ..mixup import Mix
from ..modules.token_types import TypedEmbedding
from ..names import as_flag
from .encode import encode
from .select_layers import INIT_LAYERS

PADDING_FREE = ("on", "off")
TOKEN_TYPES = (1, 2)
DEFAULTS = {  # of our own flags
    "student_init_path": None,
    "student_init_layers": "first",
    "padding_free": "on",
    "layer_norm_eps": None,
    "token_types": None,
}


def drop_nulls(cfg) -> None:
    """Leave out null values of hydra's files that an architecture function sets.

    fairseq's own functions treat null as "not given"; those that use ``getattr`` do not.
    """
    if OmegaConf.is_config(cfg) and cfg.get("_name") not in MODEL_DATACLASS_REGISTRY:
        with open_dict(cfg):
            for name in [n for n in cfg if not OmegaConf.is_missing(cfg, n) and cfg[n] is None]:
                del cfg[name]


def set_defaults(args) -> None:
    """Set the defaults that an architecture, fairseq's or a package's, did not set.

    Raises:
        ValueError: for flags that the student does not support.
    """
    with open_dict(args) if OmegaConf.is_config(args) else contextlib.nullcontext():
        for name, default in DEFAULTS.items():
            setattr(args, name, safe_getattr(args, name, default))
    for name in ("mha_reg_scale_factor", "ffn_reg_scale_factor"):
        if safe_getattr(args, name, 0.0):
            raise ValueError(f"{as_flag(name)} must be left out: adaptive pruning is not supported")


def needs_head(model: Module, head: str, num_classes: int) -> None:
    """A model, of fairseq's too, that is to be used as its checkpoint has it must find its head.

    fairseq gives a random one in the place of one that is missing or of another size.
    """
    if hasattr(model, "classification_heads"):
        upgrade = model.upgrade_state_dict_named
        model.upgrade_state_dict_named = partial(_upgrade, upgrade, head, num_classes)


def _upgrade(
    upgrade: Callable, head: str, num_classes: int, state_dict: Dict[str, Tensor], name: str
) -> None:
    with prefixed("the student's checkpoint"):
        check_head(state_dict, head, num_classes)
    upgrade(state_dict, name)


@register_model("mixkd_roberta")
class MixKDRobertaModel(roberta.RobertaModel):
    """RoBERTa with mixing inside ``forward``, where DDP and FSDP see it.

    Parameters and checkpoints are those of ``roberta``, and so are results without mixes:
    exactly with ``--padding-free off``, and up to rounding with ``on``.
    """

    supports_mixup = True

    def leave_language_model_head_out(self) -> List[Parameter]:
        """Declare that its parameters, the ones returned, get no gradient from a loss.

        torch's DistributedDataParallel would wait for it, or with --find-unused-parameters
        communicate in each step that it is absent.
        """
        embedding = self.encoder.sentence_encoder.embed_tokens.weight
        left_out = {
            f"encoder.lm_head.{name}": parameter
            for name, parameter in self.encoder.lm_head.named_parameters()
            if parameter is not embedding
        }
        self._ddp_params_and_buffers_to_ignore = list(left_out)
        return list(left_out.values())

    @property
    def padding_free(self) -> bool:
        return self.args.padding_free == "on"

    @staticmethod
    def add_args(parser):
        roberta.RobertaModel.add_args(parser)
        parser.add_argument(
            "--student-init-path",
            metavar="FILE",
            help="checkpoint from which the student begins (of the same width or wider, with as "
            "many layers or more): embeddings, some of the layers, and the classification head "
            "where classes agree; of a wider one, the principal components of its hidden states",
        )
        parser.add_argument(
            "--student-init-layers",
            metavar="SPEC",
            default=DEFAULTS["student_init_layers"],
            help=f"layers of --student-init-path to take: {INIT_LAYERS} (default: %(default)s)",
        )
        parser.add_argument(
            "--padding-free",
            choices=PADDING_FREE,
            default=DEFAULTS["padding_free"],
            help="compute nothing for padding: on, also of the teacher, and in the last layer only "
            "the first token (the same logits but for rounding), or off, fairseq's own pass "
            "(default: %(default)s)",
        )
        parser.add_argument(
            "--layer-norm-eps",
            type=float,
            metavar="E",
            help="epsilon of LayerNorm, > 0; BERT has 1e-12 (default: that of the checkpoint from "
            f"which the student begins, else {FAIRSEQ_EPS})",
        )
        parser.add_argument(
            "--token-types",
            type=int,
            choices=TOKEN_TYPES,
            help="types of tokens: 1, or 2 where the second text of a pair has embeddings of a "
            "type of its own, as in BERT (default: that of the checkpoint from which the student "
            "begins, else that of --arch: 2 of mixkd_bert_*, 1 of others)",
        )

    @classmethod
    def build_model(cls, args, task):
        set_defaults(args)
        # from hydra; YAML's on and off without quotes are Booleans
        if args.padding_free not in PADDING_FREE:
            raise ValueError(
                f"--padding-free must be one of {', '.join(PADDING_FREE)} (quoted in YAML), got "
                f"{args.padding_free!r}"
            )
        model = super().build_model(args, task)
        if args.layer_norm_eps is not None:
            model.set_layer_norm_eps(args.layer_norm_eps)
        if args.token_types is not None:
            model.set_token_types(args.token_types)
        return model

    def set_layer_norm_eps(self, value: float) -> None:
        if not 0 < value < math.inf:
            raise ValueError(f"--layer-norm-eps must be > 0, got {value}")
        self.args.layer_norm_eps = value  # and so in its checkpoints
        for module in self.modules():
            if hasattr(module, "normalized_shape"):  # LayerNorm, torch's or apex's
                module.eps = value

    def set_token_types(self, number: int) -> None:
        """Raises ValueError for a number that is not supported."""
        if number not in TOKEN_TYPES:
            raise ValueError(f"--token-types must be 1 or 2, got {number!r}")
        self.args.token_types = number
        if number == 1:
            return
        if safe_getattr(self.args, "quant_noise_scalar", 0):
            raise ValueError("--quant-noise-scalar must be 0 with --token-types 2")
        encoder = self.encoder.sentence_encoder
        encoder.embed_tokens = TypedEmbedding(encoder.embed_tokens, self.encoder.dictionary.eos())

    def forward(
        self,
        src_tokens,
        features_only=False,
        return_all_hiddens=False,
        classification_head_name=None,
        mix: Optional[Mix] = None,
        with_clean: Optional[bool] = None,
        with_states: bool = False,
        **kwargs,
    ):
        """fairseq's forward; with ``mix``, logits (R, C) of [clean; mixed] sequences in one pass.

        ``with_clean`` is used instead of the mix's own. ``with_states``: as in ``MixupModel``.
        """
        if mix is not None and with_clean is not None:
            mix = mix._replace(with_clean=with_clean)
        logits_alone = classification_head_name is not None and not return_all_hiddens
        if mix is None and not with_states and not (self.padding_free and logits_alone):
            return super().forward(
                src_tokens, features_only, return_all_hiddens, classification_head_name, **kwargs
            )
        states = [] if with_states else None
        head = classification_head_name
        logits = encode(self, head, src_tokens, mix, self.padding_free, states)
        return logits, {"states": states} if with_states else {}


# layers, width, feed-forward width, attention heads
SIZES = {
    "mixkd_roberta_base": (12, 768, 3072, 12),
    "mixkd_roberta_base_6layer": (6, 768, 3072, 12),
    "mixkd_roberta_base_3layer": (3, 768, 3072, 12),
    "mixkd_roberta_large": (24, 1024, 4096, 16),
    "mixkd_roberta_large_12layer": (12, 1024, 4096, 16),
    "mixkd_bert_base": (12, 768, 3072, 12),
    "mixkd_bert_base_6layer": (6, 768, 3072, 12),
    "mixkd_bert_base_3layer": (3, 768, 3072, 12),
    "mixkd_minilm": (6, 384, 1536, 12),
    "mixkd_minilm_3layer": (3, 384, 1536, 12),
    "mixkd_tiny": (2, 32, 64, 4),
}


def _register(name: str, layers: int, width: int, ffn_width: int, heads: int) -> None:
    @register_model_architecture("mixkd_roberta", name)
    def architecture(args):
        args.encoder_layers = safe_getattr(args, "encoder_layers", layers)
        args.encoder_embed_dim = safe_getattr(args, "encoder_embed_dim", width)
        args.encoder_ffn_embed_dim = safe_getattr(args, "encoder_ffn_embed_dim", ffn_width)
        args.encoder_attention_heads = safe_getattr(args, "encoder_attention_heads", heads)
        if name.startswith("mixkd_bert_"):
            args.token_types = safe_getattr(args, "token_types", 2)
        roberta.base_architecture(args)


_register("mixkd_roberta", *SIZES["mixkd_roberta_base"])
for _name, _size in SIZES.items():
    _register(_name, *_size)
