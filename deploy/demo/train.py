#!/usr/bin/env python3
"""Train the demonstration OLMoE on a corpus of public-domain stories, on a CPU.

Shapes in the docstrings: B sequences, T positions, N = B*T tokens, H hidden size, A heads, D head size,
L layers, E experts, I expert width, K experts used for a token, V vocabulary, R rows sorted by expert.

The experts are computed by experts.cc, which this script compiles with the system's C++ compiler.
Run from anywhere:  python train.py --corpus DIR --out DIR --work DIR
"""

import argparse
import ctypes
import json
import math
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent
END_OF_TEXT, PADDING = "<|endoftext|>", "<|padding|>"
END_ID, PAD_ID = 0, 1
WINDOW = 256           # positions in a training or evaluation window
WINDOWS_A_STEP = 16
BALANCE_WEIGHT, ROUTER_Z_WEIGHT = 0.1, 0.001
MUON_RATE, ADAM_RATE, WARM_UP = 0.04, 0.006, 0.02
WORKER_ENVIRONMENT = {  # for the worker processes; glibc reads the last three when a process starts
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",  # memory that is freed stays with the process: no page faults at each step
    "MALLOC_TRIM_THRESHOLD_": "16000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; the defaults are those of the demonstration."""

    vocab: int = 4096
    hidden: int = 64
    heads: int = 2
    layers: int = 16
    experts: int = 64
    width: int = 32
    top_k: int = 8
    positions: int = 512
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_size(self):
        return self.hidden // self.heads


# ---------------------------------------------------------------- text and tokens


def read_documents(path):
    """The documents of a corpus file: strings, without the separator lines."""
    text = Path(path).read_text(encoding="utf-8")
    parts = (part.strip("\n") for part in ("\n" + text + "\n").split(f"\n{END_OF_TEXT}\n"))
    return [part for part in parts if part]


def train_tokenizer(documents, vocab):
    """Byte-level BPE like OLMoE's: NFC, GPT-2 pattern, two special tokens, 256 bytes, then merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    assert tokenizer.token_to_id(END_OF_TEXT) == END_ID and tokenizer.token_to_id(PADDING) == PAD_ID
    # A prompt begins as a document did in training.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, END_ID)])
    return tokenizer


def tokenize(tokenizer, documents):
    """One stream [tokens] int64: an end-of-text token, then each document followed by one."""
    pieces = [[END_ID]]
    for encoding in tokenizer.encode_batch(documents, add_special_tokens=False):
        pieces.append(encoding.ids)
        pieces.append([END_ID])
    return torch.from_numpy(np.concatenate([np.asarray(p, dtype=np.int64) for p in pieces]))


class WindowStream:
    """Shuffled training windows; each epoch cuts the token stream at a new random offset."""

    def __init__(self, tokens, seed=1):
        self.tokens, self.seed = tokens, seed
        self.epoch, self.cursor, self.order = -1, 0, np.empty(0, dtype=np.int64)

    def _start_epoch(self, epoch):
        rng = np.random.default_rng([self.seed, epoch])
        offset = int(rng.integers(WINDOW))
        count = (len(self.tokens) - offset - 1) // WINDOW
        self.epoch, self.cursor = epoch, 0
        self.order = offset + WINDOW * rng.permutation(count)

    def next(self):
        """Inputs and targets, both [WINDOWS_A_STEP, WINDOW]."""
        if self.cursor + WINDOWS_A_STEP > len(self.order):
            self._start_epoch(self.epoch + 1)
        starts = self.order[self.cursor : self.cursor + WINDOWS_A_STEP]
        self.cursor += WINDOWS_A_STEP
        block = torch.stack([self.tokens[s : s + WINDOW + 1] for s in starts.tolist()])
        return block[:, :-1], block[:, 1:]

    def state(self):
        return {"epoch": self.epoch, "cursor": self.cursor}

    def restore(self, state):
        self._start_epoch(state["epoch"])
        self.cursor = state["cursor"]


# ---------------------------------------------------------------- model


class Experts(torch.autograd.Function):
    """The chosen experts' SwiGLU, weighted and summed, computed by experts.cc (fp32, one thread)."""

    library = None

    @staticmethod
    def forward(ctx, x, weight, index, gate_up, down):
        """x [N,H], weight [N,K], index [N,K] int64, gate_up [E,2I,H], down [E,H,I] -> [N,H]."""
        (tokens, top_k), experts = index.shape, gate_up.shape[0]
        x, weight, index, gate_up, down = (t.contiguous() for t in (x, weight, index, gate_up, down))
        order = torch.empty(tokens * top_k, dtype=torch.int32)
        starts = torch.empty(experts + 1, dtype=torch.int32)
        projected, out = x.new_empty(tokens * top_k, gate_up.shape[1]), torch.empty_like(x)
        call(Experts.library.experts_forward, tokens, top_k, experts, x, weight, index, gate_up, down,
             order, starts, projected, out)
        ctx.save_for_backward(x, weight, gate_up, down, order, starts, projected)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        """grad_out [N,H] -> gradients of x, weight, gate_up and down."""
        x, weight, gate_up, down, order, starts, projected = ctx.saved_tensors
        (tokens, top_k), experts = weight.shape, gate_up.shape[0]
        gradients = [torch.empty_like(t) for t in (x, weight, gate_up, down)]
        call(Experts.library.experts_backward, tokens, top_k, experts, x, weight, gate_up, down,
             order, starts, projected, grad_out.contiguous(), *gradients)
        return gradients[0], gradients[1], None, gradients[2], gradients[3]


def call(function, tokens, top_k, experts, *tensors):
    """Call a function of experts.cc: three numbers, then addresses of tensors."""
    function(ctypes.c_long(tokens), ctypes.c_int(top_k), ctypes.c_int(experts),
             *(ctypes.c_void_p(t.data_ptr()) for t in tensors))


def build_experts(directory):
    """Compile experts.cc into directory with the system's C++ compiler (CXX, else c++)."""
    library = Path(directory) / "experts.so"
    command = [os.environ.get("CXX", "c++"), "-std=c++17", "-O3", "-march=native", "-ffast-math",
               "-mprefer-vector-width=512", "-shared", "-fPIC", str(HERE / "experts.cc"), "-o", str(library)]
    subprocess.run(command, check=True)
    return library


def load_experts(library, shape):
    Experts.library = ctypes.CDLL(str(library))
    assert Experts.library.experts_hidden() == shape.hidden and Experts.library.experts_width() == shape.width


def rms_norm(x, scale, eps):
    """x [..., n] divided by its root mean square and multiplied by scale [n]."""
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps) * scale


