"""A small random InternVL2 in the published layout, and its computation in plain torch.

Written from the description of the layout (names, fused rows, pixel shuffle), not from any
implementation: this is what the converted model is held against.
"""

import json
from itertools import pairwise

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

HEADS, GROUPS, SIZE = 6, 2, 8  # query heads, key/value heads, size of a head
WIDTH, MLP, LAYERS = HEADS * SIZE, 64, 2
VISION, VISION_HEADS, VISION_MLP, VISION_LAYERS = 32, 4, 64, 2
PATCH, IMAGE = 14, 56  # 4 x 4 patches, 2 x 2 image tokens a tile
TEXT_PIECES = ["th", "he", "in", "\u2581t", "an", "\u2581th", "\u2581the", "ing", "\u2581a", "ha"]
RENAMED = ["<|im_end|>", "<|im_start|>"]  # pieces of the model file that are given another text
ADDED = ["<img>", "</img>", "<IMG_CONTEXT>", "<quad>"]  # beyond the model file


# --- tokenizer ------------------------------------------------------------------------------


def pieces():
    """(text, score, type) of a sentencepiece BPE file with bytes for unknown characters."""
    first = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    first += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    learnt = TEXT_PIECES + list("\u2581abcdefghijklmnopqrstuvwxyz.?")
    normal = [(text, -float(rank), 1) for rank, text in enumerate(learnt)]
    return first + normal + [(f"[UNUSED_TOKEN_{i}]", 0.0, 4) for i in range(len(RENAMED))]


