"""A student, or teacher, that is an encoder of transformers: `--arch mixkd_hf`."""

import contextlib
import logging
from typing import Any, Dict, Sequence, Tuple

from fairseq.models import register_model, register_model_architecture
from fairseq.utils import safe_getattr
from omegaconf import OmegaConf, open_dict
from torch import Tensor, nn

from ..distributed import raise_on_all_ranks
from ..modules.token_types import TypedEmbedding
from .hf_network import build_network, config_of
from .hf_parts import Parts, longest_of, take_out
from .mixup_model import MixupModel
from .select_layers import INIT_LAYERS

logger = logging.getLogger(__name__)

DEFAULTS = {
    "hf_model": None,
    "encoder_layers": None,
    "student_init_layers": "first",
    "dropout": None,
    "hf_config": None,  # no flag: the network's configuration, for its checkpoints
}


@register_model("mixkd_hf")
class MixKDHFModel(MixupModel):
    """A sequence classifier of transformers whose embeddings are mixed.

    The rows of its embeddings are in the order of fairseq's dictionary, its last layer is the
    classification head.

    Args:
        network, parts: as :func:`take_out` leaves and returns them
        words: (V, E) embeddings in the dictionary's order
        padding, separator: indices in the dictionary
    """

    def __init__(
        self, network: nn.Module, parts: Parts, words: Tensor, padding: int, separator: int
    ):
        embed = nn.Embedding(*words.shape, padding_idx=padding, _weight=words)
        if parts.types is not None:
            embed = TypedEmbedding(embed, separator)
            embed.types = nn.Embedding.from_pretrained(parts.types, freeze=False)
        super().__init__(embed, parts.last.in_features)
        self.network = network

    @classmethod
    def from_config(cls, config: Dict[str, Any], dictionary) -> "MixKDHFModel":
        """With random weights; ``config``: as :func:`plain_config` makes it."""
        network = build_network(config_of(config))
        parts = take_out(network)
        words = parts.words.weight.new_empty(len(dictionary), parts.words.embedding_dim)
        nn.init.normal_(words, std=getattr(network.config, "initializer_range", 0.02))
        return cls(network, parts, words, dictionary.pad(), dictionary.eos())

    def features(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        return self._outputs(embeddings, mask).logits

    def features_and_states(
        self, embeddings: Tensor, mask: Tensor
    ) -> Tuple[Tensor, Sequence[Tensor]]:
        outputs = self._outputs(embeddings, mask, output_hidden_states=True)
        return outputs.logits, outputs.hidden_states[1:]  # the first one of the embeddings

    def _outputs(self, embeddings: Tensor, mask: Tensor, **more):
        inputs = {"inputs_embeds": embeddings, "attention_mask": mask.long()}
        return self.network(**inputs, return_dict=True, **more)

    def max_positions(self) -> int:
        return longest_of(self.network)

    @staticmethod
    def add_args(parser):
        parser.add_argument(
            "--hf-model",
            metavar="FOLDER",
            help="folder of a Hugging Face encoder: the student has its configuration, and begins "
            "with its embeddings, some of its layers, and its head where shapes agree",
        )
        parser.add_argument(
            "--encoder-layers",
            type=int,
            metavar="K",
            help="layers of the student, >= 1 (default: all of --hf-model)",
        )
        parser.add_argument(
            "--student-init-layers",
            metavar="SPEC",
            default=DEFAULTS["student_init_layers"],
            help=f"layers of --hf-model to take: {INIT_LAYERS} (default: %(default)s)",
        )
        parser.add_argument(
            "--dropout",
            type=float,
            metavar="P",
            help="every dropout probability of the encoder and its head, in [0, 1) (default: those "
            "of --hf-model)",
        )

    @classmethod
    def build_model(cls, args, task):
        config = safe_getattr(args, "hf_config", None)
        if OmegaConf.is_config(config):
            config = OmegaConf.to_container(config)
        if config is None:
            from .hf_student import student_config  # which reads folders, by this class

            with raise_on_all_ranks():  # a host may lack the folder
                config = student_config(args)
            with open_dict(args) if OmegaConf.is_config(args) else contextlib.nullcontext():
                args.hf_config = config  # and so in its checkpoints
            logger.info(
                "--arch mixkd_hf: padding is computed, too: --padding-free is for mixkd_roberta"
            )
        model = cls.from_config(config, task.source_dictionary)
        model.args = args
        return model


@register_model_architecture("mixkd_hf", "mixkd_hf")
def architecture(args):
    for name, default in DEFAULTS.items():
        setattr(args, name, safe_getattr(args, name, default))