class Model(torch.nn.Module):
    """OLMoE with the parameters of all layers stacked, so that one update serves them all."""

    def __init__(self, shape, seed=0):
        super().__init__()
        self.shape = s = shape
        self.dropout = 0.0
        generator = torch.Generator().manual_seed(seed)

        def normal(deviation, *size):
            return torch.nn.Parameter(torch.randn(*size, generator=generator) * deviation)

        def ones(*size):
            return torch.nn.Parameter(torch.ones(*size))

        inverse, depth = s.hidden**-0.5, (2 * s.layers) ** -0.5
        self.embed = normal(inverse, s.vocab, s.hidden)
        self.head = normal(0.3 * inverse, s.vocab, s.hidden)
        self.qkv = normal(inverse, s.layers, 3, s.hidden, s.hidden)
        self.attn_out = normal(inverse * depth, s.layers, 1, s.hidden, s.hidden)
        self.router = normal(0.5 * inverse, s.layers, s.experts, s.hidden)
        self.gate_up = normal(inverse, s.layers, s.experts, 2, s.width, s.hidden)
        # The factor 4 makes up for router weights of about 1/64 each at the start.
        self.down = normal(4 * s.width**-0.5 * depth, s.layers, s.experts, s.hidden, s.width)
        self.attn_norm, self.moe_norm = ones(s.layers, s.hidden), ones(s.layers, s.hidden)
        self.q_norm, self.k_norm = ones(s.layers, s.hidden), ones(s.layers, s.hidden)
        self.final_norm = ones(s.hidden)

    def matrices(self):
        """The parameters that Muon updates; the last two dimensions are the matrix."""
        return [self.qkv, self.attn_out, self.gate_up, self.down]

    def others(self):
        """The parameters that AdamW updates."""
        chosen = {id(p) for p in self.matrices()}
        return [p for p in self.parameters() if id(p) not in chosen]

    def drop(self, x):
        """x with elements left out at random while training."""
        return F.dropout(x, self.dropout, training=torch.is_grad_enabled())

    def forward(self, tokens, top_k=None):
        """tokens [B,T] -> logits [B,T,V], balance loss, router z loss; everything in fp32."""
        s, (batch, length) = self.shape, tokens.shape
        x = F.embedding(tokens, self.embed).view(batch * length, s.hidden)
        tables = rotary_tables(s, length)
        mask = torch.full((length, length), -math.inf).triu_(1)
        qkv, attn_out = self.qkv.unbind(0), self.attn_out.unbind(0)
        gate_up, down = self.gate_up.flatten(2, 3).unbind(0), self.down.unbind(0)
        routers, attn_norms, moe_norms = self.router.unbind(0), self.attn_norm.unbind(0), self.moe_norm.unbind(0)
        q_norms, k_norms = self.q_norm.unbind(0), self.k_norm.unbind(0)
        balance, z_loss = 0.0, 0.0
        for i in range(s.layers):
            x, h = attention_block(x, attn_norms[i], qkv[i], q_norms[i], k_norms[i], attn_out[i][0], moe_norms[i],
                                   tables, mask, s, batch)
            weight, index, layer_balance, layer_z = route(h, routers[i], top_k or s.top_k)
            x = x + self.drop(Experts.apply(h, weight, index, gate_up[i], down[i]))
            balance, z_loss = balance + layer_balance / s.layers, z_loss + layer_z / s.layers
        logits = rms_norm(x, self.final_norm, s.norm_eps) @ self.head.t()
        return logits.view(batch, length, s.vocab), balance, z_loss