def write_tokenizer(folder, dummy_prefix=False):
    """``tokenizer.model`` and ``tokenizer_config.json``; returns the number of tokens."""
    from transformers.utils.sentencepiece_model_pb2_new import ModelProto

    proto = ModelProto()
    proto.trainer_spec.model_type = 2
    proto.trainer_spec.byte_fallback = True
    proto.normalizer_spec.add_dummy_prefix = dummy_prefix
    proto.normalizer_spec.remove_extra_whitespaces = False
    for text, score, kind in pieces():
        proto.pieces.add(piece=text, score=score, type=kind)
    (folder / "tokenizer.model").write_bytes(proto.SerializeToString())
    start = len(proto.pieces) - len(RENAMED)
    plain = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    added = dict(enumerate(["<unk>", "<s>", "</s>"])) | dict(enumerate(RENAMED + ADDED, start))
    settings = {
        "tokenizer_class": "InternLM2Tokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
        "added_tokens_decoder": {
            str(index): {"content": text, "special": True, **plain} for index, text in added.items()
        },
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return start + len(RENAMED + ADDED)


def sentencepiece_ids(text, dummy_prefix=False):
    """Ids by sentencepiece's rule: join the best-scored neighbours until none is a piece."""
    table = pieces()
    normal = {piece: score for piece, score, kind in table if kind == 1}
    index = {piece: i for i, (piece, _, _) in enumerate(table)}
    parts = list(("\u2581" if dummy_prefix else "") + text.replace(" ", "\u2581"))
    while True:
        joined = [(normal.get(a + b), i) for i, (a, b) in enumerate(pairwise(parts))]
        joined = [(score, -i) for score, i in joined if score is not None]
        if not joined:
            break
        at = -max(joined)[1]
        parts[at : at + 2] = ["".join(parts[at : at + 2])]
    ids = []
    for part in parts:
        known = [index[part]] if part in normal else None
        ids += known or [index[f"<0x{byte:02X}>"] for byte in part.encode()]
    return ids


# --- weights --------------------------------------------------------------------------------


WITHOUT_BIAS = ("norm1", "norm2", "attn.qkv")  # in the large vision encoder, InternViT-6B's kind


def shapes(vocabulary, large=False):
    """Shape of every published tensor."""
    found = {
        "language_model.model.tok_embeddings.weight": (vocabulary, WIDTH),
        "language_model.model.norm.weight": (WIDTH,),
        "language_model.output.weight": (vocabulary, WIDTH),
        "vision_model.embeddings.class_embedding": (1, 1, VISION),
        "vision_model.embeddings.patch_embedding.weight": (VISION, 3, PATCH, PATCH),
        "vision_model.embeddings.patch_embedding.bias": (VISION,),
        "vision_model.embeddings.position_embedding": (1, 1 + (IMAGE // PATCH) ** 2, VISION),
    }
    for block in range(LAYERS):
        layer = {
            "attention.wqkv": ((HEADS + 2 * GROUPS) * SIZE, WIDTH),
            "attention.wo": (WIDTH, WIDTH),
            "feed_forward.w1": (MLP, WIDTH),
            "feed_forward.w3": (MLP, WIDTH),
            "feed_forward.w2": (WIDTH, MLP),
            "attention_norm": (WIDTH,),
            "ffn_norm": (WIDTH,),
        }
        for name, shape in layer.items():
            found[f"language_model.model.layers.{block}.{name}.weight"] = shape
    linears = {
        "attn.qkv": (3 * VISION, VISION),
        "attn.proj": (VISION, VISION),
        "mlp.fc1": (VISION_MLP, VISION),
        "mlp.fc2": (VISION, VISION_MLP),
        "norm1": (VISION,),
        "norm2": (VISION,),
    }
    stacked = {
        f"vision_model.encoder.layers.{b}.{n}": s for b in (0, 1) for n, s in linears.items()
    }
    stacked |= {"mlp1.0": (4 * VISION,), "mlp1.1": (WIDTH, 4 * VISION), "mlp1.3": (WIDTH, WIDTH)}
    for name, shape in stacked.items():
        found[f"{name}.weight"] = shape
        if not (large and name.endswith(WITHOUT_BIAS)):
            found[f"{name}.bias"] = shape[:1]
    for block in range(VISION_LAYERS):
        for norm in ("q_norm", "k_norm") if large else ():
            found[f"vision_model.encoder.layers.{block}.attn.{norm}.weight"] = (VISION,)
        for scale in ("ls1", "ls2"):
            found[f"vision_model.encoder.layers.{block}.{scale}"] = (VISION,)
    return found


def config(vocabulary, large=False):
    """The published config.json."""
    vision = {
        "architectures": ["InternVisionModel"],
        "hidden_size": VISION,
        "num_hidden_layers": VISION_LAYERS,
        "num_attention_heads": VISION_HEADS,
        "intermediate_size": VISION_MLP,
        "image_size": IMAGE,
        "patch_size": PATCH,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "norm_type": "rms_norm" if large else "layer_norm",
        "qk_normalization": large,
        "qkv_bias": not large,
    }
    language = {
        "architectures": ["InternLM2ForCausalLM"],
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPS,
        "intermediate_size": MLP,
        "vocab_size": vocabulary,
        "max_position_embeddings": 2048,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000000,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},  # acts beyond 2048 positions only
        "bias": False,
        "tie_word_embeddings": False,
    }
    return {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "downsample_ratio": 0.5,
        "force_image_size": IMAGE,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internlm2-chat",
        "vision_config": vision,
        "llm_config": language,
    }


def write_published(folder, shards=2, dtype=torch.float32, large=False):
    """Write the whole folder; returns its tensors by name."""
    folder.mkdir()
    vocabulary = write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(config(vocabulary, large)))
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: (0.25 * torch.randn(shape, generator=generator)).to(dtype)
        for name, shape in shapes(vocabulary, large).items()
    }
    write_weights(folder, weights, shards)
    return weights


