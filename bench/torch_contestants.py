"""One PyTorch contestant of one case, in a process of its own: python torch_contestants.py KIND CONTESTANT FILE JSON

FILE is a safetensors file with the initial parameters and the data (`data/...`) that this library's contestant has as well;
JSON gives `compared`, `threads` and, for top10, `warmUp` and `k`. Prints one line of JSON as `contestant.ts` does.
"""

import json
import math
import resource
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

from torch_sasrec import LogProb, SasRec, all_scores, max_score

DISCOUNT = 0.9
EXCLUDED = -1e20


def load(path):
    """Arrays of a safetensors file, each read straight into its own memory."""
    types = {'F32': np.dtype('<f4'), 'I32': np.dtype('<i4')}
    arrays = {}
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
        header = json.loads(file.read(length))
        for name, entry in header.items():
            begin, end = entry['data_offsets']
            dtype = types[entry['dtype']]
            file.seek(8 + length + begin)
            values = np.fromfile(file, dtype, (end - begin) // dtype.itemsize)
            arrays[name] = torch.from_numpy(values.reshape(entry['shape']))
    return arrays


class Update:
    """What the updates share: parameters, data and Adam (fused is the fastest of its three forms on a CPU, by far)."""

    def __init__(self, arrays, learning_rate):
        self.data = {name[5:]: values for name, values in arrays.items() if name.startswith('data/')}
        self.p = {name: values for name, values in arrays.items() if not name.startswith('data/')}
        for name, values in self.p.items():
            values.requires_grad_(name not in self.unused)
        self.model = SasRec(self.p)
        self.trained = [values for values in self.p.values() if values.requires_grad]
        self.optimiser = torch.optim.Adam(self.trained, learning_rate, eps=1e-8, fused=True)
        for name in ('histories', 'actions', 'lengths'):
            if name in self.data:
                self.data[name] = self.data[name].long()

    def batch(self, index):
        return {name: values[index] for name, values in self.data.items() if name != 'attributeCodes'}

    def run(self, index):
        """One update; gives the loss before it."""
        self.optimiser.zero_grad()
        loss = self.loss(**self.batch(index))
        loss.backward()
        self.clip()
        self.optimiser.step()
        return loss.item()

    def clip(self):
        pass


class A2c(Update):
    """A2C with Q(s, .): max Q(s') for the target, log pi(a|s) and Q(s, a)."""

    unused = ('actor/none', 'encoder/start')

    def __init__(self, arrays):
        super().__init__(arrays, 1e-3)

    def combine(self, log_prob, q, target):
        error = target - q
        return (error * error - error.detach() * log_prob).mean()


class A2cNaive(A2c):
    """As the paper: s and s' each through the whole encoder, a dense critic, log-softmax over all items."""

    def loss(self, histories, actions, rewards):
        with torch.no_grad():
            after = self.model.encode(torch.cat([histories, actions[:, None]], 1))
            target = rewards + DISCOUNT * all_scores(self.p, 'critic', after).amax(1)
        state = self.model.encode(histories)
        picked = actions[:, None]
        q = all_scores(self.p, 'critic', state).gather(1, picked)[:, 0]
        log_prob = torch.log_softmax(all_scores(self.p, 'actor', state), 1).gather(1, picked)[:, 0]
        return self.combine(log_prob, q, target)


class A2cSameMaths(A2c):
    """One causal pass for s and s', two queries in the last block, Q(s, a) by rows, the softmax's gradient by hand."""

    def loss(self, histories, actions, rewards):
        states = self.model.last_states(torch.cat([histories, actions[:, None]], 1), 2)
        with torch.no_grad():
            target = rewards + DISCOUNT * max_score(self.p, 'critic', states[:, 1])
        state = states[:, 0]
        q = (F.embedding(actions, self.p['critic/id']) * state).sum(1) + self.p['critic/bias'][actions]
        log_prob = LogProb.apply(state, self.p['actor/id'], self.p['actor/bias'], actions)
        return self.combine(log_prob, q, target)


class PpoNaive(Update):
    """PPO with all that training uses: value, entropy, window, padding, dropout, history features, mask, clipped norm."""

    unused = ('actor/none',)
    window = 10
    decay = 0.8
    values = 100

    def __init__(self, arrays):
        super().__init__(arrays, 3e-3)
        self.codes = self.data['attributeCodes'].long()
        self.repeats = len(self.p['actor/history']) - 2
        self.dropout = 0.0

    def loss(self, histories, lengths, actions, oldLogProb, advantages, returns):
        state = self.model.encode(*self.windows(histories, lengths), self.dropout)
        hidden = F.relu(torch.addmm(self.p['value/b1'], state, self.p['value/w1']))
        value = torch.addmm(self.p['value/b2'], hidden, self.p['value/w2'])[:, 0]
        log_probs = torch.log_softmax(self.logits(state, histories, lengths), 1)
        entropy = -(log_probs.exp() * log_probs).sum(1)
        ratio = (log_probs.gather(1, actions[:, None])[:, 0] - oldLogProb).exp()
        gain = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        return -gain.mean() + 0.5 * (value - returns).square().mean() - 0.01 * entropy.mean()

    def clip(self):
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0, foreach=True)

    def windows(self, histories, lengths):
        """The last items of each history, left-aligned, and how many they are."""
        seen = lengths.clamp(max=self.window)
        columns = (lengths - seen)[:, None] + torch.arange(self.window)
        return histories.gather(1, columns.clamp(max=histories.shape[1] - 1)).clamp(min=0), seen

    def logits(self, state, histories, lengths):
        """Scores of all items with the history features' weights; the history's own items are excluded."""
        logits = all_scores(self.p, 'actor', state)
        logits += self.attribute_scores(histories, lengths)
        ages = lengths[:, None] - 1 - torch.arange(histories.shape[1])
        real = ages >= 0
        # "Was shown j steps ago" is one item a row and plane.
        shown = real & (ages < self.repeats)
        rows, columns = shown.nonzero(as_tuple=True)
        weights = self.p['actor/history'][ages[rows, columns]]
        logits.index_put_((rows, histories[shown]), weights, accumulate=True)
        # Untaped: an excluded item's gradient is 0 by its probability already.
        logits.detach()[real.nonzero(as_tuple=True)[0], histories[real]] = EXCLUDED
        return logits

    def attribute_scores(self, histories, lengths):
        """Both planes of the attribute: a table of its values for each row, looked up for each item."""
        weights = self.p['actor/history'][self.repeats :]
        ages = lengths[:, None] - 1 - torch.arange(histories.shape[1])
        decays = torch.where(ages >= 0, self.decay ** ages.clamp(min=0), 0.0)
        codes = self.codes[histories.clamp(min=0)]
        recent = torch.zeros(len(histories), self.values).scatter_add_(1, codes, decays)
        recent = recent / decays.sum(1, keepdim=True).clamp(min=1e-30)
        last = torch.zeros(len(histories), self.values).scatter_add_(1, codes, (ages == 0).float())
        table = weights[0] * last + weights[1] * recent
        # `gather` is four times as fast here, both ways, as indexing; twice as fast as a lookup of embeddings.
        return table.gather(1, self.codes.expand(len(histories), -1))