@torch.compile(dynamic=False)
def attention_block(x, attn_norm, qkv, q_norm, k_norm, attn_out, moe_norm, tables, mask, s, batch):
    """x [N,H] -> x plus causal attention, and its norm for the experts, both [N,H]."""
    h = rms_norm(x, attn_norm, s.norm_eps)
    q, k, v = (h @ w.t() for w in qkv.unbind(0))
    q = rms_norm(q, q_norm * s.head_size**-0.5, s.norm_eps)
    k = rms_norm(k, k_norm, s.norm_eps)
    q, k, v = (t.view(batch, -1, s.heads, s.head_size).transpose(1, 2) for t in (q, k, v))
    q, k = rotate(q, *tables), rotate(k, *tables)
    scores = torch.matmul(q, k.transpose(2, 3)) + mask
    mixed = torch.matmul(torch.softmax(scores, dim=-1), v)
    x = x + mixed.transpose(1, 2).reshape(h.shape) @ attn_out.t()
    return x, rms_norm(x, moe_norm, s.norm_eps)


def rotary_tables(shape, length):
    """Cosines and sines [length, D] for the half-split rotary embedding."""
    half = shape.head_size // 2
    frequency = shape.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency
    angle = torch.cat([angle, angle], dim=1)
    return angle.cos(), angle.sin()


def rotate(x, cosine, sine):
    """Rotary embedding of x [B,A,T,D]."""
    a, b = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-b, a], dim=-1) * sine


@torch.compile(dynamic=False)
def route(h, router, top_k):
    """h [N,H], router [E,H] -> weights [N,K] (not normalised), experts [N,K], balance and z losses."""
    logits = h @ router.t()
    log_sum = torch.logsumexp(logits, dim=-1)
    probability = torch.exp(logits - log_sum[:, None])
    weight, index = probability.topk(top_k, dim=-1, sorted=False)
    experts = router.shape[0]
    share = torch.bincount(index.reshape(-1), minlength=experts).float() / index.numel()
    balance = experts * (share * probability.mean(dim=0)).sum()
    return weight, index, balance, log_sum.square().mean()