def write_weights(folder, weights, shards=2):
    """Weights as one file, or as shards with an index."""
    if shards == 1:
        save_file(weights, folder / "model.safetensors")
        return
    files = {name: f"model-{i % shards}.safetensors" for i, name in enumerate(sorted(weights))}
    for file in set(files.values()):
        save_file({n: w for n, w in weights.items() if files[n] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


# --- computation ----------------------------------------------------------------------------


def heads(x, count):
    """(B, T, count * size) -> (B, count, T, size)."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def attend(q, k, v, causal):
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if causal:
        blocked = torch.ones(scores.shape[-2:]).triu(1).bool()
        scores = scores.masked_fill(blocked, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def vision_states(weights, pixels):
    """Last layer's states (tiles, 1 + patches, width), class token first."""

    def get(name):
        return weights[f"vision_model.{name}"]

    def linear(x, name):
        return F.linear(x, get(f"{name}.weight"), weights.get(f"vision_model.{name}.bias"))

    def rms(x, name):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * get(f"{name}.weight")

    def norm(x, name):
        if large:
            return rms(x, name)
        return F.layer_norm(x, x.shape[-1:], get(f"{name}.weight"), get(f"{name}.bias"), 1e-6)

    large = "vision_model.encoder.layers.0.norm1.bias" not in weights
    at = "embeddings.patch_embedding"
    cut = pixels.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # (N, 3, rows, columns, 14, 14)
    cut = cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    x = cut @ get(f"{at}.weight").flatten(1).T + get(f"{at}.bias")
    x = torch.cat([get("embeddings.class_embedding").expand(len(x), -1, -1), x], dim=1)
    x = x + get("embeddings.position_embedding")
    for block in range(VISION_LAYERS):
        at = f"encoder.layers.{block}"
        qkv = linear(norm(x, f"{at}.norm1"), f"{at}.attn.qkv")
        q, k, v = (qkv[..., i * VISION : (i + 1) * VISION] for i in range(3))
        if large:  # over all heads together
            q, k = rms(q, f"{at}.attn.q_norm"), rms(k, f"{at}.attn.k_norm")
        q, k, v = (heads(part, VISION_HEADS) for part in (q, k, v))
        x = x + get(f"{at}.ls1") * linear(attend(q, k, v, causal=False), f"{at}.attn.proj")
        inner = F.gelu(linear(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1"))
        x = x + get(f"{at}.ls2") * linear(inner, f"{at}.mlp.fc2")
    return x


def image_tokens(weights, states):
    """Image tokens (tiles, 4, width): 2 x 2 neighbouring patches become one, row by row.

    Within a token the patches lie (upper left, upper right, lower left, lower right).
    """
    side = IMAGE // PATCH
    grid = states[:, 1:].unflatten(1, (side, side))
    tokens = [
        torch.cat([grid[:, y + dy, x + dx] for dy in (0, 1) for dx in (0, 1)], dim=-1)
        for y in range(0, side, 2)
        for x in range(0, side, 2)
    ]
    x = torch.stack(tokens, dim=1)
    x = F.layer_norm(x, x.shape[-1:], weights["mlp1.0.weight"], weights["mlp1.0.bias"])
    x = F.gelu(F.linear(x, weights["mlp1.1.weight"], weights["mlp1.1.bias"]))
    return F.linear(x, weights["mlp1.3.weight"], weights["mlp1.3.bias"])


def turned(x):
    """Rotary positions, base 1e6: coordinates i and i + size/2 turn by position * angle_i."""
    half = SIZE // 2
    angles = torch.arange(x.shape[2])[:, None] * 1e6 ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def language_states(weights, x):
    """States (B, T, width) after the final norm, from input embeddings."""

    def get(name):
        return weights[f"language_model.model.{name}.weight"]

    def norm(x, name):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * get(name)

    for block in range(LAYERS):
        at = f"layers.{block}"
        fused = F.linear(norm(x, f"{at}.attention_norm"), get(f"{at}.attention.wqkv"))
        slabs = fused.unflatten(-1, (-1, SIZE)).transpose(1, 2)  # (B, 2 x (3 q, k, v), T, size)
        step = HEADS // GROUPS + 2
        q = torch.cat([slabs[:, g * step : (g + 1) * step - 2] for g in range(GROUPS)], dim=1)
        k, v = slabs[:, step - 2 :: step], slabs[:, step - 1 :: step]
        k, v = (part.repeat_interleave(HEADS // GROUPS, dim=1) for part in (k, v))
        mixed = attend(turned(q), turned(k), v, causal=True)
        x = x + F.linear(mixed, get(f"{at}.attention.wo"))
        y = norm(x, f"{at}.ffn_norm")
        gated = F.silu(F.linear(y, get(f"{at}.feed_forward.w1")))
        gated = gated * F.linear(y, get(f"{at}.feed_forward.w3"))
        x = x + F.linear(gated, get(f"{at}.feed_forward.w2"))
    return norm(x, "norm")


def logits(weights, ids, pixels, image_id):
    """Logits (1, T, vocabulary) of a sequence whose ``image_id`` places take the image tokens."""
    x = weights["language_model.model.tok_embeddings.weight"][ids].clone()
    x[ids == image_id] = image_tokens(weights, vision_states(weights, pixels)).flatten(0, 1)
    return language_states(weights, x) @ weights["language_model.output.weight"].T