def measure_updates(update, compared):
    """Losses of the compared updates (without dropout), milliseconds of the others."""
    losses = [update.run(index) for index in range(compared)]
    update.dropout = 0.1
    times = []
    for index in range(compared, len(update.data['actions'])):
        start = time.perf_counter()
        update.run(index)
        times.append((time.perf_counter() - start) * 1e3)
    return {'ms': times, 'losses': losses}


@torch.inference_mode()
def measure_top(arrays, contestant, warm_up, k):
    """Milliseconds to encode one history, score all items and take the k best; their scores stand in for losses."""
    model = SasRec(arrays)
    times, firsts = [], []
    for history in arrays['data/histories'].long():
        items = history[None]
        start = time.perf_counter()
        state = model.encode(items) if contestant == 'torchNaive' else model.last_states(items, 1)[:, 0]
        best = torch.topk(all_scores(arrays, 'actor', state), k)
        times.append((time.perf_counter() - start) * 1e3)
        firsts.append(best.indices[0].tolist())
    return {'ms': times[warm_up:], 'items': firsts[0]}


def peak_rss_mb():
    """Largest resident set of this process alone: `ru_maxrss` would count its parent's as well."""
    try:
        with open('/proc/self/status') as status:
            return next(int(line.split()[1]) for line in status if line.startswith('VmHWM')) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == 'linux' else 2**20)


def main(kind, contestant, path, settings):
    settings = json.loads(settings)
    torch.set_num_threads(settings['threads'])
    torch.manual_seed(1)
    arrays = load(path)
    if kind == 'top10':
        result = measure_top(arrays, contestant, settings['warmUp'], settings['k'])
    else:
        forms = {
            ('update', 'torchNaive'): A2cNaive,
            ('update', 'torchSameMaths'): A2cSameMaths,
            ('trained', 'torchNaive'): PpoNaive,
        }
        result = measure_updates(forms[kind, contestant](arrays), settings['compared'])
    facts = {'torch': torch.__version__, 'threads': torch.get_num_threads(), 'capability': torch.backends.cpu.get_cpu_capability()}
    print(json.dumps({**result, 'peakRssMb': peak_rss_mb(), 'facts': facts}))


if __name__ == '__main__':
    main(*sys.argv[1:])