# ---------------------------------------------------------------- optimiser


def orthogonalise(matrices):
    """Five Newton-Schulz steps on matrices [n,a,b]: the same singular vectors, singular values near 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2).contiguous() if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = torch.bmm(x, x.transpose(1, 2))
        polynomial = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, polynomial, x, beta=3.4445)
    return x.transpose(1, 2) if tall else x


class Muon:
    """Momentum with Nesterov's look-ahead, orthogonalised per matrix; no weight decay.

    Each worker updates its share of the layers (the first dimension) and sends it to the others.
    """

    def __init__(self, parameters, rank, workers, momentum=0.95):
        self.parameters, self.momentum, self.rank, self.workers = parameters, momentum, rank, workers
        self.buffers = [torch.zeros_like(p) for p in parameters]

    def share(self, tensor, rank):
        layers = tensor.shape[0]
        return tensor[layers * rank // self.workers : layers * (rank + 1) // self.workers]

    @torch.no_grad()
    def step(self, rate):
        for p, whole_buffer in zip(self.parameters, self.buffers):
            gradient, buffer = self.share(p.grad, self.rank), self.share(whole_buffer, self.rank)
            buffer.lerp_(gradient, 1 - self.momentum)
            update = torch.lerp(gradient, buffer, self.momentum)
            rows, columns = p.shape[-2:]
            update = orthogonalise(update.view(-1, rows, columns)).reshape(buffer.shape)
            self.share(p, self.rank).add_(update, alpha=-rate * max(1.0, rows / columns) ** 0.5)
        self.exchange([p.detach() for p in self.parameters])

    def exchange(self, tensors):
        """Give every worker the shares of all."""
        for tensor in tensors:
            for rank in range(self.workers):
                dist.broadcast(self.share(tensor, rank), src=rank)


class Schedule:
    """Progress from 0 to 1 by CPU time or, where the machine is busy, by wall time; survives a restart."""

    def __init__(self, minutes, wall_minutes):
        self.minutes, self.wall_minutes = minutes, wall_minutes
        self.cpu_before = self.wall_before = self.cpu = self.wall = 0.0
        self.cpu_start, self.wall_start = time.process_time(), time.monotonic()

    def tick(self):
        """Read the clocks: the workers' mean CPU minutes, and wall minutes; the same for all workers."""
        now = torch.tensor([time.process_time() - self.cpu_start, time.monotonic() - self.wall_start]).double()
        dist.all_reduce(now)
        cpu, wall = (now / dist.get_world_size() / 60).tolist()
        self.cpu, self.wall = self.cpu_before + cpu, self.wall_before + wall

    def progress(self):
        return max(self.cpu / self.minutes, self.wall / self.wall_minutes)

    def factor(self):
        """Multiplier of the peak rates: linear warm-up, then linear to 0."""
        p = self.progress()
        return max(0.0, min(p / WARM_UP, (1 - p) / (1 - WARM_UP)))


# ---------------------------------------------------------------- evaluation


def evaluation_windows(tokens):
    """Batches of inputs and targets [B,T] that cover a stream tokens [n].

    Window i reads tokens 256i .. 256i+255 at positions 0 .. 255 and predicts tokens 256i+1 .. 256i+256; the last
    window is shorter. So every token but the first is predicted exactly once, without context from before its window.
    """
    batch, whole = WINDOW * WINDOWS_A_STEP, (len(tokens) - 1) // WINDOW * WINDOW
    for start in range(0, whole, batch):
        stop = min(start + batch, whole)
        yield tokens[start:stop].view(-1, WINDOW), tokens[start + 1 : stop + 1].view(-1, WINDOW)
    if whole < len(tokens) - 1:
        yield tokens[whole:-1][None], tokens[whole + 1 :][None]


