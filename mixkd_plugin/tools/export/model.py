"""A student as transformers' RoBERTa or BERT, the inverse of an import; all formats are made of it.

One of two token types is a BERT; one of `--arch mixkd_hf` has its own class.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...interop import library
from ...models.mixkd_hf import MixKDHFModel
from ...modules import packed_encoder
from ..hf_config import ACTIVATIONS, BERT, DISTILBERT, ROBERTA
from ..labels import NUM_TEXTS
from ..scoring import Loaded
from .hf_student import symbols_and_classes, to_own_class
from .tokenizer import Exported


class Served(NamedTuple):
    """A model of transformers', and fairseq's head, whose activation it need not have."""

    model: nn.Module
    head: nn.Module


def to_transformers(loaded: Loaded, exported: Exported, labels: list[str] | None) -> Served:
    """A RobertaForSequenceClassification with the weights of a student, or BERT's with two types.

    Its word embeddings have the order of the exported tokenizer.

    Args:
        labels: names of the classes; None: a regression

    Raises:
        ValueError: for a student that neither can represent.
    """
    model, task = loaded.model, loaded.task.cfg
    if isinstance(model, MixKDHFModel):
        served = to_own_class(loaded, exported, labels)
        return Served(served, getattr(served, "classifier", served))
    args, encoder = model.args, model.encoder.sentence_encoder
    reason = packed_encoder.unsupported_reason(model, task.classification_head_name)
    activations = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    for what, fits in {
        str(reason): reason is None,
        "--encoder-normalize-before": not args.encoder_normalize_before,
        "--no-token-positional-embeddings": encoder.embed_positions is not None,
        "no --layernorm-embedding": encoder.layernorm_embedding is not None,
        f"--activation-fn {args.activation_fn}": args.activation_fn in activations,
        "scaled embeddings": encoder.embed_scale == 1,
    }.items():
        if not fits:
            raise ValueError(f"transformers' RoBERTa cannot have {what}")
    head = model.classification_heads[task.classification_head_name]
    two_types = exported.types == 2
    kind, family = ("Bert", BERT) if two_types else ("Roberta", ROBERTA)
    start = exported.padding + 1 if family.positions_follow_pad else 0
    positions = encoder.embed_positions.weight[encoder.embed_positions.padding_idx + 1 :]
    width, inner = encoder.layers[0].fc1.in_features, encoder.layers[0].fc1.out_features
    transformers = library("transformers")
    config = getattr(transformers, f"{kind}Config")(
        architectures=[f"{kind}ForSequenceClassification"],
        **symbols_and_classes(loaded, exported, labels),
        hidden_size=width,
        num_hidden_layers=len(encoder.layers),
        num_attention_heads=encoder.layers[0].self_attn.num_heads,
        intermediate_size=inner,
        hidden_act=activations[args.activation_fn],
        hidden_dropout_prob=args.dropout,
        attention_probs_dropout_prob=args.attention_dropout,
        classifier_dropout=args.pooler_dropout,
        max_position_embeddings=start + len(positions),
        type_vocab_size=exported.types,
        layer_norm_eps=encoder.layers[0].final_layer_norm.eps,
    )
    tensors = {
        "embeddings.word_embeddings.weight": encoder.embed_tokens.weight[exported.rows],
        "embeddings.position_embeddings.weight": nn.functional.pad(positions, (0, 0, start, 0)),
        "embeddings.token_type_embeddings.weight": (
            encoder.embed_tokens.types.weight if two_types else torch.zeros(1, width)
        ),
        **_tensors("embeddings.LayerNorm", encoder.layernorm_embedding),
    }
    for i, layer in enumerate(encoder.layers):
        for theirs, ours in family.modules.items():
            tensors |= _tensors(f"{family.layers}{i}.{theirs}", layer.get_submodule(ours))
    served = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    if two_types:
        tensors |= _tensors("pooler.dense", head.dense)
        served.classifier.load_state_dict(head.out_proj.state_dict())
    else:
        served.classifier = head
    served.base_model.load_state_dict(tensors)
    return Served(served.float(), head.float())


def _tensors(name: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in module.state_dict().items()}


DISTILBERT_EPS = 1e-12  # of its LayerNorm, fixed in transformers


def wrong_head(activation: str, layer_norm_eps: float, types: int) -> str:
    """Why a Hugging Face folder cannot have a head of this activation; empty if it can."""
    if activation not in ("tanh", "relu"):
        return f"--pooler-activation-fn must be tanh or relu for --to hf, got {activation}"
    if activation == "relu" and types > 1:
        return "--pooler-activation-fn must be tanh for --to hf with --token-types 2, got relu"
    if activation == "relu" and layer_norm_eps != DISTILBERT_EPS:
        return (
            f"--layer-norm-eps must be {DISTILBERT_EPS:g} for a head with "
            f"--pooler-activation-fn relu and --to hf, got {layer_norm_eps:g}"
        )
    return ""


def to_distilbert(served: Served) -> nn.Module:
    """The same model as a DistilBERT, whose head has a ReLU where RoBERTa's has a tanh."""
    model, head = served
    theirs = model.config
    start = theirs.pad_token_id + 1
    transformers = library("transformers")
    config = transformers.DistilBertConfig(
        architectures=["DistilBertForSequenceClassification"],
        dim=theirs.hidden_size,
        hidden_dim=theirs.intermediate_size,
        n_layers=theirs.num_hidden_layers,
        n_heads=theirs.num_attention_heads,
        activation=theirs.hidden_act,
        dropout=theirs.hidden_dropout_prob,
        attention_dropout=theirs.attention_probs_dropout_prob,
        seq_classif_dropout=theirs.classifier_dropout,
        max_position_embeddings=theirs.max_position_embeddings - start,
        **{key: getattr(theirs, key) for key in ("vocab_size", "pad_token_id", "bos_token_id",
           "eos_token_id", "id2label", "label2id", "problem_type", NUM_TEXTS)},
    )  # fmt: skip
    names = {ours: name for name, ours in DISTILBERT.modules.items()}
    tensors = {
        name: tensor[start:] if "position" in name else tensor
        for name, tensor in model.roberta.embeddings.state_dict(prefix="embeddings.").items()
        if "token_type" not in name and "position_ids" not in name
    }
    for i, layer in enumerate(model.roberta.encoder.layer):
        for name, ours in ROBERTA.modules.items():
            prefix = f"{DISTILBERT.layers}{i}.{names[ours]}"
            tensors |= _tensors(prefix, layer.get_submodule(name))
    student = transformers.DistilBertForSequenceClassification(config).eval()
    student.distilbert.load_state_dict(tensors)
    student.pre_classifier, student.classifier = head.dense, head.out_proj
    return student


