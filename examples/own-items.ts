// Your own items and loans from CSV, and your own language model in ten lines. Any server that speaks OpenAI's chat
// completions will do (vLLM, llama.cpp, Ollama, a hosted one):
//   LLM_BASE_URL=http://localhost:8000/v1 LLM_MODEL=my-model LLM_API_KEY=… npx tsx examples/own-items.ts
import { fileURLToPath } from 'node:url';
import { ActorCritic, type Complete, evaluateOracle, LlmOracle, pretrain, sasRec } from 'ialp';
import { fileStorage, readInteractions, readItems } from 'ialp/node';

const { LLM_BASE_URL, LLM_API_KEY = '', LLM_MODEL = 'default' } = process.env;
if (LLM_BASE_URL === undefined) throw new Error('Set LLM_BASE_URL, for example http://localhost:8000/v1');

// 1. Items and interactions. Errors name the file, the line and the column.
const data = (name: string): string => fileURLToPath(new URL(`data/${name}`, import.meta.url));
const catalog = await readItems(data('books.csv'), {
  scenario: 'library',
  itemNoun: 'book',
  behavior: 'lending',
  attributes: ['title', 'author', 'genre'],
});
const { sequences } = await readInteractions(data('loans.csv'), { catalog, timestampColumn: 'day' });
console.table([sequences.statistics()], ['items', 'sequences', 'interactions', 'meanLength']);

// 2. The model. `status` tells the oracle which failures to try again.
const complete: Complete = async (prompt, { signal }) => {
  const response = await fetch(`${LLM_BASE_URL}/chat/completions`, {
    method: 'POST',
    signal,
    headers: { 'content-type': 'application/json', authorization: `Bearer ${LLM_API_KEY}` },
    body: JSON.stringify({ model: LLM_MODEL, temperature: 0, messages: [{ role: 'user', content: prompt }] }),
  });
  if (!response.ok) throw Object.assign(new Error(response.statusText), { status: response.status });
  const answer = (await response.json()) as { choices: [{ message: { content: string } }] };
  return answer.choices[0].message.content;
};
const oracle = new LlmOracle({ catalog, complete, model: LLM_MODEL, mode: 'chat', concurrency: 8 });

// 3. Does it know anything about these readers? Ask before you train on it.
const { hitAt1, chance, noneRate } = await evaluateOracle({ oracle, sequences, limit: 20 });
console.log(
  `It names the next loan in ${(100 * hitAt1).toFixed(0)} % of lists (chance ${(100 * chance).toFixed(0)} %);`,
);
console.log(`None in ${(100 * noneRate).toFixed(0)} %.`);

// 4. Pre-train from where the readers stand. Answers are kept in `runs/books`: no question is asked twice.
const starts = Array.from({ length: sequences.count }, (_, i) =>
  Array.from(sequences.sequence(i), (x) => catalog.id(x)),
);
const historyFeatures = { attributes: ['author', 'genre'] }; // what equal values are worth is learned, one weight each
using agent = new ActorCritic({ catalog, encoder: sasRec({ width: 16 }), historyFeatures, seed: 1 });
const storage = fileStorage('runs/books');
const { asked } = await pretrain({ agent, oracle, starts, stepsPerEpisode: 5, budget: { calls: 300 }, storage });
console.log(`${asked} questions put to the model`);
for (const { id, probability } of agent.recommend({ history: starts[0] ?? [], k: 5 })) {
  console.log(probability.toFixed(3), catalog.text(catalog.indexOf(id)));
}
await agent.save(fileStorage('models/books'));