@torch.no_grad()
@torch.compiler.set_stance("force_eager")
def total_loss(model, tokens, top_k=None):
    """Cross entropy in nats, summed over evaluation_windows(tokens), and the number of predicted tokens."""
    total = 0.0
    for inputs, targets in evaluation_windows(tokens):
        logits = model(inputs, top_k=top_k)[0]
        total += F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
    return total, len(tokens) - 1


# ---------------------------------------------------------------- checkpoint in the layout of the hub


def hub_tensors(model):
    """Name -> bf16 tensor, with the names that transformers and the hub use for OlmoeForCausalLM."""
    p = {name: value.detach().bfloat16() for name, value in model.named_parameters()}
    out = {"model.embed_tokens.weight": p["embed"], "lm_head.weight": p["head"], "model.norm.weight": p["final_norm"]}
    for i in range(model.shape.layers):
        layer = f"model.layers.{i}."
        out[layer + "input_layernorm.weight"] = p["attn_norm"][i]
        out[layer + "post_attention_layernorm.weight"] = p["moe_norm"][i]
        for j, letter in enumerate("qkv"):
            out[layer + f"self_attn.{letter}_proj.weight"] = p["qkv"][i, j]
        out[layer + "self_attn.o_proj.weight"] = p["attn_out"][i, 0]
        out[layer + "self_attn.q_norm.weight"] = p["q_norm"][i]
        out[layer + "self_attn.k_norm.weight"] = p["k_norm"][i]
        out[layer + "mlp.gate.weight"] = p["router"][i]
        for e in range(model.shape.experts):
            expert = layer + f"mlp.experts.{e}."
            out[expert + "gate_proj.weight"] = p["gate_up"][i, e, 0]
            out[expert + "up_proj.weight"] = p["gate_up"][i, e, 1]
            out[expert + "down_proj.weight"] = p["down"][i, e]
    return {name: value.clone().contiguous() for name, value in out.items()}


