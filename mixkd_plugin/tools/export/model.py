"""A student as transformers' RoBERTa, the inverse of an import; all formats are made from it."""

import torch
from torch import Tensor, nn

from ...modules import packed_encoder
from ..hf_config import ACTIVATIONS, DISTILBERT, ROBERTA
from ..interop import library
from ..scoring import Loaded
from .tokenizer import Exported


def to_transformers(loaded: Loaded, exported: Exported, labels: list[str] | None) -> nn.Module:
    """A RobertaForSequenceClassification with the weights of a student.

    Its word embeddings have the order of the exported tokenizer, its head is fairseq's own.

    Args:
        labels: names of the classes; None: a regression

    Raises:
        ValueError: for a student that transformers' RoBERTa cannot represent.
    """
    model, task = loaded.model, loaded.task.cfg
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
    start, head = exported.padding + 1, model.classification_heads[task.classification_head_name]
    positions = encoder.embed_positions.weight[encoder.embed_positions.padding_idx + 1 :]
    names = labels or [f"LABEL_{i}" for i in range(task.num_classes)]
    width, inner = encoder.layers[0].fc1.in_features, encoder.layers[0].fc1.out_features
    config = library("transformers").RobertaConfig(
        architectures=["RobertaForSequenceClassification"],
        vocab_size=len(exported.rows),
        hidden_size=width,
        num_hidden_layers=len(encoder.layers),
        num_attention_heads=encoder.layers[0].self_attn.num_heads,
        intermediate_size=inner,
        hidden_act=activations[args.activation_fn],
        hidden_dropout_prob=args.dropout,
        attention_probs_dropout_prob=args.attention_dropout,
        classifier_dropout=args.pooler_dropout,
        max_position_embeddings=start + len(positions),
        type_vocab_size=1,
        layer_norm_eps=encoder.layers[0].final_layer_norm.eps,
        pad_token_id=exported.padding,
        bos_token_id=exported.tokenizer.token_to_id(exported.names["<s>"]),
        eos_token_id=exported.tokenizer.token_to_id(exported.names["</s>"]),
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        problem_type="regression" if labels is None else "single_label_classification",
    )
    tensors = {
        "embeddings.word_embeddings.weight": encoder.embed_tokens.weight[exported.rows],
        "embeddings.position_embeddings.weight": nn.functional.pad(positions, (0, 0, start, 0)),
        "embeddings.token_type_embeddings.weight": torch.zeros(1, width),
        **_tensors("embeddings.LayerNorm", encoder.layernorm_embedding),
    }
    for i, layer in enumerate(encoder.layers):
        for theirs, ours in ROBERTA.modules.items():
            tensors |= _tensors(f"{ROBERTA.layers}{i}.{theirs}", layer.get_submodule(ours))
    served = library("transformers").RobertaForSequenceClassification(config).eval()
    served.roberta.load_state_dict(tensors)
    served.classifier = head
    return served.float()


def _tensors(name: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in module.state_dict().items()}


DISTILBERT_EPS = 1e-12  # of its LayerNorm, fixed in transformers


def to_distilbert(served: nn.Module) -> nn.Module:
    """The same model as a DistilBERT, whose head has a ReLU where RoBERTa's has a tanh.

    Raises:
        ValueError: if its LayerNorm is another.
    """
    theirs, head = served.config, served.classifier
    if theirs.layer_norm_eps != DISTILBERT_EPS:
        raise ValueError(
            f"--layer-norm-eps must be {DISTILBERT_EPS:g} for a head with "
            f"--pooler-activation-fn relu and --to hf, got {theirs.layer_norm_eps:g}: another --to "
            "can have it"
        )
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
           "eos_token_id", "id2label", "label2id", "problem_type")},
    )  # fmt: skip
    names = {ours: name for name, ours in DISTILBERT.modules.items()}
    tensors = {
        name: tensor[start:] if "position" in name else tensor
        for name, tensor in served.roberta.embeddings.state_dict(prefix="embeddings.").items()
        if "token_type" not in name and "position_ids" not in name
    }
    for i, layer in enumerate(served.roberta.encoder.layer):
        for name, ours in ROBERTA.modules.items():
            prefix = f"{DISTILBERT.layers}{i}.{names[ours]}"
            tensors |= _tensors(prefix, layer.get_submodule(name))
    model = transformers.DistilBertForSequenceClassification(config).eval()
    model.distilbert.load_state_dict(tensors)
    model.pre_classifier, model.classifier = head.dense, head.out_proj
    return model


class FirstTokenModel(nn.Module):
    """Logits (B, C) of token ids (B, T): the last layer is computed for <s> alone.

    The head reads no other position. An ONNX file of the full last layer is 10 to 25% slower.
    """

    def __init__(self, served: nn.Module):
        super().__init__()
        self.encoder, self.head = served.roberta, served.classifier

    def forward(self, input_ids: Tensor) -> Tensor:
        padding = input_ids.eq(self.encoder.config.pad_token_id)[:, None, None]  # (B, 1, 1, T)
        x = self.encoder.embeddings(input_ids)
        *inner, last = self.encoder.encoder.layer
        for layer in inner:
            x = _layer(layer, x, x, padding)
        return self.head(_layer(last, x, x[:, :1], padding))


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
