"""SASRec in PyTorch, by the names of this library's parameters: as the paper has it, and with no more work than needed."""

import math

import torch
import torch.nn.functional as F

HEADS = 2
BLOCKS = 2
EPSILON = 1e-5


class SasRec:
    """Pre-norm without gain and bias; the formula is in src/encoder/sasrec.ts."""

    def __init__(self, parameters):
        self.p = parameters
        self.width = parameters['item/id'].shape[1]
        self.masks = {}

    def encode(self, items, lengths=None, dropout=0.0):
        """States [B, D] from all positions of padded histories [B, L]; without lengths none is padded."""
        x = F.embedding(items, self.p['item/id'])
        columns = torch.arange(items.shape[1])
        if lengths is not None:
            x = x * (columns < lengths[:, None]).unsqueeze(-1)
            # An empty history is the one-item history of the start vector.
            x = x + ((lengths[:, None] == 0) & (columns == 0)).unsqueeze(-1) * self.p['encoder/start']
        x = F.dropout(x + self.p['encoder/position'][: items.shape[1]], dropout, dropout > 0)
        for block in range(BLOCKS):
            x = self._block(x, f'encoder/block{block}', items.shape[1], dropout)
        x = self._normalise(x)
        if lengths is None:
            return x[:, -1]
        return x[torch.arange(len(items)), lengths.clamp(min=1) - 1]

    def last_states(self, items, count):
        """States at the last `count` positions [B, count, D]: the last block has no other query."""
        x = F.embedding(items, self.p['item/id']) + self.p['encoder/position'][: items.shape[1]]
        for block in range(BLOCKS):
            queries = count if block == BLOCKS - 1 else items.shape[1]
            x = self._block(x, f'encoder/block{block}', queries, 0.0)
        return self._normalise(x)

    def _block(self, x, name, queries, dropout):
        z = self._normalise(x)
        x = x[:, -queries:]
        q = self._split(self._linear(z[:, -queries:], f'{name}/query'))
        k, v = self._linear(z, f'{name}/keyValue', has_bias=False).chunk(2, -1)
        mixed = self._attention(q, self._split(k), self._split(v)).transpose(1, 2).reshape(x.shape)
        x = x + F.dropout(self._linear(mixed, f'{name}/output'), dropout, dropout > 0)
        hidden = F.relu(self._linear(self._normalise(x), f'{name}/feed1'))
        return x + F.dropout(self._linear(hidden, f'{name}/feed2'), dropout, dropout > 0)

    def _attention(self, q, k, v):
        """Causal; padding is newer than every real item, so no real item sees it."""
        queries, length = q.shape[2], k.shape[2]
        if queries == length:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        if (queries, length) not in self.masks:
            future = torch.ones(queries, length, dtype=torch.bool).triu(1 + length - queries)
            self.masks[queries, length] = torch.zeros(queries, length).masked_fill(future, -math.inf)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.masks[queries, length])

    def _linear(self, x, name, has_bias=True):
        flat = x.reshape(-1, x.shape[-1])
        w = self.p[f'{name}/w']
        y = torch.addmm(self.p[f'{name}/b'], flat, w) if has_bias else flat @ w
        return y.view(*x.shape[:-1], -1)

    def _normalise(self, x):
        return F.layer_norm(x, (self.width,), eps=EPSILON)

    def _split(self, x):
        return x.view(x.shape[0], x.shape[1], HEADS, -1).transpose(1, 2)


def all_scores(parameters, head, state):
    """Scores of all items, [B, A]."""
    return torch.addmm(parameters[f'{head}/bias'], state, parameters[f'{head}/id'].t())


# So many items at a time: their scores stay in the caches between one pass over them and the next.
TILE = 4096


def tiles(table):
    return [(start, min(start + TILE, len(table))) for start in range(0, len(table), TILE)]


def max_score(parameters, head, state):
    """The largest score of each row, [B]. Item by row, the way MKL multiplies fastest (twice as fast as row by item)."""
    bias, table = parameters[f'{head}/bias'][:, None], parameters[f'{head}/id']
    best = [torch.addmm(bias[a:b], table[a:b], state.t()).amax(0) for a, b in tiles(table)]
    return torch.stack(best).amax(0)


class LogProb(torch.autograd.Function):
    """log pi(action) [B], with the gradient by hand and the scores, item by row, tile by tile."""

    @staticmethod
    def forward(ctx, state, table, bias, actions):
        mass = torch.empty(len(table), len(state))
        tops, sums = [], []
        for a, b in tiles(table):
            scores = torch.addmm(bias[a:b, None], table[a:b], state.t(), out=mass[a:b])
            tops.append(scores.amax(0))
            sums.append(scores.sub_(tops[-1]).exp_().sum(0))
        tops = torch.stack(tops)
        log_total = torch.logsumexp(tops + torch.stack(sums).log(), 0)
        ctx.save_for_backward(mass, state, table, actions, (tops - log_total).exp())
        return (state * table[actions]).sum(1) + bias[actions] - log_total

    @staticmethod
    def backward(ctx, slope):
        mass, state, table, actions, scale = ctx.saved_tensors
        d_state = slope[:, None] * table[actions]
        d_table, d_bias = torch.empty_like(table), torch.empty(len(table))
        for tile, (a, b) in enumerate(tiles(table)):
            d_scores = mass[a:b].mul_(scale[tile] * -slope)
            d_state.addmm_(d_scores.t(), table[a:b])
            torch.mm(d_scores, state, out=d_table[a:b])
            torch.sum(d_scores, 1, out=d_bias[a:b])
        d_table.index_add_(0, actions, slope[:, None] * state)
        d_bias.index_add_(0, actions, slope)
        return d_state, d_table, d_bias, None