def hub_config(shape):
    return {
        "architectures": ["OlmoeForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "clip_qkv": None,
        "eos_token_id": END_ID,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.width,
        "max_position_embeddings": shape.positions,
        "model_type": "olmoe",
        "norm_topk_prob": False,
        "num_attention_heads": shape.heads,
        "num_experts": shape.experts,
        "num_experts_per_tok": shape.top_k,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.heads,
        "output_router_logits": False,
        "pad_token_id": PAD_ID,
        "rms_norm_eps": shape.norm_eps,
        "rope_scaling": None,
        "rope_theta": shape.rope_base,
        "router_aux_loss_coef": 0.01,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": shape.vocab,
    }


def replace_file(path, write):
    """Let write(temporary path) make the file, then move it into place in one step."""
    temporary = path.with_name(path.name + ".tmp")
    write(str(temporary))
    temporary.chmod(0o644)
    os.replace(temporary, path)


def export(model, tokenizer, directory):
    """Write a directory that transformers and the server can load."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    generation = {"do_sample": True, "eos_token_id": END_ID, "pad_token_id": PAD_ID, "temperature": 0.7}
    for name, value in (("config.json", hub_config(model.shape)), ("generation_config.json", generation)):
        text = json.dumps(value, indent=2) + "\n"
        replace_file(directory / name, lambda path, text=text: Path(path).write_text(text))
    replace_file(directory / "tokenizer.json", lambda path: tokenizer.save(path, pretty=False))
    tensors = hub_tensors(model)
    replace_file(directory / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"}))


def load_exported(directory):
    """Model (fp32 holding bf16 values) and tokenizer from a directory written by export()."""
    directory = Path(directory)
    c = json.loads((directory / "config.json").read_text())
    shape = Shape(c["vocab_size"], c["hidden_size"], c["num_attention_heads"], c["num_hidden_layers"], c["num_experts"],
                  c["intermediate_size"], c["num_experts_per_tok"], c["max_position_embeddings"], c["rope_theta"],
                  c["rms_norm_eps"])
    tensors = load_file(directory / "model.safetensors")

    def stack(form, *ranges):
        if not ranges:
            return tensors[form].float()
        return torch.stack([stack(form.replace("{}", str(i), 1), *ranges[1:]) for i in ranges[0]])

    layers, experts, prefix = range(shape.layers), range(shape.experts), "model.layers.{}."
    model = Model(shape)
    model.load_state_dict({
        "embed": stack("model.embed_tokens.weight"),
        "head": stack("lm_head.weight"),
        "final_norm": stack("model.norm.weight"),
        "attn_norm": stack(prefix + "input_layernorm.weight", layers),
        "moe_norm": stack(prefix + "post_attention_layernorm.weight", layers),
        "q_norm": stack(prefix + "self_attn.q_norm.weight", layers),
        "k_norm": stack(prefix + "self_attn.k_norm.weight", layers),
        "qkv": stack(prefix + "self_attn.{}_proj.weight", layers, "qkv"),
        "attn_out": stack(prefix + "self_attn.o_proj.weight", layers)[:, None],
        "router": stack(prefix + "mlp.gate.weight", layers),
        "gate_up": stack(prefix + "mlp.experts.{}.{}_proj.weight", layers, experts, ("gate", "up")),
        "down": stack(prefix + "mlp.experts.{}.down_proj.weight", layers, experts),
    })
    return model, Tokenizer.from_file(str(directory / "tokenizer.json"))


# ---------------------------------------------------------------- training


class Trainer:
    """One worker's model, optimisers, data order and schedule, with a state file from which a run can go on."""

    def __init__(self, tokens, rank, options):
        self.rank, self.workers, self.peak = rank, options.workers, options.peak
        self.balance_weight = options.balance
        self.model = load_exported(options.start)[0] if options.start else Model(Shape())
        self.model.dropout = options.dropout
        self.muon = Muon(self.model.matrices(), rank, options.workers)
        self.adam = torch.optim.AdamW(self.model.others(), lr=0.0, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)
        self.stream = WindowStream(tokens, options.seed)
        self.steps = 0
        self.schedule = Schedule(options.minutes, options.wall_minutes)
        self.path = Path(options.work) / "state.pt"
        if self.path.exists():
            self.restore()

    def step(self):
        """One update on WINDOWS_A_STEP windows, shared among the workers; returns this one's losses."""
        inputs, targets = (block[self.rank :: self.workers] for block in self.stream.next())
        logits, balance, z_loss = self.model(inputs)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        (loss + self.balance_weight * balance + ROUTER_Z_WEIGHT * z_loss).backward()
        self.average_gradients()
        self.schedule.tick()
        factor = self.peak * self.schedule.factor()
        self.muon.step(MUON_RATE * factor)
        self.adam.param_groups[0]["lr"] = ADAM_RATE * factor
        self.adam.step()
        self.model.zero_grad(set_to_none=True)
        self.steps += 1
        return loss.item(), balance.item()

    def average_gradients(self):
        for p in self.model.parameters():
            dist.all_reduce(p.grad)
            p.grad /= self.workers

    def save(self):
        self.muon.exchange(self.muon.buffers)
        state = {"model": self.model.state_dict(), "muon": self.muon.buffers, "adam": self.adam.state_dict(),
                 "stream": self.stream.state(), "steps": self.steps,
                 "cpu": self.schedule.cpu, "wall": self.schedule.wall}
        if self.rank == 0:
            replace_file(self.path, lambda path: torch.save(state, path))

    def restore(self):
        state = torch.load(self.path)
        self.model.load_state_dict(state["model"])
        self.muon.buffers = state["muon"]
        self.adam.load_state_dict(state["adam"])
        self.stream.restore(state["stream"])
        self.steps = state["steps"]
        self.schedule.cpu_before, self.schedule.wall_before = state["cpu"], state["wall"]

    def log(self, text):
        s, tokens = self.schedule, self.steps * WINDOWS_A_STEP * WINDOW
        if self.rank == 0:
            print(f"{s.cpu:6.2f} cpu min {s.wall:6.2f} wall min {100 * s.progress():5.1f}% "
                  f"{self.steps} steps {tokens / 1e6:.2f} M tokens: {text}", flush=True)


def train(trainer, tokenizer, held_out, options):
    """Steps until the schedule has run out, with readings, state files and preview exports on the way."""
    reports = saves = previews = 0
    while trainer.schedule.progress() < 1:
        loss, balance = trainer.step()
        wall = trainer.schedule.wall  # the same for all workers, so all take the same branches
        if wall // 0.5 > reports:
            reports = wall // 0.5
            trainer.log(f"loss {loss:.3f} balance {balance:.3f}")
        if wall // options.save_minutes > saves:
            saves = wall // options.save_minutes
            trainer.save()
            report_held_out(trainer, held_out[: 32 * 1024])
        if options.preview and wall // options.preview_minutes > previews:
            previews = wall // options.preview_minutes
            if trainer.rank == 0:
                export(trainer.model, tokenizer, options.preview)
    trainer.save()


def report_held_out(trainer, tokens):
    """Log the loss on tokens [n], each worker computing its share of them."""
    share = tokens.view(trainer.workers, -1)[trainer.rank]
    sums = torch.tensor(total_loss(trainer.model, share)).double()
    dist.all_reduce(sums)
    value = (sums[0] / sums[1]).item()
    trainer.log(f"held-out loss, first {len(tokens)} tokens: {value:.4f} (perplexity {math.exp(value):.2f})")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", required=True, type=Path,
                        help="directory of stories.txt and stories_heldout.txt")
    parser.add_argument("--out", default=HERE, type=Path, help="where the finished model goes")
    parser.add_argument("--work", required=True, type=Path, help="for the state file, from which a later run goes on")
    parser.add_argument("--start", type=Path, help="begin with the weights of this exported model, not with random ones")
    parser.add_argument("--peak", default=1.0, type=float, help="multiplies the peak learning rates")
    parser.add_argument("--dropout", default=0.0, type=float, help="of the experts' outputs")
    parser.add_argument("--balance", default=BALANCE_WEIGHT, type=float, help="weight of the load balancing loss")
    parser.add_argument("--seed", default=1, type=int, help="of the order of the windows")
    parser.add_argument("--preview", type=Path, help="directory that receives the unfinished model now and then")
    parser.add_argument("--preview-minutes", default=10.0, type=float)
    parser.add_argument("--save-minutes", default=5.0, type=float)
    parser.add_argument("--minutes", default=75.0, type=float, help="training time: mean CPU minutes of the workers")
    parser.add_argument("--wall-minutes", default=150.0, type=float, help="the run ends by then on a busy machine")
    parser.add_argument("--workers", default=2, type=int, help="processes of one thread; 1, 2, 4, 8 or 16")
    return parser.parse_args()