class FirstTokenModel(nn.Module):
    """Logits (B, C) of token ids (B, T): the last layer is computed for <s> alone.

    The head reads no other position. An ONNX file of the full last layer is 10 to 25% slower.
    """

    def __init__(self, served: Served):
        super().__init__()
        self.encoder, self.head = served.model.base_model, served.head

    def forward(self, input_ids: Tensor) -> Tensor:
        padding = input_ids.eq(self.encoder.config.pad_token_id)
        return self._logits(padding, input_ids=input_ids)

    def _logits(self, padding: Tensor, **inputs: Tensor) -> Tensor:
        padding = padding[:, None, None]  # (B, 1, 1, T)
        x = self.encoder.embeddings(**inputs)
        *inner, last = self.encoder.encoder.layer
        for layer in inner:
            x = _layer(layer, x, x, padding)
        return self.head(_layer(last, x, x[:, :1], padding))


class TypedFirstTokenModel(FirstTokenModel):
    """The same of a BERT, with its usual inputs, (B, T) each."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        padding = attention_mask.eq(0)
        return self._logits(padding, input_ids=input_ids, token_type_ids=token_type_ids)


def _layer(layer: nn.Module, x: Tensor, asking: Tensor, padding: Tensor) -> Tensor:
    """A layer's output (B, W, D) for W positions ``asking`` of x (B, T, D)."""
    attention = layer.attention.self
    q, k, v = (
        projection(y).unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)
        for projection, y in ((attention.query, asking), (attention.key, x), (attention.value, x))
    )
    scores = q @ k.transpose(2, 3) / q.size(-1) ** 0.5
    weights = scores.masked_fill(padding, float("-inf")).softmax(dim=-1)
    y = layer.attention.output((weights @ v).transpose(1, 2).flatten(2), asking)
    return layer.output(layer.intermediate(y), y)