def work(rank, options, rendezvous):
    """Worker process number rank: load the data, train, and (the first one) export."""
    torch.set_num_threads(1)
    load_experts(options.work / "experts.so", Shape())
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=options.workers)
    tokenizer = Tokenizer.from_file(str(options.work / "tokenizer.json"))
    documents = read_documents(options.corpus / "stories.txt")
    held_out_documents = read_documents(options.corpus / "stories_heldout.txt")
    tokens, held_out = tokenize(tokenizer, documents), tokenize(tokenizer, held_out_documents)
    trainer = Trainer(tokens, rank, options)
    trainer.log(f"{len(documents)} + {len(held_out_documents)} documents, {len(tokens)} + {len(held_out)} tokens")
    train(trainer, tokenizer, held_out, options)
    if rank == 0:
        export(trainer.model, tokenizer, options.out)
    trainer.log("finished")
    dist.destroy_process_group()


def main():
    options = parse_options()
    options.work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(read_documents(options.corpus / "stories.txt"), Shape.vocab)
    tokenizer.save(str(options.work / "tokenizer.json"), pretty=False)
    build_experts(options.work)
    os.environ.update(WORKER_ENVIRONMENT)
    with tempfile.TemporaryDirectory() as directory:
        rendezvous = (Path(directory) / "rendezvous").as_uri()
        torch.multiprocessing.spawn(work, args=(options, rendezvous), nprocs=options.workers)


if __name__ == "__main__":
    main()
